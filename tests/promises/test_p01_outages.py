"""P1: an outage is never reported as an absence. A read that could not ask the authority, and found nothing above it, raises."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.promises.world import World, brisk, noise, roomy

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import (
    AccessDenied,
    CircuitOpen,
    ThermoclineError,
    Throttled,
    TierTimeout,
    TierUnavailable,
    UnknownOutcome,
)
from thermocline.model import Hit, Key, Miss, NotAsked, Unavailable
from thermocline.policy import MemoryRules
from thermocline.resilience import Budget
from thermocline.testing import ChaosTier, ManualClock
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.pytest_plugin import MakeProxy
from thermocline.testing.rig import CosmosServer, RedisCluster, RedisServer

Read = Callable[[MemoryClient, Key], Awaitable[Any]]


async def streamed(memory: MemoryClient, key: Key) -> bytes:
    return b"".join([chunk async for chunk in memory.stream(key)])


async def listed(memory: MemoryClient, key: Key) -> Any:
    return [item.key for item in await memory.list(scope=key.scope, tenant=key.tenant)]


async def one_of_many(memory: MemoryClient, key: Key) -> Any:
    batch = await memory.get_many([key])
    assert batch.missing == []
    batch.raise_errors()
    return batch[key]


async def changed(memory: MemoryClient, key: Key) -> Any:
    return await memory.update(key, lambda value: value, default="made up")


READS: dict[str, Read] = {
    "get": lambda memory, key: memory.get(key, default="made up"),
    "exists": lambda memory, key: memory.exists(key),
    "ttl": lambda memory, key: memory.ttl(key),
    "stream": streamed,
    "list": listed,
    "get_many": one_of_many,
    "update": changed,
}


async def outcomes(memory: MemoryClient, key: Key, *, besides: tuple[str, ...] = ()) -> dict[str, BaseException]:
    """What each reading verb raises; fails if one answers."""
    verbs = {name: read for name, read in READS.items() if name not in besides}
    answers = await asyncio.gather(*(read(memory, key) for read in verbs.values()), return_exceptions=True)
    raised: dict[str, BaseException] = {}
    for name, answer in zip(verbs, answers, strict=True):
        assert isinstance(answer, BaseException), f"{name} answered {answer!r} during an outage"
        if isinstance(answer, ExceptionGroup):
            [answer] = answer.exceptions
        raised[name] = answer
    looked = await memory.lookup(key)
    assert isinstance(looked, Unavailable)
    raised["lookup"] = looked.error
    return raised


WAYS: dict[str, tuple[Callable[[CosmosControl], object], type[ThermoclineError]]] = {
    "throttled": (lambda c: c.throttle(retry_after_ms=5), Throttled),
    "region gone": (lambda c: c.fail(503), TierUnavailable),
    "broken": (lambda c: c.fail(500), TierUnavailable),
    "too slow": (lambda c: c.fail(408), TierUnavailable),
    "retry with": (lambda c: c.fail(449), TierUnavailable),
    "moved": (lambda c: c.fail(410), TierUnavailable),
    "replica behind": (lambda c: c.fail(404, 1002), TierUnavailable),
    "no role": (lambda c: c.fail(403, 5302), AccessDenied),
    "firewall": (lambda c: c.fail(403, message="Request originated from IP 1.2.3.4"), AccessDenied),
    "wrong key": (lambda c: c.fail(401), AccessDenied),
    "cut off": (lambda c: c.drop(), TierUnavailable),
    "silent": (lambda c: c.delay(5_000), TierTimeout),
}


@pytest.mark.parametrize("way", WAYS)
async def test_authority_that_cannot_be_asked_raises_in_every_verb(
    world: World, control: CosmosControl, way: str
) -> None:
    there, absent = world.key("there"), world.key("absent")
    author, memory = await world.open(), await world.open(budget=brisk())
    await author.set(there, "kept")
    await world.evict(there)
    fault, error = WAYS[way]
    fault(control)
    raised = await outcomes(memory, there)
    for name, what in raised.items():
        assert isinstance(what, error | CircuitOpen | TierTimeout), f"{name} raised {what!r}"
    await outcomes(memory, absent)
    control.clear()
    afterwards = await world.open()
    assert await afterwards.get(there) == "kept"
    assert isinstance(await afterwards.lookup(absent), Miss)


@pytest.mark.parametrize("way", WAYS)
async def test_write_without_an_answer_is_never_said_to_have_found_nothing(
    world: World, control: CosmosControl, way: str
) -> None:
    """Nor to have been refused: a delete that cannot be sent raises, and the key keeps its value unless the outcome is unknown."""
    author, memory = await world.open(), await world.open(budget=brisk())
    keys = [world.key(name) for name in ("deleted", "touched", "set", "conditional", "several")]
    versions = {key: (await author.set(key, "kept")).version for key in keys}
    deleted, touched, put, conditional, several = keys
    WAYS[way][0](control)
    answers = await asyncio.gather(
        memory.delete(deleted),
        memory.touch(touched, ttl=60),
        memory.set(put, "new"),
        memory.set(conditional, "new", if_version=versions[conditional]),
        memory.set(world.key("absent"), "new", if_absent=True),
        return_exceptions=True,
    )
    for answer in answers:
        assert isinstance(answer, TierUnavailable | UnknownOutcome), repr(answer)
    batch = await memory.delete_many([several])
    assert not batch
    assert batch.missing == []
    assert isinstance(batch.errors[several], TierUnavailable | UnknownOutcome)
    control.clear()
    afterwards = await world.open()
    for key, answer in zip([deleted, touched, put, conditional], answers, strict=False):
        if isinstance(answer, TierUnavailable):
            assert await afterwards.get(key) == "kept"


async def test_authority_that_is_killed(redis_server: RedisServer, world: World) -> None:
    key = world.key()
    with CosmosServer(kind="strict") as cosmos:
        doomed = World(redis_server.url, cosmos, world.azurite, world.name)
        author, memory = await doomed.open(), await doomed.open(budget=brisk(hot=10))
        served = world.key("served from hot")
        await author.set(served, 1)
        cosmos.kill()
        await outcomes(memory, key)
        assert await memory.get(served) == 1  # hot has the authority's word
        assert isinstance(await memory.lookup(served), Hit)
        batch = await memory.get_many([served, key])
        assert batch == {served: 1}
        assert isinstance(batch.errors[key], TierUnavailable)
        await doomed.close()


async def test_open_breaker_is_an_outage_too_and_ends(world: World) -> None:
    clock = ManualClock()
    key = world.key()
    warm = ChaosTier(world.warm())
    memory = await world.open(warm=warm, budget=Budget(clock), clock=clock)
    await memory.set(key, "kept")
    await world.evict(key)
    warm.down = True
    for _ in range(10):
        with pytest.raises(TierUnavailable):
            await memory.get(key, default="made up")
    asked = sum(warm.calls.values())
    raised = await outcomes(memory, key)
    assert all(isinstance(what, CircuitOpen) for what in raised.values())
    with pytest.raises(CircuitOpen):
        await memory.set(key, "new")
    assert sum(warm.calls.values()) == asked  # it is left alone
    warm.down = False
    clock.advance(31)
    assert await memory.get(key) == "kept"


# --- hot ---------------------------------------------------------------------------------------------------------------


async def break_hot(way: str, server: RedisServer, proxy: ChaosProxy) -> None:
    if way == "killed":
        await asyncio.to_thread(server.kill)
    elif way == "stopped":
        server.pause()
    elif way == "refused":
        proxy.refuse()
        proxy.cut()
    elif way == "cut off":
        proxy.blackhole(requests=True, answers=True)
    elif way == "answers lost":
        proxy.blackhole(answers=True)
    else:
        proxy.hold(requests=True)


@pytest.mark.parametrize("way", ["killed", "stopped", "refused", "cut off", "answers lost", "late"])
async def test_hot_that_is_down_costs_no_answer(world: World, chaos_proxy: MakeProxy, way: str) -> None:
    """Without hot the authority answers; without both, every verb raises; where the rules forbid to ask below, too."""
    there, absent = world.key("there"), world.key("absent")
    with RedisServer() as server:
        proxy = await chaos_proxy(server.url)
        memory = await world.open(hot=world.hot(proxy.url), budget=brisk(warm=10, call=20))
        rules = MemoryRules(read_fallback=False)
        hot_only = await world.open(hot=world.hot(proxy.url), budget=brisk(hot=0.5), rules=rules)
        author = await world.open(hot=world.hot(server.url))
        await author.set(there, "kept", ttl=3600)
        assert await hot_only.get(there) == "kept"
        assert isinstance(await hot_only.lookup(absent), NotAsked)
        await break_hot(way, server, proxy)
        try:
            await outcomes(hot_only, absent, besides=("list", "update"))
            assert isinstance(await memory.lookup(absent), Miss)
            found = await asyncio.gather(*(read(memory, there) for name, read in READS.items() if name != "ttl"))
            assert found == ["kept", True, b"kept", [there], "kept", "kept"]
            assert (await memory.ttl(there)) is not None
            batch = await memory.get_many([there, absent])
            assert (batch, batch.missing, batch.errors) == ({there: "kept"}, [absent], {})
            both = await world.open(hot=world.hot(proxy.url), warm=chaos_down(world), budget=brisk(connect=1.5))
            await outcomes(both, there)
        finally:
            proxy.restore()
            if way == "stopped":
                server.resume()
            for client in (memory, hot_only, author):
                await client.close()


def chaos_down(world: World) -> ChaosTier:
    warm = ChaosTier(world.warm())
    warm.down = True
    return warm


async def test_sick_node_is_no_absence_where_only_hot_is_asked(world: World) -> None:
    rules = MemoryRules(read_fallback=False)
    with RedisCluster() as cluster:
        memory = await world.open(hot=world.hot(cluster.url), budget=brisk(hot=2))
        keys = [world.key(f"{number}") for number in range(30)]
        await memory.set_many(dict.fromkeys(keys, "kept"))
        hot_only = await world.open(hot=world.hot(cluster.url), budget=brisk(hot=2), rules=rules)
        assert len(await hot_only.get_many(keys)) == 30
        await asyncio.to_thread(cluster.nodes[0].kill)
        batch = await hot_only.get_many(keys)
        assert batch.missing == []
        assert {len(batch) + len(batch.errors)} == {30}
        assert batch.errors
        assert all(isinstance(error, TierUnavailable) for error in batch.errors.values())
        assert batch == {key: "kept" for key in keys if key not in batch.errors}
        await memory.close()
        await hot_only.close()


async def test_batches_against_a_dead_tier_open_its_breaker(world: World, chaos_proxy: MakeProxy) -> None:
    """Each key's own error is an answer of the batch, but not one that says the tier is well."""
    proxy = await chaos_proxy(world.redis_url)
    memory = await world.open(hot=world.hot(proxy.url), budget=roomy())
    key = world.key()
    await memory.set(key, "kept")
    proxy.refuse()
    proxy.cut()
    for _ in range(5):
        assert await memory.get_many([key]) == {key: "kept"}
    assert memory.stats()["hot"]["breaker"] != "closed"
    proxy.restore()
    while memory.stats()["hot"]["breaker"] != "closed":  # whether it is back is looked at behind the readers' backs
        assert await memory.get_many([key]) == {key: "kept"}


