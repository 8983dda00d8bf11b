"""Cosmos DB keeping itself in order: census, relocation, notes, transactions; on the strict emulator (or what the environment names)."""

from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest
from azure.cosmos.aio import CosmosClient

from thermocline.keys import cosmos_id, cosmos_partition
from thermocline.model import Key
from thermocline.testing.conformance import (
    AtomicConformance,
    Capability,
    CensusConformance,
    NotesConformance,
    RelocatesConformance,
)
from thermocline.testing.rig import CosmosServer
from thermocline.tiers.warm import WarmMemory


def warm_at(server: CosmosServer) -> WarmMemory:
    return WarmMemory(server.url, "conformance", "upkeep", key=server.key, create=True)


class Warm:
    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Cosmos DB counts by its own clock"}

    @pytest.fixture
    async def tier(self, cosmos_server: CosmosServer) -> AsyncIterator[WarmMemory]:
        self.cosmos = cosmos_server
        async with warm_at(cosmos_server) as tier:
            yield tier

    async def reopen(self, tier: WarmMemory) -> WarmMemory:
        second = warm_at(self.cosmos)
        await second.connect()
        return second

    async def damage(self, tier: WarmMemory, key: Key) -> None:
        """As an administrator's tool would."""
        async with CosmosClient(self.cosmos.url, self.cosmos.key) as client:
            container = client.get_database_client("conformance").get_container_client("upkeep")
            change = {"op": "set", "path": "/r/l", "value": 123_456}
            await container.patch_item(cosmos_id(key), cosmos_partition(key), [change])


class TestWarmCensus(Warm, CensusConformance):
    pass


class TestWarmRelocation(Warm, RelocatesConformance):
    pass


class TestWarmNotes(Warm, NotesConformance):
    pass


class TestWarmAtomic(Warm, AtomicConformance):
    oversize = 2_100_000
