"""Redis, one server and a cluster of three, counting the records that live in it alone, and keeping notes."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import pytest
import redis
from redis.cluster import RedisCluster as ClusterClient

from thermocline.model import Key
from thermocline.testing.conformance import Capability, CensusConformance, NotesConformance
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.records import record_key

PLAIN = "redis"
CLUSTER = "cluster"


class Hot:
    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Redis runs by its own clock"}

    @pytest.fixture(params=[PLAIN, CLUSTER])
    def url(self, request: pytest.FixtureRequest) -> str:
        server: RedisServer | RedisCluster = request.getfixturevalue(
            "redis_server" if request.param == PLAIN else "redis_cluster"
        )
        return server.url

    @pytest.fixture
    async def tier(self, url: str) -> AsyncIterator[HotMemory]:
        tier = HotMemory(url)
        await tier.connect()
        yield tier
        await tier.close()

    async def reopen(self, tier: HotMemory) -> HotMemory:
        second = HotMemory(tier.url)
        await second.connect()
        return second

    async def damage(self, tier: HotMemory, key: Key) -> None:
        spread = tier.client.__class__.__name__ == "RedisCluster"
        client: Any = ClusterClient.from_url(tier.url) if spread else redis.Redis.from_url(tier.url)
        try:
            data = client.get(record_key(key))
            client.setrange(record_key(key), len(data) - 1, bytes([data[-1] ^ 1]))
        finally:
            client.close()


class TestHotCensus(Hot, CensusConformance):
    pass


class TestHotNotes(Hot, NotesConformance):
    pass