async def test_hot_alone_that_is_down_raises_in_every_verb(world: World) -> None:
    key = world.key()
    with RedisServer() as server:
        author = await world.open(hot=world.hot(server.url), warm=None)
        memory = await world.open(hot=world.hot(server.url), warm=None, budget=brisk())
        await author.set(key, "kept")
        await author.close()
        await asyncio.to_thread(server.kill)
        await outcomes(memory, key)
        for write in (memory.set(key, 1), memory.delete(key), memory.touch(key, ttl=1)):
            with pytest.raises((TierUnavailable, UnknownOutcome)):
                await write
        await memory.close()


# --- cold --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["refused", "cut off", "answers lost"])
async def test_cold_that_is_down_hides_only_what_lies_there(world: World, chaos_proxy: MakeProxy, way: str) -> None:
    small, large = world.key("small"), world.key("large")
    proxy = await chaos_proxy(world.azurite.blob_url)
    writer = await world.open(cold=True, rules=MemoryRules(hot_max_bytes=1000))
    value = noise()
    await writer.set_many({small: "kept", large: value})
    await world.evict(small, large)
    cold = world.cold(proxy.url, read_timeout=0.3)
    memory = await world.open(cold=cold, budget=roomy(cold=0.3), rules=MemoryRules(hot_max_bytes=1000))
    if way == "refused":
        proxy.refuse()
        proxy.cut()
    else:
        proxy.blackhole(requests=way == "cut off", answers=True)
    for read in (memory.get(large, default="made up"), streamed(memory, large)):
        with pytest.raises(TierUnavailable):
            await read
    assert isinstance(await memory.lookup(large), Unavailable)
    batch = await memory.get_many([small, large, world.key("absent")])
    assert (batch, batch.missing) == ({small: "kept"}, [world.key("absent")])
    assert isinstance(batch.errors[large], TierUnavailable)
    assert await memory.exists(large)  # the authority knows
    with pytest.raises(TierUnavailable):
        await memory.set(world.key("another"), value)
    assert not await memory.exists(world.key("another"))
    proxy.restore()
    afterwards = await world.open(cold=True)
    assert await afterwards.get(large) == value


async def test_cold_as_the_authority_that_is_down_raises_in_every_verb(world: World, chaos_proxy: MakeProxy) -> None:
    key = world.key()
    proxy = await chaos_proxy(world.azurite.blob_url)
    memory = await world.open(warm=None, cold=world.cold(proxy.url), budget=brisk(cold=2))
    await memory.set(key, "kept")
    assert await memory.exists(key)
    await world.evict(key)
    proxy.refuse()
    proxy.cut()
    await outcomes(memory, key)
    with pytest.raises((TierUnavailable, UnknownOutcome)):
        await memory.delete(key)
    proxy.restore()


async def test_operations_of_a_tier_past_its_deadline_say_so(world: World) -> None:
    """Each tier's own door, under the client: a deadline that has passed is no absence either."""
    memory = await world.open(cold=True)
    key = world.key()
    await memory.set(key, 1)
    past = Deadline.after(0)
    warm, cold, hot = world.warm(), world.cold(), world.hot()
    async with warm, cold, hot:
        for tier in (warm, cold):
            with pytest.raises(TierTimeout):
                await tier.read(key, deadline=past)
        with pytest.raises(TierTimeout):
            await hot.peek(key, deadline=past)
