"""Listings of one scope: the query, its rows, and the cursor.

The order is that of the names, and the cursor is the last name that was given out, not the service's token: a name never changes, so whatever is
written meanwhile, a key that stays is before the cursor or behind it and comes exactly once. (The order of the service's own pages is not
promised over writes, and a token ends with the query's text.) The partition key is whole, so no merging over physical partitions takes place.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from thermocline.errors import CorruptRecord, InvalidArgument
from thermocline.model import Flags, Key
from thermocline.protocols import Listed
from thermocline.tiers.warm.item import version_of

QUERY: Final = (  # a flag of 1 alone is a tombstone; a raw document may look like a record, but never has such an id
    "SELECT c.n, c.v, c.r.e.x, c.r.e.m, c.r.u, c.r.l, c.r.f, c.r.g FROM c WHERE STARTSWITH(c.id, @own) AND STARTSWITH(c.n, @prefix) "
    "AND c.n > @last AND c.r.f != 1 AND (c.r.e.x = 0 OR c.r.e.x > @now) ORDER BY c.n"
)


def check(tenant: str, scope: str, prefix: str, limit: int) -> None:
    """Raises `InvalidKey`, `InvalidArgument`."""
    Key(tenant, scope, prefix or "x")
    if type(limit) is not int or limit < 1:
        raise InvalidArgument(f"a page's limit is a whole number from 1 on, not {limit!r}")


def cursor_of(tenant: str, scope: str, prefix: str, last: str) -> str:
    """The cursor behind the name ``last``; it belongs to this listing only."""
    return base64.urlsafe_b64encode(_belongs(tenant, scope, prefix) + last.encode()).decode()


def last_of(tenant: str, scope: str, prefix: str, cursor: str | None) -> str:
    """The name behind which the page begins; "" is before all. Raises `InvalidArgument` for the cursor of another listing."""
    if cursor is None:
        return ""
    try:
        raw = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
        if raw[:_DIGEST] == _belongs(tenant, scope, prefix):
            return raw[_DIGEST:].decode()
    except (ValueError, binascii.Error, AttributeError) as error:
        raise InvalidArgument("the cursor is none that a listing gave") from error
    raise InvalidArgument("the cursor is of another listing: it belongs to its tenant, scope and prefix")


def listed_of(row: Mapping[str, Any], tenant: str, scope: str) -> Listed:
    """A row of the query. Raises `CorruptRecord`."""
    key = Key(tenant, scope, row["n"])
    try:
        return Listed(
            key=key,
            version=version_of(row, key),
            expires_ms=msgspec.convert(row["x"], int),
            modified_ms=msgspec.convert(row["m"], int),
            size=msgspec.convert(row["u"], int),
            raw_size=msgspec.convert(row["l"], int),
            pointer=bool(msgspec.convert(row["f"], int) & Flags.POINTER),
            tags=msgspec.convert(row.get("g", {}), dict[str, str]) or None,
        )
    except (KeyError, msgspec.ValidationError) as error:
        raise CorruptRecord(f"the record of {key} in Cosmos DB is damaged: a field of its header is missing") from error


_DIGEST: Final = 8


def _belongs(tenant: str, scope: str, prefix: str) -> bytes:
    return hashlib.blake2b(msgspec.json.encode([tenant, scope, prefix]), digest_size=_DIGEST).digest()
