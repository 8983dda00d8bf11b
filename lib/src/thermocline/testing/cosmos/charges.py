"""Request charges, modelled on Microsoft's published table (understand-request-unit-consumption, April 2026).

The table is "illustrative": session or eventual reads, one region, items of 1 KB to 2 MB. Between its columns the model goes
straight; an indexed term costs 0.2 RU. Queries have no published price: the figures below are estimates and say so.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from thermocline.cost.units import (
    COLUMNS as _SIZES,  # the table alone: what each operation is charged is worked out apart
)
from thermocline.cost.units import READ as _READ
from thermocline.cost.units import WRITE as _WRITE

TERM: Final = 0.2
PATCHED_PROPERTY: Final = 0.4
NOT_FOUND: Final = 1.0  # an estimate
QUERY_BASE: Final = 2.3  # an estimate
METADATA: Final = 2.0


def _interpolate(size: int, prices: tuple[float, ...]) -> float:
    kb = size / 1024
    if kb <= 1:
        return prices[0]
    at = min(bisect_left(_SIZES, kb), len(_SIZES) - 1)
    low, high = _SIZES[at - 1], _SIZES[at]
    return prices[at - 1] + (prices[at] - prices[at - 1]) * (kb - low) / (high - low)


def read(size: int) -> float:
    """A point read of an item of `size` bytes."""
    return _interpolate(size, _READ)


def write(size: int, terms: int) -> float:
    """A create or delete of an item of `size` bytes with `terms` indexed terms."""
    return _interpolate(size, _WRITE) + TERM * terms


def replace(old_size: int, new_size: int, changed_terms: int) -> float:
    """A replace: a delete and an insert, and each changed term twice."""
    return _interpolate(old_size, _WRITE) + _interpolate(new_size, _WRITE) + 2 * TERM * changed_terms


def query(results: int, size: int, scanned: int) -> float:
    """A query page (estimate): a base, something for each row and item looked at, and the bytes returned."""
    return QUERY_BASE + 0.03 * results + 0.002 * scanned + _interpolate(size, _READ) - 1.0


def feed(size: int, count: int) -> float:
    """A page of the change feed: about the point reads of its items."""
    return 1.0 if count == 0 else max(1.0, count * read(size // count))
