"""Notes: the library's own small documents, as blobs below a root where neither a head nor a payload lies.

A blob is named by the name's bytes in hexadecimal digits, in segments of 200, each but the last ended by ``~``: so dots and slashes lead nowhere, the
blobs are in the order of the names, and none is a folder of another's. Its metadata has the name (``tcn``) and until when it is kept (``tce``, ms since
1970, 0: for ever). Each call is one request, a listing one a page, but for a note whose time is over: it is as if it were not there, and stays until
it is written anew or purged.
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
from thermocline.tiers.cold.blobs import Blob, Entry
from thermocline.tiers.cold.service import BlobService

NOTE_ROOT: Final = "tc1/n/"
_SEGMENT: Final = 200
_PAGE: Final = 5000


class BlobNotes:
    """The part `Notes`."""

    _service: BlobService

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None:
        check_note(name)
        blob = await self._service.get(_path(name), deadline)
        return None if blob is None or self._over(blob) else Note(name, blob.data, blob.etag)

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
        path = _path(name)
        metadata = {"tcn": name, "tce": str(note_until_ms(lasting, self._service.now_ms()))}

        async def put(etag: str | None) -> Note | None:
            overwrite = etag is None and not if_absent
            done = await self._service.put(
                path, data, etag=etag, overwrite=overwrite, metadata=metadata, deadline=deadline
            )
            return None if done is None else Note(name, data, done.etag)

        note = await put(if_etag)
        if note is None and if_absent:
            blob = await self._service.get(path, deadline)
            if blob is not None and self._over(blob):
                note = await put(blob.etag)
        return note

    async def delete_note(self, name: str, *, if_etag: str | None = None, deadline: Deadline) -> bool:
        check_note(name)
        return await self._service.delete(_path(name), etag=if_etag, deadline=deadline)

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        """By code point."""
        check_notes(prefix, limit)
        token = None if cursor is None else unpack_notes(prefix, cursor)
        entries, following = await self._service.page(_path(prefix), limit=limit, token=token, deadline=deadline)
        names = [_name(entry.name) for entry in entries if not self._over(entry)]
        return names, None if following is None else pack_notes(prefix, following)

    async def _notes_over(self, now_ms: int, place: str | None, deadline: Deadline) -> tuple[list[Entry], str | None]:
        entries, following = await self._service.page(NOTE_ROOT, limit=_PAGE, token=place, deadline=deadline)
        return [entry for entry in entries if 0 < _until_ms(entry) <= now_ms], following

    def _over(self, blob: Blob | Entry) -> bool:
        return 0 < _until_ms(blob) <= self._service.now_ms()


def _until_ms(blob: Blob | Entry) -> int:
    until = blob.metadata.get("tce", "0")
    return int(until) if until.isdigit() else 0


def _path(name: str) -> str:
    digits = name.encode().hex()
    return NOTE_ROOT + "~/".join(digits[at : at + _SEGMENT] for at in range(0, len(digits), _SEGMENT))


def _name(path: str) -> str:
    return bytes.fromhex(path[len(NOTE_ROOT) :].replace("~/", "")).decode()
