"""P5: nothing is returned past its expiry, whatever each tier's own clock and sweeper do."""

from datetime import timedelta

import pytest
import redis.asyncio
from tests.promises.test_p04_deletes import gone
from tests.promises.world import LARGE, World, noise

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.keys import redis_key
from thermocline.model import Hit, Key, MemoryTier, Pointer
from thermocline.policy import MemoryRules
from thermocline.testing import ManualClock
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.cold import ColdMemory

MS = 0.001


class Time(ManualClock):
    """The time of the machine and, moved along, of Cosmos DB, by which the machine's is corrected. Redis and Blob Storage stay behind."""

    def __init__(self, control: CosmosControl, *, off_ms: int = 0) -> None:
        super().__init__(wall_ms=int(control.freeze() * 1000) + off_ms)
        self.control = control

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.control.advance(seconds)


@pytest.fixture
def clock(control: CosmosControl) -> ManualClock:
    return Time(control)


async def reader(world: World, clock: ManualClock, *, cold: bool = False) -> MemoryClient:
    """A client on a machine whose clock the test moves; those of Redis, Cosmos DB and Blob Storage go on as they do."""
    return await world.open(warm=world.warm(clock=clock), cold=world.cold(clock=clock) if cold else None, clock=clock)


@pytest.mark.parametrize("value", [b"small", noise()], ids=["small", "large"])
@pytest.mark.parametrize("copied", [True, False], ids=["in hot", "below"])
async def test_record_ends_at_the_millisecond_in_every_verb(
    world: World, clock: ManualClock, value: bytes, copied: bool
) -> None:
    """The tiers still hold it: only the reader's clock has moved."""
    key = world.key()
    memory = await reader(world, clock, cold=True)
    written = await memory.set(key, value, ttl=timedelta(seconds=10))
    if not copied:
        await world.evict(key)
    clock.advance(10 - MS)
    assert await memory.get(key) == value
    assert await memory.exists(key)
    assert await memory.ttl(key) == timedelta(milliseconds=1)
    assert (await memory.get_many([key])) == {key: value}
    assert b"".join([chunk async for chunk in memory.stream(key)]) == value
    assert [item.key for item in await memory.list(scope=key.scope, tenant=key.tenant)] == [key]
    if not copied:
        await world.evict(key)
    clock.advance(MS)
    await gone(memory, key)
    assert (await memory.lookup(key)).version == written.version  # type: ignore[union-attr]  # its own tombstone
    again = await memory.set(key, "new")
    assert again.version > written.version
    assert await memory.get(key) == "new"


async def test_promoted_copy_ends_with_the_original(world: World, clock: ManualClock) -> None:
    key = world.key()
    below = await world.open(hot=None, warm=world.warm(clock=clock), clock=clock)
    await below.set(key, "kept", ttl=100)
    memory = await reader(world, clock)
    clock.advance(50)
    first = await memory.lookup(key)
    promoted = await memory.lookup(key)
    assert isinstance(first, Hit)
    assert isinstance(promoted, Hit)
    assert (first.tier, promoted.tier) == (MemoryTier.WARM, MemoryTier.HOT)
    assert promoted.record.expires == first.record.expires
    async with redis.asyncio.from_url(world.redis_url) as server:
        assert 0 < await server.pttl(redis_key(key)) <= 50_000  # not a hundred from now
    clock.advance(50)
    await gone(memory, key)
    await gone(below, key)


async def test_copy_in_hot_leaves_before_the_record_and_at_its_routes_lifetime(world: World) -> None:
    memory = await world.open(rules=MemoryRules(hot_ttl_seconds=100))
    for name, ttl, most in (("for ever", None, 100), ("long", 3600, 100), ("short", 40, 40)):
        key = world.key(name)
        await memory.set(key, 1, ttl=ttl)
        async with redis.asyncio.from_url(world.redis_url) as server:
            assert 0 < await server.pttl(redis_key(key)) <= most * 1000


async def test_touch_moves_the_end_for_every_client(world: World, clock: ManualClock) -> None:
    key = world.key()
    memory, other = await reader(world, clock), await reader(world, clock)
    await memory.set(key, "kept", ttl=10)
    assert await other.get(key) == "kept"  # both know a copy that ends at 10
    clock.advance(5)
    touched = await memory.touch(key, ttl=60)
    assert touched.found
    clock.advance(59)
    for client in (memory, other):
        assert await client.get(key) == "kept"
        assert await client.ttl(key) == timedelta(seconds=1)
    await other.touch(key, ttl=5)  # and shortens it
    clock.advance(5)
    await gone(memory, key)
    await gone(other, key)
    await memory.set(key, "new", ttl=10)
    await other.touch(key, ttl=None)
    clock.advance(100_000)
    assert await memory.get(key) == "new"
    assert await other.ttl(key) is None


async def test_touch_of_an_expired_record_does_not_revive_it(world: World, clock: ManualClock) -> None:
    key = world.key()
    memory = await reader(world, clock)
    await memory.set(key, "old", ttl=10)
    clock.advance(10)
    assert not (await memory.touch(key, ttl=60)).found
    await gone(memory, key)


