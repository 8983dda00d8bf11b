"""What is counted in process: `Stats`, which costs a dictionary's increment per event.

Counters are named in `names`; each is kept per tier (``hot``, ``warm``, ``cold``, or ``client``). Latencies are kept per tier, verb and outcome in
histograms with buckets that grow by a quarter power of two, so that a quantile is at most 19 % above the true one.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

_FIRST: Final = 1e-6  # seconds: the first bucket's upper edge
_PER_OCTAVE: Final = 4
_BUCKETS: Final = 120  # up to 2**30 microseconds, about 18 minutes


@dataclass(slots=True)
class Histogram:
    """Latencies in seconds, in `_BUCKETS` logarithmic buckets."""

    counts: list[int] = field(default_factory=lambda: [0] * _BUCKETS)
    count: int = 0
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        bucket = int(math.log2(seconds / _FIRST) * _PER_OCTAVE) + 1 if seconds > _FIRST else 0
        self.counts[bucket if bucket < _BUCKETS else _BUCKETS - 1] += 1
        self.count += 1
        self.total += seconds

    def quantile(self, q: float) -> float:
        """The upper edge, in seconds, of the bucket that holds the quantile; 0 where nothing was observed."""
        wanted = q * self.count
        seen = 0
        for bucket, n in enumerate(self.counts):
            seen += n
            if n and seen >= wanted:
                return float(_FIRST * 2 ** (bucket / _PER_OCTAVE))
        return 0.0


class Stats:
    """Counters and latency histograms of one client. Not thread-safe: a client lives in one event loop."""

    __slots__ = ("counters", "latencies")

    def __init__(self) -> None:
        self.counters: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.latencies: dict[tuple[str, str], Histogram] = {}

    def count(self, name: str, tier: str, amount: float = 1) -> None:
        self.counters[name, tier] += amount

    def observe(self, verb: str, tier: str, seconds: float) -> None:
        histogram = self.latencies.get((verb, tier))
        if histogram is None:
            histogram = self.latencies[verb, tier] = Histogram()
        histogram.observe(seconds)

    def get(self, name: str, tier: str) -> float:
        return self.counters.get((name, tier), 0)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Per tier: each counter, and ``latency``: per verb count, mean, p50 and p99 in milliseconds."""
        tiers: dict[str, dict[str, Any]] = {}
        for (name, tier), amount in sorted(self.counters.items()):
            tiers.setdefault(tier, {})[name] = int(amount) if amount == int(amount) else round(amount, 3)
        for (verb, tier), h in sorted(self.latencies.items()):
            tiers.setdefault(tier, {}).setdefault("latency", {})[verb] = {
                "count": h.count,
                "mean_ms": round(h.total / h.count * 1000, 4),
                "p50_ms": round(h.quantile(0.5) * 1000, 4),
                "p99_ms": round(h.quantile(0.99) * 1000, 4),
            }
        return tiers
