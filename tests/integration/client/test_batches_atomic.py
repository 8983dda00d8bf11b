"""``atomic=True``: several writes of one scope as one."""

import asyncio
from typing import Any

import pytest
from tests.integration.client.grounds import Grounds, noise

from thermocline.clock import Deadline
from thermocline.errors import Conflict, InvalidArgument, InvalidKey, NotSerialisable
from thermocline.model import Authority, Hit, Key, MemoryTier
from thermocline.policy import MemoryRules, Route
from thermocline.protocols import Announce

TIERS = ["embedded:hot+warm+cold", "services:hot+warm+cold"]
pytestmark = pytest.mark.parametrize("whole", TIERS, indirect=True)


def keys_of(grounds: Grounds, count: int = 5) -> list[Key]:
    return [grounds.key(f"n{number}") for number in range(count)]


async def test_all_are_written_and_hot_is_told(whole: Grounds) -> None:
    memory = await whole.open()
    keys = keys_of(whole)
    values: dict[Key, Any] = {key: key.name for key in keys} | {keys[0]: None, keys[1]: noise(200_000)}
    written = await memory.set_many(values, atomic=True)
    assert (list(written), written.errors, written.missing) == (keys, {}, [])
    assert all(result.hot and result.durable for result in written.values())
    other = await whole.open()
    assert await other.get_many(keys) == values
    found = await other.lookup(keys[2])
    assert isinstance(found, Hit)
    assert (found.version, found.tier) == (written[keys[2]].version, MemoryTier.HOT)
    deleted = await memory.delete_many([*keys, whole.key("never")], atomic=True)
    assert (list(deleted), deleted.missing) == (keys, [whole.key("never")])
    assert (await other.get_many(keys)).missing == keys
    assert await memory.set_many({}, atomic=True) == {}


async def test_condition_that_does_not_hold_means_none(whole: Grounds) -> None:
    memory = await whole.open()
    keys = keys_of(whole)
    versions = {key: result.version for key, result in (await memory.set_many(dict.fromkeys(keys, 1))).items()}
    with pytest.raises(Conflict) as conflict:
        await memory.set_many(
            dict.fromkeys(keys, 2), atomic=True, if_versions={**versions, keys[3]: versions[keys[3]] + 7}
        )
    assert conflict.value.version == versions[keys[3]]
    with pytest.raises(Conflict):
        await memory.set_many(dict.fromkeys(keys, 2), atomic=True, if_versions={keys[4]: 0})
    for client in (memory, await whole.open(), await whole.open(hot=None)):
        assert await client.get_many(keys) == dict.fromkeys(keys, 1)
    again = await memory.get(keys[0])  # and no announcement is left: hot answers
    assert again == 1
    new = whole.key("new")
    await memory.set_many(dict.fromkeys([*keys, new], 3), atomic=True, if_versions={**versions, new: 0})
    assert await memory.get_many([*keys, new]) == dict.fromkeys([*keys, new], 3)


async def test_what_cannot_be_one_is_refused_with_nothing_done(whole: Grounds) -> None:
    routes = [Route("session/", rules=MemoryRules(write_through=False)), Route("deep/", authority=Authority.COLD)]
    memory = await whole.open(routes=routes)
    key = whole.key()
    wrong: list[tuple[dict[Any, Any], str]] = [
        ({key: 1, whole.key(scope="other"): 2}, "one tenant and scope"),
        ({key: 1, Key("somebody", key.scope, "x"): 2}, "one tenant and scope"),
        ({"plain": 1, "strings": 2}, "256 scopes"),
        ({key: 1, whole.key("session/1"): 2}, "one authority"),
        ({whole.key("session/1"): 1}, "cannot take several writes as one"),
        ({whole.key("deep/1"): 1}, "cannot take several writes as one"),
    ]
    for items, message in wrong:
        with pytest.raises(InvalidArgument, match=message):
            await memory.set_many(items, atomic=True)
    with pytest.raises(InvalidKey):
        await memory.set_many({key: 1, "": 2}, atomic=True)
    with pytest.raises(NotSerialisable):
        await memory.set_many({key: 1, whole.key("strange"): object()}, atomic=True)
    with pytest.raises(InvalidArgument, match="atomic=True"):
        await memory.set_many({key: 1}, if_versions={key: 0})
    with pytest.raises(InvalidArgument, match="does not write"):
        await memory.set_many({key: 1}, atomic=True, if_versions={whole.key("not one of them"): 3})
    with pytest.raises(InvalidArgument, match="if_version"):
        await memory.set_many({key: 1}, atomic=True, if_versions={key: -3})
    assert (await memory.get_many([key, whole.key("deep/1"), whole.key("session/1")])) == {}


