"""Cursors of listings: opaque to the caller, and of no use for another tenant, scope or prefix."""

import base64
import hashlib
import json

from thermocline.errors import InvalidArgument


def pack_cursor(tenant: str, scope: str, prefix: str, place: str) -> str:
    """Where the listing of this tenant, scope and prefix goes on: after ``place``."""
    return base64.urlsafe_b64encode(json.dumps([_listing(tenant, scope, prefix), place]).encode()).decode()


def unpack_cursor(tenant: str, scope: str, prefix: str, cursor: str) -> str:
    """The place in a cursor. Raises `InvalidArgument` for what is none, or of another listing."""
    try:
        listing, place = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (ValueError, TypeError) as error:
        raise InvalidArgument("not a cursor of a listing: begin without one") from error
    if listing != _listing(tenant, scope, prefix) or not isinstance(place, str):
        raise InvalidArgument("the cursor belongs to another tenant, scope or prefix: begin without one")
    return place


def _listing(tenant: str, scope: str, prefix: str) -> str:
    return hashlib.blake2b(json.dumps([tenant, scope, prefix]).encode(), digest_size=12).hexdigest()
