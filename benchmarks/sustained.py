"""``python -m benchmarks.sustained``: mixed traffic at a steady rate from one process, hot on Redis and warm in SQLite, while Redis is restarted twice.

The load is open: operations begin when they are due, whatever became of those before them, and latencies count from the moment an operation was due;
so one that is held up holds up the figures of those behind it as well. Each read is held against what had been acknowledged when it began.
"""

import argparse
import asyncio
import gc
import json
import math
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from thermocline import MemoryClient
from thermocline.errors import ThermoclineError
from thermocline.model import Key
from thermocline.testing.rig import RedisServer
from thermocline.testing.scenarios.report import put_into
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.sqlite import SqliteMemory

_STEP: Final = 1.02  # between two buckets of latencies: figures are right within 2 %
_LOG: Final = math.log(_STEP)
_SHORTEST: Final = 1e-6  # seconds
_MOST: Final = 500  # callers: operations under way; beyond them the next ones wait, and their latency grows
_TICK: Final = 0.001  # seconds between two looks at what is due
_CHUNK: Final = 1_000
FLAT: Final = 1.1  # times what it was, at most
_FILL: Final = "x" * 160  # with what is around it, a value of about 200 bytes
BEGIN, END = "<!-- sustained: begin -->", "<!-- sustained: end -->"


