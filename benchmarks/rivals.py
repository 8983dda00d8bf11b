"""Others who do this work, as far as they are installed (the group ``bench`` of pyproject.toml): each opened as its users do, with the same pool size."""

import asyncio
import contextlib
import importlib
import importlib.util
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from benchmarks.payload import packed, turn
from thermocline.testing.rig import RedisServer

CONNECTIONS = 50
Get = Callable[[str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Rival:
    """``get`` reads one of the names that it was opened with. ``most``: callers at once, above which its pool raises instead of letting them wait."""

    name: str
    get: Get
    most: int = 1_000_000


def _module(name: str) -> Any:
    """A rival's, by name: types of what may not be installed are nobody's to check."""
    return importlib.import_module(name)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


async def opened(
    stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str], left_out: list[str]
) -> list[Rival]:
    """All that can be opened, holding a turn under each name; the others are told in ``left_out``."""
    found: list[Rival] = []
    for module, make in _MAKERS:
        found += await or_left_out(module, lambda make=make: make(stack, server, names), left_out)  # type: ignore[misc]
    return found


async def or_left_out(module: str, make: Callable[[], Awaitable[list[Rival]]], left_out: list[str]) -> list[Rival]:
    """What ``make`` makes of a module, or nothing, and why: a rival that is not there, or does not work here, costs the others nothing."""
    if not installed(module):
        left_out.append(f"{module} is not installed: make bench installs it")
        return []
    try:
        return await make()
    except Exception as error:  # noqa: BLE001 - whatever another's package raises is told beside the figures
        left_out.append(f"{module} cannot be used here: {type(error).__name__}: {error}")
        return []


async def _aiocache(stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str]) -> list[Rival]:
    from aiocache import RedisCache
    from aiocache.serializers import JsonSerializer

    cache = RedisCache(
        serializer=JsonSerializer(),
        endpoint="127.0.0.1",
        port=server.port,
        pool_max_size=CONNECTIONS,
        namespace="aiocache",
    )
    stack.push_async_callback(cache.close)
    for at, name in enumerate(names):
        await cache.set(name, turn(at))
    return [Rival("aiocache", cache.get, most=CONNECTIONS)]


async def _cashews(stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str]) -> list[Rival]:
    from cashews import Cache

    cache = Cache()
    cache.setup(server.url, max_connections=CONNECTIONS)
    await cache.init()
    stack.push_async_callback(cache.close)
    for at, name in enumerate(names):
        await cache.set(name, turn(at))
    return [Rival("cashews", cache.get, most=CONNECTIONS)]


async def _py_key_value(stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str]) -> list[Rival]:
    store_of = _module("key_value.aio.stores.redis").RedisStore
    pool = redis.asyncio.BlockingConnectionPool.from_url(server.url, max_connections=CONNECTIONS, decode_responses=True)
    client = redis.asyncio.Redis.from_pool(pool)
    stack.push_async_callback(client.aclose)
    store = await stack.enter_async_context(store_of(client=client))
    for at, name in enumerate(names):
        await store.put(name, turn(at), collection="bench")
    return [Rival("py-key-value", lambda name: store.get(name, collection="bench"))]


async def _langgraph(stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str]) -> list[Rival]:
    """Its client is a blocking one: as it is shipped it holds the event loop up, in a thread it does not."""
    client = redis.Redis.from_url(server.url, max_connections=CONNECTIONS)
    stack.callback(client.close)
    cache = _module("langgraph.cache.redis").RedisCache(client)
    space = ("bench",)
    cache.set({(space, name): (turn(at), None) for at, name in enumerate(names)})
    return [
        Rival("LangGraph RedisCache.aget (blocks the loop)", lambda name: cache.aget([(space, name)])),
        Rival("LangGraph RedisCache.get in a thread", lambda name: asyncio.to_thread(cache.get, [(space, name)])),
    ]


async def _coredis(stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str]) -> list[Rival]:
    client = _module("coredis").Redis(host="127.0.0.1", port=server.port, max_connections=CONNECTIONS)
    await stack.enter_async_context(client)
    for at, name in enumerate(names):
        await client.set(f"coredis/{name}", packed(at))
    return [Rival("coredis GET", lambda name: client.get(f"coredis/{name}"))]


async def _glide(stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str]) -> list[Rival]:
    glide = _module("glide")
    logging.getLogger("glide").setLevel(logging.ERROR)
    address = [glide.NodeAddress("127.0.0.1", server.port)]
    client = await glide.GlideClient.create(glide.GlideClientConfiguration(address, request_timeout=30_000))
    stack.push_async_callback(client.close)
    for at, name in enumerate(names):
        await client.set(f"glide/{name}", packed(at))
    return [Rival("valkey-glide GET", lambda name: client.get(f"glide/{name}"))]


_MAKERS: list[tuple[str, Callable[..., Awaitable[list[Rival]]]]] = [
    ("aiocache", _aiocache),
    ("cashews", _cashews),
    ("key_value", _py_key_value),
    ("langgraph", _langgraph),
    ("coredis", _coredis),
    ("glide", _glide),
]
