"""`MemoryClient`: one memory over any subset of the three tiers."""

import asyncio
from typing import Any

from thermocline import telemetry
from thermocline.client.aliases import AliasVerbs
from thermocline.client.health import Health, unconnected
from thermocline.client.lifetime import Lifetime
from thermocline.client.moving.verbs import MovingVerbs
from thermocline.client.scoped import ScopedMemory
from thermocline.client.settling import SettlingVerbs
from thermocline.errors import TierUnavailable


@telemetry.traced
class MemoryClient(AliasVerbs, SettlingVerbs, MovingVerbs):
    """One memory over hot, warm and cold, any of which may be missing.

    Usable as ``async with MemoryClient(hot=…, warm=…, cold=…) as memory``; it connects on first use otherwise. It lives in one event loop, and closes
    the tiers that it connected. The authority of a key is warm if there is one, else cold, else hot; ``rules`` are the defaults and ``routes`` the exceptions.
    ``lifetimes`` say how long records live and copies stay, by rule, and what is never kept longer. ``near``: keep what hot answered in the process, too
    (docs/near-cache.md).

    Every verb takes a `Key` or a plain string (a name in the default tenant) and ``timeout`` (seconds or a timedelta) for the whole call, ten seconds by
    default. All raise `thermocline.errors`: an outage is `TierUnavailable`, never a missing value.
    """

    def scoped(self, *, tenant: str | None = None, scope: str) -> ScopedMemory:
        """The same memory for one tenant and scope: names instead of keys, and no way to any other."""
        return ScopedMemory(self, tenant=tenant, scope=scope)

    def stats(self) -> dict[str, Any]:
        """Figures since the client was made, per tier (hits, misses, latencies, bytes, …), and of the client itself (recovery queue, floors, …).
        docs/telemetry.md lists them."""
        return self._figures.snapshot()

    async def health(self, *, timeout: Lifetime = 2.0) -> Health:
        """A verdict for each tier and for the whole, with reasons in plain words: each tier is asked now, and judged by what happened in the last five
        minutes. Takes ``timeout`` at most. An outage is an answer, also where the client cannot even connect; raises `ClientClosed`, `ConfigurationError`."""
        deadline = self._engine.budget.call(timeout)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self.connect()
        except (TierUnavailable, TimeoutError) as error:
            return unconnected(error)
        return await self._checks.run(deadline)

    async def settled(self, *, timeout: Lifetime = 10.0) -> bool:
        """Wait until hot has been told of everything that it missed; False if that took longer than ``timeout``."""
        deadline = await self._begin(timeout)
        while len(self._recovery):
            if deadline.expired():
                return False
            await asyncio.sleep(0.01)
        return True
