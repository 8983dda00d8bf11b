"""What Azure refuses in an item: ids, sizes, numbers, `ttl` (COSMOS limits page, April 2026)."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from thermocline.testing.cosmos.failures import bad_request, too_large

MAX_ID_BYTES: Final = 1023
MAX_ITEM_BYTES: Final = 2 * 1024 * 1024
MAX_REQUEST_BYTES: Final = 2 * 1024 * 1024
MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
MAX_BATCH_OPERATIONS: Final = 100
MAX_PATCH_OPERATIONS: Final = 10
MAX_TTL: Final = 2_147_483_647
MAX_INTEGER: Final = 2**53

SYSTEM_PROPERTIES: Final = frozenset({"_rid", "_self", "_etag", "_attachments", "_ts", "_lsn"})
_FORBIDDEN_IN_ID: Final = re.compile(r"[/\\#?\t\r\n]")
_LONG_DIGITS: Final = re.compile(rb"[0-9]{16}")


def decode(body: bytes) -> Any:
    """JSON to Python. 400 for what is not JSON, and for integers beyond 2^53, which Azure would round silently."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        raise bad_request("The input content is invalid because it is not valid JSON: " + str(e)) from e
    if _LONG_DIGITS.search(body) is not None:
        check_numbers(value)
    return value


def check_numbers(value: Any) -> None:
    """400 if an integer above 2^53 is somewhere inside."""
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise bad_request(f"The integer {value} is beyond 2^53: numbers are IEEE doubles and would be rounded.")
    elif isinstance(value, dict):
        for v in value.values():
            check_numbers(v)
    elif isinstance(value, list):
        for v in value:
            check_numbers(v)


def check_id(value: Any) -> str:
    """The item's id, or 400. The characters are those that the SDK refuses; the service takes some and cannot read them."""
    if not isinstance(value, str):
        raise bad_request("The input content is invalid because the required properties - 'id; ' - are missing.")
    if not value or len(value.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise bad_request(f"The id must have between 1 and {MAX_ID_BYTES} bytes.")
    if _FORBIDDEN_IN_ID.search(value) is not None or value.endswith(" "):
        raise bad_request("The id contains characters that are not allowed: / \\ # ? tab, CR, LF or a trailing space.")
    return value


def check_ttl(doc: dict[str, Any]) -> int | None:
    """The item's `ttl` in seconds, -1 for never, None if it has none; 400 for anything else (null too)."""
    if "ttl" not in doc:
        return None
    ttl = doc["ttl"]
    if isinstance(ttl, float) and ttl.is_integer():
        ttl = int(ttl)
    if isinstance(ttl, bool) or not isinstance(ttl, int) or ttl == 0 or not -1 <= ttl <= MAX_TTL:
        raise bad_request(
            f"The input ttl {msgspec.json.encode(ttl).decode()} is invalid. Ensure to provide a nonzero positive "
            "32-bit integer or -1."
        )
    return ttl


def check_default_ttl(value: Any) -> int | None:
    """A container's `defaultTtl`."""
    return None if value is None else check_ttl({"ttl": value})


def check_item_size(body: bytes) -> None:
    """413 above 2 MB of UTF-8 JSON, system properties included."""
    if len(body) > MAX_ITEM_BYTES:
        raise too_large(f"the item has {len(body)} bytes, the limit is {MAX_ITEM_BYTES}.")


def check_request_size(body: bytes) -> None:
    """413 above 2 MB on the wire. The SDK escapes non-ASCII, so this can come before the item's own limit."""
    if len(body) > MAX_REQUEST_BYTES:
        raise too_large(f"the request has {len(body)} bytes, the limit is {MAX_REQUEST_BYTES}.")
