"""Notes: the library's own small documents, as rows of a partition that no key has.

A row key is the name with ``, - .`` for ``- . /``, which keeps their order. ``tcd`` is until when it is kept (ms since 1970, 0: for ever). Each call is one
request, a listing one a page, but for a note whose time is over: it is as if it were not there, and stays until it is written anew or purged.
"""

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
from thermocline.protocols import Note
from thermocline.tiers.table.rows import pack_token, unpack_token
from thermocline.tiers.table.service import PAGE, Placing, Row, TableService

NOTES: Final = "tc1n"  # a key's partition has dots
_ROWS: Final = str.maketrans("-./", ",-.")
_NAMES: Final = str.maketrans(",-.", "-./")


class RowNotes:
    """The part `Notes`."""

    _service: TableService

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None:
        check_note(name)
        row = await self._service.get(NOTES, name.translate(_ROWS), deadline)
        return None if row is None or self._over(row) else Note(name, row.data, row.etag)

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
        """One request; three where ``if_absent`` meets a note whose time is over."""
        check_note(name, data, lasting=lasting)
        check_note_conditions(if_etag, if_absent)
        row = Row(NOTES, name.translate(_ROWS), data, dies_ms=note_until_ms(lasting, self._service.now_ms()))
        if if_etag is None and not if_absent:
            return Note(name, data, await self._service.put(row, deadline))
        etag = await self._service.place(Placing(row, if_etag), deadline)
        if etag is None and if_absent:
            there = await self._service.get(row.partition, row.row, deadline)
            if there is not None and self._over(there):
                etag = await self._service.place(Placing(row, there.etag), deadline)
        return None if etag is None else Note(name, data, etag)

    async def delete_note(self, name: str, *, if_etag: str | None = None, deadline: Deadline) -> bool:
        check_note(name)
        return await self._service.delete(NOTES, name.translate(_ROWS), etag=if_etag, deadline=deadline)

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        """By code point."""
        check_notes(prefix, limit)
        where = f"PartitionKey eq '{NOTES}'"
        if prefix:
            start = prefix.translate(_ROWS)
            where += f" and RowKey ge '{start}' and RowKey lt '{start[:-1]}{chr(ord(start[-1]) + 1)}'"
        token = None if cursor is None else unpack_token(unpack_notes(prefix, cursor))
        rows, following = await self._service.page(where, limit=limit, token=token, deadline=deadline, select=())
        names = [row.row.translate(_NAMES) for row in rows if not self._over(row)]
        return names, None if following is None else pack_notes(prefix, pack_token(following))

    async def _notes_over(
        self, now_ms: int, place: dict[str, str] | None, deadline: Deadline
    ) -> tuple[list[Row], dict[str, str] | None]:
        where = f"PartitionKey eq '{NOTES}' and tcd gt 0L and tcd le {now_ms}L"
        return await self._service.page(where, limit=PAGE, token=place, deadline=deadline, select=())

    def _over(self, row: Row) -> bool:
        return 0 < row.dies_ms <= self._service.now_ms()
