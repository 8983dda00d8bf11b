"""The change feed, latest version: each item once, at its last change, in order of `_lsn`; no deletes, no expiries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from thermocline.testing.cosmos import charges
from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.limits import MAX_PAGE_BYTES
from thermocline.testing.cosmos.ranges import Item, Range
from thermocline.testing.cosmos.store import Container


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """Which part of a range, from where: an LSN already seen and a time in seconds since 1970."""

    low: str
    high: str
    key: str | None
    after: int
    since: float
    max_items: int


@dataclass(slots=True)
class FeedPage:
    """304 with an ETag, or 200 with a body."""

    status: int
    etag: str
    body: bytes
    count: int
    charge: float


def read_position(if_none_match: str | None, if_modified_since: str | None, reached: int) -> tuple[int, float]:
    """From the headers: the LSN after which to read (`*` is now), and the earliest time."""
    since = 0.0
    if if_modified_since is not None:
        try:
            since = parsedate_to_datetime(if_modified_since).timestamp()
        except ValueError as e:
            raise bad_request(f"If-Modified-Since {if_modified_since!r} is not a date.") from e
    if if_none_match is None:
        return 0, since
    if if_none_match == "*":
        return reached, since
    token = if_none_match.strip('"')
    if not token.isdigit():
        raise bad_request(f"If-None-Match {if_none_match!r} is not an ETag of the change feed.")
    return int(token), since


def _changed(range_: Range, request: FeedRequest) -> Iterable[Item]:
    found = []
    for item in reversed(range_.latest.values()):
        if item.lsn <= request.after:
            break
        found.append(item)
    return reversed(found)


def read(
    container: Container, range_: Range, request: FeedRequest, reached: int, older: dict[tuple[str, str], Item | None]
) -> FeedPage:
    """One page. `reached` is the replica's LSN, `older` what it still has for items that have changed since."""
    now = container.clock.now()
    items: Iterable[Item] = _changed(range_, request)
    if older:
        old = [i for i in older.values() if i is not None and i.lsn > request.after]
        items = sorted([*(i for i in items if i.lsn <= reached), *old], key=lambda i: i.lsn)
    parts: list[bytes] = []
    size, last = 0, reached
    for item in items:
        if not request.low <= item.key.epk < request.high or (request.key is not None and item.key.text != request.key):
            continue
        if item.ts < int(request.since) or container.expired(item, now):
            continue
        if parts and (len(parts) >= request.max_items or size >= MAX_PAGE_BYTES) and item.lsn != last:
            break  # a transaction is never cut in two
        parts.append(item.body[:-1] + b',"_lsn":%d}' % item.lsn)
        size += len(item.body)
        last = item.lsn
    else:
        last = max(reached, request.after)
    etag = f'"{last}"'
    if not parts:
        return FeedPage(304, etag, b"", 0, charges.feed(0, 0))
    head = msgspec.json.encode(container.rid)
    body = b'{"_rid":' + head + b',"Documents":[' + b",".join(parts) + b'],"_count":%d}' % len(parts)
    return FeedPage(200, etag, body, len(parts), charges.feed(size, len(parts)))


def check_mode(a_im: str) -> None:
    """400 for anything but the latest-version mode."""
    if a_im.strip().lower() != "incremental feed":
        raise bad_request(
            f"A-IM {a_im!r} is not supported here: only the latest-version change feed (Incremental Feed) is."
        )


def whole(value: Any) -> int:
    """`x-ms-max-item-count`; -1 and absence leave the size to the server."""
    try:
        number = int(value)
    except (TypeError, ValueError) as e:
        raise bad_request(f"x-ms-max-item-count {value!r} is not a number.") from e
    if number == 0 or number < -1:
        raise bad_request(f"x-ms-max-item-count {value!r} must be -1 or positive.")
    return 1000 if number == -1 else number
