"""Fair measuring: arms take turns within a round, in reversed order every other round, and what counts is the median of the per-round ratios.

A figure of one arm alone says little on a machine that does other things too; the ratio of two that ran within the same tenth of a second does.
"""

import asyncio
import gc
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

Operation = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to do the work: ``operation`` is awaited again and again, by ``at_once`` tasks side by side. ``before`` each turn, outside the time that
    is taken, its keys are put in order."""

    name: str
    operation: Operation
    at_once: int = 1
    before: Operation | None = None

    async def run(self, operations: int) -> None:
        if self.at_once == 1:
            await self._repeat(operations)
        else:
            each = max(1, operations // self.at_once)
            async with asyncio.TaskGroup() as group:
                for _ in range(self.at_once):
                    group.create_task(self._repeat(each))

    async def _repeat(self, operations: int) -> None:
        operation = self.operation
        for _ in range(operations):
            await operation()


@dataclass(frozen=True, slots=True)
class Sample:
    """One arm's turn, in seconds per operation. ``cpu`` is of this process alone: the servers are others."""

    wall: float
    cpu: float


@dataclass(slots=True)
class Group:
    """Arms that are compared; the first is the one that the others are compared with. ``samples``: one per arm and round."""

    title: str
    arms: Sequence[Arm]
    operations: int
    rounds: int = 11
    samples: list[list[Sample]] = field(default_factory=list)

    async def measure(self) -> None:
        gc.collect()
        gc.freeze()  # what is there already is no work for the collections between the turns
        try:
            for arm in self.arms:  # connections, caches, the interpreter's warming up
                await taken(arm, max(self.operations // 4, arm.at_once))
            self.samples = [[] for _ in self.arms]
            order = list(range(len(self.arms)))
            for _ in range(self.rounds):
                for at in order:
                    self.samples[at].append(await taken(self.arms[at], self.operations))
                order.reverse()
        finally:
            gc.unfreeze()

    def ratios(self, at: int) -> "Ratios":
        """Arm ``at`` over the first one."""
        first, own = self.samples[0], self.samples[at]
        wall = [a.wall / b.wall for a, b in zip(own, first, strict=True)]
        cpu = [a.cpu / b.cpu for a, b in zip(own, first, strict=True)]
        return Ratios(
            wall=statistics.median(wall),
            cpu=statistics.median(cpu),
            wall_spread=quartiles(wall),
            cpu_spread=quartiles(cpu),
            wall_us=statistics.median(sample.wall for sample in own) * 1e6,
            cpu_us=statistics.median(sample.cpu for sample in own) * 1e6,
        )


@dataclass(frozen=True, slots=True)
class Ratios:
    """Medians over the rounds; a spread is the first and third quartile of the per-round ratios."""

    wall: float
    cpu: float
    wall_spread: tuple[float, float]
    cpu_spread: tuple[float, float]
    wall_us: float
    cpu_us: float


async def taken(arm: Arm, operations: int) -> Sample:
    """One turn of an arm."""
    done = max(1, operations // arm.at_once) * arm.at_once
    if arm.before is not None:
        await arm.before()
    gc.collect()  # nobody pays for what another left behind
    cpu, wall = time.process_time(), time.perf_counter()
    await arm.run(operations)
    return Sample((time.perf_counter() - wall) / done, max(time.process_time() - cpu, 1e-9) / done)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third; of a single value that value twice."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of them do not exceed. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values have no percentile")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
