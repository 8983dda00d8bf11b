"""A hit in the near cache, beside a raw GET and beside others who keep values in the process."""

import contextlib
import importlib
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.drawing import IN_USE, at_random
from benchmarks.hot import RAW, names, nothing, plain_redis
from benchmarks.measuring import measure
from benchmarks.payload import packed, patient, turn
from benchmarks.report import NEAR_NEW, NEAR_SHARED
from benchmarks.results import Result
from benchmarks.rivals import Get, Rival, or_left_out
from benchmarks.rounds import Arm, Group
from benchmarks.scale import Scale
from thermocline import NearCache
from thermocline.client import MemoryClient
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.sqlite import SqliteMemory


async def near(scale: Scale) -> Result:
    """One caller, 100 keys in use: a value that is decoded anew for each read (a dict), and one that can be shared (a str)."""
    result = Result("near")
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        raw = await stack.enter_async_context(plain_redis(server.url))
        client = await stack.enter_async_context(
            MemoryClient(
                hot=HotMemory(server.url),
                warm=SqliteMemory(folder / "warm.sqlite3"),
                budget=patient(),
                near=NearCache(),
            )
        )
        used = names(IN_USE)
        for at, name in enumerate(used):
            await raw.set(f"raw/{name}", packed(at))
            await client.set(name, turn(at))
            await client.set(f"text/{name}", packed(at).decode())
        raw_get: Get = lambda name: raw.get(f"raw/{name}")  # noqa: E731
        gets: dict[str, Get] = {
            RAW: raw_get,
            f"{RAW}, again (control)": raw_get,
            "nothing (no-op)": nothing,
            NEAR_NEW: client.get,
            NEAR_SHARED: lambda name: client.get(f"text/{name}"),
            **await _rivals(stack, used, result),
        }
        for _ in range(3):  # it may want to see a key more than once before it keeps it
            for name in used:
                await client.get(name)
                await client.get(f"text/{name}")
        draws = {name: at_random(used) for name in gets}
        arms = [Arm(name, _drawing(get, draws[name])) for name, get in gets.items()]
        await measure([Group("near hit", arms, scale.operations(2000), scale.rounds)], result)
    return result


def _drawing(get: Get, draw: Any) -> Any:
    return lambda: get(draw())


async def _rivals(stack: contextlib.AsyncExitStack, used: list[str], result: Result) -> dict[str, Get]:
    """Stores in process memory. None of them is told when somebody else writes the key."""
    found: list[Rival] = []
    for module, make in (("langgraph", _langgraph), ("aiocache", _aiocache), ("cashews", _cashews)):
        found += await or_left_out(module, lambda make=make: make(stack, used), result.left_out)  # type: ignore[misc]
    return {rival.name: rival.get for rival in found}


async def _langgraph(_: contextlib.AsyncExitStack, used: list[str]) -> list[Rival]:
    store = importlib.import_module("langgraph.store.memory").InMemoryStore()
    for at, name in enumerate(used):
        await store.aput(("bench",), name, turn(at))
    return [Rival("LangGraph InMemoryStore.aget", lambda name: store.aget(("bench",), name))]


async def _aiocache(stack: contextlib.AsyncExitStack, used: list[str]) -> list[Rival]:
    from aiocache import SimpleMemoryCache

    simple = SimpleMemoryCache()
    stack.push_async_callback(simple.close)
    for at, name in enumerate(used):
        await simple.set(name, turn(at))
    return [Rival("aiocache SimpleMemoryCache", simple.get)]


async def _cashews(stack: contextlib.AsyncExitStack, used: list[str]) -> list[Rival]:
    from cashews import Cache

    cache = Cache()
    cache.setup("mem://")
    await cache.init()
    stack.push_async_callback(cache.close)
    for at, name in enumerate(used):
        await cache.set(name, turn(at))
    return [Rival("cashews mem://", cache.get)]
