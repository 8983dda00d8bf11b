"""What each verb costs in each path, counted at the wire: Redis commands, Cosmos DB calls and request units, blob requests, bytes both ways.

Nothing here asks the library: a proxy reads the requests that go by (`benchmarks.tap`), and the Cosmos DB server of the rig charges each request by
Microsoft's published table (docs/cost.md).
"""

import asyncio
import contextlib
import random
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio as redis

from benchmarks.measuring import say
from benchmarks.payload import patient, turn
from benchmarks.results import Grid, Result, rounded
from benchmarks.scale import Scale
from benchmarks.tap import GREETINGS, Commands, Count, HttpRequests, Tap
from thermocline.client import MemoryClient
from thermocline.cost.units import of_blobs
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.policy import MemoryRules
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

PATHS = ("hot + warm + cold", "warm alone", "cold alone", "hot alone")
MANY = 50
MEDIUM = 60_000  # bytes
LARGE = 200_000  # bytes that no compressor shrinks: above the threshold, so that the payload goes to cold
COLUMNS = [
    "path",
    "verb",
    "Redis commands",
    "Cosmos DB calls",
    "request units",
    "blob requests",
    "bytes sent",
    "bytes received",
]
TITLE = "cost at the wire"

Step = Callable[["World", Key], Awaitable[object]]


@dataclass(slots=True)
class World:
    """A client of one path, the taps in front of its servers, and a way to make hot forget."""

    client: MemoryClient
    cosmos: CosmosServer
    taps: dict[str, Tap]
    raw: "redis.Redis"
    path: str

    async def forget(self, *keys: Key) -> None:
        await self.raw.delete(*map(redis_key, keys))

    async def cost(self, call: Callable[[], Awaitable[object]]) -> tuple[dict[str, Count], float]:
        """What passed the taps during a call and what it left to be done, and the request units charged meanwhile."""
        await asyncio.gather(*(tap.begin() for tap in self.taps.values()))
        self.cosmos.control.reset("counters")
        await call()
        ended = await asyncio.gather(*(tap.end() for tap in self.taps.values()))
        counts = dict(zip(self.taps, ended, strict=True))
        return counts, self.cosmos.control.stats().charge


@dataclass(frozen=True, slots=True)
class Verb:
    """``before`` puts the key in order and is not counted. ``all_tiers``: only in the path that has all three."""

    name: str
    call: Step
    before: Step | None = None
    all_tiers: bool = False


def _some(key: Key) -> list[Key]:
    return [Key(key.tenant, key.scope, f"{key.name}/{number}") for number in range(MANY)]


def _noise(size: int = LARGE) -> bytes:
    return random.Random(7).randbytes(size)


async def _write(world: World, key: Key) -> None:
    await world.client.set(key, turn(0))


async def _write_and_forget(world: World, key: Key) -> None:
    await _write(world, key)
    await world.forget(key)


async def _write_large(world: World, key: Key) -> None:
    await world.client.set(key, _noise())
    await world.forget(key)


async def _write_some(world: World, key: Key) -> None:
    done = await world.client.set_many(dict.fromkeys(_some(key), turn(0)))
    assert not done.errors, next(iter(done.errors.values()))


async def _write_some_and_forget(world: World, key: Key) -> None:
    await _write_some(world, key)
    await world.forget(*_some(key))


async def _write_medium(world: World, key: Key) -> None:
    """Stored in the item, and large enough that a pointer in its place saves."""
    await world.client.set(key, _noise(MEDIUM))


async def _demoted(world: World, key: Key) -> None:
    await _write_medium(world, key)
    await _demote(world, key)


async def _demote(world: World, key: Key) -> None:
    moved = await world.client.demote([key])
    assert moved.moved == 1, moved


async def _promote(world: World, key: Key) -> None:
    moved = await world.client.promote([key])
    assert moved.moved == 1, moved


def _set(world: World, key: Key) -> Awaitable[object]:
    return world.client.set(key, turn(1))


def _get(world: World, key: Key) -> Awaitable[object]:
    return world.client.get(key)


def _get_some(world: World, key: Key) -> Awaitable[object]:
    return world.client.get_many(_some(key))


VERBS = (
    Verb("get, hit", _get, _write),
    Verb("get, not in hot", _get, _write_and_forget, all_tiers=True),
    Verb("get, never written", _get),
    Verb("set, new key", _set),
    Verb("set, known key", _set, _write),
    Verb("delete", lambda world, key: world.client.delete(key), _write),
    Verb("exists", lambda world, key: world.client.exists(key), _write),
    Verb("touch", lambda world, key: world.client.touch(key, ttl=3600), _write),
    Verb(f"get_many({MANY}), hits", _get_some, _write_some),
    Verb(f"get_many({MANY}), not in hot", _get_some, _write_some_and_forget, all_tiers=True),
    Verb(f"set_many({MANY}), new keys", _write_some),
    Verb(f"set_many({MANY}), known keys", _write_some, _write_some),
    Verb(f"list of {MANY} keys", lambda world, key: world.client.list(scope=key.scope, tenant=key.tenant), _write_some),
    Verb("get of 200 kB in cold, by its pointer", _get, _write_large, all_tiers=True),
    Verb("set of 200 kB, new key", lambda world, key: world.client.set(key, _noise()), all_tiers=True),
    Verb("demote of 60 kB", _demote, _write_medium, all_tiers=True),
    Verb("promote of 60 kB", _promote, _demoted, all_tiers=True),
)


