"""Records as rows: the statements of `SqliteMemory`, inside a transaction that its file opened."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from thermocline.codec import FORMAT, Codec
from thermocline.cursors import pack_cursor, unpack_cursor
from thermocline.errors import CorruptRecord, InvalidArgument, InvalidKey, ThermoclineError, TooLarge, UnreadableRecord
from thermocline.model import MAX_VERSION, Authority, Envelope, Flags, Key
from thermocline.protocols import Effect, Listed, Page, Verb, Write, Written
from thermocline.tiers.local.sqlite_errors import TIER
from thermocline.tiers.local.sqlite_file import Transaction
from thermocline.writes import check_pointer

MOST_BYTES: Final = 900_000_000  # of a packed record; SQLite holds 1,000,000,000 in a row

_TOMBSTONE: Final = Flags.TOMBSTONE.value  # a plain integer: an IntFlag's own `&` makes a new flag
_KNOWN_FLAGS: Final = int(Flags.TOMBSTONE | Flags.MARKER | Flags.POINTER)
_RING: Final = 8  # write ids besides the creator's (COHERENCE section 4)
_LATEST_MS: Final = 2**53  # what no time in milliseconds reaches

_SELECT: Final = (
    "SELECT version, flags, expires_ms, moves, record FROM records WHERE tenant = ? AND scope = ? AND name = ?"
)
_SELECT_MANY: Final = (
    "WITH wanted (place, tenant, scope, name) AS (VALUES {}) SELECT place, version, flags, expires_ms, moves, record FROM wanted"
    " CROSS JOIN records USING (tenant, scope, name)"
)
_SELECT_STATE: Final = "SELECT id, version, format, flags, expires_ms, created_ms, writes FROM records WHERE tenant = ? AND scope = ? AND name = ?"
_SELECT_STATES: Final = (
    "WITH wanted (place, tenant, scope, name) AS (VALUES {}) SELECT place, id, version, format, flags, expires_ms, created_ms, writes FROM wanted"
    " CROSS JOIN records USING (tenant, scope, name)"
)
_INSERT: Final = (
    "INSERT INTO records (version, format, flags, expires_ms, created_ms, modified_ms, purge_ms, size, raw_size, tags, writes, record,"
    " tenant, scope, name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE: Final = (
    "UPDATE records SET version = ?, format = ?, flags = ?, expires_ms = ?, created_ms = ?, modified_ms = ?, purge_ms = ?,"
    " size = ?, raw_size = ?, tags = ?, writes = ?, record = ? WHERE id = ?"
)
# Four a write: more than one, so that what is due never piles up.
_PURGE: Final = "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE purge_ms > 0 AND purge_ms <= ? LIMIT 4)"
# Dead since the larger of its times: a tombstone has no expiry, and what was written already expired died then.
_PURGE_DEAD: Final = (
    "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE purge_ms > 0 AND purge_ms <= :now"
    " AND max(expires_ms, modified_ms) < :before AND max(expires_ms, modified_ms) <= :now - :grace LIMIT :limit)"
)
_RELOCATE: Final = (
    "UPDATE records SET format = ?, flags = ?, size = ?, raw_size = ?, record = ?, moves = moves + 1"
    " WHERE tenant = ? AND scope = ? AND name = ? AND version || '-' || moves = ?"
)
_LIST: Final = (  # flag 1: a tombstone
    "SELECT name, version, expires_ms, modified_ms, size, raw_size, flags, tags FROM records"
    " WHERE tenant = ? AND scope = ? AND name {} CAST(? AS TEXT) {} AND typeof(name) = 'text' AND flags & 1 = 0"
    " AND (expires_ms = 0 OR expires_ms > ?) ORDER BY name LIMIT ?"
)


# --- reading ---------------------------------------------------------------------------------------------------------


def read(connection: sqlite3.Connection, codec: Codec, key: Key) -> Envelope | None:
    row = connection.execute(_SELECT, (key.tenant, key.scope, key.name)).fetchone()
    return None if row is None else envelope_of(codec, key, row)


def read_many(
    connection: sqlite3.Connection, codec: Codec, keys: Sequence[Key]
) -> list[Envelope | ThermoclineError | None]:
    """One statement for all. SQLite binds 32,766 values at most (999 before 3.32): 4 per key."""
    found: list[Envelope | ThermoclineError | None] = [None] * len(keys)
    values: list[Any] = []
    for place, key in enumerate(keys):
        values += (place, key.tenant, key.scope, key.name)
    statement = _SELECT_MANY.format(",".join(["(?,?,?,?)"] * len(keys)))
    for place, *row in connection.execute(statement, values):
        try:
            found[place] = envelope_of(codec, keys[place], row)
        except (CorruptRecord, UnreadableRecord) as error:
            found[place] = error
    return found


def envelope_of(codec: Codec, key: Key, row: Sequence[Any]) -> Envelope:
    """The record in a row (version, flags, expires_ms, moves, record), marked by its etag: no two writes or moves leave the same."""
    version, flags, expires_ms, moves, record = row
    if not isinstance(record, bytes):
        raise CorruptRecord(f"{key}: its row was altered from outside; write it anew or delete it")
    envelope = codec.unpack(record, key)
    header = envelope.header
    if (header.version, header.flags, header.expires_ms) != (version, flags, expires_ms):
        raise CorruptRecord(
            f"{key}: its row was altered from outside and contradicts itself; write it anew or delete it"
        )
    return Envelope(key, header, envelope.payload, envelope.media_type, envelope.tags, None, f"{version}-{moves}")


# --- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of a key without its payload."""

    id: int
    version: int
    flags: int
    expires_ms: int
    created_ms: int
    writes: dict[
        str, int
    ]  # the ids of its last writes, newest first, and of the one that created it last of all: the version of each

    def live(self, now_ms: int) -> bool:
        return not self.flags & _TOMBSTONE and not 0 < self.expires_ms <= now_ms


