"""A month's bill: a profile's fixed parts and a workload, by a list of prices. Pure; docs/cost.md has the formula in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from thermocline.cost.prices import Prices
from thermocline.cost.profiles import REDIS_GB, Profile
from thermocline.cost.units import CREATES, DELETES, LISTS, OTHERS, PATCHES, READ, READS, WRITES
from thermocline.cost.workload import MONTH, Workload
from thermocline.errors import InvalidArgument

HOURS: Final = MONTH.total_seconds() / 3600
SECONDS: Final = MONTH.total_seconds()

# Assumptions, each on the page.
PEAK: Final = 3.0  # an hour's highest RU/s beside the month's mean: what autoscale bills
LEAST: Final = 0.1  # of its maximum, what autoscale always bills
FEED_UNITS: Final = READ[0]  # a document that the worker reads from the change feed, as a point read of 1 KB
FEED_IDLE_UNITS: Final = (
    SECONDS / 5 * 1.0 + SECONDS / 17 * 11.0
)  # a month of polling every 5 s, and of renewing a lease every 17 s
FEED_BATCH: Final = 10.0  # documents that one execution of the worker settles
EXECUTION_SECONDS: Final = 0.2  # an execution by an event or a request
TIMERS: Final = {
    "sweep": (HOURS * 6, 10.0),
    "replay": (HOURS * 12, 1.0),
    "jobs": (HOURS * 60, 0.2),
}  # times a month, seconds each
LOGS_GB: Final = 1.5  # that an app sends in a month when little happens: metrics every minute, and the host's own
LOGS_GB_PER_MILLION: Final = 0.5  # executions: a request's line and one hot hit in 1,000
VAULT_OPERATIONS: Final = 20_000.0  # a month: secrets that are read anew, and keys that are unwrapped
ROTATIONS: Final = 1 / 3  # a month, of each customer-managed key
ROOM: Final = 0.8  # of Redis' memory, what data may take


@dataclass(frozen=True, slots=True)
class Line:
    """``amount`` of a ``unit`` at a ``price`` each. ``fixed``: it is paid though nothing is done. ``estimate``: its price is one."""

    service: str
    what: str
    amount: float
    unit: str
    price: float
    fixed: bool = False
    estimate: bool = False

    @property
    def cost(self) -> float:
        """In the list's currency, a month."""
        return self.amount * self.price


@dataclass(frozen=True, slots=True)
class Bill:
    """A month. ``units``: request units that it rests on; ``formula``: the same by counts and sizes, where it rests on what was charged."""

    profile: str
    currency: str
    lines: tuple[Line, ...]
    units: float
    formula: float
    notes: tuple[str, ...]

    @property
    def total(self) -> float:
        return sum(line.cost for line in self.lines)

    @property
    def fixed(self) -> float:
        """What is paid though nothing is done."""
        return sum(line.cost for line in self.lines if line.fixed)


def bill(of: Profile, workload: Workload, prices: Prices, *, peak: float = PEAK) -> Bill:
    """``peak``: an hour's highest throughput beside the month's mean. Raises `InvalidArgument`; `ConfigurationError` for a price that the list lacks."""
    if not 1 <= peak <= 1000:
        raise InvalidArgument(
            f"peak is how many times the mean the highest throughput is, from 1 to 1000, not {peak!r}"
        )
    notes: list[str] = []
    lines = (
        *_cosmos(of, workload, prices, peak, notes),
        *_redis(of, workload, prices, notes),
        *_blobs(of, workload, prices),
        *_functions(of, workload, prices),
        *_seeing(of, workload, prices),
        *_network(of, workload, prices),
    )
    return Bill(of.name, prices.currency, lines, _units(workload), workload.units, tuple(notes))


def _units(workload: Workload) -> float:
    return workload.units if workload.charged is None else workload.charged


def _line(
    prices: Prices, service: str, what: str, name: str, amount: float, *, by: float = 1.0, fixed: bool = False
) -> Line:
    price = prices[name]
    return Line(service, what, amount / by, price.per, price.amount, fixed, price.estimate)


def _cosmos(of: Profile, workload: Workload, prices: Prices, peak: float, notes: list[str]) -> Iterator[Line]:
    feed = FEED_IDLE_UNITS + workload.written * FEED_UNITS
    needed = (_units(workload) + feed) / SECONDS * peak
    least = of.max_throughput * LEAST
    if needed > of.max_throughput:
        notes.append(
            f"the peak needs {needed:,.0f} RU/s and the profile scales up to {of.max_throughput:,}: requests would be throttled; raise maxThroughput"
        )
    used = min(max(needed, least), of.max_throughput)
    hundreds = HOURS / 100 * of.regions
    name = "cosmos.autoscale"
    yield _line(prices, "Cosmos DB", "throughput that is always billed", name, least * hundreds, fixed=True)
    yield _line(prices, "Cosmos DB", "throughput beyond it", name, (used - least) * hundreds)
    stored = workload.stored_warm * of.regions
    yield _line(prices, "Cosmos DB", "data", "cosmos.stored", stored)
    yield _line(prices, "Cosmos DB", "backup", f"cosmos.backup.{of.backup}", stored)


