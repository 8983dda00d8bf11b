"""What a memory does in a month: as it was counted while it ran, or as it is planned. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from thermocline.cost.units import (
    COLUMNS,
    CREATES,
    LISTS,
    MISSING,
    OF_BLOBS,
    OF_COSMOS,
    PATCHES,
    READS,
    WRITES,
    Work,
    units_by_operation,
    work_of,
)
from thermocline.errors import InvalidArgument

MONTH: Final = timedelta(hours=730)  # as Azure's price list counts
ITEM_BYTES: Final = 600  # of an item without its value (measured; names of ten letters)
TOMBSTONE_BYTES: Final = 590  # of a deleted key's item (measured)
POINTER_BYTES: Final = 780  # of an item whose value lies in cold (measured)
MOST: Final = 1e18  # of whatever is counted or held; beyond it is a mistake, and sums would end in infinity
HOT_BYTES: Final = 350  # of a hot entry without its value: key, header, Redis's own (an estimate)


@dataclass(frozen=True, slots=True)
class Workload:
    """A month. ``warm`` and ``cold``: what their services bill for. ``charged``: request units as Cosmos DB itself charged them, None where nobody
    counted. ``stored_warm``, ``stored_cold``, ``stored_hot``: GB (10^9 bytes) held. ``moved_out``: GB that leave Azure's region."""

    warm: tuple[Work, ...] = ()
    cold: tuple[Work, ...] = ()
    commands: float = 0.0
    charged: float | None = None
    stored_hot: float = 0.0
    stored_warm: float = 0.0
    stored_cold: float = 0.0
    moved_out: float = 0.0
    executions: float = 0.0

    @property
    def units(self) -> float:
        """Request units a month, by the formula."""
        return sum(units_by_operation(self.warm).values())

    @property
    def moved(self) -> float:
        """GB a month between the apps and the tiers below hot."""
        return sum(one.size for one in (*self.warm, *self.cold)) / 1e9

    @property
    def blob_operations(self) -> dict[str, float]:
        """Operations of Blob Storage a month, by the classes of `OF_BLOBS`."""
        return {name: sum(one.count for one in self.cold if one.operation == name) for name in OF_BLOBS}

    @property
    def written(self) -> float:
        """Items that were written in warm: each passes through the change feed once."""
        return sum(one.count for one in self.warm if one.operation in (CREATES, PATCHES))


def added(parts: Sequence[Workload], **instead: float) -> Workload:
    """Several clients' workloads as one; ``instead`` sets fields of the sum, such as the GB that are held."""
    charges = [one.charged for one in parts if one.charged is not None]
    names = ("commands", "stored_hot", "stored_warm", "stored_cold", "moved_out", "executions")
    sums = {name: sum(getattr(one, name) for one in parts) for name in names}
    return Workload(
        warm=tuple(work for one in parts for work in one.warm),
        cold=tuple(work for one in parts for work in one.cold),
        charged=sum(charges) if charges else None,
        **{**sums, **instead},
    )


def counted(stats: Mapping[str, Any], over: timedelta = MONTH, **given: float) -> Workload:
    """A month like the time that ``stats`` (what `MemoryClient.stats` gives, of one client or added up) was counted ``over``.

    ``given``: the other fields of `Workload`, as a month has them. Raises `InvalidArgument` for what is no such statistics.
    """
    if over <= timedelta(0):
        raise InvalidArgument("the time that the statistics were counted over must be longer than nothing")
    times = MONTH / over
    tiers = {name: _tier(stats, name) for name in ("hot", "warm", "cold")}
    if not any(tiers.values()):
        raise InvalidArgument(
            'these are no statistics of a client: they have none of "hot", "warm", "cold". Save them with json.dump(client.stats(), file)'
        )
    units = _number(tiers["warm"], "request_units", "warm")
    return Workload(
        warm=_work(tiers["warm"], times, OF_COSMOS, "warm"),
        cold=_work(tiers["cold"], times, OF_BLOBS, "cold"),
        commands=(_number(tiers["hot"], "requests", "hot") or 0.0) * times,
        charged=None if units is None else units * times,
        **given,
    )


