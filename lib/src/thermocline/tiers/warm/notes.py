"""Notes: the library's own small documents, as items of its reserved partition, where neither a key nor a raw document can lie.

::

    {"id": "note." and the name, with ~ for /, "tenant": "", "scope": "~thermocline", "name": the name, "data": base64, "ttl": seconds, -1: for ever}

Each call is one request, a listing one a page. Reads have the account's consistency: with Session another process may see a note a moment late.
"""

import base64
import binascii
import math
from datetime import timedelta
from typing import Any, Final

from thermocline.blobs.upkeep import (
    check_note,
    check_note_conditions,
    check_notes,
    pack_notes,
    unpack_notes,
)
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord
from thermocline.protocols import Note
from thermocline.tiers.warm import raw
from thermocline.tiers.warm.calls import bounded, persistently, told
from thermocline.tiers.warm.connection import Connection
from thermocline.tiers.warm.item import LONGEST_TTL, NO_TTL
from thermocline.tiers.warm.trouble import Kind, Trouble

_PREFIX: Final = "note."
_QUERY: Final = "SELECT c.name FROM c WHERE STARTSWITH(c.id, @own) AND STARTSWITH(c.name, @prefix) AND c.name > @last ORDER BY c.name"


class KeptNotes(Connection):
    """The part `Notes`."""

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None:
        """One point read. Raises `CorruptRecord` for one that was written by other means."""
        service = self._asked()
        check_note(name)
        deadline = bounded(deadline)
        try:
            return _note(await persistently(lambda: service.read(_id(name), raw.EPOCH_PARTITION), deadline), name)
        except Trouble as trouble:
            if trouble.kind is Kind.MISSING:
                return None
            raise trouble.error from trouble

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
        """One request; sent again until it is answered. ``lasting`` is rounded up to whole seconds, and one more, because the service counts from those."""
        service = self._asked()
        check_note(name, data, lasting=lasting)
        check_note_conditions(if_etag, if_absent)
        deadline = bounded(deadline)
        seconds = NO_TTL if lasting is None else math.ceil(lasting.total_seconds()) + 1
        tenant, scope = raw.EPOCH_PARTITION
        item = {
            "id": _id(name),
            "tenant": tenant,
            "scope": scope,
            "name": name,
            "data": base64.b64encode(data).decode(),
            "ttl": seconds if seconds <= LONGEST_TTL else NO_TTL,
        }

        async def write() -> dict[str, Any]:
            if if_absent:
                return await service.create_item(item)
            return await (service.upsert(item) if if_etag is None else service.replace(item, if_etag))

        try:
            return _note(await persistently(write, deadline), name)
        except Trouble as trouble:
            if trouble.kind in (Kind.EXISTS, Kind.REFUSED, Kind.MISSING):
                return None
            raise trouble.error from trouble

    async def delete_note(self, name: str, *, if_etag: str | None = None, deadline: Deadline) -> bool:
        """One request; sent again until it is answered, so that after a lost answer it may say False of what it did itself."""
        service = self._asked()
        check_note(name)
        deadline = bounded(deadline)
        try:
            await persistently(lambda: service.delete(_id(name), raw.EPOCH_PARTITION, etag=if_etag), deadline)
        except Trouble as trouble:
            if trouble.kind in (Kind.MISSING, Kind.REFUSED):
                return False
            raise trouble.error from trouble
        return True

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        """By code point. The cursor is the last name, so what stays is listed exactly once."""
        service = self._asked()
        check_notes(prefix, limit)
        last = "" if cursor is None else unpack_notes(prefix, cursor)
        deadline = bounded(deadline)
        given = {"@own": _PREFIX, "@prefix": prefix, "@last": last}
        with told():
            rows, more = await persistently(
                lambda: service.page(_QUERY, given, raw.EPOCH_PARTITION, limit=limit), deadline
            )
        names = [str(row["name"]) for row in rows]
        return names, pack_notes(prefix, names[-1]) if more and names else None


def _id(name: str) -> str:
    return _PREFIX + name.replace("/", "~")


def _note(item: dict[str, Any], name: str) -> Note:
    try:
        return Note(name, base64.b64decode(item["data"], validate=True), str(item["_etag"]))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise CorruptRecord(f"the note {name} in Cosmos DB is damaged: it holds no base64") from error
