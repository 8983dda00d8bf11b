"""The verbs of `MemoryClient` under the names that users of earlier code know, and the tiers and rules as attributes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from thermocline.client.direct import TierName
from thermocline.client.lifetime import Lifetime
from thermocline.client.reading import each_key
from thermocline.client.result import NOT_GIVEN, Batch, NotGiven, WriteResult
from thermocline.client.updating import UpdateVerbs
from thermocline.errors import InvalidArgument, ThermoclineError
from thermocline.model import Key, MemoryTier
from thermocline.policy import MemoryRules
from thermocline.protocols import Tier

_AT_ONCE: Final = 16  # calls to one tier


class AliasVerbs(UpdateVerbs):
    """`mget`, `mset`; ``hot``, ``warm``, ``cold``, ``rules``."""

    @property
    def hot(self) -> Tier | None:
        """The hot tier, None if there is none."""
        return self._parts.tiers.get(MemoryTier.HOT)

    @property
    def warm(self) -> Tier | None:
        """The warm tier, None if there is none."""
        return self._parts.tiers.get(MemoryTier.WARM)

    @property
    def cold(self) -> Tier | None:
        """The cold tier, None if there is none."""
        return self._parts.tiers.get(MemoryTier.COLD)

    @property
    def rules(self) -> MemoryRules:
        """The default rules."""
        return self._engine.routes.default.rules

    async def mget(
        self, keys: Iterable[Key | str], *, tier: TierName | None = None, timeout: Lifetime = None
    ) -> Batch[Any]:
        """`get_many`; with ``tier`` what that tier alone has of each key, by a request a key."""
        if tier is None:
            return await self.get_many(keys, timeout=timeout)
        given = each_key(keys)
        deadline = await self._begin(timeout)
        batch: Batch[Any] = Batch()
        missing = object()

        async def one(name: Any, key: Key) -> None:
            value = await self.get(key, default=missing, tier=tier, timeout=deadline.remaining())
            if value is missing:
                batch.missing.append(name)
            else:
                batch[name] = value

        self._direct.check(tier)
        await _each(given, batch, one)
        return batch

    async def mset(
        self,
        items: Mapping[Any, Any],
        *,
        tier: TierName | None = None,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        timeout: Lifetime = None,
    ) -> Batch[WriteResult]:
        """`set_many`; with ``tier`` into that tier alone, each key as `set` does it."""
        if tier is None:
            return await self.set_many(items, ttl=ttl, timeout=timeout)
        given: Any = items
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"mset takes a mapping of keys to values, not {type(items).__name__}")
        deadline = await self._begin(timeout)
        batch: Batch[WriteResult] = Batch()

        async def one(name: Any, key: Key) -> None:
            batch[name] = await self.set(key, items[name], ttl=ttl, tier=tier, timeout=deadline.remaining())

        self._direct.check(tier)
        await _each(each_key(items), batch, one)
        return batch


async def _each(given: Mapping[Any, Key], batch: Batch[Any], work: Callable[[Any, Key], Awaitable[None]]) -> None:
    """Run ``work`` for each key, few at a time; its error is the key's own (P8)."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: Any, key: Key) -> None:
        async with gate:
            try:
                await work(name, key)
            except ThermoclineError as error:
                batch.errors[name] = error

    async with asyncio.TaskGroup() as group:
        for name, key in given.items():
            group.create_task(one(name, key))
