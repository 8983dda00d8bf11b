"""What lies between a client and its tiers: delays, losses and failures, as a seed decides. All time is virtual."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Any, TypeVar

from tests.schedules.truth import Truth

from thermocline.clock import Clock, Deadline
from thermocline.errors import ThermoclineError, Throttled, TierTimeout, TierUnavailable, UnknownOutcome
from thermocline.model import Authority, Envelope, Key, MemoryTier
from thermocline.protocols import (
    Announce,
    Ear,
    Entries,
    EntryOperation,
    Found,
    Look,
    Page,
    Publish,
    Settle,
    Versions,
    Write,
    Written,
)
from thermocline.telemetry import Stats
from thermocline.testing.telling import TellingMemory, Told

T = TypeVar("T")


@dataclass(frozen=True)
class Weather:
    """Probabilities of what may happen to a call, and lengths in virtual seconds."""

    announce: float = 0.0  # an announcement is lost
    tell: float = 0.0  # a publish, settle or withdrawal is not confirmed
    look: float = 0.0  # hot cannot be asked
    read: float = 0.0  # the authority cannot be asked
    refuse: float = 0.0  # the authority certainly does not take a write
    doubt: float = 0.0  # the authority does not answer a write
    late: float = 0.0  # the longest that a request may still be under way after its sender gave up
    lag: float = 0.0  # the longest that a read of the authority may be behind
    outage: float = 0.0  # one client cannot reach hot for a while

    def swarm(self, rng: random.Random) -> "Weather":
        """The weather of one schedule: some of the faults more often, others not at all."""
        drawn = {
            name: min(0.8, getattr(self, name) * rng.choice((0.0, 0.5, 1.0, 2.0)))
            for name in ("announce", "tell", "look", "read", "refuse", "doubt")
        }
        return replace(self, **drawn)


class Way(Enum):
    """What becomes of one request."""

    WELL = "it arrives and is answered"
    REFUSED = "it does not arrive, and the caller knows"
    LOST = "it does not arrive, and the caller does not know"
    UNANSWERED = "it arrives, its answer does not"
    LATE = "it arrives after its caller gave up"


_TROUBLE = (Way.REFUSED, Way.LOST, Way.UNANSWERED, Way.LATE)
_DOUBT = (Way.LOST, Way.UNANSWERED, Way.LATE)
_DELAYS = (  # of a request or an answer, virtual seconds: one of these tuples for a schedule. Two of any are within hot's share, 50 ms.
    (0.0, 0.0, 0.0, 0.001, 0.001, 0.002, 0.004),
    (0.0, 0.0, 0.001, 0.005, 0.02),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.022),
)
_STALLS = (0.01, 0.03, 0.1, 0.2)
_HOT_LATE = 4.0  # virtual seconds: the client's announcements allow for requests that are under way for five


class Wire:
    """One schedule's network. ``calm`` ends all faults."""

    def __init__(self, rng: random.Random, weather: Weather, truth: Truth) -> None:
        self.random = rng
        self.weather = weather
        self.truth = truth
        self.calm = False
        self.under_way: set[asyncio.Task[None]] = set()
        self._delays = rng.choice(_DELAYS)
        self._stalls = rng.choice((0.0, 0.2, 0.5))  # how often

    def chance(self, probability: float) -> bool:
        return probability > 0 and not self.calm and self.random.random() < probability

    def way(self, probability: float, ways: tuple[Way, ...] = _TROUBLE) -> Way:
        return self.random.choice(ways) if self.chance(probability) else Way.WELL

    async def pause(self) -> None:
        """As long as a request or an answer takes."""
        delays = self._delays
        await asyncio.sleep(delays[int(self.random.random() * len(delays))])

    async def stall(self) -> None:
        """The authority, and whoever asks it, may be slow at any step, as long as that is within its share."""
        if self._stalls and not self.calm and self.random.random() < self._stalls:
            await asyncio.sleep(self.random.choice(_STALLS))

    async def carry(
        self,
        way: Way,
        request: Callable[[], Awaitable[T]],
        deadline: Deadline,
        error: Callable[[Way], ThermoclineError],
        latest: float,
    ) -> T:
        """Carry one request. A caller who is cancelled may leave it under way."""
        try:
            await self.pause()
        except asyncio.CancelledError:
            if self.random.random() < 0.5:
                self.leave(request, latest)
            raise
        if way is Way.REFUSED:
            raise error(way)
        if way is Way.LATE:
            self.leave(request, latest, after=deadline.remaining())
        if way in (Way.LOST, Way.LATE):
            if self.random.random() < 0.5:  # the connection breaks; else silence until the deadline
                await asyncio.sleep(min(deadline.remaining(), 60.0))
            raise error(way)
        answer = await request()
        if self.random.random() < 0.5:
            await self.pause()
        if way is Way.UNANSWERED:
            raise error(way)
        return answer

    def leave(self, request: Callable[[], Awaitable[Any]], latest: float, after: float = 0.0) -> None:
        """The request goes on alone, and arrives at some time, ``latest`` seconds after its caller gave up at most."""
        delay = min(after, 60.0) + self.random.random() * latest

        async def arrive() -> None:
            await asyncio.sleep(delay)
            try:
                await request()
            except ThermoclineError:
                return  # nobody hears the answer

        task = asyncio.get_running_loop().create_task(arrive(), name="wire")
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)


