"""A client with Table Storage as a fourth tier: above it Redis, beside it warm, below it Blob Storage. All real."""

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline import Conflict, Key, MemoryBuilder, MemoryClient, MemoryRules, Route, TierUnavailable
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument
from thermocline.model import Authority, Miss, Unavailable
from thermocline.resilience import Budget
from thermocline.testing.proxy import ChaosProxy, Traffic
from thermocline.testing.rig import Azurite, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.table import TableMemory

LARGE = random.Random(7).randbytes(300_000)  # goes to cold, where there is one
PATIENT = Budget(hot=timedelta(seconds=10), warm=timedelta(seconds=10), cold=timedelta(seconds=10))
ALL = Route("", authority=Authority.WARM_PLUS)

Open = Callable[..., Any]


class World:
    """One table and one container; as many clients as a test needs."""

    def __init__(self, azurite: Azurite, redis: RedisServer, name: str) -> None:
        self.azurite, self.redis, self.name = azurite, redis, name.replace("-", "")
        self.tenant = name
        self.stack = AsyncExitStack()

    def table(self, url: str | None = None) -> TableMemory:
        return TableMemory(
            self.azurite.table_url if url is None else url, self.name, credential=self.azurite.key, create=True
        )

    def cold(self) -> ColdMemory:
        return ColdMemory(self.azurite.blob_url, self.name, credential=self.azurite.key, create=True)

    def key(self, name: str, scope: str = "s") -> Key:
        return Key(self.tenant, scope, name)

    async def client(self, *routes: Route, **tiers: Any) -> MemoryClient:
        memory = MemoryClient(**tiers, routes=routes, budget=PATIENT)
        return await self.stack.enter_async_context(memory)


@pytest.fixture
async def world(azurite: Azurite, redis_server: RedisServer, unique_name: Callable[[str], str]) -> AsyncIterator[World]:
    world = World(azurite, redis_server, unique_name("t"))
    async with world.stack:
        yield world


async def test_hot_above_a_table(world: World) -> None:
    """Two clients: what one writes, the other reads; hot serves; a new writer after Redis was emptied still reads all (P2)."""
    one, two = [await world.client(ALL, hot=HotMemory(world.redis.url), warm_plus=world.table()) for _ in range(2)]
    key = world.key("n")

    written = await one.set(key, {"likes": ["tea"]}, ttl=3600)
    assert (written.authority, written.durable) == (Authority.WARM_PLUS, True)
    assert await two.get(key) == {"likes": ["tea"]}
    assert await two.get(key) == {"likes": ["tea"]}
    assert two.stats()["hot"]["hits"] >= 1
    newer = await two.set(key, "newer", if_version=written.version)
    with pytest.raises(Conflict):
        await one.set(key, "late", if_version=written.version)
    assert await one.get(key) == "newer"
    assert newer.version > written.version

    without = await world.client(warm_plus=world.table())  # alone it has the word by itself
    assert await without.get(key) == "newer"
    await one.delete(key)
    assert await two.get(key) is None
    assert isinstance(await without.lookup(key), Miss)
    await without.set(key, None)
    assert await without.exists(key)


async def test_every_verb_of_many_keys(world: World) -> None:
    memory = await world.client(ALL, hot=ProcessMemory(), warm_plus=world.table())
    ours = memory.scoped(tenant=world.tenant, scope="user/ada")
    values = {f"fact/{number:03}": number for number in range(120)}

    result = await ours.set_many(values)
    assert not result.errors
    assert dict(await ours.get_many([*values, "none"])) == values
    page = await ours.list("fact/0", limit=60)
    assert [item.key.name for item in page] == [f"fact/{number:03}" for number in range(60)]
    await ours.set_many({"a": 1, "b": 2}, atomic=True)
    assert [await ours.increment("a"), await ours.append("list", "x")] == [2, 1]
    too_many = {f"x{number}": number for number in range(101)}
    with pytest.raises(InvalidArgument):
        await ours.set_many(too_many, atomic=True)
    await ours.delete_many(list(values))
    assert [item.key.name for item in await ours.list("", limit=10)] == ["a", "b", "list"]


async def test_large_values_go_to_cold_and_without_one_are_refused(world: World) -> None:
    """P7: the pointer in the row leads to a payload; without cold a row holds up to 960 KiB."""
    below = await world.client(ALL, warm_plus=world.table(), cold=world.cold())
    key = world.key("photo")
    await below.set(key, LARGE)
    assert await below.get(key) == LARGE
    [item] = await below.list(tenant=world.tenant, scope="s")
    assert item.tier == "cold"

    alone = await world.client(warm_plus=world.table())
    await alone.set(world.key("inline"), LARGE)
    assert await alone.get(world.key("inline")) == LARGE
    with pytest.raises(InvalidArgument, match="cold_threshold_bytes"):
        await alone.set(world.key("huge"), random.Random(8).randbytes(1_000_000))
    assert await alone.get(world.key("huge")) is None


