"""Every metric, span and attribute, with its unit and what it says: the one place. `docs/telemetry.md` is made from this file.

A new counter is one line here, ``NAME: Final = counter("key", "{unit}", "what it counts")``, its name in ``__all__``, and
``stats.count(telemetry.NAME, tier)`` where it happens; then ``python -m thermocline.telemetry docs/telemetry.md``. Names are stable: one that was
released is never given another meaning.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

SCOPE: Final = "thermocline"  # the instrumentation scope of all metrics and spans
CLIENT: Final = "client"  # in the place of a tier's name: what belongs to none

# --- attributes ------------------------------------------------------------------------------------------------------

TIER: Final = "thermocline.tier"
VERB: Final = "thermocline.verb"
OUTCOME: Final = "thermocline.outcome"
QUANTILE: Final = "thermocline.quantile"
VERSION: Final = "thermocline.version"
KEY_HASH: Final = "thermocline.key_hash"
KEYS: Final = "thermocline.keys"
CORRELATION: Final = "thermocline.correlation_id"
ERROR_TYPE: Final = "error.type"

ATTRIBUTES: Final[dict[str, str]] = {
    TIER: "`hot`, `warm`, `warm_plus`, `cold`, `near` (the near cache in the process), or `client` for what belongs to no tier",
    VERB: "the call: of a client (`get`, `set`, …) or of a tier (`get`, `look`, `read`, `put`, `settle`, …)",
    OUTCOME: "`hit`, `miss`, `ok` (a call that is no read), `unavailable`, `corrupt`, `cancelled` or `error`; of a duration `ok` or `unavailable`",
    QUANTILE: "of a gauge of durations: `0.5` or `0.99`",
    VERSION: "the version of the record that was written, where there is one",
    KEY_HASH: "on request only (`key_hashes=True`): the first 16 hexadecimal digits of the key's SHA-256",
    KEYS: "of a batch: how many keys were asked for",
    CORRELATION: "the correlation id of the call (`telemetry.correlation`), if one was set",
    ERROR_TYPE: "the class of the error that the call raised; never its message, which may name a key",
}

# --- metrics ---------------------------------------------------------------------------------------------------------


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """``key`` is its name in `Stats` and in ``client.stats()``, where it stands below its tier; ``name`` is OpenTelemetry's."""

    key: str
    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...]


METRICS: Final[dict[str, Metric]] = {}
"""By key."""


def _metric(key: str, kind: Kind, unit: str, description: str, name: str | None, attributes: tuple[str, ...]) -> str:
    metric = Metric(key, f"{SCOPE}.{name or key}", kind, unit, description, attributes)
    if key in METRICS or any(metric.name == other.name for other in METRICS.values()):
        raise ValueError(f"{key} ({metric.name}) is named twice")
    METRICS[key] = metric
    return key


def counter(key: str, unit: str, description: str, *, name: str | None = None, attributes: tuple[str, ...] = ()) -> str:
    """A sum that only grows, per tier; counted by ``stats.count(key, tier)``, or with the attribute `VERB` by ``stats.charge(key, tier, verb, amount)``.
    ``name``: if it differs from ``key``."""
    return _metric(key, Kind.COUNTER, unit, description, name, (TIER, *attributes))


def gauge(key: str, unit: str, description: str, *, name: str | None = None, attributes: tuple[str, ...] = ()) -> str:
    """A figure of now, asked for when it is collected; of several clients in one process the sum, unless it says otherwise."""
    return _metric(key, Kind.GAUGE, unit, description, name, (TIER, *attributes))