async def test_update_keeps_the_end_unless_it_is_given_one(world: World, clock: ManualClock) -> None:
    key = world.key()
    memory = await reader(world, clock)
    await memory.set(key, 1, ttl=10)
    clock.advance(4)
    assert await memory.increment(key) == 2
    assert await memory.ttl(key) == timedelta(seconds=6)
    assert await memory.increment(key, ttl=60) == 3
    assert await memory.ttl(key) == timedelta(seconds=60)
    clock.advance(60)
    assert await memory.increment(key, initial=100) == 101  # what has expired is no operand


async def test_records_without_a_lifetime_get_that_of_the_rules(world: World, clock: ManualClock) -> None:
    warm = world.warm(clock=clock)
    memory = await world.open(warm=warm, clock=clock, rules=MemoryRules(warm_ttl_seconds=timedelta(hours=2)))
    key, for_ever = world.key(), world.key("for ever")
    await memory.set(key, 1)
    await memory.set(for_ever, 1, ttl=None)
    assert await memory.ttl(key) == timedelta(hours=2)
    clock.advance(7200)
    await gone(memory, key)
    assert await memory.get(for_ever) == 1


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "ahead"])
async def test_clock_that_is_an_hour_off_is_corrected_by_the_servers(
    world: World, control: CosmosControl, behind: bool
) -> None:
    """A reader whose machine is an hour off sees the record until it ends, and no longer."""
    key = world.key()
    right = Time(control)
    wrong = ManualClock(wall_ms=right.wall_ms() + (-3_600_000 if behind else 3_600_000))
    writer = await world.open(warm=world.warm(clock=right), clock=right)
    memory = await world.open(warm=world.warm(clock=wrong), clock=wrong)
    await writer.set(key, "kept", ttl=60)
    for client in (writer, memory):
        assert await client.get(key) == "kept"
    for moved in (right, wrong):
        moved.advance(50)
    assert await memory.get(key) == "kept"
    for moved in (right, wrong):
        moved.advance(13)  # within a second or two of the true end at 60, by the server's whole seconds
    await gone(memory, key)
    await gone(writer, key)
    # and what it writes itself ends for the others when it should
    another = world.key("another")
    await memory.set(another, "kept", ttl=60)
    assert await writer.get(another) == "kept"
    for moved in (right, wrong):
        moved.advance(63)
    await gone(writer, another)


async def test_authority_removes_an_item_only_long_after_its_end(
    world: World, control: CosmosControl, clock: ManualClock
) -> None:
    """An expired record is its own tombstone for a day: a version below it cannot come."""
    key = world.key()
    memory = await reader(world, clock)
    written = await memory.set(key, "old", ttl=60)
    control.advance(86_400)
    async with world.warm() as warm:
        found = await warm.read(key, deadline=Deadline.after(10))
    assert found is not None
    assert found.version == written.version
    control.advance(120)
    async with world.warm() as warm:
        assert await warm.read(key, deadline=Deadline.after(10)) is None


async def test_item_whose_clock_was_renewed_by_a_write_ends_when_its_record_says(
    world: World, control: CosmosControl
) -> None:
    """Cosmos DB counts ttl from the last write of any kind: each write computes it anew."""
    key = world.key()
    memory = await world.open(hot=None)
    await memory.set(key, 1, ttl=60)
    for _ in range(3):
        await memory.increment(key)
    assert (await memory.ttl(key) or timedelta.max) <= timedelta(seconds=60)
    control.advance(86_400 + 120)
    async with world.warm() as warm:
        assert await warm.read(key, deadline=Deadline.after(10)) is None


class SlowCold(ColdMemory):
    """Time passes while a payload is fetched."""

    moved: ManualClock

    async def get_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> bytes | None:
        self.moved.advance(15)  # both clocks: where the wall clock alone goes on it was turned, and is not believed
        return await super().get_payload(key, pointer, deadline=deadline)


@pytest.mark.parametrize("verb", ["get", "lookup", "get_many"])
async def test_record_that_ends_while_its_payload_is_fetched_is_not_returned(
    world: World, clock: ManualClock, verb: str
) -> None:
    key = world.key()
    rules = MemoryRules(hot_max_bytes=1000)
    cold = SlowCold(world.azurite.blob_url, world.name, credential=world.azurite.key, create=True)
    cold.moved = clock
    memory = await world.open(warm=world.warm(clock=clock), cold=cold, clock=clock, rules=rules)
    await memory.set(key, noise(LARGE), ttl=10)
    if verb == "get_many":
        assert (await memory.get_many([key])).missing == [key]
    elif verb == "lookup":
        assert not isinstance(await memory.lookup(key), Hit)
    else:
        assert await memory.get(key, default="absent") == "absent"


async def test_hot_alone_ends_records_too(world: World, clock: ManualClock) -> None:
    key = world.key()
    hot = world.hot()
    hot._script_clock = clock
    memory = await world.open(hot=hot, warm=None, clock=clock)
    written = await memory.set(key, "old", ttl=10)
    clock.advance(10)
    await gone(memory, key)
    assert (await memory.set(key, "new")).version > written.version