async def test_a_route_beside_warm(world: World, tmp_path: Path) -> None:
    """Each tier has the word for its own keys, and knows nothing of the other's."""
    warm, table = SqliteMemory(tmp_path / "warm.sqlite3"), world.table()
    route = Route("log/", rules=MemoryRules(warm_ttl_seconds=3600), authority=Authority.WARM_PLUS)
    memory = await world.client(route, hot=ProcessMemory(), warm=warm, warm_plus=table)
    log, other = world.key("log/1"), world.key("profile")

    assert (await memory.set(log, "line")).authority is Authority.WARM_PLUS
    assert (await memory.set(other, "Ada")).authority is Authority.WARM
    assert await memory.get(log) == "line"
    assert dict(await memory.get_many([log, other])) == {log: "line", other: "Ada"}
    assert await warm.read(log, deadline=_soon()) is None
    assert await table.read(other, deadline=_soon()) is None
    assert sorted(item.key.name for item in await memory.list("log/", tenant=world.tenant, scope="s")) == ["log/1"]
    assert await memory.get(log, tier="warm_plus") == "line"
    await memory.set(other, "apart", tier="warm_plus")
    assert (await memory.get(other, tier="warm_plus"), await memory.get(other)) == ("apart", "Ada")


async def test_an_outage_is_no_absence_and_hot_goes_on(world: World) -> None:
    """P1, P6."""
    async with ChaosProxy(world.azurite.table_url) as proxy:
        memory = await world.client(ALL, hot=ProcessMemory(), warm_plus=world.table(proxy.url))
        known, unknown = world.key("known"), world.key("unknown")
        await memory.set(known, "here")
        proxy.refuse()
        proxy.cut()

        assert await memory.get(known) == "here"
        assert isinstance(await memory.lookup(unknown), Unavailable)
        with pytest.raises(TierUnavailable):
            await memory.get(unknown)
        proxy.restore()
        assert (await memory.health()).tiers  # it can still be told how it is
        await memory.close()


async def test_answers_lost_under_load_lose_and_double_nothing(world: World) -> None:
    """Chaos: connections are cut at random while four tasks count in one record; each increment that was acknowledged is in it, none twice."""
    async with ChaosProxy(world.azurite.table_url) as proxy:
        memory = await world.client(ALL, hot=ProcessMemory(), warm_plus=world.table(proxy.url))
        key, random_ = world.key("counter"), random.Random(3)
        await memory.set(key, 0)
        done = asyncio.Event()
        counted = 0

        def enough(seen: int, traffic: Traffic) -> bool:
            return traffic.request_bytes > seen

        async def cut() -> None:
            while not done.is_set():
                seen = proxy.traffic.request_bytes + random_.randrange(500, 20_000)
                await proxy.until(functools.partial(enough, seen))
                proxy.lose_next_answer()

        async def count() -> None:
            nonlocal counted
            for _ in range(12):
                while True:
                    try:
                        await memory.increment(key)
                    except TierUnavailable:  # a read's answer was lost: it has certainly not counted
                        continue
                    break
                counted += 1

        cutter = asyncio.create_task(cut())
        await asyncio.gather(*(count() for _ in range(4)))
        done.set()
        cutter.cancel()
        await asyncio.gather(cutter, return_exceptions=True)
        proxy.restore()
        assert await memory.get(key) == counted == 48
        await memory.close()


async def test_sweep_export_and_forget(world: World) -> None:
    table, cold = world.table(), world.cold()
    memory = await world.client(ALL, hot=ProcessMemory(), warm_plus=table, cold=cold)
    for name in ("live", "dead"):
        await memory.set(world.key(name), name)
    await memory.set(world.key("photo"), LARGE)
    await memory.delete(world.key("dead"))
    table._grace_ms = -60_000  # as if the deletion were long ago

    report = await memory.sweep()
    assert report.purged == 1
    assert await table.read(world.key("dead"), deadline=_soon()) is None

    lines = [line async for line in memory.export(tenant=world.tenant, scope="s")]
    assert any('"live"' in line for line in lines)
    receipt = await memory.forget(tenant=world.tenant, scope="s", by="test", longest_write=timedelta(seconds=1))
    assert receipt.complete
    assert [await memory.get(world.key(name)) for name in ("live", "photo")] == [None, None]


async def test_builder_takes_a_tier_or_an_address(world: World) -> None:
    address = world.azurite.table_url
    made = MemoryBuilder().with_warm_plus(address, world.name, credential=world.azurite.key, create=True)
    async with made.with_options(budget=PATIENT).build() as memory:
        await memory.set(world.key("n"), 1)
    async with MemoryBuilder().with_warm_plus(world.table()).with_options(budget=PATIENT).build() as memory:
        assert await memory.get(world.key("n")) == 1
    assert MemoryBuilder().with_warm_plus(world.table()).with_warm_plus(None).tiers() == {}


def _soon() -> Deadline:
    return Deadline.after(20)