class Line:
    """One client's connection to one tier. The tier itself is opened and closed by the schedule."""

    connected = True

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.stats = Stats()

    async def connect(self) -> None:
        return

    async def close(self) -> None:
        return

    async def ping(self, *, deadline: Deadline) -> None:
        return


class HotLine(Line):
    """Plays `Entries`."""

    tier = MemoryTier.HOT

    def __init__(self, wire: Wire, inner: Entries, before: Callable[[Key], Awaitable[None]]) -> None:
        super().__init__(wire)
        self.inner = inner
        self._before = before
        begin = wire.random.choice((0.0, 0.01, 0.03)) if wire.chance(wire.weather.outage) else math.inf
        self._away = (begin, begin + wire.random.choice((0.01, 0.05, 3.0)))

    def _way(self, operation: EntryOperation | None) -> Way:
        weather = self.wire.weather
        if self._away[0] <= self.wire.truth.clock.monotonic() < self._away[1]:
            return Way.REFUSED
        if operation is None or isinstance(operation, Look):
            return self.wire.way(weather.look)
        return self.wire.way(weather.announce if isinstance(operation, Announce) else weather.tell)

    async def _apply(self, operation: EntryOperation) -> Found | None:
        await self._before(operation.key)
        found = await self.inner.operate(operation, deadline=Deadline.never())
        self.wire.truth.note("hot:", operation, "->", found)
        if isinstance(operation, (Publish, Settle)):
            self.wire.truth.tell(operation.key, operation.version)
        return found

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        way = self._way(None)
        return await self.wire.carry(
            way, lambda: self.inner.peek(key, deadline=Deadline.never()), deadline, _no_hot, _HOT_LATE
        )

    async def peek_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        ways = [self._way(None) for _ in keys]

        async def request() -> list[Envelope | ThermoclineError | None]:
            return await self.inner.peek_many(keys, deadline=Deadline.never())

        copies = await self.wire.carry(Way.WELL, request, deadline, _no_hot, _HOT_LATE)
        return [copy if way is Way.WELL else _no_hot(way) for copy, way in zip(copies, ways, strict=True)]

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        return await self.wire.carry(self._way(operation), lambda: self._apply(operation), deadline, _no_hot, _HOT_LATE)

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        async def one(operation: EntryOperation) -> Found | ThermoclineError | None:
            try:
                return await self.operate(operation, deadline=deadline)
            except ThermoclineError as error:
                return error

        tasks = [asyncio.ensure_future(one(operation)) for operation in operations]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def drop(self, keys: Sequence[Key], *, deadline: Deadline) -> None:
        await self.inner.drop(keys, deadline=deadline)


