"""What is counted in process: `Stats`, which costs a dictionary's increment per event.

Counters are named in `names`; each is kept per tier (``hot``, ``warm``, ``cold``, or ``client``). Latencies are kept per tier, verb and outcome in
histograms with buckets that grow by a quarter power of two, so that a quantile is at most 19 % above the true one.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from thermocline.cost.units import column_of

OK: Final = "ok"

_FIRST: Final = 1e-6  # seconds: the first bucket's upper edge
PER_OCTAVE: Final = 4
BUCKETS: Final = 120  # up to 2**30 microseconds, about 18 minutes

Timed = tuple[str, str, str]
"""Verb, tier, outcome."""

Operated = tuple[str, str, int]
"""Tier, operation, and the size class of its items: the upper end in KB (`thermocline.cost.COLUMNS`)."""


@dataclass(slots=True)
class Histogram:
    """Latencies in seconds, in `BUCKETS` logarithmic buckets."""

    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    count: int = 0
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bucket_of(seconds)] += 1
        self.count += 1
        self.total += seconds

    def quantile(self, q: float) -> float:
        """The upper edge, in seconds, of the bucket that holds the quantile; 0 where nothing was observed."""
        wanted = q * self.count
        seen = 0
        for bucket, n in enumerate(self.counts):
            seen += n
            if n and seen >= wanted:
                return edge(bucket)
        return 0.0

    def add(self, other: "Histogram") -> None:
        """Take in another's observations."""
        # Of one copy of its buckets: another thread may observe meanwhile, and the count must be the buckets' sum.
        counts = other.counts.copy()
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, counts, strict=True)]
        self.count += sum(counts)
        self.total += other.total

    def since(self, earlier: "Histogram | None") -> "Histogram":
        """What was observed after ``earlier``, a copy of this one from then."""
        if earlier is None:
            return self
        counts = [max(0, now - then) for now, then in zip(self.counts, earlier.counts, strict=True)]
        return Histogram(counts, sum(counts), max(0.0, self.total - earlier.total))


def bucket_of(seconds: float) -> int:
    """The place of the bucket for a duration: from the edge before, to just below its own."""
    bucket = int(math.log2(seconds / _FIRST) * PER_OCTAVE) + 1 if seconds > _FIRST else 0
    return bucket if bucket < BUCKETS else BUCKETS - 1


def edge(bucket: int) -> float:
    """A bucket's upper edge in seconds."""
    return float(_FIRST * 2 ** (bucket / PER_OCTAVE))


@dataclass(frozen=True, slots=True)
class Sample:
    """One call that has a span: seconds, and the span's ids. Shown beside its bucket (an exemplar)."""

    seconds: float
    at_ns: int
    trace_id: int
    span_id: int


class Stats:
    """Counters and latency histograms of one client. Not thread-safe: a client lives in one event loop; only `added_to` may be called from another thread."""

    __slots__ = ("charges", "counters", "latencies", "operations", "samples")

    def __init__(self) -> None:
        self.counters: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.charges: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        self.latencies: dict[Timed, Histogram] = {}
        self.operations: dict[Operated, list[float]] = {}  # count, bytes, rows
        self.samples: dict[tuple[Timed, int], Sample] = {}  # the last one of each bucket

    def count(self, name: str, tier: str, amount: float = 1) -> None:
        self.counters[name, tier] += amount

    def charge(self, name: str, tier: str, verb: str, amount: float) -> None:
        """Count, and remember which of the tier's verbs it was for. The sum over the verbs is the count."""
        self.counters[name, tier] += amount
        self.charges[name, tier, verb] += amount

    def operated(self, tier: str, operation: str, size: int = 0, *, rows: int = 0) -> None:
        """Count an operation that a service bills for, of an item (or a page, with its ``rows``) of ``size`` bytes."""
        done = self.operations.setdefault((tier, operation, column_of(size)), [0, 0, 0])
        done[0] += 1
        done[1] += size
        done[2] += rows

    def observe(self, verb: str, tier: str, seconds: float, outcome: str = OK) -> None:
        histogram = self.latencies.get((verb, tier, outcome))
        if histogram is None:
            histogram = self.latencies[verb, tier, outcome] = Histogram()
        histogram.observe(seconds)

    def sample(self, timed: Timed, sample: Sample) -> None:
        """Remember the span of an observation."""
        self.samples[timed, bucket_of(sample.seconds)] = sample

    def get(self, name: str, tier: str) -> float:
        return self.counters.get((name, tier), 0)

    def added_to(self, other: "Stats") -> None:
        """Add all of this to ``other``. Copies before it walks: the client may count meanwhile in its own thread."""
        for name_tier, amount in self.counters.copy().items():
            other.counters[name_tier] += amount
        for charge, amount in self.charges.copy().items():
            other.charges[charge] += amount
        for operated, figures in self.operations.copy().items():
            theirs = other.operations.setdefault(operated, [0, 0, 0])
            for at, figure in enumerate(figures):
                theirs[at] += figure
        for timed, histogram in self.latencies.copy().items():
            other.latencies.setdefault(timed, Histogram()).add(histogram)
        other.samples.update(self.samples.copy())

    def by_verb(self) -> dict[tuple[str, str], Histogram]:
        """The latencies per tier and verb, whatever their outcome; sorted."""
        found: dict[tuple[str, str], Histogram] = {}
        for (verb, tier, _), histogram in sorted(self.latencies.items()):
            found.setdefault((tier, verb), Histogram()).add(histogram)
        return found

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Per tier: each counter, what was charged by verb (``request_units_by_verb``), ``operations`` that the service bills for, by name and size class
        (count and bytes), and ``latency``: per verb count, mean, p50 and p99 in milliseconds."""
        tiers: dict[str, dict[str, Any]] = {}
        for (name, tier), amount in sorted(self.counters.items()):
            tiers.setdefault(str(tier), {})[name] = _short(amount)
        for (name, tier, verb), amount in sorted(self.charges.items()):
            tiers[str(tier)].setdefault(f"{name}_by_verb", {})[verb] = _short(amount)
        for (tier, operation, column), (count, size, rows) in sorted(self.operations.items()):
            sizes = tiers.setdefault(str(tier), {}).setdefault("operations", {}).setdefault(operation, {})
            sizes[str(column)] = {"count": count, "bytes": size, **({"rows": rows} if rows else {})}
        for (tier, verb), h in self.by_verb().items():
            tiers.setdefault(tier, {}).setdefault("latency", {})[verb] = {
                "count": h.count,
                "mean_ms": round(h.total / h.count * 1000, 4),
                "p50_ms": round(h.quantile(0.5) * 1000, 4),
                "p99_ms": round(h.quantile(0.99) * 1000, 4),
            }
        return tiers


def _short(amount: float) -> float:
    return int(amount) if amount == int(amount) else round(amount, 3)
