"""Rules and routes: which tiers a key uses, with which lifetimes, and what follows from what a tier answered. Pure, no I/O."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Final

from thermocline.configured import part, switch
from thermocline.errors import ConfigurationError, InvalidArgument, InvalidKey
from thermocline.lifetimes import HOT_CEILING, LONGEST_LIFETIME, MemoryConfig, lifetime_ms
from thermocline.model import PART_BYTES, Authority, Envelope, Flags, Key, MemoryTier
from thermocline.protocols import PlainCopies

__all__ = [
    "COUNTED",
    "HOT_CEILING",
    "LONGEST_LIFETIME",
    "LegacySource",
    "MemoryConfig",
    "MemoryRules",
    "Plan",
    "Route",
    "Routes",
    "Serve",
    "lifetime_ms",
    "plain_name",
    "serve",
]

COUNTED: Final = 15  # reads that the sketch tells apart

_CEILING_MS: Final = HOT_CEILING // timedelta(milliseconds=1)
_TOMBSTONE: Final = int(Flags.TOMBSTONE)


@dataclass(frozen=True, slots=True)
class MemoryRules:
    """How a key's records move between the tiers. Raises `ConfigurationError` for what cannot work.

    - ``read_fallback``: a read that hot does not answer asks the authority. False: it answers `NotAsked`.
    - ``promote_on_read``: what the authority answered is put into hot.
    - ``promote_after``: ... once it was read there so often by this client within the sketch's memory (some ten thousand keys; it fades); 1: at once.
    - ``write_through``: writes go to the authority. False: the records live in hot alone, and end with it.
    - ``hot_ttl_seconds``: how long a copy stays in hot, one hour at most; None: that hour. Where hot itself is the authority it is the lifetime
      of records that are written without one, with no such bound, and None is for ever.
    - ``warm_ttl_seconds``: the lifetime of records that are written to a durable authority without one; None: for ever.
    - ``write_cold``: every payload goes to cold, with a pointer in the authority. Else only those over ``cold_threshold_bytes``.
    - ``write_around``: a write leaves hot without the new value; the next read brings it there.
    - ``stale_while_down``: while the authority is down a read may answer with a value that is old but not expired, and says so.
    - ``refuse_without_hot``: a write is refused while hot cannot be told of it. Else it is taken, and its result says until when others may see
      the old value.
    - ``cold_threshold_bytes``: stored payloads above this go to cold (if there is one), into a blob of their own. None: above 128 KiB, since a larger item
      makes every Cosmos write dear; above 1 MiB where cold itself is the authority, since a record in one blob costs one request instead of two
      (with hot above it no more than hot keeps: of larger values hot holds the pointer).
    - ``hot_max_bytes``: stored payloads above this are kept in hot as a pointer or not at all; 1 MB by default, since Redis serves one command at a time.
    - ``max_value_bytes``: serialised values above this are refused; 512 MiB by default, Redis' own limit. Streams are not bound by it.
    """

    read_fallback: bool = True
    promote_on_read: bool = True
    write_through: bool = True
    hot_ttl_seconds: timedelta | float | None = 300
    warm_ttl_seconds: timedelta | float | None = None
    write_cold: bool = False
    write_around: bool = field(default=False, kw_only=True)
    stale_while_down: bool = field(default=False, kw_only=True)
    refuse_without_hot: bool = field(default=False, kw_only=True)
    promote_after: int = field(default=1, kw_only=True)
    cold_threshold_bytes: int | None = field(default=None, kw_only=True)
    hot_max_bytes: int = field(default=1_000_000, kw_only=True)
    max_value_bytes: int = field(default=512 * 1024 * 1024, kw_only=True)

    def __post_init__(self) -> None:
        for name in _SWITCHES:
            given = getattr(self, name)
            if not isinstance(given, bool):
                raise ConfigurationError(f"{name} is True or False, not {given!r}")
        for name in ("hot_ttl_seconds", "warm_ttl_seconds"):
            try:
                lifetime_ms(getattr(self, name), name)
            except InvalidArgument as error:
                raise ConfigurationError(str(error)) from error
        for name, least in (("cold_threshold_bytes", 0), ("hot_max_bytes", 0), ("max_value_bytes", 1)):
            given = getattr(self, name)
            if given is None and name == "cold_threshold_bytes":
                continue
            if isinstance(given, bool) or not isinstance(given, int) or given < least:
                raise ConfigurationError(f"{name} is a whole number of bytes, at least {least}, not {given!r}")
        often: object = self.promote_after
        if isinstance(often, bool) or not isinstance(often, int) or not 1 <= often <= COUNTED:
            raise ConfigurationError(f"promote_after is a whole number of reads from 1 to {COUNTED}, not {often!r}")
        if not self.write_through:
            for name in ("write_cold", "write_around", "refuse_without_hot"):
                if getattr(self, name):
                    raise ConfigurationError(
                        f"{name}=True does not go with write_through=False, which keeps records in hot alone; drop one of them"
                    )


_OWN_BLOB_OF_WARM: Final = 128 * 1024
_OWN_BLOB: Final = 2**20  # a quarter of what a head takes: who writes a known key reads the old head
_AROUND: Final = 16 * 1024  # bytes: what hot's bound counts besides a payload is less
_SWITCHES: Final = (
    "read_fallback",
    "promote_on_read",
    "write_through",
    "write_cold",
    "write_around",
    "stale_while_down",
    "refuse_without_hot",
)


OWN_PLAIN_NAMES: Final = "tcp."  # so begin the plain names of keys that are not plain strings (`client.direct`)


def plain_name(key: Key) -> str | None:
    """The name under which code before this library kept a plain string: that string. None for every other key."""
    return key.name if key == Key.of(key.name) else None


@dataclass(frozen=True, slots=True)
class LegacySource:
    """Where code before this library left copies: plain keys in Redis (a `HotMemory`), documents in Cosmos DB (`LegacyDocuments`), blobs (a `ColdMemory`).

    They are asked in this order, and only for keys of which the authority knows nothing; the first write takes them over and removes them. ``name``: the
    name of a key's copies, None if it has none; by default plain strings have theirs, and other keys none. It must not give two keys one name, or one
    tenant reads another's. A name that begins with "tcp." has no copies: what stands there is some tenant's, by ``tier=``.
    """

    hot: PlainCopies | None = None
    warm: PlainCopies | None = None
    cold: PlainCopies | None = None
    name: Callable[[Key], str | None] = field(default=plain_name, kw_only=True)

    def __post_init__(self) -> None:
        if not self.sources():
            raise ConfigurationError("a LegacySource names at least one of hot, warm and cold")
        for name in ("hot", "warm", "cold"):
            source = getattr(self, name)
            if source is not None and not isinstance(source, PlainCopies):
                raise ConfigurationError(
                    f"a LegacySource's {name} is a HotMemory, LegacyDocuments or ColdMemory (protocols.PlainCopies), not {type(source).__name__}"
                )
        if not callable(self.name):
            raise ConfigurationError(f"a LegacySource's name is a function of a Key, not {self.name!r:.80}")

    def name_of(self, key: Key) -> str | None:
        """The name of the key's copies; None: it can have none."""
        name = self.name(key)
        return None if name is None or name.startswith(OWN_PLAIN_NAMES) else name

    def sources(self) -> list[PlainCopies]:
        """Those that are given, in the order in which they are asked."""
        return [source for source in (self.hot, self.warm, self.cold) if source is not None]