READS: Final = counter("reads", "{key}", "Keys that a tier was asked for")
HITS: Final = counter("hits", "{hit}", "Keys that it had an answer for (a tombstone in hot is one)")
MISSES: Final = counter(
    "misses", "{miss}", "Keys that it had none for; in hot also those that it could not be asked for"
)
UNAVAILABLE: Final = counter(
    "unavailable", "{call}", "Calls that a tier did not answer, with those refused by an open circuit breaker"
)
CORRUPT: Final = counter("corrupt", "{record}", "Damaged records that were met")
WRITES: Final = counter("writes", "{record}", "Records that a tier took from a write")
PROMOTIONS: Final = counter("promotions", "{record}", "Records that hot took from a read below")
DEMOTIONS: Final = counter("demotions", "{record}", "Payloads that were moved down and left a pointer behind")
BYTES_RAW: Final = counter(
    "bytes_raw", "By", "Of values written: serialised, before they are compressed", name="bytes.raw"
)
BYTES_STORED: Final = counter("bytes_stored", "By", "Of the same values: as the tier holds them", name="bytes.stored")
REQUESTS: Final = counter("requests", "{request}", "Requests to the tier's service")
REQUEST_UNITS: Final = counter(
    "request_units",
    "{request_unit}",
    "What Cosmos DB charged; `stats()` has the sum, and the verbs' shares as `request_units_by_verb`",
    attributes=(VERB,),
)
THROTTLED: Final = counter("throttled", "{request}", "Requests that were refused as too many")
STALE_SERVED: Final = counter(
    "stale_served", "{hit}", "Stale values served while the authority was down, as the rules ask"
)
FLIGHTS_SHARED: Final = counter("flights_shared", "{read}", "Callers who took another's read")
LEASES_AWAITED: Final = counter(
    "leases_awaited", "{read}", "Reads that waited for what the holder of a lease was to bring", name="leases.awaited"
)
LEASES_RENEWED: Final = counter(
    "leases_renewed",
    "{lease}",
    "Leases whose read took longer than a second, and that were renewed",
    name="leases.renewed",
)
FACTORY_RUNS: Final = counter("factory_runs", "{run}", "Runs of a factory by `get_or_set`", name="factory.runs")
FACTORY_SHARED: Final = counter(
    "factory_shared",
    "{call}",
    "Callers of `get_or_set` who took the value of a run that another had begun",
    name="factory.shared",
)
FACTORY_FAILED: Final = counter(
    "factory_failed", "{run}", "Runs whose factory raised, or took too long and was ended", name="factory.failed"
)
FACTORY_UNSAVED: Final = counter(
    "factory_unsaved",
    "{run}",
    "Values of a factory that were handed out and could not be stored",
    name="factory.unsaved",
)
REFRESHES: Final = counter(
    "refreshes", "{run}", "Runs that renewed a value which was there: past its freshness, or ahead of its end"
)
REFRESHES_DROPPED: Final = counter(
    "refreshes_dropped", "{run}", "Refreshes that were due while too many were under way", name="refreshes.dropped"
)
SOFT_STALE: Final = counter(
    "soft_stale",
    "{hit}",
    "Values past their freshness that `get_or_set` served: the refresh took longer, or failed",
    name="soft_stale_served",
)
NEAR_INVALIDATED: Final = counter(
    "near_invalidated",
    "{entry}",
    "Entries of the near cache that went because Redis told of a change",
    name="near.invalidated",
)
NEAR_EMPTIED: Final = counter(
    "near_emptied",
    "{time}",
    "Times that the near cache was emptied: a connection broke by which it hears of changes, the epoch was raised, a scope was forgotten",
    name="near.emptied",
)
RECOVERED: Final = counter("recovered", "{key}", "Keys that the recovery queue settled in hot")
HEDGES_SENT: Final = counter(
    "hedges_sent", "{read}", "Second reads that were sent because the first was late", name="hedges.sent"
)
HEDGES_WON: Final = counter("hedges_won", "{read}", "Second reads that were answered first", name="hedges.won")
RETRIES_REFUSED: Final = counter(
    "retries_refused",
    "{request}",
    "Requests that were not repeated because the retry budget was spent",
    name="retries.refused",
)
BREAKER_ERRORS: Final = counter(
    "breaker_errors", "{opening}", "Times that the circuit breaker opened because calls failed", name="breaker.errors"
)
BREAKER_SLOWNESS: Final = counter(
    "breaker_slowness", "{opening}", "Times that it opened because answers were slow", name="breaker.slowness"
)
REFUSED: Final = counter(
    "refused",
    "{call}",
    "Calls that were refused at once because too many of this process waited for the tier",
    name="calls.refused",
)
WAITING: Final = gauge("waiting", "{call}", "Calls that wait for their turn at the tier", name="calls.waiting")
RENEWALS: Final = counter("renewals", "{record}", "Sliding records that a read gave their lifetime anew")
RENEWALS_FAILED: Final = counter("renewals_failed", "{record}", "Renewals that a tier refused or did not answer")
RENEWALS_DROPPED: Final = counter(
    "renewals_dropped", "{record}", "Renewals that were due while too many were under way; the next read renews"
)
ROUTE_CONFLICTS: Final = counter(
    "route_conflict", "{read}", "Copies in hot of which another tier has the word: not served", name="route_conflicts"
)
FEED_SETTLED: Final = counter(
    "feed_settled", "{document}", "Documents of the change feed that were settled in hot", name="feed.settled"
)
FEED_SET_ASIDE: Final = counter(
    "feed_set_aside",
    "{document}",
    "Documents of the change feed that were set aside as dead letters, so that it goes on",
    name="feed.set_aside",
)

BREAKER: Final = gauge(
    "breaker",
    "1",
    "The circuit breaker: 0 closed, 1 half open, 2 open; of several clients the worst. `stats()` has the word",
    name="breaker.state",
)
RECOVERY_QUEUE: Final = gauge("recovery_queue", "{key}", "Keys that hot is still to be told of", name="recovery.queue")
FLOORS: Final = gauge("floors", "{key}", "Keys of which the client remembers the highest version")
NEAR_ENTRIES: Final = gauge("near_entries", "{entry}", "Entries of the near cache", name="near.entries")
NEAR_BYTES: Final = gauge("near_bytes", "By", "What they take in memory, about", name="near.bytes")
NEAR_HEARS: Final = gauge(
    "near_hears",
    "1",
    "1 while the near cache hears of changes, else 0, and it is empty; of several clients the sum",
    name="near.hears",
)
READS_UNDER_WAY: Final = gauge("reads_under_way", "{read}", "Reads of the authority under way")
POOL_IN_USE: Final = gauge("pool_in_use", "{call}", "Calls under way to one server", name="pool.in_use")
POOL_LIMIT: Final = gauge("pool_limit", "{call}", "Calls to one server at most", name="pool.limit")
FEED_LAG: Final = gauge(
    "feed_lag",
    "s",
    "How old the oldest document of a batch of the change feed was when it came: the worst of two minutes, 0 if none came; of several readers the worst",
    name="feed.lag",
)
WORST: Final = frozenset({BREAKER, FEED_LAG})  # gauges of which several clients have the worst, and not a sum

