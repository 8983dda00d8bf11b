"""One tier alone, by the argument ``tier=``: the cascade's record where that tier has the word for the key, else its plain names (COHERENCE section 1).

Plain names share nothing with the cascade's key of the same name: no floor, no flight, no hot entry. A tier without a layout of its own for them (the embedded
ones, Table Storage) keeps them as records of a scope that is set apart.
"""

from typing import Any, Final

from thermocline.client.cascade import Cascade
from thermocline.client.engine import Engine
from thermocline.client.fences import LONGEST_WRITE
from thermocline.client.result import Answer, WriteResult
from thermocline.clock import Deadline
from thermocline.codec import LEGACY_TEXT
from thermocline.errors import ConfigurationError, InvalidArgument, InvalidKey
from thermocline.keys import escape, unescape
from thermocline.model import Authority, Envelope, Key, MemoryTier, instant
from thermocline.policy import Plan, lifetime_ms, plain_name
from thermocline.protocols import Effect, PlainNames, Tier, Verb, Versions, Write

TierName = MemoryTier | str

OWN: Final = "tcp."  # plain names of keys that are not plain strings begin with this
APART: Final = "~plain/"  # scopes of plain names in a tier that has no layout for them
_NAME_MOST: Final = 1000  # characters; ids of Cosmos DB and names of blobs hold little more


def tier_of(given: TierName) -> MemoryTier:
    """The tier of that name, as ``MemoryTier.WARM_PLUS``, ``"warm_plus"``, ``"WARM-PLUS"``. Raises `InvalidArgument`."""
    try:
        return MemoryTier(given.lower().replace("-", "_"))
    except (ValueError, AttributeError, TypeError):
        names = ", ".join(MemoryTier)
        raise InvalidArgument(f"tier is a MemoryTier or its name ({names}), not {given!r:.80}") from None