class Latencies:
    """Counted in buckets that grow by 2 %."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self.counts[int(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _LOG)] += 1

    def at(self, share: float) -> float:
        """The latency (ms) that a ``share`` of the operations stayed below."""
        left = self.counts.total() * share
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return float(_SHORTEST * _STEP ** (bucket + 1) * 1000)
        return 0.0


@dataclass(slots=True)
class Sample:
    """What this process held at a moment."""

    at: float  # seconds from the beginning
    rss: int  # bytes
    tasks: int
    files: int
    under_way: int
    done: int


@dataclass(slots=True)
class Outcome:
    rate: int
    keys: int
    seconds: float
    done: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    behind: list[str] = field(
        default_factory=list
    )  # reads that were older than what had been acknowledged, or of another key
    samples: list[Sample] = field(default_factory=list)
    restarts: list[tuple[float, str]] = field(default_factory=list)
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    calm_p99: float = 0.0  # away from restarts and from the first tenth
    calm_p999: float = 0.0
    cpu: float = 0.0  # seconds of this process
    loop_cpu: float = 0.0  # of them, of the event loop's thread: the one that cannot be had twice
    reached: float = 0.0  # operations a second

    def grew(self) -> float:
        """RSS in the last quarter over that in the second."""
        return _median(self.samples, 0.75, 1.0, "rss") / max(1.0, _median(self.samples, 0.25, 0.5, "rss"))

    @property
    def missed(self) -> list[str]:
        """What did not come out as stated; that a machine is too slow for the rate is told by the table, and is not of it."""
        total = int(self.rate * self.seconds)
        tasks, later = (_median(self.samples, since, since + 0.25, "tasks") for since in (0.25, 0.75))
        files, open_later = (_median(self.samples, since, since + 0.25, "files") for since in (0.25, 0.75))
        said = {
            f"{self.errors.total()} calls failed": bool(self.errors),
            f"{len(self.behind)} reads were behind what had been acknowledged": bool(self.behind),
            f"{total - self.done:,} operations were not done": self.done < total,
            f"memory grew {self.grew():.2f} times from the second quarter to the last": self.grew() > FLAT,
            f"tasks went from {tasks:.0f} to {later:.0f}": later > tasks * FLAT + 20,
            f"open files went from {files:.0f} to {open_later:.0f}": open_later > files + 10,
        }
        return [words for words, wrong in said.items() if wrong]

    @property
    def too_slow(self) -> bool:
        """Whether what was offered was done much later than it was due."""
        return self.done > self.reached * (self.seconds * 1.01 + 2)

    @property
    def kept(self) -> bool:
        return not self.missed


def _median(samples: list[Sample], since: float, until: float, name: str) -> float:
    part = samples[int(len(samples) * since) : max(1, int(len(samples) * until))]
    found = sorted(getattr(sample, name) for sample in part)
    return float(found[len(found) // 2]) if found else 0.0


class Load:
    """One run."""

    def __init__(self, memory: MemoryClient, redis: RedisServer, outcome: Outcome, reads: float, seed: int) -> None:
        self.memory = memory
        self.redis = redis
        self.outcome = outcome
        self.reads = reads
        self.random = random.Random(seed)
        self.keys = [Key("load", f"scope{number % 100}", str(number)) for number in range(outcome.keys)]
        self.numbers = [0] * outcome.keys  # of the last write that began, by key
        self.acknowledged = [0] * outcome.keys
        self.writing: dict[int, tuple[int, int]] = {}  # by key: the lowest of the writes under way, and how many
        self.all, self.calm = Latencies(), Latencies()
        self.total = int(outcome.rate * outcome.seconds)
        self.idle: list[asyncio.Future[bool]] = []  # callers that have nothing to do
        self.offered = self.begun = 0
        self.over = False
        self.callers = 0  # that have not ended
        self.began = 0.0
        self.stirred = 0.0  # until then what happens is not calm

    async def fill(self) -> None:
        for start in range(0, len(self.keys), _CHUNK):
            batch = await self.memory.set_many({key: self._value(at) for at, key in self._slice(start)}, timeout=60)
            for error in batch.errors.values():
                raise error

    def _slice(self, start: int) -> list[tuple[int, Key]]:
        return list(enumerate(self.keys[start : start + _CHUNK], start))

    def _value(self, at: int) -> dict[str, Any]:
        return {"key": at, "number": self.numbers[at], "fill": _FILL}

    async def run(self) -> None:
        self.began = time.monotonic()
        self.stirred = self.began + self.outcome.seconds / 10
        cpu, loop_cpu = time.process_time(), time.thread_time()
        aside = [asyncio.create_task(self._sample()), asyncio.create_task(self._restart())]
        async with asyncio.TaskGroup() as callers:
            for _ in range(_MOST):
                callers.create_task(self._caller())
            await self._offer()
        took = time.monotonic() - self.began
        aside[0].cancel()
        await aside[1]
        await asyncio.gather(*aside, return_exceptions=True)
        found = self.outcome
        found.cpu, found.loop_cpu = time.process_time() - cpu, time.thread_time() - loop_cpu
        found.reached = found.done / took
        found.p50, found.p99, found.p999 = (self.all.at(share) for share in (0.5, 0.99, 0.999))
        found.calm_p99, found.calm_p999 = self.calm.at(0.99), self.calm.at(0.999)

    def _due(self) -> int:
        """How many operations should have begun by now."""
        return min(self.total, int((time.monotonic() - self.began) * self.outcome.rate))

    async def _offer(self) -> None:
        """Wake as many callers as operations are due; where none is free, whoever is free next begins the next one."""
        while self.offered < self.total:
            for _ in range(min(len(self.idle), self._due() - self.offered)):
                self.idle.pop().set_result(True)
                self.offered += 1
            await asyncio.sleep(_TICK)
        self.over = True
        for waiting in self.idle:
            waiting.set_result(False)

    async def _caller(self) -> None:
        """Operations one after the other; a caller of its own for each would cost more than a read."""
        self.callers += 1
        while not self.over:
            if self.offered < self._due():
                self.offered += 1
            elif not await self._woken():
                break
            number, self.begun = self.begun, self.begun + 1
            await self._operation(self.began + number / self.outcome.rate)
        self.callers -= 1

    def _woken(self) -> "asyncio.Future[bool]":
        """Whether there is an operation to begin, once that is known."""
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.idle.append(waiting)
        return waiting

    async def _operation(self, due: float) -> None:
        at = int(self.random.random() * len(self.keys))
        try:
            if self.random.random() < self.reads:
                await self._read(at)
            else:
                await self._write(at)
        except ThermoclineError as error:
            self.outcome.errors[type(error).__name__] += 1
        now = time.monotonic()
        self.outcome.done += 1
        self.all.add(now - due)
        if due > self.stirred:
            self.calm.add(now - due)

    async def _read(self, at: int) -> None:
        known = self.acknowledged[at]
        value = await self.memory.get(self.keys[at])
        if not isinstance(value, dict) or value["key"] != at or value["number"] < known:
            self.outcome.behind.append(f"key {at}: {known} had been acknowledged, and {str(value)[:60]} was read")

    async def _write(self, at: int) -> None:
        """Of writes of one key at a time any may be the last: then the lowest of them is what is certainly reached."""
        self.numbers[at] += 1
        low, under_way = self.writing.get(at, (self.numbers[at], 0))
        self.writing[at] = (low, under_way + 1)
        result = None
        try:
            result = await self.memory.set(self.keys[at], self._value(at))
        finally:
            low, under_way = self.writing.pop(at)
            if result is None:
                low = 0
            if under_way > 1:
                self.writing[at] = (low, under_way - 1)
            else:
                self.acknowledged[at] = max(self.acknowledged[at], low)

    async def _sample(self) -> None:
        every = max(0.5, self.outcome.seconds / 300)
        while True:
            tasks = len(asyncio.all_tasks()) - self.callers
            pages = int(Path("/proc/self/statm").read_text().split()[1])  # noqa: ASYNC240 - from memory
            files = sum(1 for _ in Path("/proc/self/fd").iterdir())  # noqa: ASYNC240
            size = pages * os.sysconf("SC_PAGE_SIZE")
            at = time.monotonic() - self.began
            under_way = _MOST - len(self.idle)
            self.outcome.samples.append(Sample(at, size, tasks, files, under_way, self.outcome.done))
            await asyncio.sleep(every)

    async def _restart(self) -> None:
        """Redis is restarted twice: at a third of the time without its data, at two thirds with them."""
        for share, keep in ((1 / 3, False), (2 / 3, True)):
            await asyncio.sleep(max(0.0, self.began + self.outcome.seconds * share - time.monotonic()))
            at = time.monotonic()
            self.stirred = math.inf
            await asyncio.to_thread(self.redis.restart, keep_data=keep)
            self.outcome.restarts.append((at - self.began, "with its data" if keep else "empty"))
            self.stirred = time.monotonic() + self.outcome.seconds / 10


async def sustain(*, rate: int, keys: int, seconds: float, reads: float = 0.8, seed: int = 1) -> Outcome:
    """Run the load, and say what came of it. Raises MissingPart without a redis-server."""
    outcome = Outcome(rate, keys, seconds)
    with tempfile.TemporaryDirectory(prefix="thermocline-load-") as folder, RedisServer() as redis:
        async with MemoryClient(hot=HotMemory(redis.url), warm=SqliteMemory(f"{folder}/warm.db")) as memory:
            load = Load(memory, redis, outcome, reads, seed)
            await load.fill()
            gc.freeze()  # the keys, as a service does with what it has loaded
            try:
                await load.run()
            finally:
                gc.unfreeze()
    return outcome


def shown(found: Outcome) -> str:
    """As Markdown."""
    samples, done = found.samples, max(1, found.done)
    loop = max(1e-6, found.loop_cpu / done)
    restarts = "; ".join(f"{how} after {at:.0f} s" for at, how in found.restarts)
    errors = ", ".join(f"{count} {kind}" for kind, count in found.errors.most_common()) or "none"
    slow = " (**not reached**: latencies are those of a queue that grows)" if found.too_slow else ""
    megabytes = [_median(samples, since, until, "rss") / 1e6 for since, until in ((0.25, 0.5), (0.75, 1.0))]
    tasks = [_median(samples, since, until, "tasks") for since, until in ((0.25, 0.5), (0.75, 1.0))]
    files = [_median(samples, since, until, "files") for since, until in ((0.25, 0.5), (0.75, 1.0))]
    rows = [
        ("operations", f"{found.done:,} of {int(found.rate * found.seconds):,} offered in {found.seconds:.0f} s"),
        ("rate offered / reached", f"{found.rate:,} / {found.reached:,.0f} a second{slow}"),
        ("errors", errors),
        ("reads behind what was acknowledged", f"{len(found.behind)}"),
        ("p50, p99, p99.9 (all of it)", f"{found.p50:.1f}, {found.p99:.1f}, {found.p999:.1f} ms"),
        ("p99, p99.9 (away from restarts)", f"{found.calm_p99:.1f}, {found.calm_p999:.1f} ms"),
        ("Redis restarted", restarts),
        ("memory, second quarter → last", f"{megabytes[0]:.0f} → {megabytes[1]:.0f} MB ({found.grew():.3f} ×)"),
        ("tasks besides operations, the same", f"{tasks[0]:.0f} → {tasks[1]:.0f}"),
        ("open files, the same", f"{files[0]:.0f} → {files[1]:.0f}"),
        ("CPU of the process", f"{found.cpu / done * 1e6:.0f} µs an operation"),
        ("CPU of its event loop", f"{loop * 1e6:.0f} µs an operation: {1 / loop:,.0f} a second fill a core"),
    ]
    rows.append(("as stated (no error, nothing behind, memory and tasks flat)", "; ".join(found.missed) or "yes"))
    lines = [f"### Sustained load: {found.rate:,} operations a second, {found.keys:,} keys", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sustained", description=__doc__)
    parser.add_argument("--rate", type=int, default=10_000, help="operations a second (default 10,000)")
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--reads", type=float, default=0.8, help="share of reads (default 0.8)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="append the table to this file")
    parser.add_argument("--page", type=Path, help="put it into this document, between its markers")
    parser.add_argument("--samples", type=Path, help="write the samples to this file, as JSON")
    options = parser.parse_args()
    for name, least in (("rate", 1), ("keys", 1), ("seconds", 1)):
        if not least <= getattr(options, name) < math.inf:
            parser.error(f"--{name} is {least} or more")
    if not 0 <= options.reads <= 1:
        parser.error("--reads is a share, from 0 to 1")
    if options.page is not None:
        try:  # before the minutes that it takes, and not after
            put_into(options.page, None, BEGIN, END)
        except (ValueError, OSError) as error:
            parser.error(str(error))
    found = asyncio.run(
        sustain(rate=options.rate, keys=options.keys, seconds=options.seconds, reads=options.reads, seed=options.seed)
    )
    text = shown(found)
    print(text)
    for one in found.behind[:5]:
        print(one)
    if options.samples is not None:
        options.samples.write_text(json.dumps([asdict(sample) for sample in found.samples]))
    if options.report is not None:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        with options.report.open("a", encoding="utf-8") as file:
            file.write("\n" + text)
    if options.page is not None:
        put_into(options.page, text, BEGIN, END)
    return 0 if found.kept else 1


if __name__ == "__main__":
    sys.exit(main())
