"""What the moving verbs answer with."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from thermocline.cost import units
from thermocline.cost.prices import list_prices
from thermocline.cost.workload import ITEM_BYTES, POINTER_BYTES
from thermocline.errors import ThermoclineError
from thermocline.model import Key

ERRORS_KEPT: Final = 100  # errors that a result names; all are counted
_GB: Final = 1e9


@dataclass(slots=True)
class Prefetched:
    """What a `prefetch` did, by the keys as they were given.

    ``promoted``: read below and handed to hot. ``present``: hot had it already, and nothing was written. ``missing``: the key has no value. ``busy``: another
    reader or a writer is on its way with it, and will tell hot itself. ``errors``: the key could not be read, or hot is not to have it.
    """

    promoted: list[Any] = field(default_factory=list)
    present: list[Any] = field(default_factory=list)
    missing: list[Any] = field(default_factory=list)
    busy: list[Any] = field(default_factory=list)
    errors: dict[Any, ThermoclineError] = field(default_factory=dict)


class Fate(Enum):
    """What became of one record that was to be moved."""

    MOVED = "moved"
    CLEAN = "clean"  # it lies there already
    CHANGED = "changed"  # it was written or deleted meanwhile, and is as its writer left it
    UNFIT = "unfit"  # not of a size that may lie there, or the tier cannot move


@dataclass(slots=True)
class Moved:
    """What a `demote` or (``up``) `promote` did, or with ``dry_run`` would do.

    ``seen``: records that were looked at. ``moved`` of them were, with ``bytes_moved`` of payload; ``reused`` of these found their payload
    in cold already, and did not upload it. ``clean``: lay there already. ``changed``: were written or deleted meanwhile, and are as that left them.
    ``unfit``: their size or their tier does not allow it. ``failed`` could not be moved now and are as they
    were; ``errors`` names the first hundred of these. ``damaged``: could not be
    read by the census. ``into_hot``: values that hot took. ``more``: the limit was reached or the time was up before everything was seen.
    """

    dry_run: bool = False
    up: bool = field(default=False, kw_only=True)
    seen: int = 0
    moved: int = 0
    bytes_moved: int = 0
    reused: int = 0
    clean: int = 0
    changed: int = 0
    unfit: int = 0
    failed: int = 0
    damaged: int = 0
    into_hot: int = 0
    more: bool = False
    errors: dict[Key, ThermoclineError] = field(default_factory=dict)

    def fail(self, key: Key, error: ThermoclineError) -> None:
        self.failed += 1
        if len(self.errors) < ERRORS_KEPT:
            self.errors[key] = error

    def count(self, fate: Fate, size: int) -> None:
        if fate is Fate.MOVED:
            self.moved += 1
            self.bytes_moved += size
        elif fate is Fate.CLEAN:
            self.clean += 1
        elif fate is Fate.CHANGED:
            self.changed += 1
        else:
            self.unfit += 1

    @property
    def saves(self) -> "Savings":
        """What a demotion of these bytes saves where warm is Cosmos DB and cold Blob Storage; of a promotion less than nothing: what it costs."""
        return Savings.of(self.bytes_moved, self.moved, up=self.up)


@dataclass(frozen=True, slots=True)
class Savings:
    """Of ``bytes_moved`` from Cosmos DB to Blob Storage: US dollars a month for keeping them (in one region, locally redundant), request units
    less for each time that all of these items are read or written once, and request units that the demotion itself costs, once. Back up the first three are
    below zero. By the list prices and figures of `thermocline.cost`, as if all were of one size: an estimate, and none of the blob transactions."""

    bytes_moved: int
    dollars_a_month: float
    units_per_read_of_all: float
    units_per_write_of_all: float
    units_to_move: float

    @classmethod
    def of(cls, size: int, records: int, *, up: bool = False) -> "Savings":
        if records == 0:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        prices, sign = list_prices(), -1 if up else 1
        kept = prices["cosmos.stored"].amount - prices["blob.stored.Standard_LRS"].amount
        item, pointer = ITEM_BYTES + size // records, POINTER_BYTES
        return cls(
            size,
            sign * round(size / _GB * kept, 6),
            sign * round(records * max(0.0, units.read(item) - units.read(pointer)), 3),
            sign * round(records * max(0.0, units.patch(item, item) - units.patch(pointer, pointer)), 3),
            round(records * (units.patch(pointer, item) + units.read(pointer if up else item)), 3),
        )
