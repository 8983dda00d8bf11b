"""Reading: hot, then the authority, and what hot is told of it (COHERENCE section 3)."""

import asyncio
import math
from dataclasses import replace
from typing import Final

from thermocline import telemetry
from thermocline.client.engine import Engine
from thermocline.client.flight import Flight, Flights
from thermocline.client.leases import Leases, in_doubt
from thermocline.client.legacy import LegacyReads, unknown
from thermocline.client.recovery import Recovery
from thermocline.client.result import Answer
from thermocline.client.waiting import Waits
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, ThermoclineError, TierTimeout, TierUnavailable, UnreadableRecord
from thermocline.model import Authority, Envelope, Key, MemoryTier
from thermocline.policy import Plan, Serve, serve
from thermocline.protocols import Busy, Leased, Settle

_FIRST_PAUSE = 0.005  # seconds before an authority that answered below the floor is asked again; doubled each time
_LONGEST_PAUSE = 0.1
LOST_SECONDS: Final = (
    1.0  # for which Redis, where it alone has the word, may answer with less than was known, as while it fails over
)
HEDGED_BYTES: Final = 2**20  # of a larger payload no second copy is fetched because the first takes long


class Unasked:
    """Hot was not asked yet."""


UNASKED: Final = Unasked()
Peeked = Envelope | ThermoclineError | None | Unasked
"""What hot answered to the plain GET: an envelope, nothing that can be served, or why it could not say."""


