"""What tiers hold of a scope for themselves, written by ``tier=`` (docs/tiers.md, "One tier alone"): it belongs to the scope of its key as much as records do.

A tier without a layout for plain names keeps these as records of a scope that is set apart; the others by names that tell their keys. A key that is a
plain string has that string as its plain name, as the code before this library had, which tells no scope: those are found by nobody.
"""

from collections.abc import AsyncGenerator
from typing import Final

from thermocline.client.direct import APART, key_of_plain, plain_prefix
from thermocline.client.engine import Engine
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidKey, UnreadableRecord
from thermocline.model import Envelope, Key, MemoryTier
from thermocline.protocols import PlainListing, PlainNames

PATIENCE: Final = 120.0  # seconds that the finding of names in one tier may take: it may look at all that Redis holds


def scopes_of(scope: str | None) -> list[str | None]:
    """The scopes in which a tier may hold records of this one; None: all of a tenant's."""
    if scope is None:
        return [None]
    try:
        Key("t", APART + scope, "n")
    except InvalidKey:  # too long for a scope, so there is none
        return [scope]
    return [scope, APART + scope]


class Alone:
    """The plain names of one scope, or of a whole tenant."""

    def __init__(self, engine: Engine, tenant: str, scope: str | None) -> None:
        self._engine = engine
        self._prefix = plain_prefix(tenant, scope)

    def unsearched(self) -> list[str]:
        """In words, what may be there of the scope and cannot be found."""
        found = []
        if any(plan.legacy is not None for plan in self._engine.routes.plans()):
            found.append(
                "old copies that a legacy route reads, of keys that nobody has written since: migrate them first, or delete them by hand"
            )
        tiers = self._engine.authorities.values()
        blind = [tier.tier for tier in tiers if not isinstance(tier, PlainListing) and isinstance(tier, PlainNames)]
        return found + [f"values that {tier} alone holds by tier=, which it cannot list" for tier in blind]

    async def erase(self) -> dict[str, int]:
        """Delete them; how many, by tier. Raises `TierUnavailable`; what was deleted is."""
        gone: dict[str, int] = {}
        async for tier, part, name in self._names():
            if await part.plain_delete(name, deadline=self._engine.budget.call()):
                gone[tier] = gone.get(tier, 0) + 1
        return gone

    async def count(self) -> dict[str, int]:
        """How many there are, by tier."""
        found: dict[str, int] = {}
        async for tier, _, _ in self._names():
            found[tier] = found.get(tier, 0) + 1
        return found

    async def values(self) -> AsyncGenerator[tuple[MemoryTier, Envelope | str], None]:
        """The live ones, or in words what is damaged. Raises `TierUnavailable`."""
        engine = self._engine
        async for tier, part, name in self._names():
            try:
                copy = await part.plain_get(name, deadline=engine.budget.call())
                if copy is None or 0 < copy.expires_ms <= engine.now_ms():
                    continue
                serialised = engine.codec.prepare(copy.value)
                found = await engine.seal(key_of_plain(name), serialised, now_ms=0, expires_ms=copy.expires_ms)
            except (CorruptRecord, UnreadableRecord, InvalidKey) as error:
                yield MemoryTier(tier), f"{name} in {tier} alone: {error}"
            else:
                yield MemoryTier(tier), found

    async def _names(self) -> AsyncGenerator[tuple[str, PlainListing, str], None]:
        for tier in self._engine.authorities.values():
            if isinstance(tier, PlainListing):
                for name in await tier.plain_list(self._prefix, deadline=Deadline.after(PATIENCE, self._engine.clock)):
                    if name.startswith(self._prefix):
                        yield str(tier.tier), tier, name
