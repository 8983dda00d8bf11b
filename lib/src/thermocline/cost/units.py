"""Request units of Cosmos DB by operation and size: the published table and the formula over what was counted. Pure.

The table is Microsoft's ("Understand request unit consumption", April 2026; "illustrative": session or eventual reads, default indexing, one region; sizes of
items in KB of 1,024 bytes). Between its columns it goes straight, so the operations of one column need only their count and their bytes, and their sum
is exact. What has no published price is an estimate, and says so.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

COLUMNS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""KB, the upper ends of the table's columns."""
READ: Final = (1.00, 1.04, 1.14, 1.33, 1.67, 2.19, 4.76, 9.95, 20.28, 40.95, 145.9, 291.8)
WRITE: Final = (4.95, 6.29, 6.67, 7.04, 9.52, 11.23, 22.67, 48.19, 98.29, 184.57, 625.0, 1250.0)
TERM: Final = 0.2  # each indexed term that is written
PATCHED_PROPERTY: Final = 0.4  # each operation of a patch
NOT_DONE: Final = 1.0  # an estimate: a request that found nothing or was refused
QUERY_BASE: Final = 2.3  # an estimate: a page of a query, before its rows
QUERY_ROW: Final = 0.032  # an estimate: a row that is looked at and returned
METADATA: Final = 2.0  # an estimate: a request about the container or its ranges

# Of this library's items, in a container that is indexed as infra/contract.json says (`tiers.warm.shape.INDEXING`).
TERMS: Final = 7  # id, tenant, scope, n, v, c, ttl
CHANGED_TERMS: Final = 1  # v; a new ttl would be one more
OPERATIONS: Final = 5  # of the patch that carries out a write

READS: Final = "read"
MISSING: Final = "missing"
CREATES: Final = "create"
PATCHES: Final = "patch"
REPLACES: Final = "replace"
DELETES: Final = "delete"
QUERIES: Final = "query"
REFUSED: Final = "refused"
ASKED: Final = "metadata"
FREE: Final = "throttled"

OF_COSMOS: Final[dict[str, str]] = {
    READS: "a point read that found its item",
    MISSING: "a request for an item that is not there",
    CREATES: "a new item",
    PATCHES: "an item that a write of the library changed",
    REPLACES: "an item that was replaced as a whole (notes, raw documents)",
    DELETES: "an item that was removed",
    QUERIES: "a page of a query",
    REFUSED: "a request whose condition did not hold (409, 412), or another refusal",
    ASKED: "a question about the account, the container or its ranges",
    FREE: "a request that was refused as too many (429)",
}
"""What is counted, by name, and what each is."""

WRITES: Final = "write"
LISTS: Final = "list"
OTHERS: Final = "other"

OF_BLOBS: Final[dict[str, str]] = {
    WRITES: "a blob, a block or its metadata that was written",
    READS: "a blob that was read, or a part of it",
    LISTS: "a page of a listing, or a container that was made",
    OTHERS: "a blob's or the account's properties",
    DELETES: "a blob that was removed, which is free",
}
"""What is counted of Blob Storage: the classes by which it bills, and what falls into each. Refused ones are billed too."""


def of_blobs(method: str, url: str) -> str:
    """The class of a request to Blob Storage ("Azure Blob Storage pricing": write, read, list and all other operations)."""
    if method == "DELETE":
        return DELETES
    if ("comp=list" in url and "comp=block" not in url) or (method == "PUT" and "restype=container" in url):
        return LISTS
    if method == "PUT":
        return WRITES
    return READS if method == "GET" and "comp=" not in url and "restype=" not in url else OTHERS


@dataclass(frozen=True, slots=True)
class Work:
    """``count`` operations of one kind whose items have ``size`` bytes in all and lie in one ``column`` (its upper end in KB); ``rows`` of queries."""

    operation: str
    column: int
    count: float
    size: float = 0.0
    rows: float = 0.0


def column_of(size: int) -> int:
    """The table's column of an item of ``size`` bytes, by its upper end in KB; above the last the last."""
    return COLUMNS[min(bisect_left(COLUMNS, size / 1024), len(COLUMNS) - 1)]


def work_of(operation: str, count: float, size: float, rows: float = 0.0) -> Work:
    """Operations that are all of one size: ``size`` bytes each."""
    return Work(operation, column_of(int(size)), count, count * size, count * rows)


def priced(column: int, count: float, size: float, prices: Sequence[float]) -> float:
    """The sum for ``count`` items of one column that have ``size`` bytes in all."""
    at = COLUMNS.index(column)
    if at == 0:
        return count * prices[0]
    low, high = COLUMNS[at - 1], COLUMNS[at]
    return count * prices[at - 1] + (prices[at] - prices[at - 1]) * (size / 1024 - count * low) / (high - low)


def read(size: int) -> float:
    """A point read of an item of ``size`` bytes."""
    return priced(column_of(size), 1, size, READ)


def create(size: int, terms: int = TERMS) -> float:
    """A new item of ``size`` bytes with ``terms`` indexed terms."""
    return priced(column_of(size), 1, size, WRITE) + TERM * terms


def patch(old_size: int, new_size: int) -> float:
    """A write of the library to an item that is there: delete, insert, the changed terms twice, and the patch's operations."""
    sides = sum(priced(column_of(size), 1, size, WRITE) for size in (old_size, new_size))
    return sides + 2 * TERM * CHANGED_TERMS + PATCHED_PROPERTY * OPERATIONS


def units_by_operation(work: Iterable[Work]) -> dict[str, float]:
    """Request units by operation.

    A patch pays for the item as it was, whose size nobody is told: it is priced as the mean of the items that were created and patched, each of which is the
    item that the next patch finds.
    """
    work = list(work)
    written = [one for one in work if one.operation in (CREATES, PATCHES, REPLACES)]
    count = sum(one.count for one in written)
    mean = sum(priced(one.column, one.count, one.size, WRITE) for one in written) / count if count else WRITE[0]
    units: dict[str, float] = {}
    for one in work:
        units[one.operation] = units.get(one.operation, 0.0) + _units(one, mean)
    return units


def _units(one: Work, old: float) -> float:
    """``old``: what writing the item that is replaced had cost."""
    if one.operation in (MISSING, REFUSED):
        return one.count * NOT_DONE
    if one.operation == READS:
        return priced(one.column, one.count, one.size, READ)
    if one.operation == QUERIES:
        beyond = priced(one.column, one.count, one.size, READ) - one.count
        return one.count * QUERY_BASE + one.rows * QUERY_ROW + beyond
    if one.operation == ASKED:
        return one.count * METADATA
    if one.operation == FREE:
        return 0.0
    new = priced(one.column, one.count, one.size, WRITE)
    if one.operation == CREATES:
        return new + one.count * TERM * TERMS
    if one.operation == PATCHES:
        return new + one.count * (old + 2 * TERM * CHANGED_TERMS + PATCHED_PROPERTY * OPERATIONS)
    if one.operation == REPLACES:
        return new + one.count * (old + 2 * TERM * CHANGED_TERMS)
    return one.count * (old + TERM * TERMS)  # a removal: the answer holds no item