class TellingLine(HotLine):
    """Plays `Invalidates`, too: changes are told at once, answers come when they come."""

    def name_of(self, key: Key, *, record: bool) -> bytes:
        assert isinstance(self.inner, TellingMemory)
        return self.inner.name_of(key, record=record)

    def listen(self, ear: Ear, *, clock: Clock, within: timedelta) -> Told:
        assert isinstance(self.inner, TellingMemory)
        told = self.inner.listen(ear, clock=clock, within=within)
        asyncio.get_running_loop().call_soon(told.say, math.inf)
        return told


class AuthorityLine(Line):
    """Plays `Versions`."""

    tier = MemoryTier.WARM
    authority = Authority.WARM

    def __init__(self, wire: Wire, inner: Versions) -> None:
        super().__init__(wire)
        self.inner = inner

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        way = self.wire.way(self.wire.weather.read)
        found = await self.wire.carry(way, lambda: self._read(key, deadline), deadline, _no_authority, 0.0)
        return self._lagging(key, found)

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        ways = [self.wire.way(self.wire.weather.read) for _ in keys]

        async def request() -> list[Envelope | ThermoclineError | None]:
            return await self.inner.read_many(keys, deadline=deadline)

        found = await self.wire.carry(Way.WELL, request, deadline, _no_authority, 0.0)
        return [
            _no_authority(way)
            if way is not Way.WELL
            else copy
            if isinstance(copy, ThermoclineError)
            else self._lagging(key, copy)
            for key, copy, way in zip(keys, found, ways, strict=True)
        ]

    async def _read(self, key: Key, deadline: Deadline) -> Envelope | None:
        await self.wire.stall()
        found = await self.inner.read(key, deadline=deadline)
        await self.wire.stall()
        return found

    async def _write(self, write: Write) -> Written:
        await self.wire.stall()
        written = await self.inner.write(write, deadline=Deadline.never())
        await self.wire.stall()
        return written

    def _lagging(self, key: Key, found: Envelope | None) -> Envelope | None:
        """What a replica that lags has instead of the newest record."""
        wire = self.wire
        if found is None or not wire.chance(0.5 if wire.weather.lag else 0.0):
            return found
        moment = wire.truth.clock.monotonic() - wire.random.random() * wire.weather.lag
        past = [
            commit.envelope for commit in wire.truth.log[key] if commit.at <= moment and commit.version <= found.version
        ]
        return past[-1] if past else None

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        wire, weather = self.wire, self.wire.weather
        if wire.chance(weather.refuse):
            await wire.pause()
            raise Throttled("the authority refuses the write", tier=self.tier, sent=False)
        way = wire.way(weather.doubt, _DOUBT)

        def doubt(_: Way) -> ThermoclineError:
            return UnknownOutcome("the authority did not answer", write_id=write.id)

        return await wire.carry(way, lambda: self._write(write), deadline, doubt, weather.late)

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        done: list[Written | ThermoclineError] = []
        for write in writes:
            try:
                done.append(await self.write(write, deadline=deadline))
            except ThermoclineError as error:
                done.append(error)
        return done

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        return await self.inner.scan(tenant, scope, prefix, limit=limit, cursor=cursor, deadline=deadline)


def _no_hot(way: Way) -> ThermoclineError:
    return _missing(way, MemoryTier.HOT)


def _no_authority(way: Way) -> ThermoclineError:
    return _missing(way, MemoryTier.WARM)


def _missing(way: Way, tier: MemoryTier) -> ThermoclineError:
    if way is Way.REFUSED:
        return TierUnavailable(f"{tier}: {way.value}", tier=tier, sent=False)
    return TierTimeout(f"{tier}: {way.value}", tier=tier)
