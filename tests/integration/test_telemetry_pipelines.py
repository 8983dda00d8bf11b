"""Pipelines that a program has itself: its global providers, set before or after, and its exporter with histograms added."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from thermocline import MemoryClient, ProcessMemory, telemetry
from thermocline.telemetry import names

HOUR = 3_600_000
TIMED = {names.TIER: "hot", names.VERB: "write", names.OUTCOME: "ok"}


class Kept(MetricExporter):
    """Keeps what it is given."""

    def __init__(self, temporality: AggregationTemporality) -> None:
        super().__init__({Histogram: temporality})
        self.given: list[MetricsData] = []
        self.ended = 0

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.given.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.ended += 1

    def counts(self) -> list[tuple[int, int, int]]:
        """Of each export: count, start and end of hot's writes."""
        found = []
        for data in self.given:
            for scope in data.resource_metrics[0].scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "thermocline.tier.duration":
                        found += [
                            (p.count, p.start_time_unix_nano, p.time_unix_nano)  # type: ignore[union-attr]
                            for p in metric.data.data_points
                            if p.attributes == TIMED
                        ]
        return found


@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:])
async def test_an_exporter_of_the_programs_own_gets_histograms(temporality: AggregationTemporality) -> None:
    exporter = Kept(temporality)
    meters = MeterProvider([PeriodicExportingMetricReader(telemetry.with_histograms(exporter), HOUR)])
    with telemetry.configure(meter_provider=meters, spans=False):
        async with MemoryClient(hot=ProcessMemory()) as client:
            await client.set("key", 1)
            meters.force_flush()
            await client.set("key", 2)
            await client.set("key", 3)
            meters.force_flush()
            meters.force_flush()
        meters.shutdown()
    (first, *_), (second, since, until), *rest = exporter.counts()
    started = exporter.counts()[0][1]

    assert since < until
    if temporality is AggregationTemporality.DELTA:
        assert second == 2
        assert since == exporter.counts()[0][2], "each begins where the one before ended"
        assert rest == [], "nothing was written any more"
    else:
        assert second == first + 2
        assert since == started
        assert [count for count, _, _ in rest] == [second] * len(rest)
    assert exporter.ended == 1


GLOBAL = """
    import asyncio, sys
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from thermocline import MemoryClient, ProcessMemory, telemetry

    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()

    def program():
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(spans))
        metrics.set_meter_provider(MeterProvider([reader]))
        trace.set_tracer_provider(tracers)

    async def main():
        async with MemoryClient(hot=ProcessMemory()) as client:
            await client.set("key", 1)

    if sys.argv[1] == "before":
        program()
    on = telemetry.configure()
    if sys.argv[1] == "after":
        program()
    asyncio.run(main())
    on.shutdown()
    asyncio.run(main())
    again = telemetry.configure()
    found = [m for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics for m in s.metrics]
    writes = [p.value for m in found if m.name == "thermocline.tier.calls" for p in m.data.data_points
              if p.attributes["thermocline.verb"] == "write"]
    print(writes, sorted(span.name for span in spans.get_finished_spans()))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_global_providers_are_used_whenever_they_are_set(when: str, tmp_path: Path) -> None:
    """Metrics twice configured are there once; what was written between is in the sum, since clients always count."""
    command = [sys.executable, "-W", "error", "-c", dedent(GLOBAL), when]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=90)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[2] ['thermocline.hot.write', 'thermocline.set']"
