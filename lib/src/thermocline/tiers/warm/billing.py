"""What a request to Cosmos DB is billed as: its operation, the bytes of its item, the rows of its answer. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from thermocline.cost import units


class Billed(NamedTuple):
    """An operation, the bytes of its item, and of a query the rows of its page."""

    operation: str
    size: int = 0
    rows: int = 0


_BY_METHOD: Final = {
    "GET": units.READS,
    "POST": units.CREATES,
    "PUT": units.REPLACES,
    "PATCH": units.PATCHES,
    "DELETE": units.DELETES,
}
_IN_BATCH: Final = {
    "create": units.CREATES,
    "patch": units.PATCHES,
    "upsert": units.REPLACES,
    "replace": units.REPLACES,
    "delete": units.DELETES,
    "read": units.READS,
}
_BATCH: Final = "x-ms-cosmos-is-batch-request"
_QUERY: Final = frozenset({"x-ms-documentdb-isquery", "x-ms-cosmos-is-query-plan-request"})


def billed(
    method: str, url: str, asked: Mapping[str, Any], status: int, answered: Mapping[str, str], size: int
) -> Billed | None:
    """Of a request (its method, URL and headers) and its answer, whose body has ``size`` bytes. None: a batch that was carried out, whose operations only
    its caller knows."""
    if status == 429:
        return Billed(units.FREE)
    if "/docs" not in url:
        return Billed(units.ASKED)
    if status == 404:
        return Billed(units.MISSING)
    if status >= 400 or status == 207:
        return Billed(units.REFUSED)
    if method == "GET" and (
        "A-IM" in asked or "a-im" in asked
    ):  # a page of a change feed, as the SDK writes it, and as it travels
        return Billed(units.QUERIES, size, rows=_number(answered, "x-ms-item-count"))
    if method == "POST":
        headers = {name.lower() for name in asked}
        if _BATCH in headers:
            return None
        if not _QUERY.isdisjoint(headers):
            return Billed(units.QUERIES, size, rows=_number(answered, "x-ms-item-count"))
    if method == "POST" and status == 200:
        return Billed(units.REPLACES, size)  # an upsert of what was there
    return Billed(_BY_METHOD.get(method, units.ASKED), size)


def billed_in_batch(
    operations: Sequence[tuple[Any, ...]], bodies: Sequence[Any], answered: Mapping[str, str]
) -> list[Billed]:
    """Of a batch that was carried out. Its answer holds all items, so each has its share of the bytes; where nobody says how many, ``bodies`` are measured."""
    whole = _number(answered, "Content-Length") or len(msgspec.json.encode(bodies))
    size = whole // max(1, len(operations))
    return [Billed(_IN_BATCH.get(str(one[0]).lower(), units.REPLACES), size) for one in operations]


def _number(headers: Mapping[str, str], name: str) -> int:
    found = headers.get(name) or headers.get(name.lower()) or ""
    return int(found) if found.isdigit() else 0
