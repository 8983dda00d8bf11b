"""Items and the physical ranges that hold them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thermocline.testing.cosmos.partitions import PartitionValue


@dataclass(slots=True)
class Item:
    """One version of an item. `doc` is never changed in place; `body` is its JSON."""

    id: str
    key: PartitionValue
    doc: dict[str, Any]
    body: bytes
    etag: str
    ts: int
    ttl: int | None
    rid: str
    number: int  # order of creation
    lsn: int = 0


@dataclass(slots=True)
class Range:
    """A physical range [low, high). `lsn` orders its writes; `latest` holds its items with the newest write last."""

    id: str
    low: str
    high: str
    generation: int
    parents: tuple[str, ...] = ()
    lsn: int = 0
    latest: dict[tuple[str, str], Item] = field(default_factory=dict)

    def holds(self, epk: str) -> bool:
        """Whether the EPK lies in this range."""
        return self.low <= epk < self.high


def first_ranges(count: int) -> list[Range]:
    """The ranges of a new container: equal parts of the space that hashes can reach (00 to 3F)."""
    bounds = ["", *(f"{0x40 * i // count:02X}" for i in range(1, count)), "FF"]
    return [Range(str(i), bounds[i], bounds[i + 1], 1) for i in range(count)]


def middle(low: str, high: str) -> str:
    """A bound between two bounds, for a split."""
    a = int((low or "0").ljust(32, "0"), 16)
    top = "40" if high == "FF" else high
    b = int(top.ljust(32, "0"), 16)
    return f"{(a + b) // 2:032X}"
