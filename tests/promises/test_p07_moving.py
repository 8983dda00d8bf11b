"""P7 on real services: demotion and promotion over Cosmos DB and Blob Storage, killed at a step, and orphans that go with their grace."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.promises.nursery import Nursery
from tests.promises.sweeping_child import Shifted
from tests.promises.test_p07_pointers import blobs, payload_of, pointer_in_authority
from tests.promises.world import World, noise

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.lifetimes import Ceiling, Lifetime, LifetimeRule, Lifetimes
from thermocline.model import Envelope, Hit, Key
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory

SIZE = 20_000
DAY = 86_400.0
STEPS = [
    "before renew_payload",
    "after renew_payload",
    "before put_payload",
    "after put_payload",
    "before relocate",
    "after relocate",
]


def job(world: World) -> dict[str, Any]:
    return {
        "job": "sweep",
        "cosmos": world.cosmos.url,
        "cosmos_key": world.cosmos.key,
        "blob": world.azurite.blob_url,
        "blob_key": world.azurite.key,
        "name": world.name,
    }


async def version_of(memory: MemoryClient, key: Key) -> int:
    hit = await memory.lookup(key)
    assert isinstance(hit, Hit)
    return hit.version


@pytest.mark.parametrize("died", STEPS)
async def test_demotion_killed_at_a_step_leaves_no_pointer_to_nothing(
    world: World, nursery: Nursery, died: str
) -> None:
    key, value = world.key(), noise(SIZE)
    memory = await world.open(cold=True)
    version = (await memory.set(key, value)).version
    ended = await nursery.run(die_at=died, **job(world))
    assert ended.killed
    assert ended.steps[-1] == died
    pointer = await pointer_in_authority(world, key)
    assert (pointer is not None) is (died == "after relocate")
    if pointer is not None:
        assert await payload_of(world, key, pointer) == value
    for client in (memory, await world.open(hot=None, cold=True)):
        assert await client.get(key) == value
        assert await version_of(client, key) == version
    again = await nursery.run(ahead=120.0, **job(world))
    assert again.acknowledged == 1
    assert await pointer_in_authority(world, key) is not None
    assert await (await world.open(hot=None, cold=True)).get(key) == value


async def test_hot_readers_see_one_version_through_every_move(world: World) -> None:
    key, value = world.key(), noise(SIZE)
    memory = await world.open(cold=True)
    version = (await memory.set(key, value)).version
    stop = asyncio.Event()
    seen: set[int] = set()

    async def read(client: MemoryClient) -> None:
        while not stop.is_set():
            assert await client.get(key) == value
            seen.add(await version_of(client, key))

    async with asyncio.TaskGroup() as group:
        for client in (memory, await world.open(cold=True), await world.open(hot=None, cold=True)):
            group.create_task(read(client))
        for _ in range(6):
            assert (await memory.demote([key])).moved == 1
            await world.evict(key)
            assert (await memory.promote([key])).moved == 1
        stop.set()
    assert seen == {version}


async def test_move_whose_answer_is_lost_counts_as_made(world: World, control: CosmosControl) -> None:
    key, value = world.key(), noise(SIZE)
    memory = await world.open(cold=True)
    await memory.set(key, value)
    control.drop(after=True, kinds=("patch",), count=1)
    moved = await memory.demote([key])
    assert (moved.moved, moved.failed) == (1, 0)
    assert await pointer_in_authority(world, key) is not None
    assert await (await world.open(hot=None, cold=True)).get(key) == value


class Slept(WarmMemory):
    """This process sleeps between the upload and the pointer; the server's clock goes on."""

    control: CosmosControl
    slept: bool = False

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        if not self.slept:
            self.slept = True
            self.control.advance(0.6 * DAY)
        elif self.control.now() > 0:
            self.control.reset("clock")  # Azurite's clock cannot be moved: what it renews now is of now
        return await super().relocate(old, new, deadline=deadline)


