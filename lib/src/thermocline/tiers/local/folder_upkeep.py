"""What keeps `FolderMemory` in order: `Census`, `Relocates`, `Purges` and `Notes`. Each change is one rename or one removal, under a lock file."""

import hashlib
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from thermocline.blobs import heads, wire
from thermocline.blobs.upkeep import (
    check_census,
    check_limit,
    check_move,
    check_note,
    check_note_conditions,
    check_notes,
    died_ms,
    note_until_ms,
    pack_census,
    pack_notes,
    stored_of,
    unpack_census,
    unpack_notes,
)
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidKey, TierUnavailable, TooLarge, UnreadableRecord
from thermocline.keys import HEAD_ROOT, blob_prefix, head_path
from thermocline.model import Envelope
from thermocline.protocols import Inventory, Note, Stored
from thermocline.telemetry import CORRUPT
from thermocline.tiers.local.files import NotDurable
from thermocline.tiers.local.folder_notes import (
    NOTE_TOP,
    NoteFile,
    new_etag,
    note_name,
    note_path,
    pack_note,
    unpack_note,
)
from thermocline.tiers.local.folder_payloads import FolderPayloads
from thermocline.writes import check_pointer

PER_CALL: Final = 64  # files that one call in the executor reads, so that a long walk leaves room for others
PAGE_BYTES: Final = 16 * 2**20  # of heads that a census reads for one page, which is short then
_HEADS: Final = HEAD_ROOT.rstrip("/")
_UNTOLD: Final = (CorruptRecord, UnreadableRecord, InvalidKey)


class _Counted(NamedTuple):
    """What a census makes of some files."""

    items: list[Stored]
    damaged: list[str]
    size: int
    last: str | None  # the path behind which it goes on; None: there are no more