Ahead = dict[Key, tuple[Any, ...] | None]
"""What the rows of some keys say of their state; None: there is no row."""


def ahead(transaction: Transaction, keys: Sequence[Key]) -> Ahead:
    """For the writes of a transaction, in one SELECT; at most 240 keys."""
    values = [value for place, key in enumerate(keys) for value in (place, key.tenant, key.scope, key.name)]
    statement = _SELECT_STATES.format(",".join(["(?,?,?,?)"] * len(keys)))
    found: Ahead = dict.fromkeys(keys)
    for place, *row in transaction.execute(statement, values):
        found[keys[place]] = tuple(row)
    return found


def apply(
    transaction: Transaction, codec: Codec, write: Write, *, now_ms: int, grace_ms: int, states: Ahead | None = None
) -> Written:
    """One write, in a transaction. Raises our errors before it has changed anything, sqlite3's at any point. What ``states`` knows of its key is taken
    out of it."""
    key = write.key
    if write.if_absent and (write.if_version is not None or write.verb is not Verb.PUT):
        raise InvalidArgument("if_absent goes with a put, and not with if_version")
    known = states is not None and key in states
    state = _state_of(key, states.pop(key)) if states is not None and known else _state(transaction, key)
    version = state.version if state else 0
    if state is not None and write.id in state.writes:
        return Written(Effect.TOOK, state.writes[write.id])
    live = state is not None and state.live(now_ms)
    if write.if_version is not None and (state is None or version != write.if_version):
        return Written(Effect.REFUSED, version)
    if write.if_absent and live:
        return Written(Effect.REFUSED, version)
    if (write.verb is Verb.DELETE and state is None) or (write.verb is Verb.TOUCH and not live):
        return Written(Effect.NOTHING, version)
    version = max(version + 1, (write.known or 0) + 1, now_ms * 1000)
    if version > MAX_VERSION:
        raise CorruptRecord(f"{key}: its version has left the range of versions; restore the database from a backup")
    envelope = write.envelope if write.envelope.etag is None else replace(write.envelope, etag=None)
    if write.verb is Verb.PUT:
        check_pointer(envelope, now_ms, tier=TIER)
    if write.verb is Verb.TOUCH:
        envelope = _touched(transaction, codec, write)
    created_ms = state.created_ms if live and state is not None and write.verb is not Verb.TOUCH else None
    envelope = envelope.stamped(version=version, authority=Authority.WARM, created_ms=created_ms)
    _store(transaction, codec, envelope, state, write.id, now_ms=now_ms, grace_ms=grace_ms)
    return Written(Effect.TOOK, version, envelope)


def purge(transaction: Transaction, now_ms: int) -> None:
    """Remove a few of the rows whose grace is over."""
    transaction.execute(_PURGE, (now_ms,))


def _state(transaction: Transaction, key: Key) -> _State | None:
    return _state_of(key, transaction.execute(_SELECT_STATE, (key.tenant, key.scope, key.name)).fetchone())


def _state_of(key: Key, row: Sequence[Any] | None) -> _State | None:
    if row is None:
        return None
    row_id, version, format_, flags, expires_ms, created_ms, writes = row
    try:
        ids = msgspec.json.decode(writes)
    except (msgspec.MsgspecError, ValueError, TypeError):
        ids = None
    if not isinstance(ids, dict) or not all(isinstance(number, int) and number >= 0 for number in row[:-1]):
        raise CorruptRecord(
            f"{key}: its row was altered from outside and cannot be told from a newer one; restore the database"
        )
    if format_ > FORMAT or flags > _KNOWN_FLAGS:
        raise UnreadableRecord(f"{key} was written by a newer version of this program, and is left as it is: upgrade")
    return _State(row_id, version, flags, expires_ms, created_ms, ids)


def _ring(state: _State | None, write_id: str, version: int) -> str:
    """The ids of the last eight writes, and of the one that created the row: a second copy of any of them is known by it."""
    older = list(state.writes.items()) if state else []
    kept = older if len(older) <= _RING else [*older[: _RING - 1], older[-1]]
    return msgspec.json.encode(dict([(write_id, version), *kept])).decode()