async def test_pointer_too_old_is_renewed_and_set(world: World, control: CosmosControl) -> None:
    key, value = world.key(), noise(SIZE)
    await (await world.open(cold=True)).set(key, value)
    warm = Slept(world.cosmos.url, "promises", world.name, key=world.cosmos.key, create=True)
    warm.control = control
    memory = await world.open(warm=warm, cold=True)
    moved = await memory.demote([key])
    assert (moved.moved, moved.failed) == (1, 0)
    assert warm.slept
    assert await (await world.open(hot=None, cold=True)).get(key) == value


async def test_orphans_in_blob_storage_go_after_the_grace(world: World) -> None:
    memory = await world.open(cold=True)
    kept, changed = world.key("kept"), world.key("changed")
    for key in (kept, changed):
        await memory.set(key, noise(SIZE, seed=key.name.encode()))
    await memory.demote([kept, changed])
    await memory.set(changed, "small again")
    early = await memory.sweep()
    assert (early.finished, early.payloads, early.young, early.orphans) == (True, 2, 2, 0)
    tomorrow = await world.open(hot=None, cold=True, clock=Shifted(1.5 * DAY))
    would = await tomorrow.sweep(dry_run=True)
    assert (would.pointed, would.orphans) == (1, 1)
    report = await tomorrow.sweep()
    assert (report.finished, report.pointed, report.orphans, report.orphan_bytes) == (True, 1, 1, SIZE)
    async with blobs(world) as container:
        left = [blob.name async for blob in container.list_blobs() if "/p/" in blob.name or len(blob.name) > 64]
    assert len([name for name in left if "kept" in name]) == 1
    assert not [name for name in left if "changed" in name]
    fresh = await world.open(hot=None, cold=True)
    assert await fresh.get(kept) == noise(SIZE, seed=b"kept")
    assert await fresh.get(changed) == "small again"


async def test_sweep_is_bounded_in_request_units(world: World) -> None:
    memory = await world.open(cold=True)
    items = {world.key(f"name/{number}"): noise(SIZE, seed=b"%d" % number) for number in range(40)}
    (await memory.set_many(items)).raise_errors()
    rules = Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(demote_above=10_000))])
    sweeper = await world.open(hot=None, cold=True, lifetimes=rules)
    units: list[float] = []
    while True:
        report = await sweeper.sweep(max_request_units=150)
        units.append(report.request_units)
        if report.finished:
            break
        assert "max_request_units" in report.stopped
        assert len(units) < 50
    assert len(units) > 2
    assert report.demotions.moved == 40
    assert max(units) < 150 + 8 * 40, "at most eight moves more"
    assert await (await world.open(hot=None, cold=True)).get_many(items) == items
    assert (await sweeper.sweep(max_duration=timedelta(minutes=1))).finished


async def test_cold_as_the_authority_is_swept_as_well(world: World) -> None:
    rules = Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(demote_above=10_000))])
    memory = await world.open(warm=None, cold=True, lifetimes=rules)
    items = {world.key(f"name/{number}"): noise(SIZE, seed=b"%d" % number) for number in range(5)}
    (await memory.set_many(items)).raise_errors()
    gone = world.key("gone")
    await memory.set(gone, "x")
    await memory.delete(gone)
    report = await memory.sweep()
    assert (report.finished, report.records, report.dead, report.demotions.moved) == (True, 6, 1, 5)
    assert await (await world.open(hot=None, warm=None, cold=True)).get_many(items) == items
    up = await memory.promote(tenant=world.name)
    assert up.moved == 5
    later = await world.open(hot=None, warm=None, cold=True, clock=Shifted(1.5 * DAY))
    swept = await later.sweep()
    assert (swept.finished, swept.orphans) == (True, 5)
    assert await (await world.open(hot=None, warm=None, cold=True)).get_many(items) == items


async def test_redis_alone_is_swept_by_its_ceilings(world: World) -> None:
    before = await world.open(warm=None)
    await before.set(world.key("old"), "x", ttl=None)
    rules = Lifetimes(ceilings=[Ceiling(timedelta(hours=1), tenant=world.name)])
    memory = await world.open(warm=None, lifetimes=rules)
    report = await memory.sweep()
    assert report.finished
    assert report.shortened == 1
    left = await before.ttl(world.key("old"))
    assert left is not None
    assert left <= timedelta(hours=1)
