"""P6: a client always reads its own writes, even when hot was unreachable at the moment of writing."""

import asyncio
from typing import Any

import pytest
from tests.promises.test_p04_deletes import gone
from tests.promises.world import World, brisk, roomy

from thermocline.client import MemoryClient
from thermocline.errors import TierUnavailable, UnknownOutcome
from thermocline.model import Hit, Key, Miss
from thermocline.policy import MemoryRules
from thermocline.testing import ChaosTier, Fault, ManualClock
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.pytest_plugin import MakeProxy
from thermocline.testing.rig import RedisServer


async def reads(memory: MemoryClient, key: Key, value: object) -> None:
    """Every verb answers with this value."""
    assert await memory.get(key) == value
    found = await memory.lookup(key)
    assert isinstance(found, Hit)
    assert found.value == value
    assert await memory.exists(key)
    assert await memory.get_many([key]) == {key: value}


async def cut_off(proxy: ChaosProxy, way: str) -> None:
    if way == "refused":
        proxy.refuse()
        proxy.cut()
    else:
        proxy.blackhole(requests=way == "cut off", answers=True)


@pytest.mark.parametrize("way", ["refused", "cut off", "answers lost"])
async def test_writes_while_hot_is_away_are_read_by_their_client_and_then_by_all(
    world: World, chaos_proxy: MakeProxy, way: str
) -> None:
    """Hot holds the old values, and is there again before it was told of the new ones."""
    proxy = await chaos_proxy(world.redis_url)
    memory = await world.open(hot=world.hot(proxy.url), budget=roomy(hot=0.2))
    other = await world.open()
    changed, deleted, several = [world.key(name) for name in ("changed", "deleted", "several")]
    await memory.set_many(dict.fromkeys([changed, deleted, several], "old"))
    assert len(await other.get_many([changed, deleted, several])) == 3
    await cut_off(proxy, way)
    written = await memory.set(changed, "new")
    assert not written.hot
    assert written.hot_until is not None
    assert not (await memory.delete(deleted)).hot
    batch = await memory.set_many({several: "new"})
    assert not batch[several].hot
    for _ in range(2):  # while it is away, and when it is there again
        await reads(memory, changed, "new")
        await reads(memory, several, "new")
        await gone_for(memory, deleted)
        proxy.restore()
    assert await memory.settled(timeout=20)
    assert memory.stats()["client"]["recovery_queue"] == 0
    for client in (memory, other, await world.open()):
        await reads(client, changed, "new")
        await reads(client, several, "new")
        await gone_for(client, deleted)


async def gone_for(memory: MemoryClient, key: Key) -> None:
    assert await memory.get(key, default="absent") == "absent"
    assert isinstance(await memory.lookup(key), Miss)
    assert (await memory.get_many([key])).missing == [key]


async def test_answers_of_a_client_that_owes_hot_something_say_so(world: World) -> None:
    hot = ChaosTier(world.hot())
    memory = await world.open(hot=hot)
    key, other = world.key(), world.key("other")
    await memory.set(other, "old")
    hot.down = True
    await memory.set(key, "new")
    found = await memory.lookup(key)
    assert isinstance(found, Hit)
    assert found.bound
    hot.down = False
    assert await memory.settled()
    after = await memory.lookup(other)
    assert isinstance(after, Hit)
    assert not after.bound


async def test_lost_publication_leaves_a_key_that_is_asked_below(world: World) -> None:
    """Hot took the announcement: nobody is told the old value, not even before the queue has settled it."""
    hot = ChaosTier(world.hot())
    memory, other = await world.open(hot=hot), await world.open()
    key = world.key()
    await memory.set(key, "old")
    assert await other.get(key) == "old"
    hot._faults.script = iter([None, Fault.REFUSE, Fault.REFUSE, Fault.REFUSE])
    written = await memory.set(key, "new")
    assert not written.hot
    assert await other.get(key) == "new"
    assert await memory.get(key) == "new"
    assert await memory.settled()
    assert await other.get(key) == "new"


async def test_route_that_refuses_writes_without_hot_writes_nothing(world: World) -> None:
    hot = ChaosTier(world.hot())
    memory = await world.open(hot=hot, rules=MemoryRules(refuse_without_hot=True))
    key = world.key()
    await memory.set(key, "old")
    hot.down = True
    with pytest.raises(TierUnavailable, match="refuse_without_hot"):
        await memory.set(key, "new")
    batch = await memory.set_many({key: "new"})
    assert isinstance(batch.errors[key], TierUnavailable)
    hot.down = False
    assert await memory.get(key) == "old"
    assert await (await world.open(hot=None)).get(key) == "old"