def _touched(transaction: Transaction, codec: Codec, write: Write) -> Envelope:
    row = transaction.execute(_SELECT, (write.key.tenant, write.key.scope, write.key.name)).fetchone()
    old = envelope_of(codec, write.key, row)
    given = write.envelope.header
    header = replace(old.header, expires_ms=given.expires_ms, modified_ms=given.modified_ms)
    return replace(old, header=header, etag=None)


def packed(codec: Codec, envelope: Envelope) -> bytes:
    """The record as a row holds it. Raises `TooLarge`."""
    record = codec.pack(envelope)
    if len(record) > MOST_BYTES:
        raise TooLarge(
            f"{envelope.key}: {len(record)} bytes are more than a row may have ({MOST_BYTES}); configure a cold tier"
        )
    return record


def _store(
    transaction: Transaction,
    codec: Codec,
    envelope: Envelope,
    state: _State | None,
    write_id: str,
    *,
    now_ms: int,
    grace_ms: int,
) -> None:
    header, key = envelope.header, envelope.key
    if max(header.expires_ms, header.created_ms, header.modified_ms) > _LATEST_MS:
        raise InvalidArgument(f"{key}: a time of this record lies beyond the year 287396")
    record = packed(codec, envelope)
    ends = now_ms if envelope.tombstone else header.expires_ms
    values = (
        header.version,
        FORMAT,
        int(header.flags),
        header.expires_ms,
        header.created_ms,
        header.modified_ms,
        max(ends, now_ms) + grace_ms if ends else 0,
        len(envelope.payload),
        header.raw_length,
        json.dumps(dict(envelope.tags)) if envelope.tags else None,
        _ring(state, write_id, header.version),
        record,
    )
    if state is None:
        transaction.execute(_INSERT, (*values, key.tenant, key.scope, key.name))
    else:
        transaction.execute(_UPDATE, (*values, state.id))


# --- moving and removing -----------------------------------------------------------------------------------------------


def relocate(transaction: Transaction, codec: Codec, old: Envelope, new: Envelope, *, now_ms: int) -> bool:
    """Put ``new`` in the place of exactly the copy that was read as ``old``. Raises before it has changed anything."""
    check_pointer(new, now_ms, tier=TIER)
    key, header = new.key, new.header
    values = (FORMAT, int(header.flags), len(new.payload), header.raw_length, packed(codec, new))
    return transaction.execute(_RELOCATE, (*values, key.tenant, key.scope, key.name, old.etag)).rowcount == 1


def purge_dead(transaction: Transaction, *, dead_before_ms: int, limit: int, now_ms: int, grace_ms: int) -> int:
    """Remove records that died before that moment and whose grace is over; how many."""
    values = {"before": dead_before_ms, "limit": limit, "now": now_ms, "grace": grace_ms}
    return transaction.execute(_PURGE_DEAD, values).rowcount


# --- listing ---------------------------------------------------------------------------------------------------------


def scan(
    connection: sqlite3.Connection, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, now_ms: int
) -> tuple[Page, int]:
    """Names in the order of their code points, which is the order of their UTF-8 bytes and so of the index. With how many damaged rows were left out."""
    after = unpack_cursor(tenant, scope, prefix, cursor) if cursor is not None else None
    bound = next_prefix(prefix)
    statement = _LIST.format(">=" if after is None else ">", "" if bound is None else "AND name < ?")
    place = (prefix if after is None else after).encode(errors="surrogateescape")
    values = [tenant, scope, place, *([] if bound is None else [bound]), now_ms, limit + 1]
    with as_bytes(connection):
        rows = connection.execute(statement, values).fetchall()
    found = [_listed(tenant, scope, row) for row in rows[:limit]]
    items = [item for item in found if item is not None]
    more = len(rows) > limit
    page = Page(items, pack_cursor(tenant, scope, prefix, text_of(rows[limit - 1][0])) if more else None)
    return page, len(found) - len(items)


@contextlib.contextmanager
def as_bytes(connection: sqlite3.Connection) -> Iterator[None]:
    """Text comes as its bytes: a row whose text is no UTF-8 costs only itself."""
    connection.text_factory = bytes
    try:
        yield
    finally:
        connection.text_factory = str


def text_of(data: bytes) -> str:
    """Any bytes as text that a cursor can hold."""
    return data.decode(errors="surrogateescape")


def _listed(tenant: str, scope: str, row: Sequence[Any]) -> Listed | None:
    name, version, expires_ms, modified_ms, size, raw_size, flags, tags = row
    numbers = (version, expires_ms, modified_ms, size, raw_size, flags)
    try:
        key = Key(tenant, scope, name.decode())
        known = json.loads(tags) if tags is not None else {}
    except (InvalidKey, ValueError, TypeError):
        return None
    if not all(isinstance(number, int) for number in numbers) or not isinstance(known, dict):
        return None
    return Listed(key, version, expires_ms, modified_ms, size, raw_size, bool(flags & int(Flags.POINTER)), known)


def next_prefix(prefix: str) -> str | None:
    """The first string after all that begin with ``prefix``, by code point; None where there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)  # between the two lie the surrogates
        prefix = prefix[:-1]
    return None
