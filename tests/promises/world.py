"""The servers of a test, and the clients that it opens on them."""

import random
from datetime import timedelta
from typing import Any

import redis.asyncio

from thermocline.client import MemoryClient
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.resilience import Budget
from thermocline.testing.rig import Azurite, CosmosServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

DATABASE = "promises"
LARGE = 200_000  # bytes: above the threshold, so the payload goes to cold


def roomy(**given: Any) -> Budget:
    """A slow machine is no outage."""
    seconds = {"call": 60, "connect": 60, "hot": 10, "warm": 15, "cold": 30} | given
    spans: dict[str, Any] = {name: timedelta(seconds=value) for name, value in seconds.items()}
    return Budget(**spans)


def brisk(**given: Any) -> Budget:
    """For what is down: nobody waits long for it."""
    return roomy(**{"call": 2, "hot": 0.15, "warm": 0.15, "cold": 0.3} | given)


def noise(size: int = LARGE, seed: bytes = b"payload") -> bytes:
    """Bytes that no compressor shrinks."""
    return random.Random(seed).randbytes(size)


class World:
    """``name`` is of this test alone: its Cosmos and blob container, and the tenant of its keys."""

    def __init__(self, redis_url: str, cosmos: CosmosServer, azurite: Azurite, name: str) -> None:
        self.redis_url = redis_url
        self.cosmos = cosmos
        self.azurite = azurite
        self.name = name
        self._opened: list[MemoryClient] = []

    def key(self, name: str = "name", scope: str = "scope") -> Key:
        return Key(self.name, scope, name)

    def hot(self, url: str | None = None, **options: Any) -> HotMemory:
        return HotMemory(url or self.redis_url, **options)

    def warm(self, url: str | None = None, **options: Any) -> WarmMemory:
        return WarmMemory(url or self.cosmos.url, DATABASE, self.name, key=self.cosmos.key, create=True, **options)

    def cold(self, url: str | None = None, **options: Any) -> ColdMemory:
        return ColdMemory(url or self.azurite.blob_url, self.name, credential=self.azurite.key, create=True, **options)

    async def open(self, *, hot: Any = True, warm: Any = True, cold: Any = None, **options: Any) -> MemoryClient:
        """A connected client, closed at the end of the test. True: the tier on this world's server; None: without it."""
        client = MemoryClient(
            hot=self.hot() if hot is True else hot,
            warm=self.warm() if warm is True else warm,
            cold=self.cold() if cold is True else cold,
            **{"budget": roomy(), **options},
        )
        self._opened.append(client)
        await client.connect()
        return client

    async def evict(self, *keys: Key) -> None:
        """Redis loses these entries."""
        async with redis.asyncio.from_url(self.redis_url) as server:
            await server.delete(*map(redis_key, keys))

    async def close(self) -> None:
        for client in self._opened:
            await client.close()