async def test_more_than_the_authority_takes_is_refused(whole: Grounds) -> None:
    memory = await whole.open()
    most: int = memory._engine.authorities[Authority.WARM].atomic_most  # type: ignore[attr-defined]
    keys = [whole.key(f"n{number}") for number in range(most + 1)]
    with pytest.raises(InvalidArgument, match=f"at most {most}"):
        await memory.set_many(dict.fromkeys(keys, 1), atomic=True)
    assert (await memory.get_many(keys[:50])).missing == keys[:50]


async def test_readers_of_the_authority_see_all_or_none(whole: Grounds) -> None:
    memory, below = await whole.open(), await whole.open(hot=None)
    keys = keys_of(whole, 4)
    await memory.set_many(dict.fromkeys(keys, 0), atomic=True)
    over = asyncio.Event()

    async def write() -> None:
        for number in range(1, 15):
            await memory.set_many(dict.fromkeys(keys, number), atomic=True)
        over.set()

    async def read() -> int:
        rounds = 0
        while not over.is_set():
            seen = [await below.get(key) for key in keys]
            assert seen == sorted(seen)  # read one after the other: a later key is never behind an earlier one
            rounds += 1
        return rounds

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        reading = tasks.create_task(read())
    assert reading.result() > 0
    assert set((await memory.get_many(keys)).values()) == {14}


async def test_writers_in_each_others_way_lose_nothing(whole: Grounds) -> None:
    memory, other = await whole.open(), await whole.open()
    keys = keys_of(whole, 3)
    await asyncio.gather(
        *(
            client.set_many(dict.fromkeys(keys, number), atomic=True)
            for number in range(6)
            for client in (memory, other)
        )
    )
    found = await memory.get_many(keys)
    assert len(set(found.values())) == 1
    assert await (await whole.open(hot=None)).get_many(keys) == found


async def test_writer_that_died_after_its_announcements_costs_nobody_anything(whole: Grounds) -> None:
    memory = await whole.open()
    keys = keys_of(whole)
    await memory.set_many(dict.fromkeys(keys, "old"), atomic=True)
    hot = memory._engine.hot
    assert hot is not None
    await hot.operate_many([Announce(key, "dead", 60_000) for key in keys], deadline=Deadline.after(10))
    other = await whole.open()
    assert await other.get_many(keys) == dict.fromkeys(keys, "old")
    await other.set_many(dict.fromkeys(keys, "new"), atomic=True)
    assert await memory.get_many(keys) == dict.fromkeys(keys, "new")


async def test_scoped_memory(whole: Grounds) -> None:
    scoped = (await whole.open()).scoped(tenant=whole.tenant, scope="mine")
    written = await scoped.set_many({"a": 1, "b": 2}, atomic=True)
    assert list(written) == ["a", "b"]
    with pytest.raises(Conflict):
        await scoped.set_many({"a": 3, "b": 4}, atomic=True, if_versions={"b": 0})
    assert await scoped.get_many(["a", "b"]) == {"a": 1, "b": 2}
    assert list(await scoped.delete_many(["a", "b"], atomic=True)) == ["a", "b"]
