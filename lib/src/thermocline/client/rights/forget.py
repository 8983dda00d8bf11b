"""`forget`: a scope, or a whole tenant, is erased from every tier, and stays so (COHERENCE section 7).

The fence first; then a pass that deletes whatever the authorities hold, live or expired, each by a write of its own, so that hot is told and a tombstone
keeps older copies from coming back; then a wait until nothing that began before the fence can take effect any more; then a second pass. Both tell hot of every
tombstone that they find, whoever wrote it. Then the payloads in cold, for which no record is left to point to them. Killed at any point it can be called
again, and does what is left.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final

import msgspec

from thermocline.client.engine import Engine
from thermocline.client.fences import WAIT, Fence
from thermocline.client.held import Held, Sweepable
from thermocline.client.receipt import (
    AUDIT,
    LONGEST_BACKUP,
    LONGEST_SOFT_DELETE,
    Receipt,
    Remainder,
    ServiceRetention,
)
from thermocline.client.result import Batch, WriteResult
from thermocline.client.rights.alone import Alone, scopes_of
from thermocline.client.rights.telling import Telling
from thermocline.client.writer import Writer
from thermocline.clock import Deadline
from thermocline.configured import seconds_of
from thermocline.errors import (
    ConfigurationError,
    CorruptRecord,
    InvalidKey,
    ThermoclineError,
    TierUnavailable,
    UnreadableRecord,
)
from thermocline.keys import PAYLOAD_ROOT, blob_prefix, from_payload_path, tenant_prefix
from thermocline.model import Authority, Key, MemoryTier, instant
from thermocline.protocols import Census, Effect, Inventory, Stored, Verb, Versions, Write
from thermocline.writes import PAYLOAD_GRACE_MS

PAGE: Final = 500  # records of one page of a census
AT_ONCE: Final = 16  # payloads that are looked at together
_HOT_CEILING: Final = timedelta(hours=1)

DeleteMany = Callable[[Sequence[Key]], Awaitable[Batch[WriteResult]]]


class Forgetting:
    """One forgetting under way. ``call`` gives each request a deadline of its own: the whole may take long."""

    def __init__(
        self,
        engine: Engine,
        writer: Writer,
        delete_many: DeleteMany,
        *,
        tenant: str,
        scope: str | None,
        by: str,
        reason: str,
        retention: ServiceRetention,
        wait: timedelta,
    ) -> None:
        self._engine, self._fences, self._delete_many = engine, writer.fences, delete_many
        self._telling, self._alone = Telling(engine, writer), Alone(engine, tenant, scope)
        self._tenant, self._scope, self._by, self._reason = tenant, scope, by, reason
        self._retention = retention
        self._wait = wait.total_seconds()
        self._id = engine.write_id()
        self._records: dict[str, int] = {}
        self._tombstones = 0
        self._payloads = self._bytes = self._untold = self._young = 0
        self._fence_ms = 0
        self._damaged: dict[str, None] = {}
        self._dictionaries: list[str] = []

    async def run(self, *, dry_run: bool) -> Receipt:
        """Raises `TierUnavailable` where something could not be erased: call it again then."""
        self._check()
        started = self._engine.now_ms()
        if dry_run:
            await self._count()
        else:
            self._fence_ms = started
            await self._fences.put(Fence(self._tenant, self._scope, started, self._id), self._call())
            await self._note(started, "begun")
            await self._erase()
            await asyncio.sleep(self._wait)
            self._tombstones, self._untold = 0, 0
            await self._erase()
            await self._erase_payloads()
        if self._engine.shelves is not None:
            self._dictionaries = await self._engine.shelves.left(self._tenant, self._scope, self._call())
        receipt = self._receipt(started, dry_run)
        if not dry_run:
            await self._note(started, "done", receipt)
        return receipt

    def _check(self) -> None:
        blind = [stamp.name for stamp, tier in self._engine.authorities.items() if not isinstance(tier, Census)]
        if blind:
            raise ConfigurationError(
                f"the tier that is {blind[0]} cannot count what it holds (protocols.Census), so nobody can say that a scope was erased from it"
            )
        if not self._fences.keepers():
            raise ConfigurationError(
                "no tier can keep a fence (protocols.Notes), so what is erased could come back; give one that can"
            )

    def _call(self) -> Deadline:
        return self._engine.budget.call(None)

    # --- records

    async def _held(self, tier: Versions) -> AsyncGenerator[Inventory, None]:
        assert isinstance(tier, Census)
        for scope in scopes_of(self._scope):
            cursor: str | None = None
            while True:
                page = await tier.census(
                    tenant=self._tenant, scope=scope, limit=PAGE, cursor=cursor, deadline=self._call()
                )
                self._damaged.update(dict.fromkeys(page.damaged))
                yield page
                cursor = page.cursor
                if cursor is None:
                    break

    async def _count(self) -> None:
        for stamp, tier in self._engine.authorities.items():
            async with aclosing(self._held(tier)) as pages:
                async for page in pages:
                    self._tally(stamp, page.items)
        self._add(await self._alone.count())
        async with aclosing(self._held_payloads()) as payloads:
            async for held in payloads:
                self._payloads += len(held)
                self._bytes += sum(one.size for one in held)

    def _tally(self, stamp: Authority, items: Sequence[Stored]) -> list[Stored]:
        """Counts them, and returns those that hold something."""
        full = [item for item in items if not _tombstone(item)]
        self._tombstones += len(items) - len(full)
        if full:
            self._add({stamp.name.lower(): len(full)})
        return full

    def _add(self, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():
            self._records[name] = self._records.get(name, 0) + count

    async def _erase(self) -> None:
        """One pass over all authorities. Raises the first error of a record that could not be erased, once all others are."""
        errors: list[ThermoclineError] = []
        for stamp, tier in self._engine.authorities.items():
            try:
                async with aclosing(self._held(tier)) as pages:
                    async for page in pages:
                        full = self._tally(stamp, page.items)
                        dead = {item.key: item.header.version for item in page.items if _tombstone(item)}
                        errors += await self._erase_records(stamp, tier, [item.key for item in full], dead)
            except TierUnavailable as error:  # the other tiers' part is done all the same
                errors.append(error)
        try:
            self._add(await self._alone.erase())
        except TierUnavailable as error:
            errors.append(error)
        if errors:
            raise TierUnavailable(
                f"{len(errors)} records could not be erased, the first because: {errors[0]}. The fence stands; call forget again to go on",
                tier=getattr(errors[0], "tier", "client"),
            ) from errors[0]

    async def _erase_records(
        self, stamp: Authority, tier: Versions, keys: list[Key], dead: dict[Key, int]
    ) -> list[ThermoclineError]:
        """By the cascade where this tier has the word for a key; what lies in another is a leftover of other routes, and is erased there alone, and from hot.
        ``dead``: the versions of tombstones that were there already, of which hot is told again: who wrote them may have died before it did."""
        mine = [key for key in keys if self._engine.routes.route(key).authority == stamp]
        errors: list[ThermoclineError] = []
        if mine:
            batch = await self._delete_many(mine)
            errors += batch.errors.values()
            dead = dead | {key: result.version for key, result in batch.items() if not result.hot}
        if stamp is not Authority.HOT:
            ours = {key: version for key, version in dead.items() if self._engine.routes.route(key).authority == stamp}
            self._untold += await self._telling.tell(ours)
        others = [key for key in keys if self._engine.routes.route(key).authority != stamp]
        if others:
            now = self._engine.now_ms()
            writes = [
                Write(Verb.DELETE, self._engine.write_id(), self._engine.codec.tombstone(key, now_ms=now))
                for key in others
            ]
            for written in await tier.write_many(writes, deadline=self._call()):
                if isinstance(written, ThermoclineError):
                    errors.append(written)
                elif written.effect is Effect.REFUSED:
                    errors.append(TierUnavailable(f"{stamp.name} refused to delete a record", tier=stamp.name.lower()))
        if stamp is not Authority.HOT:
            routes = self._engine.routes
            strange = [key for key in dead if routes.route(key).authority != stamp]
            self._untold += await self._telling.drop([*others, *strange])
        return errors

    # --- payloads

    async def _held_payloads(self) -> AsyncGenerator[Sequence[Held], None]:
        cold: object = self._engine.cold
        if not isinstance(cold, Sweepable):
            return
        tenant, scope = self._tenant, self._scope
        whole = tenant_prefix(tenant, root=PAYLOAD_ROOT)
        prefix = whole if scope is None else blob_prefix(tenant, scope, root=PAYLOAD_ROOT)
        cursor: str | None = None
        while True:
            held, cursor = await cold.list_payloads(prefix, limit=PAGE, cursor=cursor, deadline=self._call())
            yield held
            if cursor is None:
                return

    async def _erase_payloads(self) -> None:
        """Whatever no record points to, and was there before the fence: only what began before the fence could still point to it, and that is over.
        What was uploaded since may be a new write's, whose pointer is still to come (P7)."""
        cold: object = self._engine.cold
        if not isinstance(cold, Sweepable):
            return
        before = self._fence_ms
        gate = asyncio.Semaphore(AT_ONCE)

        async def remove(one: Held) -> None:
            async with gate:
                if await cold.sweep_payload(
                    one.path, etag=one.etag, unmodified_since_ms=one.modified_ms, deadline=self._call()
                ):
                    self._payloads += 1
                    self._bytes += one.size

        async with aclosing(self._held_payloads()) as pages:
            async for held in pages:
                if not held:
                    continue
                # Read after the page was listed: who wrote since then has renewed the payload, and its ETag is another.
                pointed = await self._pointed(held)
                loose = [one for one in held if one.path not in pointed]
                async with asyncio.TaskGroup() as group:
                    for one in loose:
                        if one.modified_ms <= before:
                            group.create_task(remove(one))
                self._young += sum(1 for one in loose if one.modified_ms > before)

    async def _pointed(self, held: Sequence[Held]) -> set[str]:
        """Those of the payloads that a record points to: written anew since."""
        keys: dict[Key, None] = {}
        unknown = False
        for one in held:
            try:
                key, _ = from_payload_path(one.path)
            except InvalidKey:
                continue
            if key is None:
                unknown = True
            else:
                keys[key] = None
        found: set[str] = set()
        for tier in self._engine.authorities.values():
            if unknown:  # a path that was shortened names no key: the census tells who points where
                async with aclosing(self._held(tier)) as pages:
                    async for page in pages:
                        found |= {item.pointer.path for item in page.items if item.pointer is not None}
                continue
            for key, copy in zip(keys, await tier.read_many([*keys], deadline=self._call()), strict=True):
                try:
                    if isinstance(copy, ThermoclineError):
                        raise copy
                    if copy is not None and copy.pointer:
                        found.add(self._engine.codec.pointer_of(copy).path)
                except (
                    CorruptRecord,
                    UnreadableRecord,
                ) as error:  # nobody can tell what it points to: its payloads stay
                    self._damaged[f"{key}: {error}"] = None
                    found |= {one.path for one in held if from_payload_path(one.path)[0] == key}
        return found

    # --- what is told

    def _receipt(self, started: int, dry_run: bool) -> Receipt:
        finished = self._engine.now_ms()
        return Receipt(
            id=self._id,
            tenant=self._tenant,
            scope=self._scope,
            by=self._by,
            reason=self._reason,
            started=_at(started),
            finished=_at(finished),
            dry_run=dry_run,
            records=dict(self._records),
            tombstones=self._tombstones,
            payloads=self._payloads,
            bytes=self._bytes,
            damaged=[*self._damaged],
            unsearched=self._unsearched(),
            untold=self._untold,
            remains=[] if dry_run else self._remains(finished),
            dictionaries=self._dictionaries,
        )

    def _unsearched(self) -> list[str]:
        found = self._alone.unsearched()
        cold: object = self._engine.cold
        if cold is not None and not isinstance(cold, Sweepable):
            found.append("payloads in cold, which it cannot list")
        return found

    def _remains(self, now: int) -> list[Remainder]:
        found: list[Remainder] = []

        def add(tier: str, what: str, given: timedelta | float | None, longest: timedelta) -> None:
            span = longest if given is None else timedelta(seconds=seconds_of(given))
            if span:
                found.append(Remainder(tier, what, _at(now) + span, assumed=given is None))

        for stamp, tier in self._engine.authorities.items():
            grace = getattr(tier, "grace", timedelta(days=1))
            add(stamp.name.lower(), "tombstones: the keys' names, without any value", grace, grace)
        retained = self._retention
        if Authority.WARM in self._engine.authorities:
            add("warm", "backups of the account", retained.cosmos_backup, LONGEST_BACKUP)
        if MemoryTier.COLD in self._engine.guards:
            if self._young:
                what = (
                    f"{self._young} uploads that were under way: nothing points to them, and the sweeper removes them"
                )
                add("cold", what, timedelta(milliseconds=PAYLOAD_GRACE_MS), timedelta())
            add("cold", "soft-deleted blobs and versions", retained.blob_soft_delete, LONGEST_SOFT_DELETE)
        if self._engine.hot is not None:
            if any(not hasattr(tier, "data_version") for tier in self._engine.below_hot()) and hasattr(
                self._engine.hot, "fence"
            ):
                add("hot", "copies in the process memory of other clients, which nobody can tell", None, _HOT_CEILING)
            add("hot", "snapshots of Redis", retained.redis_persistence, timedelta(days=1))
            if self._untold:
                add("hot", f"copies of {self._untold} keys that hot could not be told of", _HOT_CEILING, _HOT_CEILING)
        return found

    async def _note(self, started: int, state: str, receipt: Receipt | None = None) -> None:
        """Who erased what, without the data: a note that no key reaches, kept for good."""
        told: dict[str, Any] = {
            "id": self._id,
            "state": state,
            "tenant": self._tenant,
            "scope": self._scope,
            "by": self._by,
            "reason": self._reason,
            "started_ms": started,
        }
        if receipt is not None:
            told |= {
                "finished_ms": self._engine.now_ms(),
                "records": receipt.records,
                "payloads": receipt.payloads,
                "bytes": receipt.bytes,
                "complete": receipt.complete,
            }
        _, notes = self._fences.keepers()[0]
        await notes.write_note(f"{AUDIT}{self._id}", msgspec.json.encode(told), deadline=self._call())


def _tombstone(item: Stored) -> bool:
    return bool(item.header.flags & 1)


def _at(ms: int) -> Any:
    found = instant(ms)
    assert found is not None
    return found


DEFAULT_WAIT: Final = timedelta(seconds=WAIT)
