"""What one client process does: a seeded mix of all verbs on few keys, several at a time, each written down."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from tests.histories.spec import KEYS, ROUND, Spec, key_of
from tests.histories.values import LARGE, OVERFLOWING, SMALL, identify, make

from thermocline import MemoryClient
from thermocline.client import WriteResult
from thermocline.errors import Conflict, ThermoclineError, TierUnavailable, UnknownOutcome
from thermocline.model import Corrupt, Hit, Key, Miss
from thermocline.testing.history import Event, Outcome, Recorder, Verb

NOTHING = object()
CANCELLED = 0.02  # of all single operations
PROGRESS = 25
MOVE = 3.0  # seconds that a move or a part of a sweep may take
BREATH = (
    0.05  # seconds to wait after an operation that had no answer: a tier that is down would else eat up the operations
)

Operation = Callable[[str], Awaitable[None]]


def ms(moment: datetime | None) -> int:
    return 0 if moment is None else round(moment.timestamp() * 1000)


class Work:
    """``memory`` may be anything with the verbs that ``choices`` name."""

    def __init__(self, spec: Spec, memory: MemoryClient, recorder: Recorder, told: Callable[[int], None]) -> None:
        self.spec = spec
        self.memory = memory
        self.recorder = recorder
        self.told = told
        self.random = random.Random(f"{spec.seed} {spec.name}")
        self.done = spec.done
        self.values = 0
        self.breathless = False
        self.untold = False  # whether an answer said that hot was not told
        r = spec.reads
        self.choices: list[tuple[Operation, float]] = [
            (self.lookup, r * 0.7),
            (self.get, r * 0.15),
            (self.exists, r * 0.1),
            (self.get_many, r * 0.05),
            (self.put, (1 - r) * 0.45),
            (self.put_if_version, (1 - r) * 0.15),
            (self.put_if_absent, (1 - r) * 0.05),
            (self.put_many, (1 - r) * 0.03),
            (self.get_or_set, (1 - r) * 0.05),
            (self.stream, (1 - r) * 0.02),
            (self.delete, (1 - r) * 0.15),
            (self.delete_many, (1 - r) * 0.02),
            (self.touch, (1 - r) * 0.13),
            (self.demote, 0.015),
            (self.promote, 0.015),
            (self.prefetch, 0.01),
            (self.sweep, 0.002),
        ]
        if spec.naive:
            plain = (self.lookup, self.get, self.exists, self.put, self.delete, self.touch)
            self.choices = [(operation, weight) for operation, weight in self.choices if operation in plain]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.spec.tasks):
                group.create_task(self._task())

    async def _task(self) -> None:
        operations, weights = zip(*self.choices, strict=True)
        while self.done < self.spec.operations:
            self.done += 1
            if self.done % PROGRESS == 0:
                self.told(self.done)
            operation = self.random.choices(operations, weights)[0]
            if self.random.random() < CANCELLED:
                patience = asyncio.timeout(self.random.uniform(0, 0.01))
                try:
                    async with patience:
                        await operation(self.name())
                except TimeoutError:
                    if not patience.expired():
                        raise
            else:
                await operation(self.name())
            if self.breathless:
                self.breathless = False
                await asyncio.sleep(BREATH)

    # --- what is drawn --------------------------------------------------------------------------------------------------

    def name(self) -> str:
        """A key of this round; all processes pass through the same rounds."""
        return f"{(self.done + self.spec.ahead) // ROUND}-{self.random.randrange(KEYS)}"

    def names(self) -> list[str]:
        return sorted({self.name() for _ in range(self.random.randint(2, 5))})

    def value(self, sizes: range | None = None) -> tuple[str, range]:
        self.values += 1
        if sizes is None:
            sizes = self.random.choices([SMALL, OVERFLOWING, LARGE], [0.85, 0.12, 0.03])[0]
        return f"{self.spec.name}/{self.values}", sizes

    def ttl(self) -> float | None:
        """Seconds; None: for ever."""
        return self.random.uniform(0.02, 1.0) if self.random.random() < 0.25 else None

    # --- reads ----------------------------------------------------------------------------------------------------------

    def found(self, event: Event, value: Any, key: Key) -> None:
        event.value, event.torn = identify(value, key)
        self.recorder.end(event, Outcome.HIT)

    async def lookup(self, name: str) -> None:
        await self._lookup(name)

    async def _lookup(self, name: str) -> Event:
        key = key_of(name)
        event = self.recorder.read(Verb.LOOKUP, name)
        outcome = await self.memory.lookup(key)
        if isinstance(outcome, Hit):
            event.version, event.expires_ms = outcome.version, ms(outcome.record.expires)
            event.tier = "near" if "near cache" in outcome.bound else outcome.tier
            self.found(event, outcome.value, key)
        elif isinstance(outcome, Miss):
            event.version, event.tier = outcome.version, outcome.tier
            self.recorder.end(event, Outcome.MISS)
        elif isinstance(outcome, Corrupt):
            event.torn, event.error = True, str(outcome.error)
            self.recorder.end(event, Outcome.HIT)
        else:
            event.error = str(outcome)[:200]
            self.breathless = True
            self.recorder.end(event, Outcome.FAILED)
        return event

    async def get(self, name: str) -> None:
        event = self.recorder.read(Verb.GET, name)
        try:
            value = await self.memory.get(key_of(name), default=NOTHING)
        except ThermoclineError as error:
            self.failed(event, error)
            return
        if value is NOTHING:
            self.recorder.end(event, Outcome.MISS)
        else:
            self.found(event, value, key_of(name))

    async def exists(self, name: str) -> None:
        event = self.recorder.read(Verb.EXISTS, name)
        try:
            there = await self.memory.exists(key_of(name))
        except ThermoclineError as error:
            self.failed(event, error)
        else:
            self.recorder.end(event, Outcome.HIT if there else Outcome.MISS)

    async def get_many(self, _: str) -> None:
        events = {name: self.recorder.read(Verb.GET, name) for name in self.names()}
        found = await self.memory.get_many([key_of(name) for name in events])
        for name, event in events.items():
            key = key_of(name)
            if key in found:
                self.found(event, found[key], key)
            elif key in found.errors:
                self.failed(event, found.errors[key])
            else:
                self.recorder.end(event, Outcome.MISS)

    # --- writes ---------------------------------------------------------------------------------------------------------

    def failed(self, event: Event, error: ThermoclineError) -> None:
        event.error = f"{type(error).__name__}: {error}"[:200]
        if isinstance(error, Conflict):
            self.recorder.end(event, Outcome.REFUSED)
        else:
            self.breathless = True
            self.recorder.end(event, Outcome.UNKNOWN if isinstance(error, UnknownOutcome) else Outcome.FAILED)

    def wrote(self, event: Event, result: WriteResult) -> None:
        event.version, event.expires_ms, event.told = result.version, ms(result.expires), result.hot
        self.untold |= not result.hot
        self.recorder.end(event, Outcome.TOOK if result.found else Outcome.NOTHING)

    async def _write(self, event: Event, answer: Awaitable[WriteResult]) -> None:
        """Cancelled, the event stays as it began: open."""
        try:
            result = await answer
        except ThermoclineError as error:
            self.failed(event, error)
        else:
            self.wrote(event, result)

    async def _put(self, name: str, *, if_version: int | None = None, if_absent: bool = False) -> None:
        key, ttl = key_of(name), self.ttl()
        value_id, sizes = self.value()
        value = make(value_id, key, sizes)
        event = self.recorder.write(
            Verb.PUT,
            name,
            value=value_id,
            ttl_ms=0 if ttl is None else int(ttl * 1000),
            if_version=if_version,
            if_absent=if_absent,
        )
        await self._write(
            event, self.memory.set(key, value, ttl=ttl, if_version=if_version, if_absent=if_absent, tags={"by": "test"})
        )

    async def put(self, name: str) -> None:
        await self._put(name)

    async def put_if_absent(self, name: str) -> None:
        await self._put(name, if_absent=True)

    async def put_if_version(self, name: str) -> None:
        seen = await self._lookup(name)
        if seen.outcome is Outcome.HIT:
            await self._put(name, if_version=seen.version)

    async def put_many(self, _: str) -> None:
        events: dict[Key, Event] = {}
        items: dict[Key, Any] = {}
        for name in self.names():
            key = key_of(name)
            value_id, _sizes = self.value(SMALL)
            items[key] = make(value_id, key, SMALL)
            events[key] = self.recorder.write(Verb.PUT, name, value=value_id)
        batch = await self.memory.set_many(items)
        for key, event in events.items():
            if key in batch:
                self.wrote(event, batch[key])
            else:
                self.failed(event, batch.errors[key])

    async def get_or_set(self, name: str) -> None:
        """What the factory makes is a write of unknown outcome: another writer may have been faster."""
        key = key_of(name)
        event = self.recorder.read(Verb.GET, name)

        async def factory() -> Any:
            value_id, sizes = self.value()
            self.recorder.write(Verb.PUT, name, value=value_id)
            return make(value_id, key, sizes)

        try:
            value = await self.memory.get_or_set(key, factory, ttl=None)
        except ThermoclineError as error:
            self.failed(event, error)
        else:
            self.found(event, value, key)

    async def stream(self, name: str) -> None:
        key = key_of(name)
        value_id, sizes = self.value(LARGE)
        data = make(value_id, key, sizes)
        event = self.recorder.write(Verb.PUT, name, value=value_id)
        await self._write(event, self.memory.set_stream(key, pieces(data)))

    async def delete(self, name: str) -> None:
        await self._write(self.recorder.write(Verb.DELETE, name), self.memory.delete(key_of(name)))

    async def delete_many(self, _: str) -> None:
        events = {key_of(name): self.recorder.write(Verb.DELETE, name) for name in self.names()}
        batch = await self.memory.delete_many(list(events))
        for key, event in events.items():
            if key in batch:
                self.wrote(event, batch[key])
            elif key in batch.errors:
                self.failed(event, batch.errors[key])
            else:
                self.recorder.end(event, Outcome.NOTHING)

    async def touch(self, name: str) -> None:
        ttl = self.ttl()
        event = self.recorder.write(Verb.TOUCH, name, ttl_ms=0 if ttl is None else int(ttl * 1000))
        await self._write(event, self.memory.touch(key_of(name), ttl=ttl))

    # --- moves, which nobody should notice: no event of their own, but for the read that follows -------------------------

    async def demote(self, name: str) -> None:
        await self._moved(name, self.memory.demote([key_of(other) for other in self.names()], timeout=MOVE))

    async def promote(self, name: str) -> None:
        into_hot = self.random.random() < 0.5
        keys = [key_of(other) for other in self.names()]
        await self._moved(name, self.memory.promote(keys, into_hot=into_hot, timeout=MOVE))

    async def prefetch(self, name: str) -> None:
        await self._moved(name, self.memory.prefetch([key_of(other) for other in self.names()]))

    async def sweep(self, name: str) -> None:
        await self._moved(name, self.memory.sweep(max_duration=timedelta(seconds=MOVE)))

    async def _moved(self, name: str, move: Awaitable[Any]) -> None:
        with contextlib.suppress(TierUnavailable):
            await move
        await self._lookup(name)

    async def read_all(self, names: list[str]) -> None:
        """The last word: every key once more."""
        for name in names:
            await self.lookup(name)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 16_384):
        yield data[start : start + 16_384]