class Cascade:
    """The read path of one client."""

    def __init__(self, engine: Engine, recovery: Recovery) -> None:
        self._engine = engine
        self._recovery = recovery
        self.legacy = LegacyReads(engine)
        self.flights: Flights[Answer] = Flights(
            self._fly, lambda: engine.stats.count(telemetry.FLIGHTS_SHARED, "client")
        )
        self.leases = Leases(engine)
        self.waits = Waits(engine, self.flights.landing, self.leases.orphaned)

    async def read(self, key: Key, plan: Plan, deadline: Deadline, *, peeked: Peeked = UNASKED) -> Answer:
        """The newest live envelope (perhaps a pointer). ``peeked``: what hot answered already. Raises `TierUnavailable` if the authority could not be
        asked and nothing above answered (P1), `CorruptRecord` and `UnreadableRecord` of the authority's own copy."""
        if plan.uses_hot and not self._recovery.blind():
            return await self._through_hot(key, plan, deadline, peeked)
        if plan.authority is Authority.HOT:
            answer = await self._record(key, plan, deadline, peeked)
            if answer is not None:
                return answer
        if not plan.rules.read_fallback and plan.uses_hot:
            return Answer(None, MemoryTier.HOT, asked=False)
        # Blind: hot is not believed, but told, or what was read here would go into the very queue that has to become empty.
        return await self.below(key, plan, floor=0, lease=None, told=True, deadline=deadline)

    async def _peek(self, key: Key, deadline: Deadline, peeked: Peeked) -> Envelope | None:
        """What hot has, asked now unless it was ``peeked``. One that is damaged is repaired from below (an unreadable one is left alone: look does
        not replace it)."""
        if isinstance(peeked, TierUnavailable):
            raise peeked
        if not isinstance(peeked, Unasked):
            return peeked if isinstance(peeked, Envelope) else None
        engine = self._engine
        assert engine.hot is not None
        engine.stats.count(telemetry.READS, "hot")
        try:
            asking = engine.guards[MemoryTier.HOT].call("get", engine.hot.peek, key, deadline=deadline, again=True)
            if engine.near is not None:
                asking = engine.near.through(key, engine.routes.route(key), asking)
            return await asking
        except (CorruptRecord, UnreadableRecord):
            return None

    async def _through_hot(self, key: Key, plan: Plan, deadline: Deadline, peeked: Peeked) -> Answer:
        engine = self._engine
        known = engine.floors.get(key)
        # Of a key of which this client does not know whether its last write took effect, hot may have missed it: its version is a floor, and no answer.
        believed = not self._recovery.blind(key)
        last: Envelope | None = None
        lease: str | None = None
        told = True
        floor = known
        try:
            found = await self._peek(key, deadline, peeked)
            if found is not None:
                answer = self._judge(found, known, plan) if believed else None
                if answer is not None:
                    return answer
                last = found
                floor = max(known, _floor_of(found, plan))
            else:
                looked, token = await self.waits.look(key, plan, deadline)
                if isinstance(looked, Envelope):
                    answer = self._judge(looked, known, plan) if believed else None
                    if answer is not None:
                        return answer
                    last = looked
                    floor = max(known, _floor_of(looked, plan))
                elif looked is not None:
                    floor = max(known, looked.floor)
                    if isinstance(looked, Leased):
                        lease = token
                        self.leases.hold(key, token, deadline)
                    last = looked.last if isinstance(looked, Busy) else None
        except TierUnavailable:
            if not plan.rules.read_fallback:
                raise
            told = False
        engine.stats.count(telemetry.MISSES, "hot")
        if not plan.rules.read_fallback:
            return Answer(None, MemoryTier.HOT, asked=False)
        try:
            return await self.below(key, plan, floor=floor, lease=lease, told=told, deadline=deadline)
        except TierUnavailable:
            stale = self._stale(last, plan)
            if stale is None:
                raise
            return stale

    async def _record(self, key: Key, plan: Plan, deadline: Deadline, peeked: Peeked) -> Answer | None:
        """A record that lives in hot alone, asked for as simply as can be; None: it is to be asked for again, by `below`."""
        engine, tier = self._engine, MemoryTier.HOT
        if isinstance(peeked, TierUnavailable):
            raise peeked
        engine.stats.count(telemetry.READS, tier)
        if peeked is None or isinstance(peeked, Envelope):
            found = peeked
        else:
            try:
                read = engine.authority(plan.authority).read
                asking = engine.guards[tier].call("read", read, key, deadline=deadline, again=True)
                found = await (asking if engine.near is None else engine.near.through(key, plan, asking))
            except CorruptRecord as error:
                raise damaged(key, tier, error) from error
        version = 0 if found is None else found.version
        if version < engine.floors.get(key) or (plan.legacy is not None and unknown(found)):
            return None
        engine.floors.note(key, version)
        live = found is not None and found.live(engine.now_ms())
        engine.stats.count(telemetry.HITS if live else telemetry.MISSES, tier)
        return Answer(found if live else None, tier, version)

    def _judge(self, found: Envelope, floor: int, plan: Plan) -> Answer | None:
        """The answer that a copy in hot allows, or None: ask below."""
        engine = self._engine
        verdict = serve(found, now_ms=engine.now_ms(), floor=floor, plan=plan)
        if verdict is Serve.VALUE:
            engine.stats.count(telemetry.HITS, "hot")
            engine.floors.note(found.key, found.header.version)
            return Answer(found, MemoryTier.HOT, found.header.version)
        if verdict is Serve.CONFLICT:
            engine.stats.count(telemetry.ROUTE_CONFLICTS, "hot")
        elif verdict is Serve.GONE and found.tombstone:
            engine.stats.count(telemetry.HITS, "hot")
            engine.floors.note(found.key, found.header.version)
            return Answer(None, MemoryTier.HOT, found.header.version)
        return None

    def _stale(self, last: Envelope | None, plan: Plan) -> Answer | None:
        """While the authority is down, on request: what hot last knew, if it has not expired."""
        engine = self._engine
        if not plan.rules.stale_while_down or last is None or last.header.authority != plan.authority:
            return None
        if not last.live(engine.now_ms()) or last.version < engine.floors.get(last.key):
            return None  # what this client itself has written or deleted does not come back (P4, P6)
        engine.stats.count(telemetry.STALE_SERVED, "hot")
        bound = "the authority is down: this is what hot last knew, not expired"
        return Answer(last, MemoryTier.HOT, last.version, stale=True, bound=bound)

    async def below(
        self, key: Key, plan: Plan, *, floor: int, lease: str | None, told: bool, deadline: Deadline
    ) -> Answer:
        """Ask the authority, together with others who ask at the same time."""
        engine = self._engine
        floor = max(floor, engine.floors.get(key))
        try:
            answer = await self.flights.read(key, plan, floor=floor, lease=lease, told=told, deadline=deadline)
        except TierUnavailable:
            raise
        except TimeoutError as error:
            raise TierTimeout(f"{plan.tier} did not answer within the call's deadline", tier=str(plan.tier)) from error
        engine.floors.note(key, answer.version)
        if answer.envelope is not None and not answer.envelope.live(engine.now_ms()):
            return replace(answer, envelope=None)  # it expired while hot was told of it
        return answer

    async def _fly(self, flight: Flight[Answer]) -> Answer:
        """One flight: the read, made again while it is older than the floor; then hot is told."""
        engine, key, plan = self._engine, flight.key, flight.plan
        flight.sent = True
        try:
            found = await self.ask(key, plan, flight.floor, flight.deadline)
            version = found.version if found is not None else 0
            live = found if found is not None and found.live(engine.now_ms()) else None
            promotes = engine.promotes(key, plan)
            engine.stats.count(telemetry.HITS if live is not None else telemetry.MISSES, plan.tier)
            if live is not None and live.pointer and promotes and self._worth_resolving(live, plan):
                live = await self._with_payload(live, flight.deadline)
        except BaseException:
            if flight.lease is not None:  # others wait for what it was to bring
                await self.leases.give_back([(key, flight.lease)])
            raise
        if flight.lease is not None:
            self.leases.drop(flight.lease)
        if plan.uses_hot:
            if flight.told:
                copy = live if live is not None else found if found is not None and found.tombstone else None
                if live is not None and not promotes:
                    copy = None
                await self._settle(key, plan, flight.lease or engine.token(), version, copy)
            elif version:
                self._recovery.add(key, version)
        if live is None and plan.legacy is not None and unknown(found):
            copy = await self.legacy.read(key, plan.legacy, flight.deadline, version=version)
            return Answer(copy, plan.tier, version)
        return Answer(live, plan.tier, version)

    async def ask(self, key: Key, plan: Plan, floor: int, deadline: Deadline) -> Envelope | None:
        """The authority's newest record, a tombstone and an expired one too. While it answers less than ``floor`` it is asked again."""
        engine = self._engine
        authority, guard = engine.authority(plan.authority), engine.guards[plan.tier]
        pause = _FIRST_PAUSE
        lost_at = engine.clock.monotonic() + LOST_SECONDS if plan.authority is Authority.HOT else math.inf
        while True:
            engine.stats.count(telemetry.READS, guard.name)
            try:
                found = await guard.call("read", authority.read, key, deadline=deadline, again=True, hedge=True)
            except CorruptRecord as error:
                raise damaged(key, guard.name, error) from error
            version = found.version if found is not None else 0
            if version >= floor:
                return found
            if engine.clock.monotonic() >= lost_at:
                engine.floors.forget(key)  # what Redis alone had it has lost: P2 does not hold there
                return found
            if deadline.remaining() <= pause:
                raise TierUnavailable(
                    f"{guard.name} answered version {version} of a key of which version {floor} is known to exist; it lags, try again",
                    tier=guard.name,
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _settle(self, key: Key, plan: Plan, reader: str, version: int, copy: Envelope | None) -> None:
        """Report what was read, as every reader must; hot fills itself with it if the lease allows."""
        engine = self._engine
        assert engine.convoys is not None
        if copy is not None and not self._may_hold(copy, plan):
            copy = None
        lasting = engine.hot_for_ms(copy, plan) if copy is not None else None
        if not plan.rules.promote_on_read or lasting == 0:
            copy = None
        operation = Settle(key, reader, version, copy, lasting)
        try:
            await engine.convoys.settle.call(operation, engine.hot_deadline())
        except TierUnavailable as error:
            if in_doubt(error):  # else the next reader would wait for a lease that is over
                self.leases.orphaned([(key, reader)])
            if version:
                self._recovery.add(key, version)
            return
        except BaseException:
            if version:
                self._recovery.add(key, version)
            raise
        if copy is not None:
            engine.count_copy(copy, written=False)

    def _may_hold(self, copy: Envelope, plan: Plan) -> bool:
        return len(copy.payload) <= plan.rules.hot_max_bytes

    def _worth_resolving(self, live: Envelope, plan: Plan) -> bool:
        """Whether hot should hold the payload itself rather than the pointer."""
        pointer = self._engine.codec.pointer_of(live)
        return plan.uses_hot and pointer.size <= plan.rules.hot_max_bytes

    async def _with_payload(self, live: Envelope, deadline: Deadline) -> Envelope:
        """The envelope with its payload, or as it is where cold cannot give it now: the caller will ask again and be told why."""
        engine = self._engine
        if engine.cold is None:
            return live
        pointer = engine.codec.pointer_of(live)
        engine.stats.count(telemetry.READS, "cold")
        try:
            data = await engine.guards[MemoryTier.COLD].call(
                "get_payload",
                engine.cold.get_payload,
                live.key,
                pointer,
                deadline=deadline,
                hedge=pointer.size <= HEDGED_BYTES,
            )
        except (TierUnavailable, CorruptRecord):
            return live
        engine.stats.count(telemetry.HITS if data is not None else telemetry.MISSES, "cold")
        return live if data is None else engine.codec.with_payload(live, data)

    async def resolve(self, envelope: Envelope, plan: Plan, deadline: Deadline) -> Envelope | None:
        """The envelope with its payload from cold if it is a pointer; None: the key has been deleted meanwhile, or has expired.

        A pointer that leads nowhere is asked for again from the authority; only the same pointer twice is corrupt (COHERENCE section 5).
        """
        engine = self._engine
        while envelope.pointer:
            if engine.cold is None:
                raise TierUnavailable(
                    f"the payload of {envelope.key.name!r:.80} lies in cold, but this client has no cold tier; configure it",
                    tier="cold",
                    sent=False,
                )
            pointer = engine.codec.pointer_of(envelope)
            guard = engine.guards[MemoryTier.COLD]
            engine.stats.count(telemetry.READS, "cold")
            data = await guard.call(
                "get_payload",
                engine.cold.get_payload,
                envelope.key,
                pointer,
                deadline=deadline,
                hedge=pointer.size <= HEDGED_BYTES,
            )
            if data is not None:
                engine.stats.count(telemetry.HITS, "cold")
                return engine.codec.with_payload(envelope, data) if envelope.live(engine.now_ms()) else None
            engine.stats.count(telemetry.MISSES, "cold")
            again = await self.ask(envelope.key, plan, envelope.version, deadline)
            if again is None or not again.live(engine.now_ms()):
                return None
            if again.pointer and engine.codec.pointer_of(again).path == pointer.path:
                engine.stats.count(telemetry.CORRUPT, "cold")
                raise CorruptRecord(
                    f"the authority's record of {envelope.key.name!r:.80} names a payload that cold does not have; restore it from a backup"
                )
            envelope = replace(again, etag=None)
        return envelope

    async def close(self) -> None:
        await self.waits.close()
        await self.flights.close()
        await self.leases.close()


def damaged(key: Key, tier: str, error: CorruptRecord) -> CorruptRecord:
    """What the caller is told of a damaged record in the authority, below which there is nothing."""
    return CorruptRecord(f"{tier}'s record of {key.name!r:.80} is damaged ({error}); restore it from a backup")


def _floor_of(copy: Envelope, plan: Plan) -> int:
    """The version that hot knows to exist, by a copy that cannot be served: a record that has expired is its own tombstone. Another authority's
    versions mean nothing here."""
    return copy.version if copy.header.authority == plan.authority else 0
