"""Moving one record's payload between its authority and cold (COHERENCE section 5).

What is moved keeps its version, write ids, expiry and tags; the authority replaces exactly the copy that was read. So nothing is told to hot: a value of this
version in hot is this value, whether it holds the payload or the pointer, and a floor that allowed the record before allows it now. A pointer in hot whose
payload was promoted and then swept leads nowhere, and its reader asks the authority again, as for every such pointer. Nothing removes a payload but the
sweep.

Killed at any point: before the pointer is set the record is as it was, and the payload an orphan; after it the payload was there before, younger than
half the grace, which the sweep waits out (P7).
"""

import hashlib
from typing import Final

from thermocline import telemetry
from thermocline.client.engine import Engine
from thermocline.client.moving.result import Fate
from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError, CorruptRecord, PointerTooOld
from thermocline.keys import payload_path
from thermocline.model import Envelope, Key, MemoryTier, Pointer
from thermocline.policy import Plan
from thermocline.protocols import Payloads, Relocates

LEAST_BYTES: Final = (
    1024  # a smaller payload stays: its pointer would take about as much, and a read of it cost a request more
)
_SHARES: Final = 4.0


class Transfer:
    """Moves payloads of one client's records."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def movable(self, plan: Plan) -> bool:
        """Whether this route's payloads can be moved at all: its authority relocates, and there is a cold tier beside it."""
        return self._engine.cold is not None and isinstance(self._engine.authorities.get(plan.authority), Relocates)

    def needs(self, plan: Plan) -> None:
        """Raise `ConfigurationError`, saying why, where `movable` is False."""
        if self._engine.cold is None:
            raise ConfigurationError("payloads are moved to and from cold, and no cold tier is configured")
        if not self.movable(plan):
            raise ConfigurationError(f"{plan.tier} cannot move its records: it is no protocols.Relocates")

    # --- down ---------------------------------------------------------------------------------------------------------

    async def demote(self, found: Envelope, plan: Plan, deadline: Deadline) -> tuple[Fate, bool]:
        """The payload of the live record ``found`` to cold, and a pointer in its place. Also whether cold had the payload already: then it is renewed and not
        uploaded. Raises what the tiers raise; the record is then as it was, or moved."""
        if found.pointer:
            return Fate.CLEAN, False
        if len(found.payload) < LEAST_BYTES or not self.movable(plan):
            return Fate.UNFIT, False
        pointer, reused = await self._stored(found, deadline)
        point = self._engine.codec.point
        try:
            moved = await self._relocate(found, point(found, pointer), plan, deadline)
        except PointerTooOld:  # this process slept since: make it young again
            pointer, _ = await self._stored(found, deadline)
            moved = await self._relocate(found, point(found, pointer), plan, deadline)
        if moved:
            self._engine.stats.count(telemetry.DEMOTIONS, plan.tier)
        return (Fate.MOVED if moved else Fate.CHANGED), reused

    async def _stored(self, found: Envelope, deadline: Deadline) -> tuple[Pointer, bool]:
        """The payload in cold, renewed if it is there already."""
        engine, cold, guard = self._engine, self._cold(), self._engine.guards[MemoryTier.COLD]
        digest = hashlib.sha256(found.payload).hexdigest()
        clean = Pointer(payload_path(found.key, digest), digest, len(found.payload), 0)
        await engine.signed(found.header.authority, deadline)
        renewed = await guard.call("renew_payload", cold.renew_payload, found.key, clean, deadline=deadline)
        if renewed is not None:
            return renewed, True
        pointer = await guard.call(
            "put_payload", cold.put_payload, found.key, found.payload, deadline=deadline, times=_SHARES
        )
        engine.stats.count(telemetry.WRITES, "cold")
        return pointer, False

    # --- up -----------------------------------------------------------------------------------------------------------

    async def promote(self, found: Envelope, plan: Plan, deadline: Deadline) -> Fate:
        """The payload of the live pointer ``found`` back into its authority, if the route would keep it there. The blob stays for the sweep.
        Raises `CorruptRecord` if cold does not have it and the authority still says so."""
        engine = self._engine
        if not found.pointer:
            return Fate.CLEAN
        pointer = engine.codec.pointer_of(found)
        if not self.movable(plan) or plan.cold_above is None or pointer.size > plan.cold_above:
            return Fate.UNFIT
        guard = engine.guards[MemoryTier.COLD]
        data = await guard.call("get_payload", self._cold().get_payload, found.key, pointer, deadline=deadline)
        if data is None:
            return await self._missing(found, pointer, plan, deadline)
        whole = engine.codec.with_payload(found, data)
        if engine.shelves is not None:
            whole = await engine.shelves.opened(whole, deadline)
        moved = await self._relocate(found, whole, plan, deadline)
        if moved:
            engine.stats.count(telemetry.PROMOTIONS, plan.tier)
        return Fate.MOVED if moved else Fate.CHANGED

    async def _missing(self, found: Envelope, pointer: Pointer, plan: Plan, deadline: Deadline) -> Fate:
        again = await self.read(found.key, plan, deadline)
        if again is not None and again.pointer and self._engine.codec.pointer_of(again).path == pointer.path:
            raise CorruptRecord(f"the record of {found.key.name!r:.80} names a payload that cold does not have")
        return Fate.CHANGED

    # --- both ---------------------------------------------------------------------------------------------------------

    async def read(self, key: Key, plan: Plan, deadline: Deadline) -> Envelope | None:
        """The authority's own copy with its mark, dead or alive."""
        engine = self._engine
        authority = engine.authority(plan.authority)
        return await engine.guards[plan.tier].call("read", authority.read, key, deadline=deadline)

    async def _relocate(self, old: Envelope, new: Envelope, plan: Plan, deadline: Deadline) -> bool:
        authority = self._engine.authorities[plan.authority]
        assert isinstance(authority, Relocates)
        return await self._engine.guards[plan.tier].call(
            "relocate", authority.relocate, old, new, deadline=deadline, times=_SHARES
        )

    def _cold(self) -> Payloads:
        cold = self._engine.cold
        if cold is None:
            raise ConfigurationError("payloads are moved to and from cold, and no cold tier is configured")
        return cold
