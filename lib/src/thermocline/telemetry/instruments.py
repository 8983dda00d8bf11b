"""The figures of this process's clients as observable instruments: nothing is done per call, everything when somebody collects.

Needs OpenTelemetry's API only.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from thermocline.telemetry import names
from thermocline.telemetry.names import Kind, Metric
from thermocline.telemetry.registry import CLIENTS
from thermocline.telemetry.stats import Histogram, Timed

_QUANTILES: Final = (0.5, 0.99)
OF_DURATIONS: Final = (names.CALLS, names.TIME, names.LATENCY)  # what stands in for the histogram


class Instruments:
    """All metrics of `names` on one meter, but for the histogram, which OpenTelemetry has no observable kind of.

    ``summaries``: those of `OF_DURATIONS` that are there instead of it, or beside it. An instrument cannot be taken from a meter again, so ``live`` False
    silences them.
    """

    def __init__(self, meter: Meter, *, summaries: Sequence[str]) -> None:
        self.live = True
        self._summaries = summaries
        self._before: dict[Timed, Histogram] = {}
        for metric in names.METRICS.values():
            if metric.kind is not Kind.HISTOGRAM:
                self._make(meter, metric)

    def _make(self, meter: Meter, metric: Metric) -> None:
        make = meter.create_observable_counter if metric.kind is Kind.COUNTER else meter.create_observable_gauge
        observe = self._observer(metric)

        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return observe() if self.live else ()

        if metric.key not in OF_DURATIONS or metric.key in self._summaries:
            make(metric.name, [callback], metric.unit, metric.description)

    def _observer(self, metric: Metric) -> Callable[[], list[Observation]]:
        if metric.key == names.CALLS:
            return lambda: [Observation(h.count, timed_attributes(t)) for t, h in CLIENTS.totals().latencies.items()]
        if metric.key == names.TIME:
            return lambda: [Observation(h.total, timed_attributes(t)) for t, h in CLIENTS.totals().latencies.items()]
        if metric.key == names.LATENCY:
            return self._quantiles
        if metric.key == names.REQUEST_UNITS:
            return lambda: [
                Observation(n, {names.TIER: tier, names.VERB: verb})
                for (tier, verb), n in CLIENTS.charged(metric.key).items()
            ]
        if metric.kind is Kind.COUNTER:
            return lambda: [Observation(n, {names.TIER: tier}) for tier, n in CLIENTS.counted(metric.key).items()]
        return lambda: [
            Observation(value, {names.TIER: str(tier)})
            for (key, tier), value in CLIENTS.gauges().items()
            if key == metric.key
        ]

    def _quantiles(self) -> list[Observation]:
        """Of what was observed since the last time that somebody asked."""
        now = CLIENTS.totals().latencies
        before, self._before = self._before, now
        found: list[Observation] = []
        for timed, histogram in now.items():
            lately = histogram.since(before.get(timed))
            if lately.count:
                found += [
                    Observation(lately.quantile(q), {**timed_attributes(timed), names.QUANTILE: q}) for q in _QUANTILES
                ]
        return found


def timed_attributes(timed: Timed) -> dict[str, str]:
    """The attributes of a duration."""
    verb, tier, outcome = timed
    return {names.TIER: tier, names.VERB: verb, names.OUTCOME: outcome}