@dataclass(frozen=True, slots=True)
class Route:
    """Other rules for the keys whose name begins with ``prefix`` (case-sensitive; "" is every name), and only those of ``tenant`` and of
    scopes that begin with ``scope_prefix`` where these are given.

    ``authority`` names the tier whose word counts; None: the first of warm, cold and hot that is configured (hot if ``write_through=False``).
    ``hot`` False: hot keeps no copies of these keys. Changing the authority of keys that exist is a migration: the old records are not found.
    ``legacy``: where keys are read of which the authority knows nothing, until their first write.
    """

    prefix: str
    rules: MemoryRules = field(default_factory=MemoryRules, kw_only=True)
    tenant: str | None = field(default=None, kw_only=True)
    scope_prefix: str | None = field(default=None, kw_only=True)
    authority: Authority | None = field(default=None, kw_only=True)
    hot: bool = field(default=True, kw_only=True)
    legacy: LegacySource | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        given_legacy: object = self.legacy
        if given_legacy is not None and not isinstance(given_legacy, LegacySource):
            raise ConfigurationError(f"a route's legacy is a LegacySource, not {type(given_legacy).__name__}")
        part(self.rules, "a route's rules", MemoryRules)
        switch(self.hot, "a route's hot")
        if self.authority is not None:
            part(self.authority, "a route's authority", Authority)
        for name in ("prefix", "tenant", "scope_prefix"):
            given = getattr(self, name)
            if not isinstance(given, str) and (given is not None or name == "prefix"):
                raise ConfigurationError(f"a route's {name} is a string, not {type(given).__name__}")
        if self.tenant is not None:
            try:
                Key(self.tenant, "scope", "name")
            except InvalidKey as error:
                raise ConfigurationError(f"a route's tenant must be one that a key can have: {error}") from error
        if self.scope_prefix is not None and len(self.scope_prefix.encode(errors="replace")) > PART_BYTES:
            raise ConfigurationError(
                f"a route's scope_prefix has more than {PART_BYTES} bytes: no scope begins with it"
            )
        if self.authority is Authority.NONE:
            raise ConfigurationError(
                "a route's authority is WARM, COLD, HOT or WARM_PLUS; leave it out to choose by the tiers"
            )


