"""`Restore`: a backup's records as new versions."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from thermocline.client import MemoryClient
from thermocline.client.writer import Intent
from thermocline.clock import Deadline
from thermocline.errors import (
    Conflict,
    CorruptRecord,
    Forgotten,
    PointerTooOld,
    ThermoclineError,
    TierUnavailable,
    TooLarge,
    UnknownDictionary,
    UnknownOutcome,
)
from thermocline.model import Envelope, Key
from thermocline.policy import Plan
from thermocline.protocols import HasEpoch, Verb
from thermocline.transfer.backup import checked
from thermocline.transfer.chunks import Head, Manifest, read_head, read_lines, read_part
from thermocline.transfer.compare import FENCE_MS, carried, same_metadata
from thermocline.transfer.ends import TOGETHER, TOGETHER_BYTES, End, settle_down
from thermocline.transfer.places import BackupPlace, place_of
from thermocline.transfer.report import NAMED, CopyReport
from thermocline.transfer.spaces import Space, space_of
from thermocline.transfer.syncing import Syncer

_TRIES: Final = 8
_EPOCH: Final = (
    "these are new versions of a store that went on counting, so no epoch has to be raised for them; raise it (thermocline epoch --raise) if this store took"
    " the place of another that running clients or their Redis still know, as a new container or one restored to a point in time: its versions may be lower"
)


@dataclass(slots=True)
class RestoreReport:
    """Of ``records`` in the backup, ``written`` were restored (``bytes``), ``same`` are there already, ``newer`` were written since and left, ``deleted``
    were deleted since and left, ``forgotten`` belong to scopes that were erased since and never come back, ``expired`` have ended, ``failed`` could not be
    written. ``outside``: of other tenants or scopes than were asked for. ``epoch``: whether and when the epoch is to be raised, in words."""

    dry_run: bool = False
    records: int = 0
    written: int = 0
    bytes: int = 0
    same: int = 0
    newer: int = 0
    deleted: int = 0
    forgotten: int = 0
    expired: int = 0
    outside: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)
    epoch: str = ""

    def fail(self, what: object, error: Exception) -> None:
        self.failed += 1
        if len(self.errors) < NAMED:
            self.errors.append(f"{what}: {error}"[:300])


class Restore:
    """From ``place`` into ``memory``. ``space``: only that tenant or scope of the backup, under its new names if it has any."""

    def __init__(self, memory: MemoryClient, place: BackupPlace, *, space: Space | None = None) -> None:
        self._end, self._place = End(memory), place_of(place)
        self._space = space_of(space)
        self._syncer = Syncer(self._end, self._end, self._space, CopyReport())
        self._report = RestoreReport()

    async def run(self, *, overwrite: bool = False, dry_run: bool = False) -> RestoreReport:
        """Read all of the backup first, and refuse one that is damaged or incomplete; then write what is not there, each record as a new version with its own
        expiry, times, tags and media type. Cut short, it is run again: what is there is passed over.

        What was written or deleted after it was backed up is left, and what is damaged here is named, unless ``overwrite``; what was forgotten after that
        stays so in any case, as far as this store's fences know it. ``dry_run``: counts. Raises `InvalidArgument`, `CorruptRecord`, `TierUnavailable`.
        """
        await self._end.client.connect()
        manifest, voids = await checked(self._place)
        self._report = report = RestoreReport(dry_run=dry_run)
        group: dict[Key, Head] = {}
        size = 0
        async with aclosing(_Reader(self._place, manifest, voids).records()) as heads:
            async for head, parts in heads:
                report.records += 1
                key = head.copy.key
                if not self._space.holds(key):
                    report.outside += 1
                    continue
                if head.whole and key not in group and len(group) < TOGETHER and size < TOGETHER_BYTES:
                    group[key] = head
                    size += head.size
                    continue
                await self._together(group, overwrite)
                group, size = {}, 0
                if head.whole:
                    group, size = {key: head}, head.size
                else:
                    await self._streamed(head, parts, overwrite)
        await self._together(group, overwrite)
        durable = any(isinstance(tier, HasEpoch) for tier in self._end.engine.authorities.values())
        report.epoch = _EPOCH if durable and (report.written or dry_run) else ""
        return report

    # --- judging ------------------------------------------------------------------------------------------------------

    async def _versions(self, heads: dict[Key, Head], overwrite: bool) -> dict[Key, int | None]:
        """The keys (as they are called here) that are to be written, and the version over which (None: whichever); the others are counted."""
        there = {self._space.there(key): head for key, head in heads.items()}
        # of its old name too: under a new one what was forgotten would come back all the same
        fences = await self._end.forgotten([*there, *heads])
        copies = await self._end.read(list(there))
        wanted: dict[Key, int | None] = {}
        for key, head in there.items():
            other = copies[key]
            damaged = overwrite and isinstance(other, CorruptRecord)
            if isinstance(other, ThermoclineError) and not damaged:
                if isinstance(other, TierUnavailable):
                    raise other
                self._report.fail(key, other)
                continue
            names = (key, head.copy.key)
            fence_ms = max(fences.get((name.tenant, name.scope), 0) for name in names)
            found = None if isinstance(other, ThermoclineError) else other
            if await self._to_write(key, head, found, fence_ms, overwrite):
                wanted[key] = None if damaged else 0 if found is None else found.version
        return wanted

    async def _to_write(self, key: Key, head: Head, other: Envelope | None, fence_ms: int, overwrite: bool) -> bool:
        report, mine = self._report, head.copy
        now_ms = self._end.engine.now_ms()
        if fence_ms and mine.header.modified_ms <= fence_ms + FENCE_MS:
            report.forgotten += 1
            return False
        if mine.header.expired(now_ms):
            report.expired += 1
            return False
        if mine.header.dictionary:  # no backup of ours: a record is written into one without
            report.fail(key, UnknownDictionary("it needs a dictionary, and no backup holds any: write the backup anew"))
            return False
        if other is None:
            return True
        live = other.live(now_ms)
        if live and await self._same(head, other):
            report.same += 1
            return False
        if overwrite or other.header.modified_ms < mine.header.modified_ms:
            return True
        if live:
            report.newer += 1
        else:
            report.deleted += 1
        return False

    async def _same(self, head: Head, other: Envelope) -> bool:
        mine = head.copy
        if head.whole:
            return await self._syncer.equal(mine, other)
        if not same_metadata(self._end.engine.capped(carried(mine, other.key)), other):
            return False
        codec = self._end.engine.codec
        sha = codec.pointer_of(other).sha256 if other.pointer else hashlib.sha256(other.payload).hexdigest()
        return (other.header.compressor, sha) == (mine.header.compressor, head.sha256)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _together(self, heads: dict[Key, Head], overwrite: bool) -> None:
        left = heads
        trouble: ThermoclineError | None = None
        for attempt in range(_TRIES):
            if not left:
                return
            if attempt:
                await settle_down(attempt)
            begun_ms = self._end.engine.now_ms()
            versions = await self._versions(left, overwrite)
            mine = {self._space.there(key): head for key, head in left.items()}
            if self._report.dry_run:
                for key in versions:
                    self._done(mine[key])
                return

            async def prepare(
                key: Key,
                plan: Plan,
                deadline: Deadline,
                mine: dict[Key, Head] = mine,
                versions: dict[Key, int | None] = versions,
            ) -> Intent:
                return await self._intent(carried(mine[key].copy, key), versions[key], plan, deadline)

            outcomes = await self._end.write(list(versions), prepare, begun_ms) if versions else {}
            left = {}
            for key, outcome in outcomes.items():
                if not isinstance(outcome, ThermoclineError):
                    self._done(mine[key])
                elif _again(outcome):
                    left[mine[key].copy.key], trouble = mine[key], outcome
                else:
                    self._refused(key, outcome)
        if left and trouble is not None:
            raise trouble

    async def _streamed(self, head: Head, parts: AsyncGenerator[bytes, None], overwrite: bool) -> None:
        """A payload that came in parts. Its stream goes by once: a write that must be made again takes what was uploaded."""
        key = self._space.there(head.copy.key)
        begun_ms = self._end.engine.now_ms()
        versions = await self._versions({head.copy.key: head}, overwrite)
        if key not in versions:
            return
        if self._report.dry_run:
            self._done(head)
            return
        plan = self._end.plan(key)
        try:
            envelope = await self._arrived(head, key, plan, parts)
        except (TooLarge, CorruptRecord) as error:
            self._report.fail(key, error)
            return
        outcome: Any = None
        for attempt in range(_TRIES):
            if attempt:
                await settle_down(attempt)
                begun_ms = self._end.engine.now_ms()
                versions = await self._versions({head.copy.key: head}, overwrite)
                if key not in versions:
                    return

            async def prepare(
                key: Key,
                plan: Plan,
                deadline: Deadline,
                version: int | None = versions[key],
                envelope: Envelope = envelope,
            ) -> Intent:
                return await self._intent(envelope, version, plan, deadline)

            outcome = (await self._end.write([key], prepare, begun_ms))[key]
            if not isinstance(outcome, ThermoclineError):
                self._done(head)
                return
            if not _again(outcome):
                self._refused(key, outcome)
                return
        raise outcome

    async def _arrived(self, head: Head, key: Key, plan: Plan, parts: AsyncGenerator[bytes, None]) -> Envelope:
        bare = carried(head.copy, key)
        if plan.cold_above is not None:
            return await self._end.upload(key, bare, parts)
        if max(head.size, head.copy.header.raw_length) > plan.rules.max_value_bytes:
            raise TooLarge(f"its payload has {head.size} bytes, and there is no cold tier to hold it; configure one")
        return replace(bare, payload=b"".join([part async for part in parts]))

    async def _intent(self, envelope: Envelope, version: int | None, plan: Plan, deadline: Deadline) -> Intent:
        writer = self._end.writer
        return await writer.intent(
            Verb.PUT, envelope, plan, deadline, if_version=version or None, if_absent=version == 0
        )

    def _done(self, head: Head) -> None:
        self._report.written += 1
        self._report.bytes += head.size

    def _refused(self, key: Key, error: ThermoclineError) -> None:
        if isinstance(error, Forgotten):
            self._report.forgotten += 1
        else:
            self._report.fail(key, error)


def _again(error: ThermoclineError) -> bool:
    retried = isinstance(error, Conflict | UnknownOutcome | PointerTooOld | TierUnavailable)
    return retried and not isinstance(error, Forgotten)


class _Reader:
    """The records of a backup, once, in their order; without those of the given numbers, which were given up."""

    def __init__(self, place: BackupPlace, manifest: Manifest, voids: set[int]) -> None:
        self._place, self._manifest, self._voids = place, manifest, voids

    async def _lines(self) -> AsyncGenerator[dict[str, Any], None]:
        after = ""
        for number, chunk in enumerate(self._manifest.chunks, 1):
            sha = str(chunk["sha256"])
            lines = read_lines(self._place, number, backup=self._manifest.id, after=after, sha256=sha)
            async with aclosing(lines) as told:
                async for line in told:
                    yield line
            after = sha

    async def records(self) -> AsyncGenerator[tuple[Head, AsyncGenerator[bytes, None]], None]:
        """Each with its parts, which need not be read."""
        number = 0
        async with aclosing(self._lines()) as lines:
            async for told in lines:
                number += 1
                head = read_head(told)
                async with aclosing(_parts(lines, head)) as parts:
                    if number not in self._voids:
                        yield head, parts
                    async for _ in parts:  # what nobody wanted
                        pass


async def _parts(lines: AsyncGenerator[dict[str, Any], None], head: Head) -> AsyncGenerator[bytes, None]:
    while not head.whole:
        told = await anext(lines)
        if "part" not in told:
            return
        yield read_part(told)
