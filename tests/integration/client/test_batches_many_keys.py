"""Batches of thousands of keys, keys of all kinds of routes, what is no key, and batches that are cancelled."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.crc import key_slot
from tests.integration.client.grounds import Embedded, Grounds, Services, noise, roomy

from thermocline.client import MemoryClient
from thermocline.errors import InvalidArgument, InvalidKey, TierTimeout, TierUnavailable, UnknownOutcome
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.policy import MemoryRules, Route
from thermocline.testing.rig import RedisCluster
from thermocline.tiers.hot import HotMemory

SCOPES = 7


@pytest.fixture
async def real(services: Services) -> AsyncIterator[Services]:
    yield services
    await services.close()


def many(grounds: Grounds, count: int) -> list[Key]:
    return [grounds.key(f"n{number}", f"scope {number % SCOPES}") for number in range(count)]


async def test_five_thousand_keys_embedded(tmp_path_factory: pytest.TempPathFactory) -> None:
    grounds = Embedded(tmp_path_factory.mktemp("many"), "many")
    await grounds.prepare(["hot", "warm", "cold"])
    memory = await grounds.open()
    keys = many(grounds, 5000)
    written = await memory.set_many({key: number for number, key in enumerate(keys)})
    assert (list(written), written.errors) == (keys, {})
    await grounds.evict(*keys[::2])
    found = await memory.get_many(keys)
    assert found == {key: number for number, key in enumerate(keys)}
    assert list(found) == keys
    deleted = await memory.delete_many([*keys[1000:], grounds.key("never")])
    assert (list(deleted), deleted.missing) == (keys[1000:], [grounds.key("never")])
    found = await memory.get_many(keys)
    assert (list(found), found.missing) == (keys[:1000], keys[1000:])
    await grounds.close()


async def test_five_thousand_keys_of_services(real: Services) -> None:
    await real.prepare(["hot", "warm"])
    memory = await real.open(budget=roomy(call=110.0))
    keys = many(real, 1000)
    absent = many(real, 5000)[1000:]
    written = await memory.set_many({key: key.name for key in keys})
    assert (list(written), written.errors) == (keys, {})
    assert all(result.hot for result in written.values())
    for _ in range(2):
        found = await memory.get_many([*absent, *keys])
        assert found == {key: key.name for key in keys}
        assert (found.missing, found.errors) == (absent, {})
        await real.evict(*keys)
        other = await real.open()
        assert (await other.get_many(keys[::3])) == {key: key.name for key in keys[::3]}


async def test_large_and_small_values_of_several_routes(whole: Grounds) -> None:
    """Hot alone, not in hot at all, payloads in cold: one batch."""
    routes = [Route("session/", rules=MemoryRules(write_through=False)), Route("quiet/", hot=False)]
    memory = await whole.open(routes=routes)
    values = {
        whole.key(f"{kind}/{number}", f"scope {number % 3}"): noise(200_000, number) if number % 5 == 0 else number
        for kind in ("session", "quiet", "user")
        for number in range(15)
    }
    written = await memory.set_many(values)
    assert set(written) == set(values)
    assert written.errors == {}
    assert {key.name.partition("/")[0] for key, result in written.items() if not result.durable} == {"session"}
    assert await memory.get_many(list(values)) == values
    deleted = await memory.delete_many(list(values))
    assert deleted.keys() == values.keys()
    assert (await memory.get_many(list(values))).missing == list(values)


async def test_what_is_no_key_is_its_own_error(some: Grounds) -> None:
    memory = await some.open()
    good = some.key("good")
    written = await memory.set_many({good: 1, "": 2, 5: 3})
    assert set(written) == {good}
    given: list[Any] = [good, "", 5, None]
    found = await memory.get_many(given)
    deleted = await memory.delete_many(given[:3])
    assert found == {good: 1}
    assert set(deleted) == {good}
    for batch, wrong in ((written, {"", 5}), (found, {"", 5, None}), (deleted, {"", 5})):
        assert set(batch.errors) == wrong
        assert {type(error) for error in batch.errors.values()} == {InvalidKey}
    for wrong_list in ("good", good, 7):
        with pytest.raises(InvalidArgument, match="list of keys"):
            await memory.get_many(wrong_list)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="list of keys"):
            await memory.delete_many(wrong_list)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="mapping"):
        await memory.set_many([good])  # type: ignore[arg-type]


async def test_scoped_names_that_are_none_are_their_own_error(some: Grounds) -> None:
    memory = await some.open()
    scoped = memory.scoped(tenant=some.tenant, scope="mine")
    written = await scoped.set_many({"a": 1, "": 2})
    assert (list(written), list(written.errors)) == (["a"], [""])
    found = await scoped.get_many(["a", "", some.key("b")])  # type: ignore[list-item]
    assert (dict(found), set(found.errors)) == ({"a": 1}, {"", some.key("b")})
    deleted = await scoped.delete_many(["", "a"])
    assert (list(deleted), list(deleted.errors)) == (["a"], [""])


async def test_the_same_key_by_several_names_is_one_write(some: Grounds) -> None:
    memory = await some.open()
    plain = f"{some.tenant}-plain"
    written = await memory.set_many({plain: "first", Key.of(plain): "last"})
    assert written[plain] == written[Key.of(plain)]
    assert await memory.get_many([plain, plain, Key.of(plain)]) == {plain: "last", Key.of(plain): "last"}
    assert (await memory.lookup(plain)).version == written[plain].version  # type: ignore[union-attr]
    deleted = await memory.delete_many([plain, Key.of(plain), plain])
    assert list(deleted) == [plain, Key.of(plain)]


async def test_deadline_is_for_the_whole_batch(real: Services) -> None:
    """Those that were not written in time say so, and the others have been written."""
    await real.prepare(["warm"])
    memory = await real.open()
    keys = many(real, 20_000)
    written = await memory.set_many(dict.fromkeys(keys, 1), timeout=0.8)
    assert written.errors
    assert len(written) + len(written.errors) == len(keys)
    assert {type(error) for error in written.errors.values()} <= {TierTimeout, UnknownOutcome}
    late = [key for key, error in written.errors.items() if isinstance(error, TierTimeout)]
    assert late
    assert (await memory.get_many(late)).missing == late
    assert len(await memory.get_many(list(written))) == len(written)


@pytest.mark.parametrize("steps", [3, 40])
async def test_cancelled_batch_leaves_nothing_half_told(whole: Grounds, steps: int) -> None:
    """P10: whatever of it took effect is seen by all, and the client goes on."""
    memory = await whole.open()
    keys = many(whole, 250)
    await memory.set_many(dict.fromkeys(keys, "old"))
    task = asyncio.create_task(memory.set_many(dict.fromkeys(keys, "new")))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    found = await memory.get_many(keys)
    assert set(found) == set(keys)
    assert set(found.values()) <= {"old", "new"}
    below = await whole.open(hot=None)
    settled = await below.get_many(keys)
    other = await whole.open()
    again = await other.get_many(keys)
    # a write that was under way may land a moment later: never does a key go back
    assert all(settled[key] == "new" for key in keys if found[key] == "new")
    assert all(again[key] == "new" for key in keys if settled[key] == "new")
    assert (await memory.set_many(dict.fromkeys(keys, "last"))).errors == {}
    assert set((await other.get_many(keys)).values()) == {"last"}


async def test_dead_node_costs_only_its_records_in_hot_alone() -> None:
    """Redis is the authority here: nobody else could answer for the keys of a dead node."""
    with RedisCluster() as cluster:
        async with MemoryClient(hot=HotMemory(cluster.url), budget=roomy(call=20.0, hot=1.0)) as memory:
            keys = [Key("shards", f"scope {number % SCOPES}", f"n{number}") for number in range(300)]
            assert (await memory.set_many(dict.fromkeys(keys, 1))).errors == {}
            dead = cluster.nodes[1]
            of_dead = {key for key in keys if cluster.node_of(key_slot(redis_key(key))) is dead}
            await asyncio.to_thread(dead.kill)
            found = await memory.get_many(keys)
            assert (set(found.errors), found.missing) == (of_dead, [])
            assert set(found) == set(keys) - of_dead
            # a scope's names lie on one node: where that is dead, none of the scope's records can be entered
            written = await memory.set_many(dict.fromkeys(keys, 2))
            assert of_dead <= set(written.errors)
            assert set(written) | set(written.errors) == set(keys)
            assert all(isinstance(error, TierUnavailable | UnknownOutcome) for error in written.errors.values())
            assert await memory.get_many(list(written)) == dict.fromkeys(written, 2)
            deleted = await memory.delete_many(keys)
            assert set(deleted.errors) == of_dead
