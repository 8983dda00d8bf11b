"""What callers do to a memory in a scenario: a seeded mix of its verbs on few keys, many at once, each call written down."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from thermocline.errors import Conflict, ThermoclineError, UnknownOutcome
from thermocline.model import Corrupt, Hit, Key, Miss
from thermocline.testing.history import Event, Outcome, Recorder, Verb
from thermocline.testing.scenarios.places import ONLY, key_of
from thermocline.testing.scenarios.values import LARGE, SMALL, identify, make

_NOTHING = object()
_CANCELLED = 0.01  # of all calls
_BREATH = 0.03  # seconds to wait after a call that had no answer: a tier that is down would else eat up the time with refusals
_PLAIN = ("lookup", "get", "exists", "put", "delete", "touch")
NOT_OURS = "not an error of ours: "


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


class Callers:
    """The callers of one client. ``memory`` is a `MemoryClient`, or anything with the plain verbs (lookup, get, exists, set, delete, touch)."""

    def __init__(self, memory: Any, recorder: Recorder, mix: Mix, seed: int) -> None:
        self.memory = memory
        self.recorder = recorder
        self.mix = mix
        self.random = random.Random(f"{seed} {recorder.client}")
        self.stopping = asyncio.Event()
        self.calls = 0
        self.untold = False  # whether an answer said that hot was not told
        self.quiet = False  # whether half of the keys are written no more: a copy that is behind is then mended by nobody's next write
        self._values = 0
        self._breathless = False
        reads, writes = mix.reads, 1 - mix.reads
        weights: dict[str, float] = {
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
        usable = [name for name in weights if name in _PLAIN or hasattr(memory, "get_many")]
        self._operations: list[Callable[[str], Awaitable[None]]] = [getattr(self, name) for name in usable]
        self._reads = (self.lookup, self.get, self.exists, self.get_many)
        self._weights = [weights[name] for name in usable]

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
            operation = self.random.choices(self._operations, self._weights)[0]
            if self.random.random() < _CANCELLED:
                await self._cancelled(operation(self.name(operation)))
            else:
                await operation(self.name(operation))
            pause = _BREATH if self._breathless else self.random.uniform(0, 2 * self.mix.pace)
            self._breathless = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.stopping.wait()

    async def _cancelled(self, call: Awaitable[None]) -> None:
        patience = asyncio.timeout(self.random.uniform(0, 0.01))
        try:
            async with patience:
                await call
        except TimeoutError:
            if not patience.expired():
                raise

    async def read_all(self, names: list[str]) -> None:
        """The last word: every key once more, all at the same time."""
        await asyncio.gather(*(self.lookup(name) for name in names))

    # --- what is drawn --------------------------------------------------------------------------------------------------

    def name(self, operation: Callable[[str], Awaitable[None]]) -> str:
        """The key that an operation is called with."""
        only = ONLY if self.random.random() < self.mix.only_hot else "key-"
        step = 2 if self.quiet and operation not in self._reads else 1
        return f"{only}{self.random.randrange(0, self.mix.keys, step)}"

    def names(self, operation: Callable[[str], Awaitable[None]]) -> list[str]:
        return sorted({self.name(operation) for _ in range(self.random.randint(2, 6))})

    def value(self) -> tuple[str, range]:
        self._values += 1
        return f"{self.recorder.client}/{self._values}", LARGE if self.random.random() < self.mix.large else SMALL

    def ttl(self) -> float | None:
        """Seconds; None: for ever."""
        return self.random.uniform(0.02, 2.0) if self.random.random() < self.mix.ttls else None

    # --- reads ----------------------------------------------------------------------------------------------------------

    def _found(self, event: Event, value: Any, key: Key) -> None:
        event.value, event.torn = identify(value, key)
        self.recorder.end(event, Outcome.HIT)

    async def lookup(self, name: str) -> None:
        await self._lookup(name)

    async def _lookup(self, name: str) -> Event:
        key = key_of(name)
        event = self.recorder.read(Verb.LOOKUP, name)
        try:
            outcome = await self.memory.lookup(key)
        except Exception as error:  # noqa: BLE001 - whatever a memory raises is what the scenario is to tell
            self._failed(event, error)
            return event
        if isinstance(outcome, Hit):
            event.version, event.expires_ms = outcome.version, _ms(outcome.record.expires)
            event.tier = "near" if "near cache" in outcome.bound else outcome.tier
            self._found(event, outcome.value, key)
        elif isinstance(outcome, Miss):
            event.version, event.tier = outcome.version, outcome.tier
            self.recorder.end(event, Outcome.MISS)
        elif isinstance(outcome, Corrupt):
            event.torn, event.error = True, str(outcome.error)
            self.recorder.end(event, Outcome.HIT)
        else:
            self._failed(event, outcome.error)
        return event

    async def get(self, name: str) -> None:
        event = self.recorder.read(Verb.GET, name)
        try:
            value = await self.memory.get(key_of(name), default=_NOTHING)
        except Exception as error:  # noqa: BLE001
            self._failed(event, error)
            return
        if value is _NOTHING:
            self.recorder.end(event, Outcome.MISS)
        else:
            self._found(event, value, key_of(name))

    async def exists(self, name: str) -> None:
        event = self.recorder.read(Verb.EXISTS, name)
        try:
            there = await self.memory.exists(key_of(name))
        except Exception as error:  # noqa: BLE001
            self._failed(event, error)
        else:
            self.recorder.end(event, Outcome.HIT if there else Outcome.MISS)

    async def get_many(self, _: str) -> None:
        events = {name: self.recorder.read(Verb.GET, name) for name in self.names(self.get_many)}
        try:
            found = await self.memory.get_many([key_of(name) for name in events])
        except Exception as error:  # noqa: BLE001
            for event in events.values():
                self._failed(event, error)
            return
        for name, event in events.items():
            key = key_of(name)
            if key in found:
                self._found(event, found[key], key)
            elif key in found.errors:
                self._failed(event, found.errors[key])
            else:
                self.recorder.end(event, Outcome.MISS)

    # --- writes ---------------------------------------------------------------------------------------------------------

    def _failed(self, event: Event, error: BaseException) -> None:
        ours = isinstance(error, ThermoclineError)
        event.error = f"{'' if ours else NOT_OURS}{type(error).__name__}: {error}"[:300]
        if isinstance(error, Conflict):
            self.recorder.end(event, Outcome.REFUSED)
            return
        self._breathless = True
        unsure = isinstance(error, UnknownOutcome) or (event.number > 0 and not ours)
        self.recorder.end(event, Outcome.UNKNOWN if unsure else Outcome.FAILED)

    def _wrote(self, event: Event, result: Any) -> None:
        event.version, event.expires_ms, event.told = result.version, _ms(result.expires), result.hot
        self.untold |= not result.hot
        self.recorder.end(event, Outcome.TOOK if result.found else Outcome.NOTHING)

    async def _write(self, event: Event, answer: Awaitable[Any]) -> None:
        """Cancelled, the event stays as it began: open."""
        try:
            result = await answer
        except Exception as error:  # noqa: BLE001
            self._failed(event, error)
        else:
            self._wrote(event, result)

    async def _put(self, name: str, **condition: Any) -> None:
        key, ttl = key_of(name), self.ttl()
        value_id, sizes = self.value()
        lasting = 0 if ttl is None else int(ttl * 1000)
        event = self.recorder.write(Verb.PUT, name, value=value_id, ttl_ms=lasting, **condition)
        await self._write(event, self.memory.set(key, make(value_id, key, sizes), ttl=ttl, **condition))

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
        for name in self.names(self.put_many):
            key = key_of(name)
            value_id, _sizes = self.value()
            items[key] = make(value_id, key, SMALL)
            events[key] = self.recorder.write(Verb.PUT, name, value=value_id)
        try:
            batch = await self.memory.set_many(items)
        except Exception as error:  # noqa: BLE001
            for event in events.values():
                self._failed(event, error)
            return
        for key, event in events.items():
            if key in batch:
                self._wrote(event, batch[key])
            else:
                self._failed(event, batch.errors[key])

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
        except Exception as error:  # noqa: BLE001
            self._failed(event, error)
        else:
            self._found(event, value, key)

    async def delete(self, name: str) -> None:
        await self._write(self.recorder.write(Verb.DELETE, name), self.memory.delete(key_of(name)))

    async def touch(self, name: str) -> None:
        ttl = self.ttl()
        event = self.recorder.write(Verb.TOUCH, name, ttl_ms=0 if ttl is None else int(ttl * 1000))
        await self._write(event, self.memory.touch(key_of(name), ttl=ttl))


def _ms(moment: datetime | None) -> int:
    return 0 if moment is None else round(moment.timestamp() * 1000)
