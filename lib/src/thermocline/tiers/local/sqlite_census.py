"""The census of `SqliteMemory`: all its rows in the order of the index, page by page."""

import json
import sqlite3
from typing import Any, Final

from thermocline.blobs.upkeep import pack_census, stored_of, unpack_census
from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, InvalidArgument, InvalidKey, UnreadableRecord
from thermocline.model import Key
from thermocline.protocols import Inventory, Stored
from thermocline.tiers.local.sqlite_rows import as_bytes, envelope_of, text_of

PAGE_BYTES: Final = 16 * 2**20  # of records in one page, which is short then: a page is held in memory

_TEXT: Final = "CAST(? AS TEXT)"
# A part that is no text is not of our writing, and no key reaches it: such rows are told at the end, as they fit in no cursor.
_PAGE: Final = (
    "SELECT tenant, scope, name, version, flags, expires_ms, moves, record FROM records"
    " WHERE {} AND typeof(tenant) = 'text' AND typeof(scope) = 'text' AND typeof(name) = 'text'"
    " ORDER BY tenant, scope, name LIMIT ?"
)
_STRANGE: Final = "SELECT count(*) FROM records WHERE {} (typeof(tenant) != 'text' OR typeof(scope) != 'text' OR typeof(name) != 'text')"
_OF: Final = ("", "tenant = ? AND", "tenant = ? AND scope = ? AND")
# By the number of parts that are given: 0 the whole store, 1 a tenant, 2 a scope.
_WHERE: Final = (
    f"(tenant, scope, name) > ({_TEXT}, {_TEXT}, {_TEXT})",
    f"tenant = ? AND (scope, name) > ({_TEXT}, {_TEXT})",
    f"tenant = ? AND scope = ? AND name > {_TEXT}",
)


def census(
    connection: sqlite3.Connection,
    codec: Codec,
    tenant: str | None,
    scope: str | None,
    *,
    limit: int,
    cursor: str | None,
) -> Inventory:
    """One page. Keys never change and lie in their order, so what stays is before the cursor or behind it, whatever is written meanwhile."""
    given = [part for part in (tenant, scope) if part is not None]
    after = ["", "", ""] if cursor is None else _unpack(tenant, scope, cursor)
    values = [*given, *(part.encode(errors="surrogateescape") for part in after[len(given) :]), limit + 1]
    items: list[Stored] = []
    damaged: list[str] = []
    last: list[str] | None = None
    more = False
    size = 0
    with as_bytes(connection):
        for row in connection.execute(_PAGE.format(_WHERE[len(given)]), values):
            if len(items) + len(damaged) == limit or size > PAGE_BYTES:
                more = True
                break
            last = [text_of(part) for part in row[:3]]
            size += len(row[-1]) if isinstance(row[-1], bytes) else 0
            try:
                items.append(_stored(codec, row))
            except (CorruptRecord, UnreadableRecord, InvalidKey, UnicodeDecodeError) as error:
                damaged.append(f"{'/'.join(last)!r}: {error}")
        [strange] = connection.execute(_STRANGE.format(_OF[len(given)]), given).fetchone() if not more else (0,)
    if strange:
        damaged.append(f"{strange} rows were altered from outside: a part of their key is no text")
    return Inventory(items, pack_census(tenant, scope, json.dumps(last)) if more else None, damaged)


def _stored(codec: Codec, row: tuple[Any, ...]) -> Stored:
    tenant, scope, name = (part.decode() for part in row[:3])
    return stored_of(envelope_of(codec, Key(tenant, scope, name), row[3:]))


def _unpack(tenant: str | None, scope: str | None, cursor: str) -> list[str]:
    place = json.loads(unpack_census(tenant, scope, cursor))
    if not isinstance(place, list) or len(place) != 3 or not all(isinstance(part, str) for part in place):
        raise InvalidArgument("not a cursor of a census: begin without one")
    return place