async def wire(scale: Scale) -> Result:
    """Each verb three times in each path, with keys of its own; the medians."""
    rows: list[list[str | int | float]] = []
    async with contextlib.AsyncExitStack() as stack:
        async for world in _worlds(stack):
            say(f"at the wire: {world.path}")
            for number in range(2):  # connections, scripts, what the SDK asks once
                await _write_some_and_forget(world, Key("bench", f"warming/{number}", "up"))
                await _get_some(world, Key("bench", f"warming/{number}", "up"))
                await _get(world, Key("bench", "warming", f"{number}"))
                await _set(world, Key("bench", "warming", f"{number}"))
                await world.client.touch(Key("bench", "warming", f"{number}"), ttl=3600)
                await world.client.delete(Key("bench", "warming", f"{number}"))
            verbs = [verb for verb in VERBS if world.path == PATHS[0] or not verb.all_tiers]
            rows += [await _row(world, verb, scale.of(3, 1)) for verb in verbs]
    return Result("wire", grids=[Grid(TITLE, COLUMNS, rows)])


async def _worlds(stack: contextlib.AsyncExitStack) -> AsyncIterator[World]:
    """A client and its servers for each path, one after the other."""
    server = stack.enter_context(RedisServer())
    cosmos = stack.enter_context(CosmosServer(kind="strict"))
    azurite = stack.enter_context(Azurite())
    raw = await stack.enter_async_context(redis.from_url(server.url))
    for number, path in enumerate(PATHS):
        async with contextlib.AsyncExitStack() as inner:
            taps = {
                "redis": await inner.enter_async_context(Tap(server.url, Commands, without=GREETINGS)),
                "cosmos": await inner.enter_async_context(Tap(cosmos.url, HttpRequests)),
                "blobs": await inner.enter_async_context(Tap(azurite.blob_url, HttpRequests)),
            }
            name = f"path{number}"
            tiers: dict[str, Any] = {}
            if "hot" in path:
                tiers["hot"] = HotMemory(taps["redis"].url)
            if "warm" in path:
                tiers["warm"] = WarmMemory(taps["cosmos"].url, "bench", name, key=cosmos.key, create=True)
            if "cold" in path:
                tiers["cold"] = ColdMemory(taps["blobs"].url, name, credential=azurite.key, create=True)
            rules = MemoryRules(hot_max_bytes=100_000) if len(tiers) == 3 else None  # so that large values stay below
            client = await inner.enter_async_context(MemoryClient(**tiers, rules=rules, budget=patient()))
            yield World(client, cosmos, taps, raw, path)
            await raw.flushall()


async def _row(world: World, verb: Verb, times: int) -> list[str | int | float]:
    counts: list[list[float]] = []
    names: dict[str, Counter[str]] = {}
    for number in range(times):
        key = Key("bench", f"{verb.name}/{number}".replace(" ", "-"), "name")
        if verb.before is not None:
            await verb.before(world, key)
        found, charged = await world.cost(lambda key=key: verb.call(world, key))  # type: ignore[misc]
        sent, received = (sum(getattr(count, way) for count in found.values()) for way in ("sent", "received"))
        counts.append(
            [found["redis"].total, found["cosmos"].total, charged, found["blobs"].total, float(sent), float(received)]
        )
        names = {name: found[name].requests for name in ("redis", "blobs")}
    typical: Sequence[float] = [statistics.median(column) for column in zip(*counts, strict=True)]
    commands, calls, units, blobs, sent, received = typical
    return [
        world.path,
        verb.name,
        _told(commands, names["redis"]),
        int(calls),
        rounded(units),
        _told(blobs, _by_class(names["blobs"])),
        int(sent),
        int(received),
    ]


def _told(number: float, names: Counter[str]) -> str:
    """How many, and which."""
    which = ", ".join(name if count == 1 else f"{count} {name}" for name, count in sorted(names.items()))
    return f"{int(number)} ({which})" if number else "0"


def _by_class(requests: Counter[str]) -> Counter[str]:
    """By the classes in which Blob Storage bills."""
    return Counter(
        {
            kind: sum(n for name, n in requests.items() if of_blobs(*name.split(" ", 1)) == kind)
            for kind in sorted({of_blobs(*name.split(" ", 1)) for name in requests})
        }
    )
