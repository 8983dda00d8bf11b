"""What code before this library had: a Redis, a Cosmos DB account with containers by /pk and by /service, blobs; and the new container beside them."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.cosmos.aio import ContainerProxy, DatabaseProxy
from azure.storage.blob.aio import ContainerClient
from redis.asyncio import Redis

from thermocline import LegacySource, MemoryClient, Route
from thermocline.policy import plain_name
from thermocline.resilience import Budget
from thermocline.testing.rig import Azurite, CosmosServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import LegacyDocuments, WarmMemory

DATABASE = "dropin"
NEW = "state"  # the container that thermocline writes; keys are kept apart by their names


def roomy(**given: float) -> Budget:
    """A slow machine is no outage."""
    seconds = {"call": 60.0, "connect": 60.0, "hot": 10.0, "warm": 15.0, "cold": 30.0} | given
    spans: dict[str, Any] = {name: timedelta(seconds=value) for name, value in seconds.items()}
    return Budget(**spans)


@dataclass
class Old:
    """The services by their bare SDKs, as the old code used them, and the parts that read what it left."""

    redis_url: str
    cosmos: CosmosServer
    azurite: Azurite
    suffix: str
    redis: Redis
    database: DatabaseProxy
    documents: ContainerProxy
    by_service: ContainerProxy
    blobs: ContainerClient
    clients: list[MemoryClient] = field(default_factory=list)

    def name(self, text: str = "key") -> str:
        return f"{text}:{self.suffix}"

    def hot(self, url: str | None = None) -> HotMemory:
        return HotMemory(url or self.redis_url)

    def warm(self) -> WarmMemory:
        return WarmMemory(self.cosmos.url, DATABASE, NEW, key=self.cosmos.key, create=True)

    def cold(self) -> ColdMemory:
        return ColdMemory(self.azurite.blob_url, self.blobs.container_name, credential=self.azurite.key)

    def old_documents(self, container: str | None = None, url: str | None = None) -> LegacyDocuments:
        name = container if container is not None else self.documents.id
        return LegacyDocuments(url or self.cosmos.url, DATABASE, name, key=self.cosmos.key)

    def source(self, **given: Any) -> LegacySource:
        parts: dict[str, Any] = {
            "hot": self.hot(),
            "warm": self.old_documents(),
            "cold": self.cold(),
            "name": plain_name,
        }
        return LegacySource(**(parts | given))

    async def warm_document(self, name: str) -> dict[str, Any]:
        """A plain document in the new container, by the bare SDK."""
        container = self.database.get_container_client(NEW)
        return await container.read_item(name, ["", name])

    async def client(self, *, legacy: LegacySource | None = None, **options: Any) -> MemoryClient:
        """A connected client over the three new tiers; ``legacy`` for all keys."""
        routes = [Route("", legacy=legacy)] if legacy is not None else []
        tiers: dict[str, Any] = {"hot": self.hot(), "warm": self.warm(), "cold": self.cold()}
        given: dict[str, Any] = {"budget": roomy(), "routes": routes} | tiers | options
        client = MemoryClient(**given)
        self.clients.append(client)
        await client.connect()
        return client


async def put_everywhere(old: Old, name: str, value: str) -> None:
    await old.redis.set(name, value, ex=900)
    await old.documents.upsert_item({"id": name, "pk": name, "value": value})
    await old.blobs.upload_blob(name, value)


async def left(old: Old, name: str) -> list[str]:
    """Where the old code's copies of a name still are."""
    found = ["hot"] if await old.redis.exists(name) else []
    try:
        await old.documents.read_item(name, name)
        found.append("warm")
    except ResourceNotFoundError:
        pass
    if await old.blobs.get_blob_client(name).exists():
        found.append("cold")
    return found
