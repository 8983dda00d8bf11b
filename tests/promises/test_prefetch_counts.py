"""What `prefetch` asks of Redis and Cosmos DB, counted at the servers: a thousand keys of one scope in few calls."""

from itertools import pairwise
from typing import Any

import pytest
import redis.asyncio
from tests.promises.test_command_counts import Metered, metered
from tests.promises.world import World

from thermocline import telemetry
from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.keys import redis_key
from thermocline.model import Hit, Key, MemoryTier
from thermocline.protocols import Look
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import RedisCluster
from thermocline.tiers.hot import HotMemory

__all__ = ["metered"]  # the fixture
THOUSAND = 1000


async def written(world: World, count: int) -> dict[Key, dict[str, Any]]:
    below = await world.open(hot=None)
    items = {world.key(f"name/{number}"): {"n": number, "text": "x" * 100} for number in range(count)}
    (await below.set_many(items)).raise_errors()
    return items


async def test_thousand_keys_of_a_scope_are_at_most_twelve_calls_to_cosmos(world: World, metered: Metered) -> None:
    memory, meter = metered
    items = await written(world, THOUSAND)
    results = []

    async def prefetch() -> None:
        results.append(await memory.prefetch(items))

    bill = await meter.of(prefetch())
    assert len(results[0].promoted) == THOUSAND
    assert sum(bill.warm.values()) <= 12
    renewed = memory.stats()["hot"].get(telemetry.LEASES_RENEWED, 0)  # where a busy machine took longer over it
    assert bill.hot.total() - renewed == 2 * THOUSAND  # a lease and a settle each

    bill = await meter.of(prefetch())
    assert sorted(results[1].present) == sorted(items)
    assert bill.warm == {}
    assert bill.hot.total() == THOUSAND  # looked at, and not written again

    found = await memory.get_many(items)
    assert found == items
    hit = await memory.lookup(next(iter(items)))
    assert isinstance(hit, Hit)
    assert hit.tier is MemoryTier.HOT


class Phases(HotMemory):
    """Notes which phase each pipelined call to hot is of."""

    calls: list[tuple[str, int]]

    async def operate_many(self, operations: Any, *, deadline: Deadline) -> Any:
        self.calls.append((type(operations[0]).__name__, len(operations)))
        return await super().operate_many(operations, deadline=deadline)


@pytest.fixture
async def cluster_client(redis_cluster: RedisCluster, world: World) -> MemoryClient:
    hot = Phases(redis_cluster.url)
    hot.calls = []
    return await world.open(hot=hot)


async def test_leases_of_all_nodes_go_in_one_call_and_settles_in_another(
    world: World, cluster_client: MemoryClient
) -> None:
    items = await written(world, 600)
    hot = cluster_client._engine.hot
    assert isinstance(hot, Phases)
    result = await cluster_client.prefetch(items)
    assert sorted(result.promoted) == sorted(items)
    assert hot.calls == [("Look", 600), ("Settle", 600)]
    assert await cluster_client.get_many(items) == items


class Racing(HotMemory):
    """Between the leases and the settles, another client writes."""

    write: Any

    async def operate_many(self, operations: Any, *, deadline: Deadline) -> Any:
        answers = await super().operate_many(operations, deadline=deadline)
        if isinstance(operations[0], Look) and self.write is not None:
            write, self.write = self.write, None
            await write()
        return answers


async def test_prefetch_does_not_land_after_a_write_that_it_did_not_see(world: World) -> None:
    """P3: the leases are taken before the authority is read, and a write revokes them."""
    items = await written(world, 3)
    first, second, third = items
    writer = await world.open()

    async def write() -> None:
        await writer.set(first, "newer")
        await writer.delete(second)

    hot = Racing(world.redis_url)
    hot.write = write
    memory = await world.open(hot=hot)
    result = await memory.prefetch(items)
    assert third in result.promoted
    for client in (memory, writer):
        assert await client.get(first) == "newer"
        assert await client.get(second) is None


async def test_versions_in_hot_only_grow(world: World, control: CosmosControl) -> None:
    key = world.key()
    writer, memory = await world.open(), await world.open()
    seen = []
    for turn in range(4):
        await writer.set(key, turn)
        await world.evict(key)
        await memory.prefetch([key])
        hit = await memory.lookup(key)
        assert isinstance(hit, Hit)
        assert hit.value == turn
        seen.append(hit.version)
    assert all(a < b for a, b in pairwise(seen))


async def test_redis_holds_what_was_prefetched(world: World) -> None:
    items = await written(world, 5)
    memory = await world.open()
    await memory.prefetch(items)
    async with redis.asyncio.from_url(world.redis_url) as server:
        assert await server.exists(*map(redis_key, items)) == 5
