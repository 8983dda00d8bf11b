"""Writing: upload what goes to cold, announce, write the authority, publish, acknowledge (COHERENCE sections 3 to 5)."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from thermocline import telemetry
from thermocline.client.engine import WIRE_SECONDS, Engine
from thermocline.client.fences import LONGEST_WRITE, Fences
from thermocline.client.recovery import UNKNOWN, Recovery
from thermocline.client.result import WriteResult
from thermocline.clock import Deadline
from thermocline.errors import (
    ConfigurationError,
    Conflict,
    PointerTooOld,
    ThermoclineError,
    TierFull,
    TierUnavailable,
    TooLarge,
    UnknownOutcome,
)
from thermocline.model import Authority, Envelope, Flags, MemoryTier, instant
from thermocline.policy import HOT_CEILING, Plan
from thermocline.protocols import (
    Announce,
    Busy,
    Effect,
    EntryOperation,
    Publish,
    Settle,
    Verb,
    Withdraw,
    Write,
    Written,
)

WRITE_SHARES: Final = 4.0  # a write may take so many shares of its tier: one without an answer is sent again
_TRIES: Final = (
    2  # one more if this process was held up during the first; with the same id, so that it takes effect once
)
_HELD_UP: Final = (
    1.0  # seconds that this process may be held up before it sends a write without having to announce it anew
)
_CEILING = HOT_CEILING // timedelta(milliseconds=1)


@dataclass(slots=True)
class Intent:
    """One write on its way. ``inline`` is the record with its payload, ``write.envelope`` what the authority gets (perhaps a pointer)."""

    plan: Plan
    write: Write
    inline: Envelope
    around: bool = False  # hot is not to have the value
    told: bool = False  # whether hot has the announcement
    lapses: float = 0.0  # when the announcement runs out, monotonic seconds
    begun_ms: int = 0  # when its call began, if that was before its value was made


class Writer:
    """The write path of one client."""

    def __init__(self, engine: Engine, recovery: Recovery) -> None:
        self._engine = engine
        self._recovery = recovery
        self.fences = Fences(engine)

    # --- preparation ------------------------------------------------------------------------------------------------

    async def intent(
        self,
        verb: Verb,
        inline: Envelope,
        plan: Plan,
        deadline: Deadline,
        *,
        if_version: int | None = None,
        if_absent: bool = False,
        around: bool = False,
        write_id: str | None = None,
    ) -> Intent:
        """The write, its payload already in cold where it belongs there; of a value that ends no later than its retention ceiling."""
        engine = self._engine
        envelope = inline = engine.capped(inline) if verb is Verb.PUT else inline
        size = len(inline.payload)
        if verb is Verb.PUT and not inline.pointer:
            if inline.header.raw_length > plan.rules.max_value_bytes:
                raise TooLarge(
                    f"the value has {inline.header.raw_length} bytes, at most {plan.rules.max_value_bytes} are allowed (max_value_bytes);"
                    " for larger ones use set_stream"
                )
            if plan.cold_above is not None and size > plan.cold_above:
                envelope = await self.to_cold(inline, plan, deadline)
            holder = MemoryTier.COLD if envelope.pointer else plan.tier
            engine.stats.count(telemetry.BYTES_RAW, holder, inline.header.raw_length)
            engine.stats.count(telemetry.BYTES_STORED, holder, size)
        if engine.near is not None:
            engine.near.drop(inline.key)
        known = engine.floors.get(inline.key) or None
        write_id = engine.write_id() if write_id is None else write_id
        write = Write(verb, write_id, envelope, known, if_version, if_absent)
        return Intent(plan, write, inline, around or plan.rules.write_around)

    async def to_cold(self, inline: Envelope, plan: Plan, deadline: Deadline) -> Envelope:
        """Upload the payload; what points to it."""
        engine = self._engine
        if engine.cold is None:
            raise ConfigurationError("a payload is to go to cold, but no cold tier is configured")
        guard = engine.guards[MemoryTier.COLD]
        await engine.signed(plan.authority, deadline)
        pointer = await guard.call(
            "put_payload",
            engine.cold.put_payload,
            inline.key,
            inline.payload,
            deadline=deadline,
            times=WRITE_SHARES,
            again=True,
        )
        engine.stats.count(telemetry.WRITES, "cold")
        return engine.codec.point(inline, pointer)

    # --- one write --------------------------------------------------------------------------------------------------

    async def carry_out(self, intent: Intent, deadline: Deadline) -> WriteResult:
        """Announce, write, publish. Raises `Conflict`, `UnknownOutcome`, and what the authority refuses it with."""
        plan, engine = intent.plan, self._engine
        guard = engine.guards[plan.tier]
        guard.check()  # nothing is announced while the authority's breaker is open
        if plan.uses_hot:
            await self._announce(intent, deadline)
        try:
            written = await self._write(intent, deadline)
        except BaseException as error:
            await self.failed(intent, error)
            raise
        return await self.conclude(intent, written, deadline)

    async def _write(self, intent: Intent, deadline: Deadline) -> Written:
        engine, plan = self._engine, intent.plan
        authority = engine.authority(plan.authority)
        deadline = deadline.within(LONGEST_WRITE)  # from before the fence is read: who erases waits for no more
        await self.heed(intent, deadline)
        if self.lapses(intent, deadline):
            await self._announce(intent, deadline)
        engine.stats.count(telemetry.WRITES, plan.tier)
        guard = engine.guards[plan.tier]
        if plan.authority is Authority.HOT and engine.convoys is not None and engine.convoys.write is not None:
            return await engine.convoys.write.call(intent.write, deadline)
        try:
            return await guard.call(
                "write", authority.write, intent.write, deadline=deadline, times=WRITE_SHARES, again=True
            )
        except PointerTooOld:
            await self.renew(intent, deadline)
            return await guard.call(
                "write", authority.write, intent.write, deadline=deadline, times=WRITE_SHARES, again=True
            )

    async def heed(self, intent: Intent, deadline: Deadline) -> None:
        """Raise `Forgotten` for a write that took long to get here, if its scope was erased since it began. A delete brings nothing back."""
        if intent.write.verb is Verb.DELETE:
            return
        begun = intent.begun_ms or intent.inline.header.modified_ms
        await self.fences.heed(intent.write.key, intent.plan.authority, begun, deadline)

    async def renew(self, intent: Intent, deadline: Deadline) -> None:
        """This process slept between the upload and the write, which had no effect: renew the payload, or upload it again (COHERENCE section 5)."""
        engine, envelope = self._engine, intent.write.envelope
        if engine.cold is None:
            raise ConfigurationError("a payload in cold is to be renewed, but no cold tier is configured")
        pointer = engine.codec.pointer_of(envelope)
        renewed = await engine.guards[MemoryTier.COLD].call(
            "renew_payload", engine.cold.renew_payload, envelope.key, pointer, deadline=deadline
        )
        if renewed is not None:
            empty = replace(envelope, header=replace(envelope.header, flags=Flags.NONE), payload=b"")
            again = engine.codec.point(empty, renewed)
        elif not intent.inline.pointer:
            again = await self.to_cold(intent.inline, intent.plan, deadline)
        else:
            raise TierUnavailable(
                f"the payload of {envelope.key.name!r:.80} has left cold before its record was written; nothing was written, stream it again",
                tier="cold",
                sent=False,
            )
        intent.write = replace(intent.write, envelope=again)

    def lapses(self, intent: Intent, deadline: Deadline) -> bool:
        """Whether this process was held up, so that the announcement may not outlive every copy of a write that is sent now."""
        if not intent.told:
            return False
        ends = self._engine.clock.monotonic() + self._longest(intent.plan, deadline)
        return ends > intent.lapses - WIRE_SECONDS

    def _longest(self, plan: Plan, deadline: Deadline) -> float:
        """Seconds that the write to the authority may take from now."""
        return min(self._engine.guards[plan.tier].share * WRITE_SHARES * _TRIES, deadline.remaining())

    def announcement(self, intent: Intent, deadline: Deadline) -> Announce:
        """An announcement that outlives every copy of the write on the wire."""
        share = self._engine.guards[MemoryTier.HOT].share
        seconds = self._longest(intent.plan, deadline) + share + _HELD_UP + WIRE_SECONDS
        intent.lapses = self._engine.clock.monotonic() + seconds
        return Announce(intent.write.key, intent.write.id, int(seconds * 1000))

    async def _announce(self, intent: Intent, deadline: Deadline) -> None:
        engine = self._engine
        assert engine.hot is not None
        assert engine.convoys is not None
        guard, announcement = engine.guards[MemoryTier.HOT], self.announcement(intent, deadline)
        try:
            if guard.answers_slowly:  # and is left alone; but others may be reading it
                found = await guard.call(
                    "announce", engine.hot.operate, announcement, deadline=deadline, paced=True, again=True
                )
            else:
                found = await engine.convoys.announce.call(announcement, deadline)
        except asyncio.CancelledError:
            raise
        except ThermoclineError as error:
            intent.told = False  # nor does an earlier announcement last long enough
            await self.unannounced(intent, error, deadline)
            return
        self.announced(intent, found)

    def announced(self, intent: Intent, found: object) -> None:
        """Hot has the announcement, and told the floor that it knew."""
        intent.told = True
        if isinstance(found, Busy) and found.floor > (intent.write.known or 0):
            write = intent.write
            intent.write = Write(write.verb, write.id, write.envelope, found.floor, write.if_version, write.if_absent)

    async def unannounced(self, intent: Intent, error: ThermoclineError, deadline: Deadline) -> None:
        """Hot could not be told. It goes on without, and hot is mended later; unless the route refuses such writes."""
        if intent.plan.rules.refuse_without_hot:
            raise TierUnavailable(
                f"the route refuses writes that hot cannot be told of (refuse_without_hot), and hot answers: {error}",
                tier="hot",
                sent=False,
            ) from error
        engine = self._engine
        if isinstance(error, TierFull) and engine.hot is not None:
            try:  # hot is there but takes no marker: what it holds must go before the authority changes
                await engine.guards[MemoryTier.HOT].call("drop", engine.hot.drop, [intent.write.key], deadline=deadline)
            except TierUnavailable:
                return

    # --- what came of it ----------------------------------------------------------------------------------------------

    async def failed(self, intent: Intent, error: BaseException) -> None:
        """The write raised: withdraw it if it certainly had no effect, else leave the announcement to run out and ask later."""
        if self._engine.near is not None:
            self._engine.near.drop(intent.write.key)
        if not intent.plan.uses_hot:
            return
        if isinstance(error, ThermoclineError) and not isinstance(error, UnknownOutcome):
            await self.tell_hot([Withdraw(intent.write.key, intent.write.id)] if intent.told else [])
            return
        self._recovery.add(intent.write.key, UNKNOWN)

    async def conclude(self, intent: Intent, written: Written, deadline: Deadline) -> WriteResult:
        """Publish or withdraw, and say what happened."""
        plan, key = intent.plan, intent.write.key
        told = True
        if plan.uses_hot:
            last = self.last_word(intent, written)
            try:
                errors = await self.tell_hot([last], paced=True)
            except BaseException:
                self.untold(intent, written)
                raise
            told = errors[0] is None
            if not told or not intent.told:
                self.untold(intent, written)
        self._engine.floors.note(key, written.version)
        return self.result(intent, written, told=told)

    def last_word(self, intent: Intent, written: Written) -> EntryOperation:
        """What hot is told at the end of a write."""
        if written.effect is not Effect.TOOK:
            return Withdraw(intent.write.key, intent.write.id)
        copy = self._copy(intent, written)
        lasting = self._engine.hot_for_ms(copy, intent.plan) if copy is not None else None
        return Publish(intent.write.key, intent.write.id, written.version, copy if lasting != 0 else None, lasting)

    def _copy(self, intent: Intent, written: Written) -> Envelope | None:
        """What hot is to hold: the record as the authority stamped it, with its payload if that is small enough."""
        plan, stamped = intent.plan, written.envelope
        if intent.around or stamped is None or intent.write.verb is Verb.TOUCH:
            return None
        if not intent.told:
            # Its announcement may still arrive late, and a publish that is late as well would then put this value over a newer one that hot lost.
            return None
        if intent.write.verb is Verb.DELETE or intent.inline.pointer:
            return stamped
        header = stamped.header
        inline = intent.inline.stamped(version=header.version, authority=header.authority, created_ms=header.created_ms)
        if len(inline.payload) <= plan.rules.hot_max_bytes:
            return inline
        return stamped if stamped.pointer else None

    async def tell_hot(self, operations: list[EntryOperation], *, paced: bool = False) -> list[ThermoclineError | None]:
        """Each operation's error, or None. ``paced``: tried though hot's breaker is open, at the cost of hot's share. The end of a write is, for hot may be
        back for others already, who would go on with the old value; and the recovery queue's settles are, which backs off by itself."""
        engine = self._engine
        if engine.hot is None or not operations:
            return []
        guard = engine.guards[MemoryTier.HOT]
        deadline = engine.hot_deadline()
        try:
            if len(operations) == 1 and paced and engine.convoys is not None:
                await engine.convoys.publish.call(operations[0], deadline)
                errors: list[ThermoclineError | None] = [None]
            elif len(operations) == 1:
                await guard.call("publish", engine.hot.operate, operations[0], deadline=deadline, again=True)
                errors = [None]
            else:
                answers = await guard.call(
                    "publish", engine.hot.operate_many, operations, deadline=deadline, paced=paced, times=2, again=True
                )
                errors = [answer if isinstance(answer, ThermoclineError) else None for answer in answers]
        except ThermoclineError as error:
            return [error] * len(operations)
        for operation, failed in zip(operations, errors, strict=True):
            if failed is None and isinstance(operation, Publish | Settle) and operation.envelope is not None:
                engine.count_copy(operation.envelope, written=isinstance(operation, Publish))
        return errors

    def untold(self, intent: Intent, written: Written) -> None:
        """Hot missed the announcement or the end of a write: if it took effect, the recovery queue tells of it."""
        if written.effect is Effect.TOOK:
            self._recovery.add(intent.write.key, written.version)

    def result(self, intent: Intent, written: Written, *, told: bool) -> WriteResult:
        """The caller's answer; raises `Conflict` for a refused condition."""
        write, engine = intent.write, self._engine
        if written.effect is Effect.REFUSED:
            wanted = "the key is there already" if write.if_absent else f"the key is not at version {write.if_version}"
            now = f"; it is at version {written.version}" if written.version else ""
            raise Conflict(
                f"{wanted}{now}; nothing was written. Read it again and decide anew", version=written.version
            )
        envelope = written.envelope if written.envelope is not None else write.envelope
        return WriteResult(
            key=write.key,
            version=written.version if written.effect is Effect.TOOK else 0,
            authority=intent.plan.authority,
            durable=intent.plan.authority is not Authority.HOT,
            found=written.effect is Effect.TOOK,
            hot=told,
            hot_until=None if told else instant(engine.now_ms() + _CEILING),
            expires=instant(envelope.header.expires_ms) if write.verb is not Verb.DELETE else None,
        )
