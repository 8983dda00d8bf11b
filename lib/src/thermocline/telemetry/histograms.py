"""The durations as real histograms. OpenTelemetry has no observable histogram, and one that is told of each call costs a tenth of a hot hit; so they are
made of `Stats` when metrics are exported, and added to what the exporter is given. Needs OpenTelemetry's SDK."""

import time
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from thermocline.telemetry import names
from thermocline.telemetry.instruments import timed_attributes
from thermocline.telemetry.registry import CLIENTS
from thermocline.telemetry.stats import BUCKETS, PER_OCTAVE, Histogram, Sample, Timed, edge

BOUNDS: Final = tuple(edge(bucket) for bucket in range(0, BUCKETS - PER_OCTAVE + 1, PER_OCTAVE))
"""Seconds: powers of two from one microsecond to nine minutes. In process the buckets are four times as fine."""

_STARTED: Final = time.time_ns()


class WithHistograms(MetricExporter):
    """An exporter that adds ``thermocline.tier.duration`` to what another one is given, in the temporality that the other prefers.

    For a pipeline of your own: ``PeriodicExportingMetricReader(WithHistograms(OTLPMetricExporter()))``. What is under way when a delta is lost is lost, as
    with the SDK's own histograms.
    """

    def __init__(self, inner: MetricExporter) -> None:
        temporality = inner._preferred_temporality or {}  # noqa: SLF001 - where the SDK's own reader looks for it
        super().__init__(temporality, inner._preferred_aggregation)  # noqa: SLF001
        self._inner = inner
        self._temporality = temporality.get(HistogramInstrument, AggregationTemporality.CUMULATIVE)
        self._before: dict[Timed, Histogram] = {}
        self._since = _STARTED
        self._scope = InstrumentationScope(names.SCOPE, version("thermocline"))

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        made = self._metric(time.time_ns())
        if made is not None and metrics_data.resource_metrics:
            first, *others = metrics_data.resource_metrics
            scope = ScopeMetrics(self._scope, [made], schema_url="")
            metrics_data = MetricsData([replace(first, scope_metrics=[*first.scope_metrics, scope]), *others])
        return self._inner.export(metrics_data, timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._inner.shutdown(timeout_millis, **kwargs)

    def _metric(self, now: int) -> Metric | None:
        total = CLIENTS.totals()
        before, since = self._before, self._since
        self._before, self._since = total.latencies, now
        delta = self._temporality is AggregationTemporality.DELTA
        points = [
            _point(timed, histogram.since(before.get(timed)) if delta else histogram, since if delta else _STARTED, now)
            for timed, histogram in total.latencies.items()
        ]
        points = [
            replace(point, exemplars=_exemplars(total.samples, timed, since))
            for timed, point in zip(total.latencies, points, strict=True)
            if point.count
        ]
        if not points:
            return None
        metric = names.METRICS[names.DURATION]
        return Metric(metric.name, metric.description, metric.unit, HistogramData(points, self._temporality))


def _point(timed: Timed, histogram: Histogram, since: int, now: int) -> HistogramDataPoint:
    counts = [0] * (len(BOUNDS) + 1)
    for bucket, n in enumerate(histogram.counts):
        counts[_coarse(bucket)] += n
    filled = [bucket for bucket, n in enumerate(histogram.counts) if n]
    return HistogramDataPoint(
        attributes=timed_attributes(timed),
        start_time_unix_nano=since,
        time_unix_nano=now,
        count=histogram.count,
        sum=histogram.total,
        bucket_counts=counts,
        explicit_bounds=BOUNDS,
        min=edge(filled[0] - 1) if filled and filled[0] else 0.0,
        max=edge(filled[-1]) if filled else 0.0,
    )


def _coarse(bucket: int) -> int:
    """Which of the exported buckets a fine one is part of."""
    return -(-bucket // PER_OCTAVE)


def _exemplars(samples: dict[tuple[Timed, int], Sample], timed: Timed, since: int) -> list[Exemplar]:
    """The last call with a span in each exported bucket, of those that ended since."""
    latest: dict[int, Sample] = {}
    for (of, bucket), sample in samples.items():
        held = latest.get(_coarse(bucket))
        if of == timed and sample.at_ns >= since and (held is None or held.at_ns < sample.at_ns):
            latest[_coarse(bucket)] = sample
    return [Exemplar({}, one.seconds, one.at_ns, one.span_id, one.trace_id) for one in latest.values()]
