"""The hot tier's own methods on plain keys: what goes in comes back."""

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from thermocline.errors import CorruptRecord, InvalidArgument, InvalidKey, NotSerialisable
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory


@pytest.fixture(params=["redis_server", "redis_cluster"])
async def tier(request: pytest.FixtureRequest) -> AsyncIterator[HotMemory]:
    server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    tier = HotMemory(server.url)
    await tier.connect()
    yield tier
    await tier.close()


VALUES: list[Any] = [
    "text", "", "Grüße\x00", b"", b"bytes that are text", b"\xff\xfe", b"\x89TC\x01 looks like an envelope", None, 0, -1, 2**70, 1.5, math.inf, True, False,
    {}, [], {"a": [1, {"b": None}]}, {"bytes": b"\x00"}, datetime(2026, 1, 2, tzinfo=UTC), UUID(int=7), Decimal("1.10"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_a_value_comes_back_as_it_went_in(tier: HotMemory, fresh_prefix: str, value: Any) -> None:
    await tier.set(fresh_prefix, value)
    found = await tier.get(fresh_prefix)
    assert found == value
    assert type(found) is type(value)
    assert await tier.exists(fresh_prefix)


async def test_text_is_plain_to_other_programs(tier: HotMemory, fresh_prefix: str) -> None:
    await tier.set(fresh_prefix, "text")
    assert await tier.client.get(fresh_prefix) == b"text"
    await tier.client.set(fresh_prefix, "theirs")
    assert await tier.get(fresh_prefix) == "theirs"


@pytest.mark.parametrize(
    ("ttl", "least", "most"),
    [(900, 899_000, 900_000), (timedelta(minutes=1), 59_000, 60_000), (0.5, 1, 500), (0.0001, -2, 1), (None, -1, -1)],
)
async def test_lifetimes(tier: HotMemory, fresh_prefix: str, ttl: Any, least: int, most: int) -> None:
    await tier.set(fresh_prefix, "text", ttl_seconds=ttl)
    assert least <= await tier.client.pttl(fresh_prefix) <= most


async def test_by_default_a_value_lives_fifteen_minutes(tier: HotMemory, fresh_prefix: str) -> None:
    await tier.set(fresh_prefix, "text")
    assert 890 < await tier.client.ttl(fresh_prefix) <= 900


@pytest.mark.parametrize("ttl", [0, -1, timedelta(0), math.nan, math.inf])
async def test_a_lifetime_that_is_none_is_refused(tier: HotMemory, fresh_prefix: str, ttl: Any) -> None:
    with pytest.raises(InvalidArgument, match="ttl_seconds"):
        await tier.set(fresh_prefix, "text", ttl_seconds=ttl)
    assert await tier.get(fresh_prefix) is None


async def test_many_at_once(tier: HotMemory, fresh_prefix: str) -> None:
    items = {f"{fresh_prefix}{i}": value for i, value in enumerate(VALUES)}
    await tier.mset(items, ttl_seconds=60)
    assert await tier.mget([*items, fresh_prefix + "none"]) == items
    some = list(items)[:3]
    assert await tier.delete(*some, fresh_prefix + "none") == 3
    assert await tier.mget(list(items)[:4]) == {list(items)[3]: VALUES[3]}
    assert not await tier.exists(some[0])
    assert await tier.mget([]) == {}


@pytest.mark.parametrize("key", ["", "tc1:{tenant/scope/name}", "tc1:", "\ud800"])
async def test_keys_that_are_not_for_plain_use(tier: HotMemory, key: str) -> None:
    for call in (
        tier.set(key, "x"),
        tier.get(key),
        tier.delete(key),
        tier.exists(key),
        tier.mget([key]),
        tier.mset({key: 1}),
    ):
        with pytest.raises(InvalidKey):
            await call


async def test_what_cannot_be_stored_is_refused(tier: HotMemory, fresh_prefix: str) -> None:
    with pytest.raises(NotSerialisable):
        await tier.set(fresh_prefix, object())
    assert await tier.get(fresh_prefix) is None


async def test_a_damaged_envelope_is_no_value(tier: HotMemory, fresh_prefix: str) -> None:
    await tier.set(fresh_prefix, {"a": 1})
    await tier.client.setrange(fresh_prefix, 90, b"\xff")
    with pytest.raises(CorruptRecord):
        await tier.get(fresh_prefix)


@pytest.mark.parametrize("key", [5, None, b"bytes", ["a"]], ids=repr)
async def test_what_is_no_string_is_no_key(tier: HotMemory, key: Any) -> None:
    calls: list[Any] = [tier.get(key), tier.set(key, "v"), tier.delete(key), tier.exists(key), tier.mget([key])]
    for call in calls:
        with pytest.raises(InvalidKey):
            await call


@pytest.mark.parametrize("ttl", ["soon", []], ids=repr)
async def test_what_is_no_number_is_no_lifetime(tier: HotMemory, fresh_prefix: str, ttl: Any) -> None:
    with pytest.raises(InvalidArgument, match="ttl_seconds"):
        await tier.set(fresh_prefix, "text", ttl)
