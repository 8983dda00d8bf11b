"""Notes: the library's own small documents, under keys of their own that neither an entry, a record nor a plain key can have.

All lie in one slot, with an index of their names, so that a script can write both. Like everything that lives in Redis alone, what Redis loses is lost.
"""

import uuid
from datetime import timedelta
from typing import Final

from thermocline.blobs.upkeep import (
    check_note,
    check_note_conditions,
    check_notes,
    note_until_ms,
    pack_notes,
    unpack_notes,
)
from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.protocols import Note
from thermocline.tiers.hot.base import HotBase
from thermocline.tiers.hot.scripts import NOTE
from thermocline.tiers.hot.wire import Command

INDEX: Final = b"tc1:m{~notes}"
ETAG: Final = 32  # characters before the data


class HotNotes(HotBase):
    """The part `Notes`."""

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None:
        """One GET."""
        self._enter()
        check_note(name)
        found = await self._call(("GET", note_key(name)), deadline)
        return None if found is None else Note(name, found[ETAG:], found[:ETAG].decode("ascii", "replace"))

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
        """One script, also in a full Redis."""
        self._enter()
        check_note(name, data, lasting=lasting)
        check_note_conditions(if_etag, if_absent)
        etag = uuid.uuid4().hex
        done = await self._note(
            ("write", name, _condition(if_etag, if_absent), etag.encode() + data, note_until_ms(lasting, 0)), deadline
        )
        return Note(name, data, etag) if done else None

    async def delete_note(self, name: str, *, if_etag: str | None = None, deadline: Deadline) -> bool:
        """One script."""
        self._enter()
        check_note(name)
        return await self._note(("delete", name, _condition(if_etag, False)), deadline)

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        """By code point. Names of notes that are gone leave the index."""
        self._enter()
        check_notes(prefix, limit)
        last = None if cursor is None else unpack_notes(prefix, cursor)
        start = b"[" + prefix.encode() if last is None else b"(" + last.encode()
        end = b"[" + prefix.encode() + b"\xff" if prefix else b"+"
        found = await self._call(("ZRANGEBYLEX", INDEX, start, end, b"LIMIT", 0, limit), deadline)
        names = [name.decode() for name in found]
        there = await self._call_many([(INDEX, ("EXISTS", note_key(name))) for name in names], deadline)
        for name, answer in zip(names, there, strict=True):
            if isinstance(answer, ThermoclineError):
                raise answer
            if not answer:
                await self._note(("tidy", name, b""), deadline)
        kept = [name for name, answer in zip(names, there, strict=True) if answer]
        return kept, pack_notes(prefix, names[-1]) if len(names) == limit else None

    async def _note(self, words: Command, deadline: Deadline) -> bool:
        name = words[1]
        assert isinstance(name, str)
        return bool(await self._run(NOTE, 2, (INDEX, note_key(name), *words), deadline))


def note_key(name: str) -> bytes:
    """Where a note lies."""
    return INDEX + b":" + name.encode()


def _condition(if_etag: str | None, if_absent: bool) -> bytes:
    if if_etag is not None:
        return b"=" + if_etag.encode("utf-8", "replace")
    return b"absent" if if_absent else b""
