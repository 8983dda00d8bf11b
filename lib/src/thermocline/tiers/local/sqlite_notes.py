"""The notes of `SqliteMemory`: a table of their own, which no key reaches."""

import secrets
import sqlite3
from datetime import timedelta
from typing import Any, Final

from thermocline.blobs.upkeep import note_until_ms, pack_notes, unpack_notes
from thermocline.errors import CorruptRecord
from thermocline.protocols import Note
from thermocline.tiers.local.sqlite_file import Transaction
from thermocline.tiers.local.sqlite_rows import next_prefix

_READ: Final = "SELECT data, etag FROM notes WHERE name = ?"
_WRITE: Final = "INSERT OR REPLACE INTO notes (name, data, etag, until_ms) VALUES (?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM notes WHERE name = ? AND (? IS NULL OR etag = ?)"
_OVER: Final = "DELETE FROM notes WHERE until_ms > 0 AND until_ms <= ?"
_LIST: Final = "SELECT name FROM notes WHERE name {} ? {} ORDER BY name LIMIT ?"


def read(connection: sqlite3.Connection, name: str) -> Note | None:
    row = connection.execute(_READ, (name,)).fetchone()
    return None if row is None else _note(name, row)


def write(
    transaction: Transaction,
    name: str,
    data: bytes,
    *,
    if_etag: str | None,
    if_absent: bool,
    lasting: timedelta | None,
    now_ms: int,
) -> Note | None:
    """Store it if the condition holds, and remove what is no longer to be kept. None: it does not hold, and nothing was changed."""
    if if_etag is not None or if_absent:
        row = transaction.execute(_READ, (name,)).fetchone()
        if (row is not None) if if_absent else (row is None or row[1] != if_etag):
            return None
    etag = secrets.token_hex(12)
    transaction.execute(_OVER, (now_ms,))
    transaction.execute(_WRITE, (name, data, etag, note_until_ms(lasting, now_ms)))
    return Note(name, data, etag)


def delete(transaction: Transaction, name: str, if_etag: str | None) -> bool:
    return transaction.execute(_DELETE, (name, if_etag, if_etag)).rowcount == 1


def names(
    connection: sqlite3.Connection, prefix: str, *, limit: int, cursor: str | None
) -> tuple[list[str], str | None]:
    """A page of the names that start with ``prefix``: one stretch of the index."""
    after = None if cursor is None else unpack_notes(prefix, cursor)
    bound = next_prefix(prefix)
    statement = _LIST.format(">=" if after is None else ">", "" if bound is None else "AND name < ?")
    values = [prefix if after is None else after, *([] if bound is None else [bound]), limit + 1]
    rows = connection.execute(statement, values).fetchall()
    found = [row[0] for row in rows[:limit]]
    return found, pack_notes(prefix, found[-1]) if len(rows) > limit else None


def _note(name: str, row: tuple[Any, ...]) -> Note:
    data, etag = row
    if not isinstance(data, bytes) or not isinstance(etag, str):
        raise CorruptRecord(f"the note {name} was altered from outside; write it anew or delete it")
    return Note(name, data, etag)