# Durations. A pipeline that `configure` makes has the histogram; a MeterProvider of your own the three after it.
DURATION: Final = _metric(
    "latency",
    Kind.HISTOGRAM,
    "s",
    "A tier's calls, from the client's side of the door; of `client` its verbs, while spans are on",
    "tier.duration",
    (TIER, VERB, OUTCOME),
)
CALLS: Final = _metric("calls", Kind.COUNTER, "{call}", "How many", "tier.calls", (TIER, VERB, OUTCOME))
TIME: Final = _metric("time", Kind.COUNTER, "s", "How long, added up", "tier.time", (TIER, VERB, OUTCOME))
LATENCY: Final = _metric(
    "quantiles",
    Kind.GAUGE,
    "s",
    "The quantile of those since the last collection, within 19 % above",
    "tier.latency",
    (TIER, VERB, OUTCOME, QUANTILE),
)

# --- spans -----------------------------------------------------------------------------------------------------------

VERBS: Final[dict[str, str]] = {
    "get": "read",
    "lookup": "read",
    "exists": "read",
    "ttl": "read",
    "get_or_set": "read",
    "get_many": "read",
    "list": "call",
    "stream": "stream",
    "set": "call",
    "delete": "call",
    "touch": "call",
    "update": "call",
    "set_many": "call",
    "delete_many": "call",
    "set_stream": "call",
    "demote": "call",
    "promote": "call",
    "prefetch": "call",
    "sweep": "call",
    "settle": "call",
    "export": "stream",
    "forget": "call",
}
"""The client's verbs that have a span, named ``thermocline.<verb>``. A ``read`` that hot answered is sampled (`HOT_HIT_RATE`)."""

HOT_HIT_RATE: Final = 1000  # one hot hit in so many may become a span
TIER_SPAN: Final = "thermocline.{tier}.{verb}"

SPANS: Final[dict[str, str]] = {
    "thermocline.<verb>": "a verb of the client; its parent is the caller's current span",
    "thermocline.<tier>.<verb>": "a call to a tier, below its verb",
}

__all__ = [
    "ATTRIBUTES",
    "BREAKER",
    "BREAKER_ERRORS",
    "BREAKER_SLOWNESS",
    "BYTES_RAW",
    "BYTES_STORED",
    "CALLS",
    "CLIENT",
    "CORRELATION",
    "CORRUPT",
    "DEMOTIONS",
    "DURATION",
    "ERROR_TYPE",
    "FACTORY_FAILED",
    "FACTORY_RUNS",
    "FACTORY_SHARED",
    "FACTORY_UNSAVED",
    "FEED_LAG",
    "FEED_SETTLED",
    "FEED_SET_ASIDE",
    "FLIGHTS_SHARED",
    "FLOORS",
    "HEDGES_SENT",
    "HEDGES_WON",
    "HITS",
    "HOT_HIT_RATE",
    "KEYS",
    "KEY_HASH",
    "LATENCY",
    "LEASES_AWAITED",
    "LEASES_RENEWED",
    "METRICS",
    "MISSES",
    "NEAR_BYTES",
    "NEAR_EMPTIED",
    "NEAR_ENTRIES",
    "NEAR_HEARS",
    "NEAR_INVALIDATED",
    "OUTCOME",
    "POOL_IN_USE",
    "POOL_LIMIT",
    "PROMOTIONS",
    "QUANTILE",
    "READS",
    "READS_UNDER_WAY",
    "RECOVERED",
    "RECOVERY_QUEUE",
    "REFRESHES",
    "REFRESHES_DROPPED",
    "REFUSED",
    "RENEWALS",
    "RENEWALS_DROPPED",
    "RENEWALS_FAILED",
    "REQUESTS",
    "REQUEST_UNITS",
    "RETRIES_REFUSED",
    "ROUTE_CONFLICTS",
    "SCOPE",
    "SOFT_STALE",
    "SPANS",
    "STALE_SERVED",
    "THROTTLED",
    "TIER",
    "TIER_SPAN",
    "TIME",
    "UNAVAILABLE",
    "VERB",
    "VERBS",
    "VERSION",
    "WAITING",
    "WORST",
    "WRITES",
    "Kind",
    "Metric",
    "counter",
    "gauge",
]
