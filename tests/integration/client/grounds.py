"""What the clients of a test stand on: tiers by name, and the clients opened over them."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis.asyncio

from thermocline.client import MemoryClient
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.resilience import Budget
from thermocline.testing.rig import Azurite, CosmosServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.warm import WarmMemory

DATABASE = "clients"
CONTAINER = "clients"  # of all tests of a session: the tenant of its keys is a test's own


def roomy(**given: float) -> Budget:
    """A slow machine is no outage."""
    seconds = {"call": 60.0, "connect": 60.0, "hot": 10.0, "warm": 15.0, "cold": 30.0} | given
    spans: dict[str, Any] = {name: timedelta(seconds=value) for name, value in seconds.items()}
    return Budget(**spans)


def noise(size: int, seed: int = 7) -> bytes:
    """Bytes that no compressor shrinks."""
    return random.Random(seed).randbytes(size)


class Grounds(ABC):
    """``tiers`` are the names of those that its clients have."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.tiers: Sequence[str] = ()
        self._clients: list[MemoryClient] = []

    async def prepare(self, tiers: Sequence[str]) -> None:
        self.tiers = tiers

    @property
    def authority(self) -> str:
        return next(name for name in ("warm", "cold", "hot") if name in self.tiers)

    @property
    def hot_above(self) -> bool:
        """Whether hot holds copies above an authority."""
        return "hot" in self.tiers and self.authority != "hot"

    def key(self, name: str = "name", scope: str = "scope") -> Key:
        return Key(self.tenant, scope, name)

    @abstractmethod
    def tier(self, name: str) -> Any:
        """A tier for a client of its own."""

    def client(self, **options: Any) -> MemoryClient:
        """A client that is not connected yet, closed at the end of the test. ``options`` replace its tiers, by name, too."""
        tiers = {name: self.tier(name) for name in self.tiers if name not in options}
        client = MemoryClient(**{"budget": roomy(), **tiers, **options})
        self._clients.append(client)
        return client

    async def open(self, **options: Any) -> MemoryClient:
        client = self.client(**options)
        await client.connect()
        return client

    @abstractmethod
    async def evict(self, *keys: Key) -> None:
        """Hot loses these entries."""

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


class Embedded(Grounds):
    """Process memory, SQLite and a folder; shared by the clients of a test, which therefore neither open nor close them."""

    def __init__(self, folder: Path, tenant: str) -> None:
        super().__init__(tenant)
        self.folder = folder
        self.shared: dict[str, Any] = {}

    async def prepare(self, tiers: Sequence[str]) -> None:
        await super().prepare(tiers)
        made = {
            "hot": ProcessMemory(),
            "warm": SqliteMemory(self.folder / "warm.sqlite3"),
            "cold": FolderMemory(self.folder / "cold"),
        }
        self.shared = {name: made[name] for name in tiers}
        for tier in self.shared.values():
            await tier.connect()

    def tier(self, name: str) -> Any:
        return self.shared[name]

    async def evict(self, *keys: Key) -> None:
        for key in keys:
            self.shared["hot"]._put(key, None)

    async def close(self) -> None:
        await super().close()
        for tier in self.shared.values():
            await tier.close()


class Services(Grounds):
    """Redis, Cosmos DB and Blob Storage; each client has connections of its own."""

    def __init__(self, redis_url: str, cosmos: CosmosServer, azurite: Azurite, tenant: str) -> None:
        super().__init__(tenant)
        self.redis_url = redis_url
        self.cosmos = cosmos
        self.azurite = azurite

    def hot(self, url: str | None = None) -> HotMemory:
        return HotMemory(url or self.redis_url)

    def warm(self, url: str | None = None) -> WarmMemory:
        return WarmMemory(url or self.cosmos.url, DATABASE, CONTAINER, key=self.cosmos.key, create=True)

    def cold(self, url: str | None = None) -> ColdMemory:
        return ColdMemory(url or self.azurite.blob_url, CONTAINER, credential=self.azurite.key, create=True)

    def tier(self, name: str) -> Any:
        return {"hot": self.hot, "warm": self.warm, "cold": self.cold}[name]()

    async def evict(self, *keys: Key) -> None:
        async with redis.asyncio.from_url(self.redis_url) as server:
            await server.delete(*map(redis_key, keys))
