"""The tiers of which conformance is asked: how each is opened, opened a second time, and damaged from outside."""

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from azure.cosmos.aio import CosmosClient
from azure.storage.blob.aio import ContainerClient
from redis.cluster import RedisCluster as ClusterClient

from thermocline.keys import cosmos_id, cosmos_partition, head_path
from thermocline.model import Key
from thermocline.testing import ManualClock
from thermocline.testing.conformance import Capability, TierConformance
from thermocline.testing.rig import Azurite, CosmosServer, RedisCluster, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.cold.blobs import Transfer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.records import record_key
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.warm import WarmMemory

PLAIN = "redis_server"
CLUSTER = "redis_cluster"
MAX_VALUE_BYTES = 700_000  # of Redis
REST = timedelta(seconds=10)
MAX_BYTES = 16 * 2**20  # of process memory


class RedisTier(TierConformance):
    """One server, and a cluster of three."""

    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Redis runs by its own clock"}

    @pytest.fixture(params=[PLAIN, CLUSTER], ids=["redis", "cluster"])
    def url(self, request: pytest.FixtureRequest) -> str:
        server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
        return server.url

    @pytest.fixture
    async def tier(self, url: str) -> AsyncIterator[HotMemory]:
        tier = HotMemory(url, max_value_bytes=MAX_VALUE_BYTES)
        await tier.connect()
        yield tier
        await tier.close()

    async def reopen(self, tier: HotMemory) -> HotMemory:
        second = HotMemory(tier.url)
        await second.connect()
        return second

    async def damage(self, tier: HotMemory, key: Key) -> None:
        flip_in_redis(tier.url, record_key(key))


def flip_in_redis(url: str, name: bytes) -> None:
    """The last byte of what lies under a name, on the node of a cluster that holds it."""
    with redis.Redis.from_url(url) as server:
        cluster = server.info("cluster")["cluster_enabled"]
    client: Any = ClusterClient.from_url(url) if cluster else redis.Redis.from_url(url)
    try:
        data = client.get(name)
        client.setrange(name, len(data) - 1, bytes([data[-1] ^ 1]))
    finally:
        client.close()


class ProcessTier(TierConformance):
    gaps: ClassVar[Mapping[Capability, str]] = {
        Capability.DAMAGE: "process memory holds objects, not bytes: there is nothing to damage from outside",
        Capability.PERSISTENCE: "nothing survives the process",
    }

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def tier(self, clock: ManualClock) -> AsyncIterator[ProcessMemory]:
        tier = ProcessMemory(MAX_BYTES, rest=REST, clock=clock)
        await tier.connect()
        yield tier
        await tier.close()


class WarmTier:
    """Cosmos DB, in a container of the class's own."""

    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Cosmos DB counts by its own clock"}
    container = "state"

    def _at(self, server: CosmosServer) -> WarmMemory:
        return WarmMemory(server.url, "conformance", self.container, key=server.key, create=True)

    @pytest.fixture
    async def tier(self, cosmos_server: CosmosServer) -> AsyncIterator[WarmMemory]:
        self.cosmos = cosmos_server
        async with self._at(cosmos_server) as tier:
            yield tier

    async def reopen(self, tier: WarmMemory) -> WarmMemory:
        second = self._at(self.cosmos)
        await second.connect()
        return second

    async def damage(self, tier: WarmMemory, key: Key) -> None:
        """As an administrator's tool would."""
        async with CosmosClient(self.cosmos.url, self.cosmos.key) as client:
            container = client.get_database_client("conformance").get_container_client(self.container)
            change = {"op": "set", "path": "/r/l", "value": 123_456}
            await container.patch_item(cosmos_id(key), cosmos_partition(key), [change])


class SqliteTier:
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def tier(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[SqliteMemory]:
        tier = SqliteMemory(tmp_path / "memory.db", clock=clock)
        await tier.connect()
        yield tier
        await tier.close()

    async def reopen(self, tier: SqliteMemory) -> SqliteMemory:
        second = SqliteMemory(tier.path, clock=ManualClock())
        await second.connect()
        return second

    async def damage(self, tier: SqliteMemory, key: Key) -> None:
        where = "WHERE tenant = ? AND scope = ? AND name = ?", (key.tenant, key.scope, key.name)
        with closing(sqlite3.connect(tier.path)) as database, database:
            [[record]] = database.execute(f"SELECT record FROM records {where[0]}", where[1])
            flipped = record[:-1] + bytes([record[-1] ^ 1])
            database.execute(f"UPDATE records SET record = ? {where[0]}", (flipped, *where[1]))


class FolderTier:
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def tier(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[FolderMemory]:
        async with FolderMemory(tmp_path / "folder", clock=clock, fsync=False) as tier:
            yield tier

    async def reopen(self, tier: FolderMemory) -> FolderMemory:
        second = FolderMemory(tier.path, clock=ManualClock(), fsync=False)
        await second.connect()
        return second

    async def damage(self, tier: FolderMemory, key: Key) -> None:
        await asyncio.to_thread(flip_in_file, tier.path / head_path(key))


def flip_in_file(path: Path) -> None:
    """Its last byte."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


class ColdTier:
    """Blob Storage, in a container of the class's own."""

    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Blob Storage stamps by its own clock"}
    container = f"conformance-{uuid.uuid4().hex[:12]}"
    transfer: ClassVar[Transfer] = "sdk"

    def _at(self, azurite: Azurite, **options: Any) -> ColdMemory:
        return ColdMemory.from_connection_string(
            azurite.connection_string, self.container, transfer=self.transfer, **options
        )

    @pytest.fixture
    async def tier(self, azurite: Azurite) -> AsyncIterator[ColdMemory]:
        self.azurite = azurite
        async with self._at(azurite, create=True) as tier:
            yield tier

    async def reopen(self, tier: ColdMemory) -> ColdMemory:
        second = self._at(self.azurite)
        await second.connect()
        return second

    async def flip(self, path: str, metadata: dict[str, str] | None = None) -> None:
        """The last byte of a blob; its metadata stay, or become these."""
        async with (
            ContainerClient.from_connection_string(
                self.azurite.connection_string, self.container, max_single_put_size=2**20, max_block_size=2**20
            ) as client,
            client.get_blob_client(path) as blob,
        ):
            stream = await blob.download_blob()
            data = await stream.readall()
            kept = stream.properties.metadata if metadata is None else metadata
            await blob.upload_blob(data[:-1] + bytes([data[-1] ^ 1]), overwrite=True, metadata=kept)
