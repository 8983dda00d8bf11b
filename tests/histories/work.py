"""What one client process does: a seeded mix of all verbs on few keys, several at a time, each written down."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

from tests.histories.spec import KEYS, ROUND, Spec
from tests.histories.values import LARGE, OVERFLOWING, SIZES

from thermocline import MemoryClient
from thermocline.errors import ThermoclineError, TierUnavailable
from thermocline.model import Key
from thermocline.testing.history import Event, Outcome, Recorder, Verb
from thermocline.testing.scenarios.places import key_of
from thermocline.testing.scenarios.values import make
from thermocline.testing.scenarios.verbs import Operation, Verbs

PROGRESS = 25
MOVE = 3.0  # seconds that a move or a part of a sweep may take
BREATH = (
    0.05  # seconds to wait after an operation that had no answer: a tier that is down would else eat up the operations
)


class Work(Verbs):
    """What is no error of ours ends the run, and so does one that a verb raises where it has an answer for it."""

    cancelled = 0.02
    large = (OVERFLOWING, LARGE)

    def __init__(self, spec: Spec, memory: MemoryClient, recorder: Recorder, told: Callable[[int], None]) -> None:
        r, w = spec.reads, 1 - spec.reads
        weights = {
            "lookup": r * 0.7,
            "get": r * 0.15,
            "exists": r * 0.1,
            "get_many": r * 0.05,
            "put": w * 0.45,
            "put_if_version": w * 0.15,
            "put_if_absent": w * 0.05,
            "put_many": w * 0.03,
            "get_or_set": w * 0.05,
            "stream": w * 0.02,
            "delete": w * 0.15,
            "delete_many": w * 0.02,
            "touch": w * 0.13,
            "demote": 0.015,
            "promote": 0.015,
            "prefetch": 0.01,
            "sweep": 0.002,
        }
        super().__init__(memory, recorder, random.Random(f"{spec.seed} {spec.name}"), weights)
        self.spec = spec
        self.told = told
        self.done = spec.done
        self.values = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.spec.tasks):
                group.create_task(self._task())

    async def _task(self) -> None:
        while self.done < self.spec.operations:
            self.done += 1
            if self.done % PROGRESS == 0:
                self.told(self.done)
            await self.call()
            if self.breathless:
                self.breathless = False
                await asyncio.sleep(BREATH)

    async def read_all(self, names: list[str]) -> None:
        """The last word: every key once more."""
        for name in names:
            await self.lookup(name)

    # --- what is drawn --------------------------------------------------------------------------------------------------

    def name(self, _: Operation) -> str:
        """A key of this round; all processes pass through the same rounds."""
        return f"{(self.done + self.spec.ahead) // ROUND}-{self.random.randrange(KEYS)}"

    def value(self, sizes: range | None = None) -> tuple[str, range]:
        self.values += 1
        if sizes is None:
            sizes = self.random.choices(list(SIZES), list(SIZES.values()))[0]
        return f"{self.spec.name}/{self.values}", sizes

    def ttl(self) -> float | None:
        return self.random.uniform(0.02, 1.0) if self.random.random() < 0.25 else None

    # --- verbs that only this library's client has ----------------------------------------------------------------------

    def _raised(self, error: Exception, *_: Event) -> None:
        raise error

    def _failed(self, event: Event, error: BaseException) -> None:
        if not isinstance(error, ThermoclineError):
            raise error
        super()._failed(event, error)

    def _set(self, key: Key, value: Any, **how: Any) -> Awaitable[Any]:
        return super()._set(key, value, tags={"by": "test"}, **how)

    async def stream(self, name: str) -> None:
        key = key_of(name)
        value_id, sizes = self.value(LARGE)
        data = make(value_id, key, sizes)
        event = self.recorder.write(Verb.PUT, name, value=value_id)
        await self._write(event, self.memory.set_stream(key, pieces(data)))

    async def delete_many(self, _: str) -> None:
        events = {key_of(name): self.recorder.write(Verb.DELETE, name) for name in self.names(self.delete_many)}
        batch = await self.memory.delete_many(list(events))
        for key, event in events.items():
            if key in batch:
                self._wrote(event, batch[key])
            elif key in batch.errors:
                self._failed(event, batch.errors[key])
            else:
                self.recorder.end(event, Outcome.NOTHING)

    # --- moves, which nobody should notice: no event of their own, but for the read that follows -------------------------

    async def demote(self, name: str) -> None:
        await self._moved(name, self.memory.demote(self._keys(), timeout=MOVE))

    async def promote(self, name: str) -> None:
        into_hot = self.random.random() < 0.5
        await self._moved(name, self.memory.promote(self._keys(), into_hot=into_hot, timeout=MOVE))

    async def prefetch(self, name: str) -> None:
        await self._moved(name, self.memory.prefetch(self._keys()))

    async def sweep(self, name: str) -> None:
        await self._moved(name, self.memory.sweep(max_duration=timedelta(seconds=MOVE)))

    def _keys(self) -> list[Key]:
        return [key_of(other) for other in self.names(self.lookup)]

    async def _moved(self, name: str, move: Awaitable[Any]) -> None:
        with contextlib.suppress(TierUnavailable):
            await move
        await self._lookup(name)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 16_384):
        yield data[start : start + 16_384]
