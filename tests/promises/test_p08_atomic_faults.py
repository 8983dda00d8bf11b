"""``atomic=True`` where answers are lost: all took effect or none did, once, and whoever asks afterwards sees the same."""

import asyncio

import pytest
from tests.promises.world import World, roomy

from thermocline.errors import AccessDenied, UnknownOutcome
from thermocline.model import Hit, Key, MemoryTier
from thermocline.testing.cosmos.control import CosmosControl


def keys_of(world: World, count: int = 6) -> list[Key]:
    return [world.key(f"n{number}") for number in range(count)]


@pytest.mark.parametrize("after", [True, False], ids=["after its effect", "before it"])
async def test_one_lost_answer_is_made_good(world: World, control: CosmosControl, after: bool) -> None:
    memory = await world.open()
    keys = keys_of(world)
    versions = {key: result.version for key, result in (await memory.set_many(dict.fromkeys(keys, "old"))).items()}
    control.drop(after=after, kinds=["batch"], count=1)
    written = await memory.set_many(dict.fromkeys(keys, "new"), atomic=True)
    assert {key: result.version for key, result in written.items()} == {key: versions[key] + 1 for key in keys}
    assert all(result.hot for result in written.values())
    found = await memory.lookup(keys[0])
    assert isinstance(found, Hit)
    assert found.tier is MemoryTier.HOT
    assert await (await world.open(hot=None)).get_many(keys) == dict.fromkeys(keys, "new")


async def test_unknown_outcome_is_for_all_together(world: World, control: CosmosControl) -> None:
    memory = await world.open(budget=roomy(warm=1.5))
    keys = keys_of(world)
    await memory.set_many(dict.fromkeys(keys, "old"))
    control.drop(after=True, kinds=["batch"])
    control.fail(503, kinds=["reads"], skip=1)  # the first is before the batch; the others would tell what became of it
    with pytest.raises(UnknownOutcome):
        await memory.set_many(dict.fromkeys(keys, "new"), atomic=True, timeout=4)
    control.clear()
    below = await world.open(hot=None)
    told = await below.get_many(keys)
    assert set(told) == set(keys)
    assert len(set(told.values())) == 1
    assert await memory.get_many(keys) == told
    assert await (await world.open()).get_many(keys) == told


async def test_refusal_leaves_no_announcement(world: World, control: CosmosControl) -> None:
    memory = await world.open()
    keys = keys_of(world)
    await memory.set_many(dict.fromkeys(keys, "old"))
    control.fail(403, 5302)
    with pytest.raises(AccessDenied):
        await memory.set_many(dict.fromkeys(keys, "new"), atomic=True)
    control.clear()
    other = await world.open()
    await other.get_many(keys)
    for key in keys:
        found = await other.lookup(key)
        assert isinstance(found, Hit)
        assert (found.value, found.tier) == ("old", MemoryTier.HOT)


async def test_cancelled_one_took_effect_for_all_or_for_none(world: World, control: CosmosControl) -> None:
    memory, below = await world.open(), await world.open(hot=None)
    keys = keys_of(world)
    await memory.set_many(dict.fromkeys(keys, 0), atomic=True)
    control.delay(30, after=True, kinds=["batch"])
    for number in range(1, 8):
        task = asyncio.create_task(memory.set_many(dict.fromkeys(keys, number), atomic=True))
        for _ in range(number * 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    control.clear()
    await memory.set_many(dict.fromkeys(keys, 99), atomic=True)
    assert await below.get_many(keys) == dict.fromkeys(keys, 99)
    assert await memory.get_many(keys) == dict.fromkeys(keys, 99)