def _redis(of: Profile, workload: Workload, prices: Prices, notes: list[str]) -> Iterator[Line]:
    nodes = 2 if of.high_availability else 1
    yield _line(prices, "Redis", "nodes", f"redis.{of.redis}", nodes * HOURS, fixed=True)
    room = REDIS_GB.get(of.redis, float("inf")) * ROOM
    if workload.stored_hot > room:
        notes.append(
            f"hot would hold {workload.stored_hot:.1f} GB and {of.redis} has room for {room:.1f}: it would evict, and the hit rate fall"
        )


def _blobs(of: Profile, workload: Workload, prices: Prices) -> Iterator[Line]:
    yield _line(prices, "Blob Storage", "data", f"blob.stored.{of.storage}", workload.stored_cold)
    for operation in (WRITES, READS, LISTS, OTHERS, DELETES):
        count = workload.blob_operations[operation]
        name = f"blob.{operation}.{of.storage}" if operation == WRITES else f"blob.{operation}"
        yield _line(prices, "Blob Storage", f"operations: {operation}", name, count, by=10_000)


def _executions(workload: Workload) -> float:
    return workload.written / FEED_BATCH + workload.executions


def _functions(of: Profile, workload: Workload, prices: Prices) -> Iterator[Line]:
    memory = of.memory_mb / 1024
    timed = sum(times for times, _ in TIMERS.values())
    timing = sum(times * seconds for times, seconds in TIMERS.values())
    events = _executions(workload)
    yield _line(prices, "Functions", "timers: time", "functions.compute", timing * memory, fixed=True)
    yield _line(prices, "Functions", "timers: executions", "functions.executions", timed, by=1e6, fixed=True)
    yield _line(
        prices, "Functions", "feed and requests: time", "functions.compute", events * EXECUTION_SECONDS * memory
    )
    yield _line(prices, "Functions", "feed and requests: executions", "functions.executions", events, by=1e6)
    ready = of.apps * of.always_ready * memory * SECONDS
    yield _line(prices, "Functions", "instances kept ready", "functions.ready", ready, fixed=True)


def _seeing(of: Profile, workload: Workload, prices: Prices) -> Iterator[Line]:
    idle, busy = LOGS_GB * of.apps, LOGS_GB_PER_MILLION * _executions(workload) / 1e6
    months = max(0.0, of.retention_days - 31) / 30.4
    yield _line(prices, "Monitor", "logs and metrics", "logs.taken", idle, fixed=True)
    yield _line(prices, "Monitor", "logs and metrics of the work", "logs.taken", busy)
    yield _line(prices, "Monitor", "logs kept longer than 31 days", "logs.kept", idle * months, fixed=True)
    yield _line(prices, "Monitor", "logs of the work kept longer than 31 days", "logs.kept", busy * months)
    for every, words in (("PT5M", "5 minutes"), ("PT15M", "15 minutes"), ("PT30M", "half hour"), ("PT1H", "hour")):
        name = f"log alerts, every {words}"
        yield _line(prices, "Monitor", name, f"alerts.logs.{every}", of.log_alerts.get(every, 0), fixed=True)
    yield _line(prices, "Monitor", "metric alerts", "alerts.metrics", of.metric_alerts, fixed=True)


def _network(of: Profile, workload: Workload, prices: Prices) -> Iterator[Line]:
    yield _line(prices, "Network", "private endpoints", "network.endpoint", of.endpoints * HOURS, fixed=True)
    yield _line(prices, "Network", "private DNS zones", "network.zone", of.zones, fixed=True)
    yield _line(prices, "Network", "NAT gateways", "network.gateway", of.gateways * HOURS, fixed=True)
    yield _line(prices, "Network", "public addresses", "network.address", of.addresses * HOURS, fixed=True)
    through = workload.moved if of.endpoints else 0.0
    yield _line(prices, "Network", "data through endpoints", "network.endpoint.data", through)
    changed = sum(one.size for one in workload.warm if one.operation in (CREATES, PATCHES)) / 1e9
    yield _line(prices, "Network", "data between regions", "network.regions", changed * (of.regions - 1))
    yield _line(prices, "Network", "data out of Azure", "network.out", workload.moved_out)
    yield _line(prices, "Key Vault", "operations", "vault.operations", VAULT_OPERATIONS, by=10_000, fixed=True)
    yield _line(prices, "Key Vault", "keys that rotate", "vault.rotation", of.keys * ROTATIONS, fixed=True)
