"""Hit ratios of a cache that asks the sketch whom to admit, beside plain LRU, and what the sketch costs: no server, no clock but for the CPU's.

    python -m benchmarks.sketch [--json]

A trace is a list of keys; both caches hold the same number of them. On a miss LRU admits the key in place of the one that was not used for the longest
time. The other cache admits it only if the sketch has seen it more often than that victim, which is what `ProcessMemory` does when it is full.
"""

import argparse
import itertools
import json
import random
import time
from bisect import bisect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.results import Fact, Grid, Result, rounded
from benchmarks.scale import Scale
from thermocline.model import Key
from thermocline.sketch import Frequency

KEYS = 50_000
CACHE = 2_500  # a twentieth of the keys
READS = 300_000
SKEW = 0.9  # of the Zipf distribution, as of web requests
SCAN = 5_000  # keys of one sequential scan: twice the cache
BETWEEN = 10_000  # reads between two scans
ZIPF, SCANS = "Zipf", "Zipf and scans"
SHIFTS = (60_000, 20_000)  # reads after which altogether other keys are popular


@dataclass(frozen=True, slots=True)
class Ratios:
    """Hits over reads of one trace."""

    trace: str
    lru: float
    sketch: float

    @property
    def missed(self) -> bool:
        """Whether the sketch is behind LRU on a trace where it has to be ahead: where popularity lasts."""
        return self.trace in (ZIPF, SCANS) and self.sketch <= self.lru


def zipf(seed: int = 1, reads: int = READS) -> list[int]:
    """Reads of keys by popularity: the n-th most popular one comes n**-0.9 times as often as the first."""
    heights = list(itertools.accumulate((rank + 1) ** -SKEW for rank in range(KEYS)))
    rng = random.Random(seed)
    return [bisect(heights, rng.random() * heights[-1]) for _ in range(reads)]


def shifting(every: int, seed: int = 2, reads: int = READS) -> list[int]:
    """The same, but which keys are popular changes altogether ``every`` so many reads: whoever counts has to forget, and pays for it."""
    return [(key + at // every * 9_973) % KEYS for at, key in enumerate(zipf(seed, reads))]


def scans(seed: int = 3, reads: int = READS) -> list[int]:
    """Zipf, with a sequential scan of keys that nobody else reads after every ten thousand reads, as by an export or a nightly job."""
    popular = zipf(seed, reads)
    trace: list[int] = []
    for turn, start in enumerate(range(0, len(popular), BETWEEN)):
        trace += popular[start : start + BETWEEN]
        trace += range(KEYS + turn * SCAN, KEYS + (turn + 1) * SCAN)
    return trace


def lru(trace: Sequence[int], size: int = CACHE) -> float:
    """The hit ratio of plain LRU."""
    held: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in held:
            hits += 1
            held.move_to_end(key)
            continue
        held[key] = None
        if len(held) > size:
            held.popitem(last=False)
    return hits / len(trace)


def admitted(trace: Sequence[int], size: int = CACHE) -> float:
    """The hit ratio of LRU whose newcomers the sketch judges."""
    held: OrderedDict[int, None] = OrderedDict()
    sketch = Frequency(size)
    hits = 0
    for key in trace:
        often = sketch.note(key)
        if key in held:
            hits += 1
            held.move_to_end(key)
        elif len(held) < size:
            held[key] = None
        else:
            victim = next(iter(held))
            if often > sketch.estimate(victim):
                del held[victim]
                held[key] = None
    return hits / len(trace)


def hit_ratios(reads: int = READS) -> list[Ratios]:
    """All traces, each by both caches."""
    traces = {
        ZIPF: zipf(reads=reads),
        SCANS: scans(reads=reads),
        **{f"Zipf, other keys every {every:,} reads": shifting(every, reads=reads) for every in SHIFTS},
    }
    return [Ratios(name, lru(trace), admitted(trace)) for name, trace in traces.items()]


def cpu_us(reads: int = 100_000) -> tuple[float, float]:
    """Microseconds of CPU for one note and for one estimate of a `Key`."""
    keys = [Key("tenant", "user/42", f"name/{number}") for number in range(KEYS)]
    trace = [keys[number] for number in zipf(reads=reads)]
    sketch = Frequency(CACHE)
    began = time.process_time()
    for key in trace:
        sketch.note(key)
    between = time.process_time()
    for key in trace:
        sketch.estimate(key)
    return (between - began) / reads * 1e6, (time.process_time() - between) / reads * 1e6


def table(found: Sequence[Ratios], cpu: tuple[float, float]) -> str:
    """Fixed-width text."""
    rows = [f"{'hit ratio, cache of 5 % of the keys':<42} {'LRU':>7} {'sketch':>7}"]
    rows += [f"  {line.trace:<40} {line.lru:>7.3f} {line.sketch:>7.3f}" for line in found]
    return "\n".join([*rows, f"  the sketch: {cpu[0]:.1f} µs of CPU to note a read, {cpu[1]:.1f} µs to estimate"])


async def sketch(scale: Scale) -> Result:
    """Hit ratios by trace, and what a note costs."""
    found, (note, estimate) = hit_ratios(scale.of(READS, READS // 10)), cpu_us()
    rows: list[list[str | int | float]] = [[line.trace, rounded(line.lru), rounded(line.sketch)] for line in found]
    facts = [
        Fact("sketch", f"ahead of LRU: {line.trace}", rounded(line.sketch - line.lru), "", "above 0", not line.missed)
        for line in found
        if line.trace in (ZIPF, SCANS)
    ]
    facts += [
        Fact("sketch", "a note", rounded(note), "µs of CPU"),
        Fact("sketch", "an estimate", rounded(estimate), "µs of CPU"),
    ]
    return Result("sketch", facts=facts, grids=[Grid("hit ratios", ["trace", "LRU", "sketch"], rows)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sketch")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    found, cpu = hit_ratios(), cpu_us()
    if parser.parse_args().json:
        print(json.dumps({"ratios": [asdict(line) for line in found], "note_us": cpu[0], "estimate_us": cpu[1]}))
    else:
        print(table(found, cpu))


if __name__ == "__main__":
    main()
