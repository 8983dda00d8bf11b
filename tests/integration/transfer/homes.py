"""Sets of tiers that data is moved between."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from thermocline import Budget, FolderMemory, HotMemory, MemoryClient, MemoryRules, Route, SqliteMemory
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.errors import ThermoclineError, TierUnavailable
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Versions
from thermocline.testing.rig import Azurite, CosmosServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.warm import WarmMemory
from thermocline.transfer import DualMemory, Phase

QUIET = timedelta(seconds=1)


def soon() -> Deadline:
    return Deadline.after(20)


def roomy() -> Budget:
    spans: dict[str, Any] = dict.fromkeys(("call", "connect", "hot", "warm", "cold"), timedelta(seconds=30))
    return Budget(**spans)


class Fragile(SqliteMemory):
    """SQLite that can be down, or slow until it is told otherwise."""

    down = False
    slow: asyncio.Event | None = None

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        if self.slow is not None:
            await self.slow.wait()
        if self.down:
            raise TierUnavailable("it is down", tier="warm", sent=False)
        return await super().read_many(keys, deadline=deadline)


async def until(memory: DualMemory, phase: Phase) -> None:
    """Wait until the writer in both worlds has seen it."""
    while await memory.phase() is not phase:  # noqa: ASYNC110 - another process' state has no event
        await asyncio.sleep(0.01)


class Homes:
    """Makes clients, which are closed with the test."""

    def __init__(self, path: Path, stack: AsyncExitStack, cosmos: CosmosServer, azurite: Azurite, name: str) -> None:
        self._path, self._stack, self._cosmos, self._azurite, self.name = path, stack, cosmos, azurite, name

    async def folder(
        self,
        part: str = "a",
        *,
        authority: Authority | None = None,
        cold: bool = True,
        warm: SqliteMemory | None = None,
        clock: Clock = SYSTEM_CLOCK,
        hot: HotMemory | None = None,
        **rules: Any,
    ) -> MemoryClient:
        """SQLite and a folder."""
        warm = self.sqlite(part, clock=clock) if warm is None else warm
        below = FolderMemory(self._path / part, clock=clock, fsync=False) if cold else None
        routes = [] if authority is None else [Route("", rules=MemoryRules(**rules), authority=authority)]
        return await self._stack.enter_async_context(
            MemoryClient(
                hot=hot, warm=warm, cold=below, routes=routes, rules=MemoryRules(**rules), budget=roomy(), clock=clock
            )
        )

    def sqlite(self, part: str, kind: type[SqliteMemory] = SqliteMemory, *, clock: Clock = SYSTEM_CLOCK) -> Any:
        """The file of that home."""
        return kind(self._path / f"{part}.sqlite3", clock=clock)

    def blobs(self) -> ColdMemory:
        """A container for backups."""
        cold = ColdMemory(self._azurite.blob_url, f"{self.name}bk", credential=self._azurite.key, create=True)
        self._stack.push_async_callback(cold.close)
        return cold

    async def services(self, part: str = "b", **rules: Any) -> MemoryClient:
        """Cosmos DB and Blob Storage."""
        name = f"{self.name}{part}"
        warm = WarmMemory(self._cosmos.url, "transfer", name, key=self._cosmos.key, create=True)
        cold = ColdMemory(self._azurite.blob_url, name, credential=self._azurite.key, create=True)
        return await self._stack.enter_async_context(
            MemoryClient(warm=warm, cold=cold, rules=MemoryRules(**rules), budget=roomy())
        )


async def authority_of(memory: MemoryClient, key: Key) -> Versions:
    return memory._engine.authority(memory._engine.routes.route(key).authority)


async def everything(memory: MemoryClient) -> dict[Key, Any]:
    """All live records by the census of every authority, with their values; a key that two authorities hold fails."""
    found: dict[Key, Any] = {}
    engine = memory._engine
    for stamp in {plan.authority for plan in engine.routes.plans()}:
        tier: Any = engine.authorities[stamp]
        cursor: str | None = None
        keys: list[Key] = []
        while True:
            page = await tier.census(limit=100, cursor=cursor, deadline=soon())
            keys += [
                item.key
                for item in page.items
                if not item.header.flags & 1 and not item.header.expired(engine.now_ms())
            ]
            cursor = page.cursor
            if cursor is None:
                break
        for key in set(keys):
            assert key not in found, f"{key} is doubled"
            found[key] = await memory.get(key)
    return found
