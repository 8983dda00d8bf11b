"""The callers of a scenario: a seeded mix of a memory's verbs on few keys, many at once, until they are told to stop."""

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import Any

from thermocline.testing.history import Recorder
from thermocline.testing.scenarios.places import ONLY
from thermocline.testing.scenarios.values import LARGE, SMALL
from thermocline.testing.scenarios.verbs import Operation, Verbs

_BREATH = 0.03  # seconds to wait after a call that had no answer: a tier that is down would else eat up the time with refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How a scenario's callers call. ``pace`` is the mean pause of a caller between two calls, in seconds."""

    callers: int = 6  # of each client
    keys: int = 48
    reads: float = 0.7
    large: float = 0.03  # of the values
    ttls: float = 0.15  # of the writes have a lifetime, of 20 ms to 2 s
    only_hot: float = 0.0  # of the calls go to keys of which Redis has the word
    pace: float = 0.005


class Callers(Verbs):
    """The callers of one client, whose ``memory`` is as `Verbs` says."""

    def __init__(self, memory: Any, recorder: Recorder, mix: Mix, seed: int) -> None:
        reads, writes = mix.reads, 1 - mix.reads
        weights = {
            "lookup": reads * 0.6,
            "get": reads * 0.2,
            "exists": reads * 0.1,
            "get_many": reads * 0.1,
            "put": writes * 0.5,
            "put_if_version": writes * 0.15,
            "put_if_absent": writes * 0.05,
            "put_many": writes * 0.05,
            "get_or_set": writes * 0.1,
            "delete": writes * 0.15,
            "touch": writes * 0.1,
        }
        super().__init__(memory, recorder, random.Random(f"{seed} {recorder.client}"), weights)
        self.mix = mix
        self.stopping = asyncio.Event()
        self.calls = 0
        self.quiet = False  # whether half of the keys are written no more: a copy that is behind is then mended by nobody's next write
        self._values = 0
        self._reads = (self.lookup, self.get, self.exists, self.get_many)

    async def run(self) -> None:
        """Call until `stop`."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.mix.callers):
                group.create_task(self._caller())

    def stop(self) -> None:
        self.stopping.set()

    async def _caller(self) -> None:
        while not self.stopping.is_set():
            self.calls += 1
            await self.call()
            pause = _BREATH if self.breathless else self.random.uniform(0, 2 * self.mix.pace)
            self.breathless = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.stopping.wait()

    async def read_all(self, names: list[str]) -> None:
        """The last word: every key once more, all at the same time."""
        await asyncio.gather(*(self.lookup(name) for name in names))

    def name(self, operation: Operation) -> str:
        only = ONLY if self.random.random() < self.mix.only_hot else "key-"
        step = 2 if self.quiet and operation not in self._reads else 1
        return f"{only}{self.random.randrange(0, self.mix.keys, step)}"

    def value(self, sizes: range | None = None) -> tuple[str, range]:
        self._values += 1
        if sizes is None:
            sizes = LARGE if self.random.random() < self.mix.large else SMALL
        return f"{self.recorder.client}/{self._values}", sizes

    def ttl(self) -> float | None:
        return self.random.uniform(0.02, 2.0) if self.random.random() < self.mix.ttls else None
