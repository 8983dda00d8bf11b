"""P5 under lifetimes: what a rule gives, a read renews or a ceiling cuts off ends at its millisecond too, for every client and in every tier."""

import asyncio
from datetime import timedelta

import pytest
import redis.asyncio
from tests.promises.test_p04_deletes import gone
from tests.promises.test_p05_expiry import MS, Time
from tests.promises.world import World, noise

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.keys import redis_key
from thermocline.lifetimes import Ceiling, Lifetime, LifetimeRule, Lifetimes
from thermocline.model import Hit, Key, MemoryTier
from thermocline.testing import ManualClock
from thermocline.testing.cosmos.control import CosmosControl

SLIDING = LifetimeRule(prefix="", lifetime=Lifetime(100, sliding=True))


@pytest.fixture
def clock(control: CosmosControl) -> ManualClock:
    return Time(control)


async def opened(world: World, clock: ManualClock, lifetimes: Lifetimes | None, *, cold: bool = False) -> MemoryClient:
    tiers = {"warm": world.warm(clock=clock), "cold": world.cold(clock=clock) if cold else None}
    return await world.open(**tiers, clock=clock, lifetimes=lifetimes)


async def renewed(memory: MemoryClient) -> int:
    tasks = [*memory._touches._renewing.values()]
    await asyncio.gather(*tasks)
    return len(tasks)


async def stays_ms(world: World, key: Key) -> int:
    """How long Redis keeps the entry."""
    async with redis.asyncio.from_url(world.redis_url) as server:
        return int(await server.pttl(redis_key(key)))


@pytest.mark.parametrize("value", [b"small", noise()], ids=["small", "large"])
async def test_sliding_record_is_read_on_and_ends_for_all_at_the_same_moment(
    world: World, control: CosmosControl, clock: ManualClock, value: bytes
) -> None:
    key = world.key()
    memory = await opened(world, clock, Lifetimes([SLIDING]), cold=True)
    other = await opened(world, clock, None, cold=True)  # one that knows nothing of lifetimes, and renews nothing
    await memory.set(key, value)
    for _ in range(3):
        clock.advance(60)
        assert await other.get(key) == value
        assert await memory.get(key) == value
        assert await renewed(memory) == 1
        assert await other.ttl(key) == timedelta(seconds=100)
    clock.advance(100 - MS)
    assert await other.get(key) == value
    clock.advance(MS)
    await gone(other, key)
    await gone(memory, key)
    assert await renewed(memory) == 0  # what has ended is not brought back
    control.advance(86_300)
    async with world.warm() as warm:  # its own tombstone for a day after the end that it had at last
        assert await warm.read(key, deadline=Deadline.after(10)) is not None
    control.advance(220)
    async with world.warm() as warm:
        assert await warm.read(key, deadline=Deadline.after(10)) is None


async def test_renewal_that_comes_after_a_delete_or_a_shorter_end_does_nothing(
    world: World, clock: ManualClock
) -> None:
    """It is of the version that was read."""
    key, memory = world.key(), await opened(world, clock, Lifetimes([SLIDING]))
    other = await opened(world, clock, None)
    await memory.set(key, "kept")
    clock.advance(60)
    found = await memory.lookup(key)  # its renewal has begun, and not run yet
    assert isinstance(found, Hit)
    assert len(memory._touches) == 1
    await renewed(memory)
    clock.advance(60)
    touches, engine = memory._touches, memory._engine
    read = await engine.authority(engine.routes.default.authority).read(key, deadline=Deadline.after(10))
    assert read is not None
    await other.touch(key, ttl=5)
    touches.renew(read, engine.routes.default)
    assert await renewed(memory) == 1
    assert memory.stats()["client"]["renewals"] == 1  # the first one
    assert await other.ttl(key) == timedelta(seconds=5)
    await other.delete(key)
    touches.renew(read, engine.routes.default)
    assert await renewed(memory) == 1
    assert memory.stats()["client"]["renewals"] == 1  # the first one
    await gone(other, key)
    await gone(memory, key)


async def test_ceiling_is_exact_for_clients_that_do_not_know_it(world: World, clock: ManualClock) -> None:
    key = world.key()
    memory = await opened(world, clock, Lifetimes(ceilings=[Ceiling(30, tenant=world.name)]))
    other = await opened(world, clock, None)
    await memory.set(key, "kept", ttl=None)
    await memory.touch(key, ttl=3600)
    clock.advance(30 - MS)
    assert await other.get(key) == await memory.get(key) == "kept"
    clock.advance(MS)
    await gone(other, key)
    await gone(memory, key)


async def test_copy_leaves_hot_by_its_rule_its_end_and_its_ceiling(world: World) -> None:
    rules = [
        LifetimeRule(prefix="quick", lifetime=Lifetime(hot=20)),
        LifetimeRule(prefix="slow", lifetime=Lifetime(hot=3600)),
    ]
    memory = await world.open(lifetimes=Lifetimes(rules, ceilings=[Ceiling(50, tag=("class", "pii"))]))
    for name, ttl, tags, most in (
        ("quick", None, None, 20),
        ("slow", None, None, 3600),
        ("slow", 40, None, 40),
        ("slow", None, {"class": "pii"}, 50),
        ("another", None, None, 300),
    ):
        key = world.key(f"{name}/{ttl}/{tags}")
        await memory.set(key, 1, ttl=ttl, tags=tags)
        for _ in range(2):  # as it was published, and as it is promoted
            assert most * 900 < await stays_ms(world, key) <= most * 1000, key
            await world.evict(key)
            assert await memory.get_many([key]) == {key: 1}
        await world.evict(key)
        assert await memory.get(key) == 1
        assert most * 900 < await stays_ms(world, key) <= most * 1000, key


async def test_record_that_is_older_than_its_ceiling_allows_gets_no_copy_in_hot(
    world: World, clock: ManualClock
) -> None:
    """The ceiling was given after it was written; until a sweep or a touch ends it, it is read below."""
    key, before = world.key(), await opened(world, clock, None)
    await before.set(key, "kept")
    clock.advance(100)
    await world.evict(key)
    memory = await opened(world, clock, Lifetimes(ceilings=[Ceiling(30, prefix="")]))
    for _ in range(2):
        found = await memory.lookup(key)
        assert isinstance(found, Hit)
        assert found.tier is MemoryTier.WARM
    assert (await memory.touch(key, ttl=None)).found
    await gone(memory, key)
    await gone(before, key)
