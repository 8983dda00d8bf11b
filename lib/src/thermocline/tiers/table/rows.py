"""A head as a row of a table. Pure.

The head's bytes (`thermocline.blobs.wire`) lie in binary properties ``p00``, ``p01``, … of 64 KiB. Beside them, for listings, which then read no value: the
columns of `wire.metadata_of`, ``tcp`` with the head's path, and ``tcd``, from when on (ms since 1970) the record is dead. They are set by the same request
as the head, and are never what a read returns.
"""

import json
from collections.abc import Mapping
from typing import Final

from thermocline.blobs import wire
from thermocline.blobs.heads import Head
from thermocline.blobs.upkeep import died_ms
from thermocline.errors import CorruptRecord, InvalidArgument, TooLarge
from thermocline.keys import head_path, table_partition, table_row
from thermocline.protocols import Stored, Write
from thermocline.tiers.table.service import Row

INLINE_LIMIT: Final = 960 * 1024  # bytes of a payload in a row; the service takes an entity of 1 MiB
ROW_BYTES: Final = 1000 * 1024  # ... and of the whole head, which leaves room for the columns, two bytes a character
COLUMNS: Final = ("tcp", "tcv", "tce", "tcm", "tcs", "tcr", "tcf", "tck", "tct", "tch", "tcx")
_PATH: Final = "tcp"


def row_of(head: Head) -> Row:
    """The row to store. Raises `TooLarge`."""
    key = head.envelope.key
    path, data = head_path(key), wire.pack_head(head)
    if len(head.envelope.payload) > INLINE_LIMIT or len(data) > ROW_BYTES:
        raise _too_large(max(len(data), len(head.envelope.payload)))
    columns = {_PATH: path, **wire.metadata_of(head, path)}
    return Row(table_partition(key), table_row(key), data, columns, died_ms(head.envelope.header))


def check(write: Write) -> None:
    """Raise `TooLarge` for a write whose payload no row can hold, before anything is sent."""
    if len(write.envelope.payload) > INLINE_LIMIT:
        raise _too_large(len(write.envelope.payload))


def _too_large(size: int) -> TooLarge:
    return TooLarge(
        f"{size} bytes are too many for a row of a table (at most {INLINE_LIMIT} of payload): give the client a cold tier, and such values go there"
        " (cold_threshold_bytes)"
    )


def head_of(row: Row) -> Head:
    """The head in a row, whatever key it is of. Raises `CorruptRecord`, `UnreadableRecord`."""
    head = wire.unpack_any_head(row.data)
    key = head.envelope.key
    if (table_partition(key), table_row(key)) != (row.partition, row.row):
        raise CorruptRecord(f"it holds the record of another key, {key}")
    return head


def stored_of(row: Row) -> Stored | None:
    """What a census says of a row, from its columns alone. None: they do not tell, read it whole."""
    path = row.columns.get(_PATH)
    told = None if path is None else wire.stored_of(row.columns, path, row.etag)
    if told is None or (table_partition(told.key), table_row(told.key)) != (row.partition, row.row):
        return None
    return told


def pack_token(token: Mapping[str, str]) -> str:
    """The service's token of a listing's next page, as text."""
    return json.dumps(dict(token))


def unpack_token(text: str) -> dict[str, str]:
    """Raises `InvalidArgument` for what is no token."""
    try:
        token = json.loads(text)
    except ValueError as error:
        raise InvalidArgument("not a cursor of a listing: begin without one") from error
    if not isinstance(token, dict) or not all(isinstance(value, str) for value in token.values()):
        raise InvalidArgument("not a cursor of a listing: begin without one")
    return {name: token[name] for name in ("PartitionKey", "RowKey") if name in token}
