"""What a migration would do: how much, at what cost, and what cannot be moved. Nothing is written."""

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from thermocline.blobs.heads import INLINE_LIMIT
from thermocline.client.moving.walk import live
from thermocline.cost import units
from thermocline.cost.workload import ITEM_BYTES, POINTER_BYTES
from thermocline.errors import ConfigurationError, Conflict, InvalidKey
from thermocline.model import Authority, Key
from thermocline.protocols import Stored
from thermocline.transfer.ends import PAGE, SHARED, TOGETHER, End, share_hot
from thermocline.transfer.report import NAMED
from thermocline.transfer.spaces import Space

_ITEM: Final = 2_000_000  # bytes of an item in Cosmos DB
_DAMAGED: Final = "damaged in the source"
_PART: Final = 4 * 2**20  # bytes of one request of an upload


@dataclass(slots=True)
class MigrationPlan:
    """What is there, and what it takes. ``records`` live ones, of ``bytes`` stored; ``payloads`` of them lie in cold, with ``payload_bytes``; ``dead`` are
    deleted or expired and are not copied. ``in_target``: live records that the target has in the same place already. ``elsewhere``: live records of the
    source that are not moved, because they lie under another authority than its client's routes give their keys.

    ``requests`` to the source, the target's authority and cold, for one pass; ``request_units`` of Cosmos DB for it, by the published figures (1 for a point
    read of 1 kB, 5 for a write of it, in proportion above). ``problems``: what must be mended before (``blocked``: how many records cannot be moved).
    """

    records: int = 0
    dead: int = 0
    bytes: int = 0
    payloads: int = 0
    payload_bytes: int = 0
    damaged: int = 0
    in_target: int = 0
    elsewhere: int = 0
    requests: int = 0
    request_units: float = 0.0
    blocked: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def possible(self) -> bool:
        return not self.problems

    def block(self, words: str) -> None:
        self.blocked += 1
        if len(self.problems) < NAMED:
            self.problems.append(words[:300])


