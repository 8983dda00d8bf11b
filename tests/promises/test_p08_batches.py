"""P8: a batch answers for each key by itself: one sick key or shard does not lose the others' results."""

import asyncio
import zlib

import pytest
import redis.asyncio
from azure.cosmos.aio import CosmosClient
from redis.crc import key_slot
from tests.promises.test_p07_pointers import lose_payloads
from tests.promises.world import DATABASE, World, noise, roomy

from thermocline.client import MemoryClient
from thermocline.errors import (
    AccessDenied,
    Conflict,
    CorruptRecord,
    InvalidKey,
    NotSerialisable,
    ThermoclineError,
    TierUnavailable,
    TooLarge,
    TypeMismatch,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.keys import cosmos_id, cosmos_partition, redis_key
from thermocline.model import Hit, Key, MemoryTier
from thermocline.policy import MemoryRules, Route
from thermocline.testing import ChaosTier
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import RedisCluster


def keys_of(world: World, count: int = 20) -> list[Key]:
    """In three scopes, so that some are asked by queries and some alone."""
    return [world.key(f"{number}", f"scope {min(number % 4, 2)}" if number else "alone") for number in range(count)]


async def patched(world: World, key: Key, path: str, value: object) -> None:
    """As an administrator's tool, or a newer program, would."""
    async with CosmosClient(world.cosmos.url, world.cosmos.key) as client:
        container = client.get_database_client(DATABASE).get_container_client(world.name)
        await container.patch_item(cosmos_id(key), cosmos_partition(key), [{"op": "set", "path": path, "value": value}])


def others(keys: list[Key], *sick: Key) -> dict[Key, str]:
    return {key: key.name for key in keys if key not in sick}


async def test_dead_node_of_hot_costs_no_key(world: World) -> None:
    with RedisCluster() as cluster:
        memory = await world.open(hot=world.hot(cluster.url), budget=roomy(hot=2))
        keys = keys_of(world, 60)
        written = await memory.set_many({key: key.name for key in keys})
        assert all(result.hot for result in written.values())
        dead = cluster.nodes[1]
        of_dead = [key for key in keys if cluster.node_of(key_slot(redis_key(key))) is dead]
        assert 0 < len(of_dead) < len(keys)
        await asyncio.to_thread(dead.kill)
        found = await memory.get_many(keys)
        assert (found, found.missing, found.errors) == (others(keys), [], {})
        again = await memory.set_many(dict.fromkeys(keys, "new"))
        assert again.errors == {}
        assert [key for key in keys if not again[key].hot] == of_dead  # the results of the others are not touched by it
        assert await memory.get_many(keys) == dict.fromkeys(keys, "new")
        deleted = await memory.delete_many(keys[:30])
        assert (len(deleted), deleted.errors) == (30, {})
        assert (await memory.get_many(keys)).missing == keys[:30]
        await memory.close()


async def test_dead_node_costs_only_its_keys_where_the_rules_refuse_writes_without_hot(world: World) -> None:
    with RedisCluster() as cluster:
        rules = MemoryRules(refuse_without_hot=True)
        memory = await world.open(hot=world.hot(cluster.url), budget=roomy(hot=2), rules=rules)
        keys = keys_of(world, 40)
        await memory.set_many({key: key.name for key in keys})
        dead = cluster.nodes[2]
        of_dead = {key for key in keys if cluster.node_of(key_slot(redis_key(key))) is dead}
        await asyncio.to_thread(dead.kill)
        again = await memory.set_many(dict.fromkeys(keys, "new"))
        assert set(again.errors) == of_dead
        assert set(again) == set(keys) - of_dead
        below = await world.open(hot=None)
        assert await below.get_many(keys) == {key: key.name if key in of_dead else "new" for key in keys}
        await memory.close()


@pytest.mark.parametrize("alone", [True, False], ids=["alone in its scope", "among others"])
@pytest.mark.parametrize(
    ("path", "value", "error"),
    [("/r/l", 123_456, CorruptRecord), ("/r/z", 99, UnreadableRecord)],
    ids=["damaged", "newer"],
)
async def test_damaged_item_costs_only_itself(
    world: World, alone: bool, path: str, value: object, error: type[ThermoclineError]
) -> None:
    memory = await world.open()
    keys = keys_of(world)
    sick = keys[0] if alone else keys[6]
    await memory.set_many({key: key.name for key in keys})
    await patched(world, sick, path, value)
    await world.evict(*keys)
    found = await memory.get_many(keys)
    assert found == others(keys, sick)
    assert found.missing == []
    assert {key: type(problem) for key, problem in found.errors.items()} == {sick: error}
    with pytest.raises(ExceptionGroup):
        found.raise_errors()


async def test_damaged_entry_in_hot_costs_nothing(world: World) -> None:
    memory = await world.open()
    keys = keys_of(world)
    await memory.set_many({key: key.name for key in keys})
    async with redis.asyncio.from_url(world.redis_url) as server:
        name = redis_key(keys[5])
        whole = await server.get(name)
        assert isinstance(whole, bytes)
        await server.set(name, whole[:-1] + bytes([whole[-1] ^ 1]))
        await server.set(redis_key(keys[6]), b"not ours at all")
    for _ in range(2):
        found = await memory.get_many(keys)
        assert (found, found.missing, found.errors) == (others(keys), [], {})
    for key in keys[5:7]:
        assert await memory.get(key) == key.name


async def test_entry_of_a_newer_format_in_hot_costs_nothing(world: World) -> None:
    """A newer program wrote it; the authority's record is one that this one can read, and it is as if hot had lost its copy."""
    memory = await world.open()
    keys = keys_of(world, 6)
    await memory.set_many({key: key.name for key in keys})
    async with redis.asyncio.from_url(world.redis_url) as server:
        name = redis_key(keys[3])
        whole = await server.get(name)
        assert isinstance(whole, bytes)
        header = whole[:3] + b"\x02" + whole[4:84]
        newer = header + zlib.crc32(header).to_bytes(4, "big") + whole[88:]
        await server.set(name, newer)
        for _ in range(2):
            found = await memory.get_many(keys)
            assert (found, found.missing, found.errors) == (others(keys), [], {})
            assert await memory.get(keys[3]) == keys[3].name
    assert await memory.settled()


async def test_values_that_cannot_be_written_cost_only_themselves(world: World) -> None:
    memory = await world.open(rules=MemoryRules(max_value_bytes=1_000_000))
    good = keys_of(world, 5)
    large, strange, huge = world.key("large"), world.key("strange"), world.key("huge", "alone 2")
    values = {**{key: key.name for key in good}, large: noise(1_500_000), strange: object(), huge: noise(990_000)}
    written = await memory.set_many({**values, "": "no name"})
    assert set(written) == {*good, huge}
    assert isinstance(written.errors[large], TooLarge)
    assert isinstance(written.errors[strange], NotSerialisable)
    assert isinstance(written.errors[""], InvalidKey)
    found = await memory.get_many([*values])
    assert found == {**others(good), huge: values[huge]}
    assert found.missing == [large, strange]


async def test_item_that_the_authority_refuses_costs_only_itself(world: World, control: CosmosControl) -> None:
    memory = await world.open(budget=roomy(warm=1))
    keys = keys_of(world)
    await memory.set_many({key: key.name for key in keys})
    sick = keys[7]
    control.throttle(item=cosmos_id(sick), retry_after_ms=5)
    written = await memory.set_many(dict.fromkeys(keys, "new"))
    assert set(written) == set(keys) - {sick}
    assert isinstance(written.errors[sick], TierUnavailable)
    control.clear()
    control.drop(after=True, item=cosmos_id(sick))
    deleted = await memory.delete_many(keys)
    assert set(deleted) == set(keys) - {sick}
    assert isinstance(deleted.errors[sick], UnknownOutcome)
    control.clear()
    assert (await memory.get_many(keys)).missing == keys  # the lost answer was of a delete that took effect


async def test_writes_of_a_batch_that_were_refused_leave_no_announcement(world: World, control: CosmosControl) -> None:
    """Else hot would not answer for their keys until it has run out."""
    memory = await world.open()
    keys = keys_of(world)
    await memory.set_many({key: key.name for key in keys})
    control.fail(403, 5302)
    written = await memory.set_many(dict.fromkeys(keys, "new"))
    assert {key: type(error) for key, error in written.errors.items()} == dict.fromkeys(keys, AccessDenied)
    control.clear()
    other = await world.open()
    await other.get_many(keys)
    for key in keys:
        found = await other.lookup(key)
        assert isinstance(found, Hit)
        assert (found.value, found.tier) == (key.name, MemoryTier.HOT)


async def test_scope_that_cannot_be_asked_costs_only_its_keys(world: World, control: CosmosControl) -> None:
    """One scope is one query; it fails, and the key that is read alone does not."""
    memory = await world.open(budget=roomy(warm=1))
    keys = keys_of(world)
    await memory.set_many({key: key.name for key in keys})
    await world.evict(*keys)
    control.fail(503, kinds=["query"])
    found = await memory.get_many([*keys, world.key("absent", "alone too")])
    assert found == {keys[0]: "0"}
    assert found.missing == [world.key("absent", "alone too")]
    assert set(found.errors) == set(keys[1:])
    assert all(isinstance(error, TierUnavailable) for error in found.errors.values())


async def test_missing_payload_costs_only_its_key(world: World) -> None:
    memory = await world.open(cold=True, rules=MemoryRules(hot_max_bytes=1000))
    keys = keys_of(world)
    lost, kept = world.key("lost"), world.key("kept")
    await memory.set_many({**{key: key.name for key in keys}, lost: noise(seed=b"lost")})
    await lose_payloads(world)
    await memory.set(kept, noise(seed=b"kept"))
    found = await memory.get_many([*keys, lost, kept])
    assert found == {**others(keys), kept: noise(seed=b"kept")}
    assert {key: type(error) for key, error in found.errors.items()} == {lost: CorruptRecord}


async def test_value_of_another_type_costs_only_itself(world: World) -> None:
    memory = await world.open()
    numbers = {world.key(f"{number}"): number for number in range(5)}
    text = world.key("text")
    await memory.set_many({**numbers, text: "no number"})
    found = await memory.get_many([*numbers, text], type=int)
    assert found == numbers
    assert {key: type(error) for key, error in found.errors.items()} == {text: TypeMismatch}


async def test_route_that_is_down_costs_only_its_keys(world: World) -> None:
    """Some keys live in hot alone, the others in Cosmos DB: each batch is split by route."""

    warm = ChaosTier(world.warm())
    routes = [Route("session/", rules=MemoryRules(write_through=False))]
    memory = await world.open(warm=warm, routes=routes)
    sessions = [world.key(f"session/{number}") for number in range(5)]
    users = [world.key(f"user/{number}") for number in range(5)]
    await memory.set_many({key: key.name for key in [*sessions, *users]})
    await world.evict(*users)
    warm.down = True
    found = await memory.get_many([*users, *sessions])
    assert found == {key: key.name for key in sessions}
    assert set(found.errors) == set(users)
    written = await memory.set_many(dict.fromkeys([*users, *sessions], "new"))
    assert set(written) == set(sessions)
    assert set(written.errors) == set(users)


async def test_keys_of_a_batch_are_answered_as_they_were_given(world: World) -> None:
    memory: MemoryClient = await world.open(cold=True)
    plain = f"{world.name} plain"
    key = world.key()
    await memory.set_many({plain: 1, key: None})
    found = await memory.get_many([plain, key, plain, Key.of(plain), world.key("absent")])
    assert found == {plain: 1, key: None, Key.of(plain): 1}
    assert found.missing == [world.key("absent")]
    assert await memory.get_many([]) == {}
    assert await memory.set_many({}) == {}
    assert await memory.delete_many([]) == {}
    with pytest.raises(Conflict):
        await memory.set(plain, 2, if_absent=True)
