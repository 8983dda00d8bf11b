"""The verbs of a memory, called with values that say who wrote them, and each call written down."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from thermocline.errors import Conflict, ThermoclineError, UnknownOutcome
from thermocline.model import Corrupt, Hit, Key, Miss
from thermocline.testing.history import Event, Outcome, Recorder, Verb
from thermocline.testing.scenarios.places import key_of
from thermocline.testing.scenarios.values import LARGE, SMALL, identify, make

Operation = Callable[[str], Awaitable[None]]

NOT_OURS = "not an error of ours: "
_NOTHING = object()
_PLAIN = frozenset({"lookup", "get", "exists", "put", "delete", "touch"})


class Verbs(ABC):
    """``memory`` is a `MemoryClient`, or anything with the plain verbs (lookup, get, exists, set, delete, touch). ``weights``: how often
    which method is called, by `call`. Which keys, values and lifetimes are drawn is for the class to say; ``draws`` is its dice."""

    cancelled: ClassVar[float] = 0.01  # of all calls
    large: ClassVar[tuple[range, ...]] = (LARGE,)  # the sizes of values that are bytes

    def __init__(self, memory: Any, recorder: Recorder, draws: random.Random, weights: Mapping[str, float]) -> None:
        self.memory = memory
        self.recorder = recorder
        self.random = draws
        self.untold = False  # whether an answer said that hot was not told
        self.breathless = False  # whether a call had no answer
        usable = [name for name in weights if name in _PLAIN or hasattr(memory, "get_many")]
        self._operations: list[Operation] = [getattr(self, name) for name in usable]
        self._weights = [weights[name] for name in usable]

    async def call(self) -> None:
        """One of them, now and then cancelled."""
        operation = self.random.choices(self._operations, self._weights)[0]
        if self.random.random() >= self.cancelled:
            await operation(self.name(operation))
            return
        patience = asyncio.timeout(self.random.uniform(0, 0.01))
        try:
            async with patience:
                await operation(self.name(operation))
        except TimeoutError:
            if not patience.expired():
                raise

    # --- what is drawn --------------------------------------------------------------------------------------------------

    @abstractmethod
    def name(self, operation: Operation) -> str:
        """The key that an operation is called with."""

    @abstractmethod
    def value(self, sizes: range | None = None) -> tuple[str, range]:
        """The id of a new value, and its size: one of ``sizes`` (None: of any)."""

    @abstractmethod
    def ttl(self) -> float | None:
        """Seconds; None: for ever."""

    def names(self, operation: Operation) -> list[str]:
        return sorted({self.name(operation) for _ in range(self.random.randint(2, 6))})

    # --- reads ----------------------------------------------------------------------------------------------------------

    def _raised(self, error: Exception, *events: Event) -> None:
        """By a verb that has answers for what fails."""
        for event in events:
            self._failed(event, error)

    def _found(self, event: Event, value: Any, key: Key) -> None:
        event.value, event.torn = identify(value, key, self.large)
        self.recorder.end(event, Outcome.HIT)

    async def lookup(self, name: str) -> None:
        await self._lookup(name)

    async def _lookup(self, name: str) -> Event:
        key = key_of(name)
        event = self.recorder.read(Verb.LOOKUP, name)
        try:
            outcome = await self.memory.lookup(key)
        except Exception as error:  # noqa: BLE001 - whatever a memory raises is what is to be told
            self._raised(error, event)
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
            self._raised(error, *events.values())
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
        self.breathless = True
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
        await self._write(event, self._set(key, make(value_id, key, sizes), ttl=ttl, **condition))

    def _set(self, key: Key, value: Any, **how: Any) -> Awaitable[Any]:
        answer: Awaitable[Any] = self.memory.set(key, value, **how)
        return answer

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
            value_id, _sizes = self.value(SMALL)
            items[key] = make(value_id, key, SMALL)
            events[key] = self.recorder.write(Verb.PUT, name, value=value_id)
        try:
            batch = await self.memory.set_many(items)
        except Exception as error:  # noqa: BLE001
            self._raised(error, *events.values())
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