async def test_write_of_unknown_outcome_is_asked_for_and_hot_is_mended(world: World, control: CosmosControl) -> None:
    """Neither the writer nor anybody else is told the old value once somebody was told the new one."""
    key = world.key()
    memory, other = await world.open(budget=brisk(hot=5, warm=1)), await world.open()
    await other.set(key, "old")
    fault = control.drop(after=True, kinds=["writes"])
    control.drop(kinds=["reads"])
    with pytest.raises(UnknownOutcome):
        await memory.set(key, "new")
    control.clear(fault)
    control.clear()
    assert await other.get(key) == "new"
    assert await memory.settled(timeout=20)
    assert await memory.get(key) == "new"
    assert await (await world.open()).get(key) == "new"


async def test_full_queue_makes_the_client_blind_to_hot_until_it_is_mended(world: World) -> None:
    """It cannot remember all that hot was not told, so it does not believe hot until even what it forgot has reached its end there."""
    clock = ManualClock()
    hot = ChaosTier(world.hot())
    memory = await world.open(hot=hot, clock=clock)
    memory._recovery._capacity = 3
    keys = [world.key(f"{number}") for number in range(6)]
    await memory.set_many(dict.fromkeys(keys, "old"))
    hot.down = True
    for key in keys:
        assert not (await memory.set(key, "new")).hot
    hot.down = False
    clock.advance(31)  # the breaker lets calls through again
    assert await memory.settled(timeout=3600)
    asked = hot.calls["peek"] + hot.calls["peek_many"]
    for key in keys:
        assert await memory.get(key) == "new"
    assert await memory.get_many(keys) == dict.fromkeys(keys, "new")
    assert hot.calls["peek"] + hot.calls["peek_many"] == asked
    await world.evict(*keys)  # their lifetime in hot is over
    clock.advance(3600)
    await memory.set(keys[0], "newer")
    assert await memory.get(keys[0]) == "newer"
    assert hot.calls["peek"] > asked


async def test_floor_of_a_write_that_hot_does_not_know_is_not_forgotten(world: World) -> None:
    """More keys are read than floors are kept: those that are due stay."""
    hot = ChaosTier(world.hot())
    memory = await world.open(hot=hot)
    memory._engine.floors._capacity = 5
    key = world.key()
    await memory.set(key, "old")
    hot.down = True
    await memory.set(key, "new")
    memory._recovery._closing = True  # it does not come round to telling hot
    task = memory._recovery._task
    assert task is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    hot.down = False
    await memory.set_many({world.key(f"{number}"): number for number in range(30)})
    assert len(memory._engine.floors) <= 6
    assert await memory.get(key) == "new"


async def test_redis_that_comes_back_with_old_data_is_not_believed_by_the_writer(world: World) -> None:
    """It was restored from a snapshot that is older than the write."""
    key = world.key()
    with RedisServer() as server:
        memory = await world.open(hot=world.hot(server.url), budget=roomy(hot=1))
        await memory.set(key, "old")
        await asyncio.to_thread(server.snapshot)
        await memory.set(key, "new")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await reads(memory, key, "new")
        await memory.close()


@pytest.mark.parametrize("parts", [{}, {"cold": True}, {"warm": None}, {"hot": None}, {"warm": None, "cold": True}])
async def test_own_writes_are_read_back_at_once(world: World, parts: dict[str, Any]) -> None:
    memory = await world.open(**parts)
    key = world.key()
    values: list[Any] = [None, 0, "", b"", {}, [], False, "text", b"\x00" * 10]
    for value in values:
        await memory.set(key, value)
        await reads(memory, key, value)
    assert await memory.update(key, lambda _: 1) == 1
    assert await memory.increment(key) == 2
    await reads(memory, key, 2)
    await memory.delete(key)
    await gone(memory, key)


async def test_lagging_replica_does_not_hide_an_own_write(world: World, control: CosmosControl) -> None:
    """Another client's reads come from a replica that is behind: it knows of the write by hot, and asks until it sees it."""
    key = world.key()
    memory, other = await world.open(), await world.open(budget=roomy(warm=1.5, call=3))
    await memory.set(key, "old")
    assert await other.get(key) == "old"
    await memory.touch(key, ttl=3600)  # published without a value: hot keeps its version as the floor
    fault = control.lag(lsns=1)
    with pytest.raises(TierUnavailable):
        await other.get(key, default="made up")
    control.clear(fault)
    assert await other.get(key) == "old"
    assert await other.ttl(key) is not None
