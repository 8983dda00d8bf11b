"""A hit in a client of the warm or the cold tier alone, beside the Azure SDK's own call, on servers of this machine."""

import contextlib
from collections.abc import AsyncIterator

from azure.cosmos.aio import CosmosClient
from azure.storage.blob.aio import BlobClient, ContainerClient

from benchmarks.payload import packed, patient, turn
from benchmarks.rounds import Arm, Group
from thermocline.client import MemoryClient
from thermocline.keys import cosmos_id, cosmos_partition, head_path
from thermocline.model import Key
from thermocline.testing.rig import Azurite, CosmosServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.warm import WarmMemory

KEY = Key("bench", "session/9f", "turn/0")


@contextlib.asynccontextmanager
async def warm_groups(rounds: int) -> AsyncIterator[list[Group]]:
    """Cosmos DB. The raw call reads the very item that the client reads, and one that holds the value and nothing else."""
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(CosmosServer(kind="strict"))
        client = await stack.enter_async_context(
            MemoryClient(warm=WarmMemory(server.url, "bench", "state", key=server.key, create=True), budget=patient())
        )
        await client.set(KEY, turn(0))
        sdk = await stack.enter_async_context(CosmosClient(server.url, server.key))
        container = sdk.get_database_client("bench").get_container_client("state")
        name, partition = cosmos_id(KEY), cosmos_partition(KEY)
        await container.create_item({"id": "plain", "tenant": "plain", "scope": "plain", "value": turn(0)})
        arms = [
            Arm("azure-cosmos read_item", lambda: container.read_item(name, partition_key=partition)),
            Arm("azure-cosmos read_item, again (control)", lambda: container.read_item(name, partition_key=partition)),
            Arm("client.get, warm alone", lambda: client.get(KEY)),
            Arm("read_item of the bare value", lambda: container.read_item("plain", partition_key=["plain", "plain"])),
        ]
        yield [Group("warm hit, one at a time", arms, 25, 2 * rounds)]


@contextlib.asynccontextmanager
async def cold_groups(rounds: int) -> AsyncIterator[list[Group]]:
    """Blob Storage. The raw call reads the very blob that the client reads, and one that holds the value and nothing else."""
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(Azurite())
        client = await stack.enter_async_context(
            MemoryClient(
                cold=ColdMemory.from_connection_string(server.connection_string, "bench", create=True), budget=patient()
            )
        )
        await client.set(KEY, turn(0))
        container = await stack.enter_async_context(
            ContainerClient.from_connection_string(server.connection_string, "bench")
        )
        await container.upload_blob("plain", packed(0))
        same, bare = container.get_blob_client(head_path(KEY)), container.get_blob_client("plain")

        async def download(blob: BlobClient) -> bytes:
            return await (await blob.download_blob()).readall()

        arms = [
            Arm("download_blob + readall", lambda: download(same)),
            Arm("download_blob + readall, again (control)", lambda: download(same)),
            Arm("client.get, cold alone", lambda: client.get(KEY)),
            Arm("download_blob of the bare value", lambda: download(bare)),
        ]
        yield [Group("cold hit, one at a time", arms, 25, 2 * rounds)]
