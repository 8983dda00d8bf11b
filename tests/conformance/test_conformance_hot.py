"""Redis, one server and a cluster of three, as hot entries and as the authority over keys that live in Redis alone."""

from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest
from tests.conformance.tiers import MAX_VALUE_BYTES, RedisTier, flip_in_redis

from thermocline.clock import SYSTEM_CLOCK
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.testing import ManualClock
from thermocline.testing.conformance import Capability, EntriesConformance, HoldsConformance, VersionsConformance
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory


class TestHotEntries(RedisTier, EntriesConformance):
    oversize = MAX_VALUE_BYTES

    async def damage(self, tier: HotMemory, key: Key) -> None:
        flip_in_redis(tier.url, redis_key(key))


class TestHotHolds(RedisTier, HoldsConformance):
    pass


class TestHotVersions(RedisTier, VersionsConformance):
    oversize = MAX_VALUE_BYTES


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
