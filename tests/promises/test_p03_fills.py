"""P3: a fill never replaces a newer version and never lands after an invalidation that it did not see."""

import asyncio
from dataclasses import dataclass

import pytest
from tests.promises.held import HeldHot, HeldWarm
from tests.promises.nursery import Nursery
from tests.promises.races import naive, ours, race
from tests.promises.test_p02_durability import born
from tests.promises.world import DATABASE, World

from thermocline.client import MemoryClient
from thermocline.clock import SYSTEM_CLOCK, Deadline
from thermocline.model import Hit, Key, MemoryTier
from thermocline.policy import MemoryRules
from thermocline.testing import ManualClock

TRIALS = 700


@pytest.mark.parametrize("kind", ["one write", "two writes"])
async def test_no_stale_value_is_left_beside_writers(world: World, kind: str) -> None:
    """The naive arm fails in the same run: so the trials do race."""
    async with naive(world.redis_url, world.name, 1) as arms:
        control = await race(arms, kind, TRIALS, 1, until=lambda tally: tally.stale >= 3)
    assert control.stale >= 3, f"the trials do not bite: {control}"
    async with ours(world.redis_url, world.name, 2) as arms:
        tally = await race(arms, kind, TRIALS, 2, until=lambda tally: tally.old_seen > TRIALS // 20)
    assert tally.stale == 0, tally
    assert tally.old_seen > TRIALS // 20, tally
    assert tally.from_hot > TRIALS // 2, tally  # it does cache


# --- orders of steps that a race seldom meets ----------------------------------------------------------------------------


@dataclass
class Actor:
    """A client whose calls can be held."""

    memory: MemoryClient
    hot: HeldHot
    warm: HeldWarm


async def actor(world: World, clock: ManualClock | None = None) -> Actor:
    hot = HeldHot(world.redis_url)
    hot._script_clock = clock
    warm = HeldWarm(world.cosmos.url, DATABASE, world.name, key=world.cosmos.key, create=True)
    return Actor(await world.open(hot=hot, warm=warm), hot, warm)


async def entry_of(world: World, key: Key) -> object:
    """What hot would answer with at once."""
    hot = world.hot()
    async with hot:
        found = await hot.peek(key, deadline=Deadline.after(10))
    return None if found is None else found.version


async def test_slow_reader_fills_nothing_after_its_lease_has_lapsed(world: World) -> None:
    """Its lease ran out, and others wrote, filled and lost the entry since: it may not bring back what it read."""
    clock = ManualClock(wall_ms=SYSTEM_CLOCK.wall_ms())
    key = world.key()
    slow, writer, other = [await actor(world, clock) for _ in range(3)]
    await writer.memory.set(key, "old")
    await world.evict(key)
    slow.warm.points.hold("read")
    reading = asyncio.create_task(slow.memory.get(key))
    await slow.warm.points.reached("read")
    clock.advance(16)
    await writer.memory.set(key, "new")
    await world.evict(key)  # and with it the version that hot knew
    other.warm.points.hold("read")
    second = asyncio.create_task(other.memory.get(key))  # has the lease now
    await other.warm.points.reached("read")
    slow.warm.points.let("read")
    assert await reading == "old"  # it began before the write
    other.warm.points.let("read")
    assert await second == "new"
    fresh = await actor(world, clock)
    assert await fresh.memory.get(key) == "new"
    assert await slow.memory.get(key) == "new"


async def test_reader_that_saw_a_write_before_its_publication_binds_the_next_one(world: World) -> None:
    """Somebody was told the new value: from then on nobody is told the old one, although the writer has not published yet."""
    key = world.key()
    slow, writer, first = [await actor(world) for _ in range(3)]
    await writer.memory.set(key, "old")
    await world.evict(key)
    slow.warm.points.hold("read")
    reading = asyncio.create_task(slow.memory.get(key))  # has the lease and the old value
    await slow.warm.points.reached("read")
    writer.hot.points.hold("publish")
    writing = asyncio.create_task(writer.memory.set(key, "new"))
    await writer.hot.points.reached("publish")
    assert await first.memory.get(key) == "new"
    slow.warm.points.let("read")
    assert await reading == "old"
    assert await (await actor(world)).memory.get(key) == "new"
    writer.hot.points.let("publish")
    await writing
    assert await (await actor(world)).memory.get(key) == "new"


async def test_value_in_hot_is_not_served_once_its_successor_can_be_seen(world: World) -> None:
    """One who does not use hot saw the new value before its writer could publish it."""
    key = world.key()
    writer, outsider = await actor(world), await world.open(hot=None)
    await writer.memory.set(key, "old")
    before = await world.open()
    for _ in range(2):
        assert await before.get(key) == "old"
    assert await entry_of(world, key) is not None
    writer.warm.points.hold("written")
    writing = asyncio.create_task(writer.memory.set(key, "new"))
    await writer.warm.points.reached("written")
    assert await outsider.get(key) == "new"
    fresh = await world.open()
    assert await fresh.get(key) == "new"
    assert await fresh.get_many([key]) == {key: "new"}
    writer.warm.points.let("written")
    await writing
    assert await fresh.get(key) == "new"


async def test_announcement_that_is_lost_lets_no_old_value_in(world: World) -> None:
    """Redis loses the announcement; a reader takes a lease and reads before the write lands, another reads after it."""
    key = world.key()
    slow, writer, first = [await actor(world) for _ in range(3)]
    await writer.memory.set(key, "old")
    writer.warm.points.hold("write")
    writing = asyncio.create_task(writer.memory.set(key, "new"))
    await writer.warm.points.reached("write")
    await world.evict(key)
    slow.warm.points.hold("read")
    reading = asyncio.create_task(slow.memory.get(key))
    await slow.warm.points.reached("read")
    writer.warm.points.let("write")
    await writing
    assert await first.memory.get(key) == "new"
    slow.warm.points.let("read")
    assert await reading == "old"
    assert await (await actor(world)).memory.get(key) == "new"


async def test_late_publication_onto_an_evicted_entry_brings_nothing_back(world: World) -> None:
    key = world.key()
    late, writer = [await actor(world) for _ in range(2)]
    late.hot.points.hold("publish")
    first = asyncio.create_task(late.memory.set(key, "old"))
    await late.hot.points.reached("publish")
    await world.evict(key)
    newest = await writer.memory.set(key, "new")
    await world.evict(key)
    late.hot.points.let("publish")
    await first
    assert await entry_of(world, key) in (None, newest.version)
    for _ in range(2):
        assert await (await actor(world)).memory.get(key) == "new"


async def test_publications_out_of_order_leave_the_newest(world: World) -> None:
    key = world.key()
    one, two = [await actor(world) for _ in range(2)]
    one.hot.points.hold("publish")
    first = asyncio.create_task(one.memory.set(key, "old"))
    await one.hot.points.reached("publish")
    newest = await two.memory.set(key, "new")
    one.hot.points.let("publish")
    await first
    assert await entry_of(world, key) in (None, newest.version)
    assert await (await actor(world)).memory.get(key) == "new"


@pytest.mark.parametrize("rules", [MemoryRules(write_around=True), MemoryRules(promote_on_read=False)])
async def test_no_rule_lets_an_old_copy_stand(world: World, rules: MemoryRules) -> None:
    key = world.key()
    memory, other = await world.open(rules=rules), await world.open()
    for number in range(5):
        await memory.set(key, number)
        assert await other.get(key) == number
        assert await memory.get(key) == number
        await other.set(key, -number)
        assert await memory.get(key) == -number


async def test_caller_takes_no_read_that_was_sent_before_it_came(world: World) -> None:
    """Single flight: a read is under way; a write is acknowledged; who comes then does not take that read's answer."""
    key = world.key()
    reader, writer = await actor(world), await world.open(hot=None)
    await writer.set(key, "old")
    reader.warm.points.hold("read")
    early = asyncio.create_task(reader.memory.get(key))
    await reader.warm.points.reached("read")
    await writer.set(key, "new")
    await world.evict(key)
    late = asyncio.create_task(reader.memory.get(key))
    reader.warm.points.let("read")
    assert await early == "old"
    assert await late == "new"


# --- writers that die ----------------------------------------------------------------------------------------------------

STEPS = ["before announce", "after announce", "before write", "after write", "before publish", "after publish"]


@pytest.mark.parametrize("died", STEPS)
@pytest.mark.parametrize("verb", ["set", "delete"])
async def test_writer_killed_at_a_step_leaves_no_stale_entry_and_a_usable_key(
    world: World, nursery: Nursery, died: str, verb: str
) -> None:
    key = world.key()
    memory = await world.open()
    await memory.set(key, "old")
    ended = await born(nursery, world, key, verb=verb, value="new", die_at=died, known=True)
    assert ended.killed
    assert ended.steps == STEPS[: STEPS.index(died) + 1]
    truth = await (await world.open(hot=None)).get(key)
    written = STEPS.index(died) >= STEPS.index("after write")
    assert truth == ({"set": "new", "delete": None}[verb] if written else "old")
    fresh = await world.open()
    for client in (memory, fresh, memory):
        assert await client.get(key) == truth
    await fresh.set(key, "usable")
    assert await memory.get(key) == "usable"
    # When the dead writer's announcement has run out, hot serves the key again.
    hot = world.hot()
    hot._script_clock = ManualClock(wall_ms=SYSTEM_CLOCK.wall_ms() + 120_000)
    later = await world.open(hot=hot)
    assert await later.get(key) == "usable"
    found = await later.lookup(key)
    assert isinstance(found, Hit)
    assert (found.value, found.tier) == ("usable", MemoryTier.HOT)
