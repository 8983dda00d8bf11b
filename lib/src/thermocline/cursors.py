"""Cursors of listings: opaque to the caller, and of no use for another tenant, scope or prefix."""

import base64
import hashlib
import json
from collections.abc import Sequence

from thermocline.errors import InvalidArgument


def pack_cursor(tenant: str, scope: str, prefix: str, place: str) -> str:
    """Where the listing of this tenant, scope and prefix goes on: after ``place``."""
    return pack_place((tenant, scope, prefix), place)


def unpack_cursor(tenant: str, scope: str, prefix: str, cursor: str) -> str:
    """The place in a cursor. Raises `InvalidArgument` for what is none, or of another listing."""
    return unpack_place((tenant, scope, prefix), cursor)


def pack_place(listing: Sequence[str | None], place: str) -> str:
    """The same for a listing of any kind, which ``listing`` names."""
    return base64.urlsafe_b64encode(json.dumps([_digest(listing), place]).encode()).decode()


def unpack_place(listing: Sequence[str | None], cursor: str) -> str:
    """The place in such a cursor. Raises `InvalidArgument` for what is none, or of another listing."""
    try:
        digest, place = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (ValueError, TypeError) as error:
        raise InvalidArgument("not a cursor of a listing: begin without one") from error
    if digest != _digest(listing) or not isinstance(place, str):
        raise InvalidArgument("the cursor belongs to another tenant, scope or prefix: begin without one")
    return place


def _digest(listing: Sequence[str | None]) -> str:
    return hashlib.blake2b(json.dumps(list(listing)).encode(), digest_size=12).hexdigest()
