"""Entries in Redis belong to an epoch of the authority: behind the first each has names of its own, in the same slot."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
import redis.asyncio

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import InvalidArgument
from thermocline.keys import redis_key
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Announce, Busy, Leased, Look, OfEpoch, Publish, Settle, Verb, Write, Written
from thermocline.resilience import Budget
from thermocline.testing.rig import CosmosServer, RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

NEVER = Deadline.never()
CODEC = Codec()


def envelope(key: Key, version: int) -> Envelope:
    return CODEC.encode(key, "value", now_ms=1).stamped(version=version, authority=Authority.WARM)


async def fill(tier: HotMemory, key: Key, version: int) -> None:
    assert isinstance(await tier.operate(Look(key, "filler", 1000), deadline=NEVER), Leased)
    await tier.operate(Settle(key, "filler", version, envelope(key, version)), deadline=NEVER)


@pytest.fixture
def key(fresh_prefix: str) -> Key:
    return Key(fresh_prefix, "scope", "name")


@pytest.fixture(params=["redis_server", "redis_cluster"])
async def tier(request: pytest.FixtureRequest) -> AsyncIterator[HotMemory]:
    server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    async with HotMemory(server.url) as tier:
        assert isinstance(tier, HotMemory)
        yield tier


async def test_entries_of_another_epoch_are_void(tier: HotMemory, key: Key) -> None:
    assert isinstance(tier, OfEpoch)
    await fill(tier, key, 7)
    tier.enter_epoch(1)
    assert await tier.peek(key, deadline=NEVER) is None
    assert await tier.peek_many([key], deadline=NEVER) == [None]
    await fill(tier, key, 5)  # the lease knew no floor
    assert await tier.peek_many([key], deadline=NEVER) == [envelope(key, 5)]
    tier.enter_epoch(0)
    assert await tier.peek(key, deadline=NEVER) == envelope(key, 7)
    tier.enter_epoch(1)
    assert await tier.peek(key, deadline=NEVER) == envelope(key, 5)
    await tier.drop([key], deadline=NEVER)
    assert await tier.peek(key, deadline=NEVER) is None


async def test_every_operation_is_on_the_entry_of_its_epoch(tier: HotMemory, key: Key) -> None:
    tier.enter_epoch(2)
    await fill(tier, key, 3)
    assert await tier.operate(Announce(key, "w", 5000), deadline=NEVER) == Busy(3)
    [looked] = await tier.operate_many([Look(key, "r", 5000)], deadline=NEVER)
    assert looked == Busy(3, envelope(key, 3))
    await tier.operate_many([Publish(key, "w", 4, envelope(key, 4))], deadline=NEVER)
    assert await tier.peek(key, deadline=NEVER) == envelope(key, 4)
    tier.enter_epoch(0)
    assert isinstance(await tier.operate(Look(key, "s", 1000), deadline=NEVER), Leased)


async def test_the_entry_stays_in_the_slot_of_its_key(redis_server: RedisServer, key: Key) -> None:
    async with HotMemory(redis_server.url) as tier, redis.asyncio.from_url(redis_server.url) as server:
        assert isinstance(tier, HotMemory)
        await fill(tier, key, 1)
        tier.enter_epoch(12)
        await fill(tier, key, 1)
        names = {name async for name in server.scan_iter(match=redis_key(key).decode() + "*")}
        assert names == {redis_key(key), redis_key(key) + b"e12"}  # behind the hash tag


async def test_a_damaged_entry_of_a_later_epoch_is_replaced(redis_server: RedisServer, key: Key) -> None:
    async with HotMemory(redis_server.url) as tier, redis.asyncio.from_url(redis_server.url) as server:
        assert isinstance(tier, HotMemory)
        tier.enter_epoch(1)
        await fill(tier, key, 1)
        await server.setrange(redis_key(key) + b"e1", 90, b"\xff\xff")
        assert isinstance(await tier.operate(Look(key, "r", 1000), deadline=NEVER), Leased)


async def test_records_of_redis_alone_belong_to_no_epoch(tier: HotMemory, key: Key) -> None:
    written = await tier.write(Write(Verb.PUT, "0" * 26, envelope(key, 0)), deadline=NEVER)
    assert isinstance(written, Written)
    tier.enter_epoch(1)
    found = await tier.read(key, deadline=NEVER)
    assert found is not None
    assert found.version == written.version


def test_an_epoch_is_not_negative(redis_server: RedisServer) -> None:
    with pytest.raises(InvalidArgument, match="at least 0"):
        HotMemory(redis_server.url).enter_epoch(-1)


async def test_clients_of_a_raised_epoch_see_nothing_of_the_one_before(
    redis_server: RedisServer, cosmos_server: CosmosServer, unique_name: Callable[[str], str]
) -> None:
    container = unique_name("epochs")
    key = Key(container, "scope", "name")

    def client() -> MemoryClient:
        warm = WarmMemory(cosmos_server.url, "epochs", container, key=cosmos_server.key, create=True)
        patient = Budget(call=timedelta(minutes=1), hot=timedelta(seconds=10), warm=timedelta(seconds=15))
        return MemoryClient(hot=HotMemory(redis_server.url), warm=warm, budget=patient)

    raiser = WarmMemory(cosmos_server.url, "epochs", container, key=cosmos_server.key, create=True)
    async with raiser, client() as before:
        await before.set(key, "kept")
        assert await before.get(key) == "kept"
        hits = before.stats()["hot"]["hits"]
        assert hits == 1
        assert await raiser.raise_epoch() == 1
        async with client() as after, client() as another:
            assert await after.get(key) == "kept"
            assert after.stats()["hot"].get("hits", 0) == 0  # it asked the authority
            await asyncio.gather(after.set(key, "new"), another.get(key))
            assert await another.get(key) == "new"
            assert await after.get(key) == "new"
            assert after.stats()["hot"]["hits"] == 1