class Direct:
    """Asking and writing one tier for a client."""

    def __init__(self, engine: Engine, cascade: Cascade, tiers: dict[MemoryTier, Tier]) -> None:
        self._engine = engine
        self._cascade = cascade
        self._tiers = tiers

    def has_the_word(self, tier: TierName, plan: Plan) -> bool:
        """Whether the tier is the authority, so that its record is the cascade's. Raises `ConfigurationError` for one that there is not."""
        return self._tier(tier) is plan.tier

    def check(self, tier: TierName) -> None:
        """Raises `InvalidArgument` for what is no tier, `ConfigurationError` for one that there is not."""
        self._tier(tier)

    def _tier(self, given: TierName) -> MemoryTier:
        tier = tier_of(given)
        if tier not in self._tiers:
            there = ", ".join(self._tiers)
            raise ConfigurationError(f"this memory has no {tier} tier (it has {there}); configure it, or name another")
        return tier

    async def read(self, key: Key, tier: TierName, plan: Plan, deadline: Deadline) -> Answer:
        """What that tier alone has. Of the authority's record hot is told, as by every read."""
        if self.has_the_word(tier, plan):
            return await self._cascade.below(key, plan, floor=0, lease=None, told=True, deadline=deadline)
        name = self._tier(tier)
        found = await self._read(key, name, deadline)
        return Answer(found, name)

    async def _read(self, key: Key, name: MemoryTier, deadline: Deadline) -> Envelope | None:
        engine, part = self._engine, self._tiers[name]
        guard = engine.guards[name]
        if not isinstance(part, PlainNames):
            found = await guard.call("plain_get", self._apart(name).read, _apart(key), deadline=deadline)
            return found if found is not None and found.live(engine.now_ms()) else None
        copy = await guard.call("plain_get", part.plain_get, _name(key), deadline=deadline)
        if copy is None or 0 < copy.expires_ms <= engine.now_ms():
            return None
        media_type = LEGACY_TEXT if isinstance(copy.value, str) else None
        serialised = engine.codec.prepare(copy.value)
        now = engine.now_ms()
        return await engine.seal(key, serialised, now_ms=now, expires_ms=copy.expires_ms, media_type=media_type)

    async def set(
        self, key: Key, value: Any, tier: TierName, plan: Plan, lasting_ms: int | None, deadline: Deadline
    ) -> WriteResult:
        """Store a value under the key's plain name, soon or not at all: who erases a scope waits for it. ``lasting_ms`` 0: for good; None: as the
        rules say for that tier."""
        engine, name = self._engine, self._tier(tier)
        deadline = deadline.within(LONGEST_WRITE)
        part, guard = self._tiers[name], engine.guards[name]
        span = self._default_ms(plan, name) if lasting_ms is None else lasting_ms
        ceiling = engine.lifetimes.ceiling_ms(key)
        if ceiling is not None:
            span = min(span, ceiling) if span else ceiling
        now = engine.now_ms()
        expires = now + span if span else 0
        if isinstance(part, PlainNames):

            async def put(deadline: Deadline) -> None:
                await part.plain_set(_name(key), value, lasting_ms=span, deadline=deadline)

            await guard.call("plain_set", put, deadline=deadline)
        else:
            apart = _apart(key)
            envelope = await engine.seal(apart, engine.codec.prepare(value), now_ms=now, expires_ms=expires)
            write = Write(Verb.PUT, engine.write_id(), envelope)
            await guard.call("plain_set", self._apart(name).write, write, deadline=deadline)
        return WriteResult(key, 0, Authority.NONE, durable=name is not MemoryTier.HOT, expires=instant(expires))

    async def delete(self, key: Key, tier: TierName, deadline: Deadline) -> WriteResult:
        """Delete the key's plain name; ``found``: whether there was one."""
        engine, name = self._engine, self._tier(tier)
        part, guard = self._tiers[name], engine.guards[name]
        if isinstance(part, PlainNames):
            found = await guard.call("plain_delete", part.plain_delete, _name(key), deadline=deadline)
        else:
            live = await self._read(key, name, deadline)
            tombstone = engine.codec.tombstone(_apart(key), now_ms=engine.now_ms())
            write = Write(Verb.DELETE, engine.write_id(), tombstone)
            written = await guard.call("plain_delete", self._apart(name).write, write, deadline=deadline)
            found = live is not None and written.effect is Effect.TOOK
        return WriteResult(key, 0, Authority.NONE, durable=name is not MemoryTier.HOT, found=found)

    def _default_ms(self, plan: Plan, name: MemoryTier) -> int:
        rules = plan.rules
        if name is MemoryTier.HOT:
            return lifetime_ms(rules.hot_ttl_seconds)
        return lifetime_ms(rules.warm_ttl_seconds) if name is MemoryTier.WARM else 0

    def _apart(self, name: MemoryTier) -> Versions:
        part = self._tiers[name]
        if not isinstance(part, Versions):
            raise ConfigurationError(
                f"the {name} tier ({type(part).__name__}) holds nothing under a plain name: it is neither protocols.PlainNames nor Versions"
            )
        return part


def refuse_on_plain(tier: TierName, **given: bool) -> None:
    """Raises `InvalidArgument` for what only the cascade's records have."""
    for what, is_given in given.items():
        if is_given:
            raise InvalidArgument(
                f"{what} is for the cascade's records, and what the tier {tier} alone holds of this key is none: leave {what} or tier out"
            )


def _name(key: Key) -> str:
    """The plain name of a key: of a plain string that string, of any other one that no plain string is."""
    name = plain_name(key)
    if name is None:
        name = OWN + ".".join(map(escape, (key.tenant, key.scope, key.name)))
    elif name.startswith(OWN):
        raise InvalidKey(f"plain names that begin with {OWN!r} stand for keys with a tenant: begin it otherwise")
    if len(name) > _NAME_MOST:
        raise InvalidKey(
            f"a plain name has at most {_NAME_MOST} characters, and this has {len(name)}: leave tier out, or take a shorter name"
        )
    return name


def plain_prefix(tenant: str, scope: str | None) -> str:
    """How the plain names of a scope's keys, or of all keys of a tenant, begin, and of no other's; but for keys that are plain strings."""
    return OWN + ".".join(map(escape, [tenant] if scope is None else [tenant, scope])) + "."


def key_of_plain(name: str) -> Key:
    """The key that a plain name which begins so stands for. Raises `InvalidKey`."""
    parts = [unescape(part) for part in name.removeprefix(OWN).split(".")]
    if len(parts) != 3:
        raise InvalidKey("not a plain name of a key")
    return Key(*parts)


def _apart(key: Key) -> Key:
    """Where a tier without plain names keeps it: in the key's own tenant."""
    return Key(key.tenant, APART + key.scope, key.name)
