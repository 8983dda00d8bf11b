"""P4: a deleted key does not come back: not from a lower tier, not from a slow reader, not from hot."""

import asyncio
from typing import Any

import pytest
from tests.promises.races import naive, ours, race
from tests.promises.test_p03_fills import actor, entry_of
from tests.promises.world import World, noise

from thermocline.client import MemoryClient
from thermocline.errors import Conflict
from thermocline.model import Hit, Key, Miss
from thermocline.policy import MemoryRules
from thermocline.testing.cosmos.control import CosmosControl

TRIALS = 700


async def gone(memory: MemoryClient, *keys: Key) -> None:
    """No verb finds any of them."""
    for key in keys:
        assert await memory.get(key, default="absent") == "absent"
        assert isinstance(await memory.lookup(key), Miss)
        assert await memory.exists(key) is False
        with pytest.raises(KeyError):
            await memory.ttl(key)
        with pytest.raises(KeyError):
            assert not [chunk async for chunk in memory.stream(key)]
        assert not (await memory.touch(key, ttl=60)).found
        assert key not in [item.key for item in await memory.list(scope=key.scope, tenant=key.tenant)]
    batch = await memory.get_many(keys)
    assert (batch, batch.missing, batch.errors) == ({}, [*keys], {})


async def test_nothing_returns_from_the_dead_beside_a_reader(world: World) -> None:
    """The naive arm fails in the same run: so the trials do race."""
    async with naive(world.redis_url, world.name, 1) as arms:
        control = await race(arms, "a delete", TRIALS, 1, until=lambda tally: tally.stale >= 3)
    assert control.stale >= 3, f"the trials do not bite: {control}"
    async with ours(world.redis_url, world.name, 2) as arms:
        tally = await race(arms, "a delete", TRIALS, 2, until=lambda tally: tally.old_seen > TRIALS // 20)
    assert tally.stale == 0, tally
    assert tally.old_seen > TRIALS // 20, tally


@pytest.mark.parametrize("value", [b"small", noise()], ids=["small", "large"])
@pytest.mark.parametrize("lost", [False, True], ids=["hot whole", "hot lost"])
async def test_deleted_key_is_gone_for_everybody_in_every_verb(world: World, value: bytes, lost: bool) -> None:
    """Its payload in cold is still there, and the copies that other clients made are too."""
    key = world.key()
    memory, other = await world.open(cold=True), await world.open(cold=True)
    await memory.set(key, value)
    assert await other.get(key) == value
    deleted = await memory.delete(key)
    assert deleted.found
    if lost:
        await world.evict(key)
    for client in (memory, other, await world.open(cold=True), await world.open(hot=None, cold=True)):
        await gone(client, key)
    found = await other.lookup(key)
    assert isinstance(found, Miss)
    assert found.version == deleted.version  # a tombstone, and not mere ignorance


@pytest.mark.parametrize("authority", ["hot alone", "cold", "warm"])
async def test_versions_grow_over_deletion_and_creation(world: World, authority: str) -> None:
    key = world.key()
    parts: dict[str, dict[str, Any]] = {"hot alone": {"warm": None}, "cold": {"warm": None, "cold": True}, "warm": {}}
    clients = [await world.open(**parts[authority]) for _ in range(2)]
    last = 0
    for turn in range(12):
        writer, other = clients[turn % 2], clients[1 - turn % 2]
        written = await writer.set(key, turn, if_absent=True)
        assert written.version > last
        assert await other.get(key) == turn
        deleted = await other.delete(key)
        assert deleted.version > written.version
        await gone(writer, key)
        last = deleted.version
        with pytest.raises(Conflict):
            await writer.set(key, "onto an old version", if_version=written.version)


async def test_slow_reader_does_not_bring_back_what_was_deleted(world: World) -> None:
    key = world.key()
    slow, writer = await actor(world), await actor(world)
    await writer.memory.set(key, "old")
    await world.evict(key)
    slow.warm.points.hold("read")
    reading = asyncio.create_task(slow.memory.get(key))
    await slow.warm.points.reached("read")
    deleted = await writer.memory.delete(key)
    await world.evict(key)
    slow.warm.points.let("read")
    assert await reading == "old"  # it began before
    assert await entry_of(world, key) in (None, deleted.version)
    await gone(slow.memory, key)
    await gone(await world.open(), key)


async def test_late_publication_does_not_bring_back_what_was_deleted(world: World) -> None:
    key = world.key()
    late, writer = await actor(world), await actor(world)
    late.hot.points.hold("publish")
    writing = asyncio.create_task(late.memory.set(key, "old"))
    await late.hot.points.reached("publish")
    await writer.memory.delete(key)
    await world.evict(key)
    late.hot.points.let("publish")
    await writing
    await gone(late.memory, key)
    await gone(await world.open(), key)


async def test_write_made_before_the_delete_and_sent_after_it_is_no_resurrection(world: World) -> None:
    """It was not acknowledged when the delete was, so it came after it: a new value with a higher version, the same for everybody."""
    key = world.key()
    late, writer = await actor(world), await world.open()
    await writer.set(key, "old")
    late.warm.points.hold("write")
    writing = asyncio.create_task(late.memory.set(key, "new"))
    await late.warm.points.reached("write")
    deleted = await writer.delete(key)
    late.warm.points.let("write")
    written = await writing
    assert written.version > deleted.version
    for client in (writer, late.memory, await world.open()):
        assert await client.get(key) == "new"


async def test_conditional_write_on_what_was_read_before_the_delete_is_refused(world: World) -> None:
    key = world.key()
    one, two = await world.open(), await world.open()
    read = await one.set(key, "old")
    await two.delete(key)
    with pytest.raises(Conflict):
        await one.set(key, "new", if_version=read.version)
    await gone(one, key)
    await gone(two, key)


async def test_update_that_meets_a_delete_begins_anew(world: World) -> None:
    """It does not write back what it had read."""
    key = world.key()
    one, two = await actor(world), await world.open()
    await two.set(key, ["old"])
    one.warm.points.hold("write")
    appending = asyncio.create_task(one.memory.append(key, "new"))
    await one.warm.points.reached("write")
    await two.delete(key)
    one.warm.points.let("write")
    assert await appending == 1
    assert await two.get(key) == ["new"]


async def test_tombstone_outlives_hot_and_ends_with_its_grace(world: World, control: CosmosControl) -> None:
    """Hot forgets it first; a day later the authority may, and the key begins again with a higher version."""
    key = world.key()
    memory = await world.open()
    await memory.set(key, "old")
    deleted = await memory.delete(key)
    await world.evict(key)
    control.advance(86_400 - 60)
    found = await (await world.open()).lookup(key)
    assert isinstance(found, Miss)
    assert found.version == deleted.version
    control.advance(600)
    await world.evict(key)
    later = await world.open()
    assert await later.lookup(key) == Miss(key, found.tier, 0)
    written = await later.set(key, "new")
    assert written.version > deleted.version
    assert await later.get(key) == "new"


async def test_delete_of_what_never_was_finds_nothing_and_leaves_nothing(world: World) -> None:
    memory = await world.open()
    keys = [world.key(f"{number}") for number in range(3)]
    assert not (await memory.delete(keys[0])).found
    batch = await memory.delete_many(keys)
    assert (batch, batch.missing, batch.errors) == ({}, keys, {})
    await gone(memory, *keys)
    looked = await memory.lookup(keys[0])
    assert isinstance(looked, Miss)
    assert looked.version == 0
    await memory.set(keys[0], "now", if_absent=True)
    assert await memory.get(keys[0]) == "now"


async def test_many_deletes_leave_none_on_a_later_page(world: World) -> None:
    """More than a chunk and more than a page; and what is created anew afterwards is there."""
    memory = await world.open()
    keys = [world.key(f"{number:03}") for number in range(230)]
    await memory.set_many(dict.fromkeys(keys, "old"))
    assert len(await memory.list(scope="scope", tenant=world.name, limit=1000)) == 230
    deleted = await memory.delete_many(keys)
    assert (len(deleted), deleted.missing, deleted.errors) == (230, [], {})
    for client in (memory, await world.open()):
        listing = await client.list(scope="scope", tenant=world.name, limit=100)
        assert (listing.items, listing.cursor) == ([], None)
        assert (await client.get_many(keys)).missing == keys
    again = await memory.set_many(dict.fromkeys(keys[::50], "new"))
    assert all(again[key].version > deleted[key].version for key in again)
    assert await (await world.open()).get_many(keys) == dict.fromkeys(keys[::50], "new")


@pytest.mark.parametrize(
    "rules", [MemoryRules(write_around=True), MemoryRules(promote_on_read=False), MemoryRules(stale_while_down=True)]
)
async def test_no_rule_keeps_a_copy_of_the_deleted(world: World, rules: MemoryRules) -> None:
    key = world.key()
    memory, other = await world.open(rules=rules), await world.open()
    await memory.set(key, "old")
    assert await other.get(key) == "old"
    assert await memory.get(key) == "old"
    await memory.delete(key)
    await gone(other, key)
    await gone(memory, key)
    await other.set(key, "new")
    found = await memory.lookup(key)
    assert isinstance(found, Hit)
    assert (found.value, found.stale) == ("new", False)