def etag_of(data: bytes) -> str:
    """The mark of a head's file: a digest of its bytes, which hold the version, the last writes' ids and the record. Where the same bytes lie again,
    it is the same copy."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class FolderUpkeep(FolderPayloads):
    """The parts of `FolderMemory` beside `Versions` and `Payloads`."""

    _grace_ms: int
    _purged: str = ""  # the path behind which the next purge goes on

    # --- census ------------------------------------------------------------------------------------------------------

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        """See `Census.census`. Each record comes exactly once, in the order of the paths; each head is read as a whole and checked. A page ends
        early at 16 MiB of heads. What lies there and is no head, or not where its key says, is told as damaged."""
        check_census(tenant, scope, limit)
        place = "" if cursor is None else unpack_census(tenant, scope, cursor)
        top = _HEADS
        if tenant is not None:
            top = blob_prefix(tenant, "x" if scope is None else scope).rstrip("/")
            top = top if scope is not None else top.removesuffix("/x")
        items: list[Stored] = []
        damaged: list[str] = []
        size = 0
        last: str | None = place
        while last is not None and len(items) + len(damaged) < limit and size < PAGE_BYTES:
            room = min(PER_CALL, limit - len(items) - len(damaged))
            counted = await self._run("count heads", self._count, top, last, room, deadline=deadline)
            items += counted.items
            damaged += counted.damaged
            size += counted.size
            last = counted.last
        return Inventory(items, None if last is None else pack_census(tenant, scope, last), damaged)

    def _count(self, top: str, after: str, most: int) -> _Counted:
        paths = list(islice(self._files.walk(top, after=after), most + 1))
        items: list[Stored] = []
        damaged: list[str] = []
        size, last = 0, after
        for path in paths[:most]:
            data = self._files.read(path)
            last = path
            if data is None:
                continue  # purged meanwhile
            size += len(data)
            try:
                items.append(_stored(data, path))
            except _UNTOLD as error:
                damaged.append(f"{path}: {error}")
            if size >= PAGE_BYTES:
                break
        return _Counted(items, damaged, size, None if paths[-1:] in ([], [last]) else last)

    # --- relocation --------------------------------------------------------------------------------------------------

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        """See `Relocates.relocate`. The head is replaced under its lock, as by a write. Raises `TooLarge` for a payload that no head holds."""
        check_move(old, new)
        if len(new.payload) > heads.INLINE_LIMIT:
            raise TooLarge(f"a head holds a payload of at most {heads.INLINE_LIMIT} bytes, not {len(new.payload)}")
        try:
            return await self._locked("relocate a payload", partial(self._relocate, old, new), deadline=deadline)
        except NotDurable as error:
            raise TierUnavailable(f"cold: the disk did not confirm a relocation: {error}", tier=self.tier) from error

    def _relocate(self, old: Envelope, new: Envelope) -> bool | None:
        path = head_path(old.key)
        with self._files.lock(path) as held:
            if not held:
                return None
            check_pointer(new, self._clock.wall_ms(), tier=self.tier)
            data = self._files.read(path)
            if data is None or etag_of(data) != old.etag:
                return False
            head = wire.unpack_head(data, old.key)
            self._replace_file(wire.pack_head(heads.Head(new, head.ring, head.birth)), path)
            return True

    # --- purging -----------------------------------------------------------------------------------------------------

    async def purge(self, *, dead_before_ms: int, limit: int, deadline: Deadline) -> int:
        """See `Purges.purge`. Walks the heads from where the last purge stopped; damaged ones stay, and are counted. Notes that need not be kept any
        longer go as well, when a walk has come to its end, and are not in the answer."""
        check_limit(limit)
        before_ms = min(dead_before_ms, self._clock.wall_ms() - self._grace_ms + 1)
        removed = 0
        behind = self._purged
        for after, until in ((behind, ""), ("", behind)) if behind else (("", ""),):
            self._purged = after
            while removed < limit:
                if removed and deadline.expired():
                    return removed
                paths, following = await self._run(
                    "list heads", self._paths, _HEADS, self._purged, PER_CALL, deadline=deadline
                )
                for path in await self._dead(paths, before_ms, deadline):
                    purge = partial(self._purge_head, path, before_ms)
                    removed += await self._locked("purge a head", purge, deadline=deadline)
                    self._purged = path
                    if removed == limit:
                        return removed
                if following is None or (until and following.split("/") >= until.split("/")):
                    break
                self._purged = following
        self._purged = ""
        await self._run("remove notes", self._remove_notes, deadline=deadline)
        return removed

    async def _dead(self, paths: list[str], before_ms: int, deadline: Deadline) -> list[str]:
        """Those whose records look dead, and are to be looked at again under their locks."""

        def look() -> tuple[list[str], int]:
            dead, damaged = [], 0
            for path in paths:
                try:
                    if self._died_before(path, before_ms):
                        dead.append(path)
                except _UNTOLD:
                    damaged += 1
            return dead, damaged

        dead, damaged = await self._run("look for dead heads", look, deadline=deadline)
        if damaged:
            self.stats.count(CORRUPT, self.tier, damaged)
        return dead

    def _died_before(self, path: str, before_ms: int) -> bool:
        data = self._files.read(path)
        return data is not None and 0 < died_ms(wire.unpack_any_head(data).envelope.header) < before_ms

    def _purge_head(self, path: str, before_ms: int) -> bool | None:
        with self._files.lock(path) as held:
            if not held:
                return None
            try:
                dead = self._died_before(path, before_ms)
            except _UNTOLD:
                return False
            if dead:
                self._files.remove(path)
            return dead

    # --- notes -------------------------------------------------------------------------------------------------------

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None:
        """See `Notes.read_note`. Raises `CorruptRecord` for one that was altered from outside."""
        check_note(name)
        found = await self._run("read a note", self._read_note, name, deadline=deadline)
        return None if found is None else found.note

    async def write_note(
        self,
        name: str,
        data: bytes,
        *,
        if_etag: str | None = None,
        if_absent: bool = False,
        lasting: timedelta | None = None,
        deadline: Deadline,
    ) -> Note | None:
        """See `Notes.write_note`. One rename, under the note's lock; a damaged note is replaced by a write without a condition."""
        check_note(name, data, lasting=lasting)
        check_note_conditions(if_etag, if_absent)

        def write() -> tuple[Note | None] | None:
            with self._files.lock(note_path(name)) as held:
                if not held:
                    return None
                if if_etag is not None or if_absent:
                    there = self._read_note(name)
                    if (there is not None) if if_absent else (there is None or there.note.etag != if_etag):
                        return (None,)
                note = Note(name, data, new_etag())
                until_ms = note_until_ms(lasting, self._clock.wall_ms())
                self._replace_file(pack_note(NoteFile(note, until_ms)), note_path(name))
                return (note,)

        try:
            [note] = await self._locked("write a note", write, deadline=deadline)
        except NotDurable as error:
            raise TierUnavailable(f"cold: the disk did not confirm a note: {error}", tier=self.tier) from error
        return note

    async def delete_note(self, name: str, *, if_etag: str | None = None, deadline: Deadline) -> bool:
        """See `Notes.delete_note`. One removal, under the note's lock."""
        check_note(name)

        def delete() -> bool | None:
            with self._files.lock(note_path(name)) as held:
                if not held:
                    return None
                if if_etag is not None:
                    there = self._read_note(name)
                    if there is None or there.note.etag != if_etag:
                        return False
                return self._remove_note(name)

        return await self._locked("delete a note", delete, deadline=deadline)

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        """See `Notes.list_notes`. All notes lie in one folder, which each page reads."""
        check_notes(prefix, limit)
        after = "" if cursor is None else note_path(unpack_notes(prefix, cursor))
        start = note_path(prefix).removeprefix(f"{NOTE_TOP}/")
        paths, following = await self._run("list notes", self._paths, NOTE_TOP, after, limit, start, deadline=deadline)
        return [note_name(path) for path in paths], None if following is None else pack_notes(
            prefix, note_name(following)
        )

    def _read_note(self, name: str) -> NoteFile | None:
        data = self._files.read(note_path(name))
        return None if data is None else unpack_note(data, name)

    def _remove_note(self, name: str) -> bool:
        if self._files.status(note_path(name)) is None:
            return False
        self._files.remove(note_path(name))
        return True

    def _remove_notes(self) -> None:
        """Those that need not be kept any longer; one that somebody is writing just now stays for the next time, and so does a damaged one."""
        for path in list(self._files.walk(NOTE_TOP)):
            name = note_name(path)
            with self._files.lock(path) as held:
                try:
                    there = self._read_note(name) if held else None
                except _UNTOLD:
                    continue
                if there is not None and 0 < there.until_ms <= self._clock.wall_ms():
                    self._files.remove(path)

    def _replace_file(self, data: bytes, path: str) -> None:
        """Atomic, and durable with ``fsync``. Raises `NotDurable` if it took the place and the disk did not confirm it."""
        with self._files.temporary() as spool:
            spool.add(data)
            self._files.seal(spool)
            self._files.publish(spool, path)


def _stored(data: bytes, path: str) -> Stored:
    stored = stored_of(wire.unpack_any_head(data).envelope)
    if head_path(stored.key) != path:
        raise CorruptRecord(f"the head of {stored.key} does not lie where its key says")
    return Stored(stored.key, stored.header, stored.size, stored.pointer, stored.tags, stored.media_type, etag_of(data))
