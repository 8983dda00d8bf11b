"""What keeps `ProcessMemory` in order where it is the authority itself: `Census` and `Notes`. No I/O, no awaiting: each call is atomic."""

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from thermocline.blobs.upkeep import (
    check_census,
    check_note,
    check_note_conditions,
    check_notes,
    note_until_ms,
    pack_census,
    pack_notes,
    stored_of,
    unpack_census,
    unpack_notes,
)
from thermocline.clock import Clock, Deadline
from thermocline.errors import ClientClosed, InvalidArgument, TierFull, TierTimeout
from thermocline.model import MemoryTier
from thermocline.protocols import Inventory, Note
from thermocline.telemetry import REQUESTS, Stats
from thermocline.tiers.local.process_records import Records

NOTE_OVERHEAD: Final = 700  # bytes that a note takes beside its data and its name, about
NOTES_SHARE: Final = 4  # notes may take up to the fourth part of the bound: they are never forgotten to make room


@dataclass(frozen=True, slots=True)
class _Kept:
    note: Note
    until_ms: int  # 0: for ever

    @property
    def weight(self) -> int:
        return NOTE_OVERHEAD + len(self.note.name) + len(self.note.data)


class ProcessUpkeep:
    """A part of `ProcessMemory`, and its door."""

    tier: MemoryTier
    stats: Stats
    _bytes: int
    _clock: Clock
    _loop: asyncio.AbstractEventLoop | None
    _make_room: Callable[[int], None]
    _max_bytes: int
    _notes: dict[str, _Kept]
    _records: Records

    def _enter(self, deadline: Deadline) -> int:
        """The door: the time, if the tier may be used."""
        if self._loop is not asyncio.get_running_loop():
            raise ClientClosed(
                "process memory is not connected, or belongs to another event loop: await connect() in this one"
            )
        if deadline.expired():
            raise TierTimeout("the deadline had passed before process memory was asked", tier=self.tier, sent=False)
        self.stats.count(REQUESTS, self.tier)
        return self._clock.wall_ms()

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        """See `Census.census`: the records, and no entries. Each comes exactly once, in the order of the keys."""
        self._enter(deadline)
        check_census(tenant, scope, limit)
        place = None if cursor is None else json.loads(unpack_census(tenant, scope, cursor))
        after = None
        if place is not None:
            if not isinstance(place, list) or len(place) != 3 or not all(isinstance(part, str) for part in place):
                raise InvalidArgument("not a cursor of a census: begin without one")
            after = (place[0], place[1], place[2])
        found = self._records.count(tenant, scope, after, limit + 1)
        items = [stored_of(envelope) for envelope in found[:limit]]
        if len(found) <= limit:
            return Inventory(items, None)
        last = items[-1].key
        return Inventory(items, pack_census(tenant, scope, json.dumps([last.tenant, last.scope, last.name])))

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None:
        """See `Notes.read_note`."""
        self._enter(deadline)
        check_note(name)
        kept = self._notes.get(name)
        return None if kept is None else kept.note

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
        """See `Notes.write_note`. Removes the notes that need not be kept any longer. Raises `TierFull` where notes would take more than a quarter of
        ``max_bytes``."""
        now_ms = self._enter(deadline)
        check_note(name, data, lasting=lasting)
        check_note_conditions(if_etag, if_absent)
        there = self._notes.get(name)
        if (if_absent and there is not None) or (if_etag is not None and (there is None or there.note.etag != if_etag)):
            return None
        for over in [kept for kept in self._notes.values() if 0 < kept.until_ms <= now_ms]:
            self._drop_note(over)
        kept = _Kept(Note(name, data, secrets.token_hex(12)), note_until_ms(lasting, now_ms))
        there = self._notes.get(name)
        weight = sum(other.weight for other in self._notes.values()) - (0 if there is None else there.weight)
        if (weight + kept.weight) * NOTES_SHARE > self._max_bytes:
            raise TierFull(
                f"notes take at most a quarter of max_bytes ({self._max_bytes // NOTES_SHARE} bytes): raise max_bytes, or delete notes",
                tier=self.tier,
                sent=False,
            )
        if there is not None:
            self._drop_note(there)
        self._notes[name] = kept
        self._bytes += kept.weight
        self._make_room(now_ms)
        return kept.note

    async def delete_note(self, name: str, *, if_etag: str | None = None, deadline: Deadline) -> bool:
        """See `Notes.delete_note`."""
        self._enter(deadline)
        check_note(name)
        there = self._notes.get(name)
        if there is None or (if_etag is not None and there.note.etag != if_etag):
            return False
        self._drop_note(there)
        return True

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        """See `Notes.list_notes`."""
        self._enter(deadline)
        check_notes(prefix, limit)
        after = "" if cursor is None else unpack_notes(prefix, cursor)
        found = sorted(name for name in self._notes if name.startswith(prefix) and name > after)
        return found[:limit], pack_notes(prefix, found[limit - 1]) if len(found) > limit else None

    def _drop_note(self, kept: _Kept) -> None:
        del self._notes[kept.note.name]
        self._bytes -= kept.weight