class Planning:
    """From ``source`` to ``target``."""

    def __init__(self, source: End, target: End, space: Space, *, keys: list[Key] | None = None) -> None:
        self._source, self._target, self._space, self._keys = source, target, space, keys
        self.plan = MigrationPlan()

    async def run(self, *, merge: bool) -> MigrationPlan:
        """Counts both sides. Raises `ConfigurationError` where they are the same place, `TierUnavailable`."""
        await self.apart()
        self.plan.in_target = await self.live_in_target(most=None)
        if self.plan.in_target and not merge:
            self.plan.problems.append(
                f"the target holds {self.plan.in_target} live records in this place already: empty it, choose another, or say merge,"
                " then the later one of each key counts"
            )
        if self._keys is not None:
            self.plan.records = len(self._keys)
            self._estimate()
            return self.plan
        await self._look()
        self.plan.elsewhere += await self._source.unreached(self._space.tenant, self._space.scope)
        self._estimate()
        return self.plan

    async def fit(self) -> None:
        """Raise `Conflict` if there are records that the target cannot hold, which `MigrationPlan.problems` names. One census of the source."""
        if self._keys is not None:
            return
        await self._look()
        unfit = [words for words in self.plan.problems if not words.startswith(_DAMAGED)]
        if self.plan.blocked > self.plan.damaged:
            first = f": {unfit[0]}" if unfit else ""
            count = self.plan.blocked - self.plan.damaged
            raise Conflict(
                f"{count} {'record does' if count == 1 else 'records do'} not fit into the target{first}; nothing was written. plan names them: mend the"
                " target, or leave their scope out"
            )

    async def _look(self) -> None:
        """Count and check what the source has."""
        for stamp in self._source.authorities():
            cursor: str | None = None
            while True:
                page = await self._source.page(stamp, self._space.tenant, self._space.scope, cursor)
                self.plan.damaged += len(page.damaged)
                for words in page.damaged:
                    self.plan.block(f"{_DAMAGED}: {words}")
                for item in page.items:
                    if self._source.plan(item.key).authority is stamp:
                        self._count(item)
                    else:
                        self.plan.elsewhere += live(item, self._source.engine.now_ms())
                cursor = page.cursor
                if cursor is None:
                    break

    async def apart(self) -> None:
        """Raise `ConfigurationError` if source and target are the same records (the same store, authority and names), or share a hot tier."""
        if not self._space.overlaps_itself():
            return
        if await share_hot(self._source, self._target):
            raise ConfigurationError(SHARED)
        if not self._same_words():
            return
        mine, other = self._source.book(), self._target.book()
        name = f"transfer/probe-{secrets.token_hex(8)}"
        lasting = timedelta(minutes=5)
        call = self._source.call
        await mine.call(mine.notes.write_note, name, b"1", lasting=lasting, deadline=call(10))
        try:
            seen = await other.read(name, self._target.call(10))
        finally:
            await mine.call(mine.notes.delete_note, name, deadline=call(10))
        if seen is not None:
            raise ConfigurationError(
                "source and target are the same records: name another store, another authority, or another tenant or scope to move to"
            )

    def _same_words(self) -> bool:
        return bool(set(self._source.authorities()) & set(self._target.authorities()))

    async def live_in_target(self, *, most: int | None) -> int:
        """Live records in the target's place; counting ends at ``most``."""
        count = 0
        tenant, scope = self._space.target()
        for stamp in self._target.authorities():
            cursor: str | None = None
            while True:
                page = await self._target.page(stamp, tenant, scope, cursor)
                now_ms = self._target.engine.now_ms()
                count += sum(
                    live(item, now_ms) and self._target.plan(item.key).authority is stamp for item in page.items
                )
                cursor = page.cursor
                if cursor is None or (most is not None and count >= most):
                    break
        return count

    def _count(self, item: Stored) -> None:
        plan = self.plan
        if not live(item, self._source.engine.now_ms()):
            plan.dead += 1
            return
        plan.records += 1
        size = item.size if item.pointer is None else item.pointer.size
        plan.bytes += size
        if item.pointer is not None:
            plan.payloads += 1
            plan.payload_bytes += size
        self._check(item, size)
        if _cosmos(self._source):
            plan.request_units += units.read(ITEM_BYTES + item.size)
        if _cosmos(self._target):
            above = self._target.plan(item.key).cold_above
            there = POINTER_BYTES if above is not None and size > above else ITEM_BYTES + size
            plan.request_units += units.NOT_DONE + units.create(there)

    def _check(self, item: Stored, size: int) -> None:
        """What the target certainly refuses."""
        try:
            key = self._space.there(item.key)
        except InvalidKey as error:
            self.plan.block(f"{item.key}: {error}")
            return
        plan = self._target.plan(key)
        raw = item.header.raw_length
        if plan.cold_above is not None:
            if item.pointer is None and raw > plan.rules.max_value_bytes:
                self.plan.block(
                    f"{item.key}: {raw} bytes, the target takes {plan.rules.max_value_bytes} (max_value_bytes)"
                )
            return
        limits = {Authority.COLD: INLINE_LIMIT, Authority.WARM: _ITEM if _cosmos(self._target) else None}
        limit = limits.get(plan.authority)
        if raw > plan.rules.max_value_bytes:
            self.plan.block(f"{item.key}: {raw} bytes, the target takes {plan.rules.max_value_bytes} (max_value_bytes)")
        elif limit is not None and size > limit:
            self.plan.block(
                f"{item.key}: a payload of {size} bytes, and the target has no cold tier to hold it: configure one"
            )

    def _estimate(self) -> None:
        """Requests of one pass: pages, batches of reads on both sides, a write each, and payloads up and down in parts."""
        plan = self.plan
        pages = -(-(plan.records + plan.dead) // PAGE) + -(-max(plan.records, plan.in_target) // PAGE)
        reads = 3 * -(-plan.records // TOGETHER)
        parts = 2 * plan.payloads + 2 * (plan.payload_bytes // _PART)
        plan.requests = pages + reads + plan.records + parts
        plan.request_units = round(plan.request_units, 1)


def _cosmos(end: End) -> bool:
    """Whether records of this side lie in Cosmos DB rather than SQLite, which has neither request units nor its limits."""
    return Authority.WARM in end.authorities() and hasattr(end.engine.authorities[Authority.WARM], "raise_epoch")
