"""A hit in hot, through the client and beside it: redis.asyncio, and others who wrap it."""

import contextlib
import importlib.util
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from benchmarks.payload import packed, patient, turn
from benchmarks.rounds import Arm, Group, Operation
from thermocline.client import MemoryClient
from thermocline.codec import Codec
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.sqlite import SqliteMemory

CONNECTIONS = 50
BATCH = 50


def _plain(url: str) -> "redis.Redis":
    """As one would use it: hiredis, and a pool whose callers wait."""
    return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS))


@contextlib.asynccontextmanager
async def hot_groups(rounds: int) -> AsyncIterator[list[Group]]:
    """The groups of this file, ready to be measured while the context lasts."""
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        raw = await stack.enter_async_context(_plain(server.url))
        above = await stack.enter_async_context(
            MemoryClient(
                hot=HotMemory(server.url, max_connections=CONNECTIONS),
                warm=SqliteMemory(folder / "warm.sqlite3"),
                budget=patient(),
            )
        )
        alone = await stack.enter_async_context(
            MemoryClient(hot=HotMemory(server.url, max_connections=CONNECTIONS), budget=patient())
        )
        rivals = await _rivals(stack, server)
        await raw.set("plain", packed(0))
        await above.set("turn", turn(0))
        await alone.set("alone", turn(0))
        calls: dict[str, Operation] = {
            "redis.asyncio GET": lambda: raw.get("plain"),
            "redis.asyncio GET, again (control)": lambda: raw.get("plain"),
            "client.get, hot above an authority": lambda: above.get("turn"),
            "client.get, hot alone": lambda: alone.get("alone"),
            **rivals,
        }
        yield [
            Group("hot hit, one at a time", [Arm(name, call) for name, call in calls.items()], 600, rounds),
            Group("hot hit, 32 at once", [Arm(name, call, 32) for name, call in calls.items()], 1280, rounds),
            await _batches(above, raw, rounds),
        ]


async def _batches(client: MemoryClient, raw: Any, rounds: int) -> Group:
    names = [f"session/9f/turn/{number}" for number in range(BATCH)]
    await client.set_many({name: turn(number) for number, name in enumerate(names)})
    codec = Codec()
    keys = [Key.of(name) for name in names]
    stored = [redis_key(key) for key in keys]

    async def without_client() -> list[Any]:
        found = await raw.mget(stored)
        return [codec.decode(codec.unpack(data, key)) for data, key in zip(found, keys, strict=True)]

    async def one_by_one() -> list[Any]:
        return [await client.get(name) for name in names]

    arms = [
        Arm("MGET and decoding, no client", without_client),
        Arm("MGET and decoding, again (control)", without_client),
        Arm("client.get_many(50)", lambda: client.get_many(names)),
        Arm("50 x client.get", one_by_one),
    ]
    return Group("50 keys", arms, 40, rounds)


async def _rivals(stack: contextlib.AsyncExitStack, server: RedisServer) -> dict[str, Operation]:
    """The arms of those that are installed (the group ``bench`` of pyproject.toml)."""
    found: dict[str, Operation] = {}
    if importlib.util.find_spec("aiocache") is not None:
        from aiocache import RedisCache
        from aiocache.serializers import JsonSerializer

        aio = RedisCache(
            serializer=JsonSerializer(),
            endpoint="127.0.0.1",
            port=server.port,
            pool_max_size=CONNECTIONS,
            namespace="aiocache",
        )
        stack.push_async_callback(aio.close)
        await aio.set("turn", turn(0))
        found["aiocache"] = lambda: aio.get("turn")
    if importlib.util.find_spec("cashews") is not None:
        from cashews import Cache

        cash = Cache()
        cash.setup(server.url, max_connections=CONNECTIONS)
        await cash.init()
        stack.push_async_callback(cash.close)
        await cash.set("turn", turn(0))
        found["cashews"] = lambda: cash.get("turn")
    return found
