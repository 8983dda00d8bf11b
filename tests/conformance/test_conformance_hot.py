"""Redis, one server and a cluster of three, as hot entries and as the authority over keys that live in Redis alone."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import pytest
import redis
from redis.cluster import RedisCluster as ClusterClient

from thermocline.clock import SYSTEM_CLOCK
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.testing import ManualClock
from thermocline.testing.conformance import (
    Capability,
    EntriesConformance,
    HoldsConformance,
    TierConformance,
    VersionsConformance,
)
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.records import record_key

MAX_VALUE_BYTES = 700_000
PLAIN = "redis"
CLUSTER = "cluster"


def flip_last_byte(url: str, name: bytes) -> None:
    """Of what lies under a name, on the node of a cluster that holds it."""
    with redis.Redis.from_url(url) as server:
        cluster = server.info("cluster")["cluster_enabled"]
    client: Any = ClusterClient.from_url(url) if cluster else redis.Redis.from_url(url)
    try:
        data = client.get(name)
        client.setrange(name, len(data) - 1, bytes([data[-1] ^ 1]))
    finally:
        client.close()


class Redis(TierConformance):
    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Redis runs by its own clock"}

    @pytest.fixture(params=[PLAIN, CLUSTER])
    def url(self, request: pytest.FixtureRequest) -> str:
        server: RedisServer | RedisCluster = request.getfixturevalue(
            "redis_server" if request.param == PLAIN else "redis_cluster"
        )
        return server.url

    @pytest.fixture
    async def tier(self, url: str) -> AsyncIterator[HotMemory]:
        tier = HotMemory(url, max_value_bytes=MAX_VALUE_BYTES)
        await tier.connect()
        yield tier
        await tier.close()


class TestHotEntries(Redis, EntriesConformance):
    oversize = MAX_VALUE_BYTES

    async def damage(self, tier: HotMemory, key: Key) -> None:
        flip_last_byte(tier.url, redis_key(key))


class TestHotHolds(Redis, HoldsConformance):
    pass


class TestHotVersions(Redis, VersionsConformance):
    oversize = MAX_VALUE_BYTES

    async def reopen(self, tier: HotMemory) -> HotMemory:
        second = HotMemory(tier.url)
        await second.connect()
        return second

    async def damage(self, tier: HotMemory, key: Key) -> None:
        flip_last_byte(tier.url, record_key(key))


class TestHotEntriesOnAMovedClock(EntriesConformance):
    """The scripts take the time as an argument: long lifetimes without waiting."""

    gaps: ClassVar[Mapping[Capability, str]] = {Capability.DAMAGE: "tested by the server's own clock"}
    oversize = MAX_VALUE_BYTES

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(wall_ms=SYSTEM_CLOCK.wall_ms())

    @pytest.fixture
    async def tier(self, redis_server: RedisServer, clock: ManualClock) -> AsyncIterator[HotMemory]:
        tier = HotMemory(redis_server.url, max_value_bytes=MAX_VALUE_BYTES, clock=clock)
        tier._script_clock = clock
        await tier.connect()
        yield tier
        await tier.close()