_TIER_OF: Final = {
    Authority.HOT: MemoryTier.HOT,
    Authority.WARM: MemoryTier.WARM,
    Authority.COLD: MemoryTier.COLD,
    Authority.WARM_PLUS: MemoryTier.WARM_PLUS,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a route says, worked out for the tiers that are there.

    ``uses_hot``: hot holds copies above the authority (False where hot is the authority). ``hot_lifetime_ms``: how long such a copy stays.
    ``default_lifetime_ms``: of a record that is written without a lifetime, 0 for ever. ``cold_above``: stored payloads of more bytes go to cold
    with a pointer; None: there is no cold to hold them, or hot is the authority.
    """

    rules: MemoryRules
    authority: Authority
    tier: MemoryTier
    uses_hot: bool
    hot_lifetime_ms: int
    default_lifetime_ms: int
    cold_above: int | None
    legacy: LegacySource | None = None

    def expires_ms(self, now_ms: int, lifetime: timedelta | float | None = None) -> int:
        """When a record written at ``now_ms`` ends, in ms since 1970; 0 never. ``lifetime`` None: the plan's default."""
        span = self.default_lifetime_ms if lifetime is None else lifetime_ms(lifetime)
        return now_ms + span if span else 0

    def hot_for_ms(self, envelope: Envelope, now_ms: int) -> int:
        """How long a copy of ``envelope`` may stay in hot: the plan's lifetime, or until the record ends if that is earlier; 0: not at all."""
        ends = envelope.header.expires_ms
        return min(self.hot_lifetime_ms, max(0, ends - now_ms)) if ends else self.hot_lifetime_ms


class Serve(Enum):
    """What a copy that a tier handed out is good for."""

    VALUE = "value"  # it may be returned
    GONE = "gone"  # a tombstone or past its expiry: the key has no value, and this is the authority's word
    BELOW_FLOOR = "below_floor"  # a newer version is known to exist: ask the authority
    CONFLICT = "route_conflict"  # another tier has the word for this copy: not served, counted, ask the authority


_VALUE: Final = Serve.VALUE  # Python 3.11 takes longer over naming an enum's member than over judging a copy


def serve(envelope: Envelope, *, now_ms: int, floor: int, plan: Plan) -> Serve:
    """Judge a copy at ``now_ms``, where ``floor`` is the highest version of the key that is known (0: none)."""
    header = envelope.header
    if header.authority != plan.authority:
        return Serve.CONFLICT
    if header.version < floor:
        return Serve.BELOW_FLOOR
    if 0 < header.expires_ms <= now_ms:
        return Serve.GONE
    # IntFlag's own `&` and bool cost more than all the rest: plain integers here
    if header.flags == 0 or not int.__and__(header.flags, _TOMBSTONE):
        return _VALUE
    return Serve.GONE


class Routes:
    """Finds the plan of a key: the route with the longest matching name prefix; among equally long ones the first given; else the default.

    Raises `ConfigurationError` when built for rules that the given tiers cannot keep, and for two routes of the same keys that differ.
    """

    __slots__ = ("_by_tenant", "_general", "default")

    def __init__(self, default: MemoryRules, routes: Sequence[Route] = (), *, tiers: Collection[MemoryTier]) -> None:
        self.default: Final = _plan(Route("", rules=default), tiers, "the default rules")
        _agree(routes)
        ordered = sorted(routes, key=lambda route: -len(route.prefix))
        planned = [
            (route.prefix, route.tenant, route.scope_prefix or "", _plan(route, tiers, f"the route {route.prefix!r}"))
            for route in ordered
        ]
        self._general = [(p, s, plan) for p, tenant, s, plan in planned if tenant is None]
        tenants = {tenant for _, tenant, _, _ in planned if tenant is not None}
        self._by_tenant = {
            mine: [(p, s, plan) for p, tenant, s, plan in planned if tenant is None or tenant == mine]
            for mine in tenants
        }

    def route(self, key: Key) -> Plan:
        """The plan of ``key``; costs nothing to speak of where there are no routes, and a string comparison for each one that is passed over."""
        routes = self._by_tenant.get(key.tenant, self._general) if self._by_tenant else self._general
        for prefix, scope, plan in routes:
            if key.name.startswith(prefix) and key.scope.startswith(scope):
                return plan
        return self.default

    def reached(self) -> list[Plan]:
        """The plans that a key can have: the default's only where no route takes every key."""
        whole = any(not prefix and not scope for prefix, scope, _ in self._general)
        return self.plans()[1:] if whole else self.plans()

    def plans(self) -> list[Plan]:
        """The default's plan and each route's."""
        planned = {id(plan): plan for routes in (self._general, *self._by_tenant.values()) for _, _, plan in routes}
        return [self.default, *planned.values()]


def _agree(routes: Sequence[Route]) -> None:
    """Two routes of the same keys that say different things contradict each other: the second would never count."""
    known: dict[tuple[str, str | None, str], Route] = {}
    for route in routes:
        other = known.setdefault((route.prefix, route.tenant, route.scope_prefix or ""), route)
        if other != route:
            raise ConfigurationError(
                f"two routes for the prefix {route.prefix!r}, tenant {route.tenant!r}, scope_prefix {route.scope_prefix!r} contradict each other:"
                f" {other!r:.200} and {route!r:.200}; leave one of them out"
            )


def _plan(route: Route, tiers: Collection[MemoryTier], where: str) -> Plan:
    rules = route.rules
    authority = _authority(route, tiers, where)
    in_hot = authority is Authority.HOT
    if rules.write_cold and MemoryTier.COLD not in tiers:
        raise ConfigurationError(f"{where}: write_cold=True needs a cold tier; configure one or leave write_cold out")
    if rules.write_cold and in_hot:
        raise ConfigurationError(
            f"{where}: write_cold=True needs a durable authority, and here it is hot; drop one of them"
        )
    hot_ms = lifetime_ms(rules.hot_ttl_seconds)
    uses_hot = route.hot and not in_hot and MemoryTier.HOT in tiers
    above = rules.cold_threshold_bytes
    if above is None:
        above = _OWN_BLOB_OF_WARM
        if authority is Authority.COLD:
            kept = rules.hot_max_bytes - _AROUND if uses_hot else _OWN_BLOB
            above = max(above, min(_OWN_BLOB, kept))
    return Plan(
        rules=rules,
        authority=authority,
        tier=_TIER_OF[authority],
        uses_hot=uses_hot,
        hot_lifetime_ms=min(hot_ms, _CEILING_MS) if hot_ms else _CEILING_MS,
        default_lifetime_ms=hot_ms if in_hot else lifetime_ms(rules.warm_ttl_seconds),
        cold_above=None if in_hot or MemoryTier.COLD not in tiers else 0 if rules.write_cold else above,
        legacy=route.legacy,
    )


def _authority(route: Route, tiers: Collection[MemoryTier], where: str) -> Authority:
    if not tiers:
        raise ConfigurationError("no tier is configured; give at least one of hot, warm and cold")
    if not route.rules.write_through:
        if route.authority not in (None, Authority.HOT):
            raise ConfigurationError(
                f"{where}: write_through=False keeps records in hot alone, so its authority cannot be {route.authority.name};"
                " drop one of them"
            )
        if MemoryTier.HOT not in tiers:
            raise ConfigurationError(f"{where}: write_through=False needs a hot tier; configure one or leave it out")
        return Authority.HOT
    if route.authority is not None:
        if _TIER_OF[route.authority] not in tiers:
            raise ConfigurationError(
                f"{where}: its authority {route.authority.name} is not configured; there are: {', '.join(sorted(tiers))}"
            )
        return route.authority
    for authority in (Authority.WARM, Authority.COLD, Authority.HOT, Authority.WARM_PLUS):
        if _TIER_OF[authority] in tiers:
            return authority
    raise ConfigurationError(f"{where}: no tier among {', '.join(map(str, tiers))} can be the authority")