def _tier(stats: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = stats.get(name, {})
    if not isinstance(found, Mapping):
        raise InvalidArgument(f"these are no statistics of a client: {name!r} is a {type(found).__name__} in them")
    return found


def _number(tier: Mapping[str, Any], name: str, where: str) -> float | None:
    found = tier.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= MOST:
        raise InvalidArgument(f"the statistics of {where} have {found!r} as {name}, which is no number of that kind")
    return float(found)


def _work(tier: Mapping[str, Any], times: float, known: Mapping[str, str], where: str) -> tuple[Work, ...]:
    found = []
    for operation, sizes in _mapping(tier.get("operations", {}), f"operations of {where}").items():
        if operation not in known:
            raise InvalidArgument(
                f"the statistics of {where} have an operation {operation!r}; known are {', '.join(known)}"
            )
        for column, figures in _mapping(sizes, f"{operation} of {where}").items():
            if column not in map(str, COLUMNS):
                raise InvalidArgument(f"the statistics of {where} have a size class {column!r}; known are {COLUMNS}")
            figures = _mapping(figures, f"{operation} {column} of {where}")
            count, size, rows = (_number(figures, name, where) or 0.0 for name in ("count", "bytes", "rows"))
            if not _fits(int(column), count, size):
                raise InvalidArgument(
                    f"the statistics of {where} have {size:g} bytes in {count:g} of {operation} up to {column} KB, which cannot be"
                )
            found.append(Work(operation, int(column), count * times, size * times, rows * times))
    return tuple(found)


def _fits(column: int, count: float, size: float) -> bool:
    """Whether so many bytes can lie in so many items of a column; below it the table's straight line would lead to less than nothing."""
    at = COLUMNS.index(column)
    least = COLUMNS[at - 1] * 1024 * count if at else 0.0
    return least <= size and (column == COLUMNS[-1] or size <= column * 1024 * count)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"these are no statistics of a client: {what} is no table in them")
    return value


@dataclass(frozen=True, slots=True)
class Plan:
    """What an application will ask for in a month. ``get``, ``set``, ``delete``: calls. ``hit_rate``: of the reads, how many hot answers; ``found``: of
    the rest, how many have a value. ``new``: of the writes, how many are to keys that do not exist. ``known``: of the others, how many are to keys of
    which the client knows a version (it has read or written them); the rest costs a refused creation and a read more. ``size``: bytes of a value as it is
    stored. ``cold``: of the writes, how many are so large that they go to cold, with ``cold_size`` bytes. ``records``: how many are kept."""

    get: float = 0.0
    set: float = 0.0
    delete: float = 0.0
    hit_rate: float = 0.9
    found: float = 0.9
    new: float = 0.5
    known: float = 1.0
    size: float = 1000.0
    cold: float = 0.0
    cold_size: float = 1_000_000.0
    records: float = 0.0
    executions: float = 0.0
    moved_out: float = 0.0
    _shares: tuple[str, ...] = field(default=("hit_rate", "found", "new", "known", "cold"), init=False, repr=False)

    def __post_init__(self) -> None:
        for name in self.names():
            value = getattr(self, name)
            most = 1.0 if name in self._shares else 1e15
            if not 0 <= value <= most:
                raise InvalidArgument(f"{name} must be from 0 to {most:g}, not {value!r}")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """What can be planned."""
        return tuple(name for name in cls.__dataclass_fields__ if not name.startswith("_"))


def planned(plan: Plan) -> Workload:
    """The operations that a plan comes to, as the library carries it out: a hit 1 command, a miss 3 and a point read; a write of a known key 2 and a
    patch, of a new one 2 and a create (docs/coherence.md, "Commands per verb")."""
    asked = plan.get * (1 - plan.hit_rate)
    inside = plan.set * (1 - plan.cold)
    outside = plan.set * plan.cold
    item = ITEM_BYTES + plan.size
    read_outside = asked * plan.found * plan.cold
    warm = []
    for writes, size in ((inside, item), (outside, POINTER_BYTES)):
        warm += _writes(plan, writes, size)
    warm += [
        work_of(READS, asked * plan.found - read_outside, item),
        work_of(READS, read_outside, POINTER_BYTES),
        work_of(MISSING, asked * (1 - plan.found), 0),
        work_of(PATCHES, plan.delete, TOMBSTONE_BYTES),
    ]
    cold = (
        work_of(WRITES, outside, plan.cold_size),
        work_of(READS, read_outside, plan.cold_size),
        work_of(LISTS, 30, 0),
    )
    kept_outside = plan.records * plan.cold
    return Workload(
        warm=tuple(one for one in warm if one.count > 0),
        cold=tuple(one for one in cold if one.count > 0),
        commands=plan.get * plan.hit_rate + 3 * asked + 2 * (plan.set + plan.delete),
        stored_hot=plan.records * plan.hit_rate * (HOT_BYTES + plan.size) / 1e9,
        stored_warm=((plan.records - kept_outside) * item + kept_outside * POINTER_BYTES) / 1e9,
        stored_cold=kept_outside * plan.cold_size / 1e9,
        executions=plan.executions,
        moved_out=plan.moved_out,
    )


def _writes(plan: Plan, writes: float, size: float) -> list[Work]:
    replaced = writes * (1 - plan.new)
    unknown = replaced * (1 - plan.known)
    return [
        work_of(CREATES, writes * plan.new, size),
        work_of(PATCHES, replaced, size),
        work_of("refused", unknown, 0),
        work_of(READS, unknown, size),
    ]
