"""What the apps run over on one machine: the embedded tiers, or the rig's servers with containers as the contract says."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from thermocline.testing.extra import needed_by
from thermocline.testing.functions.errors import BadApp

with needed_by(__name__, "functions,service,testing"):
    from azure.cosmos import PartitionKey
    from azure.cosmos.aio import CosmosClient
    from azure.storage.blob.aio import ContainerClient

    from thermocline.testing.entra.minting import AUDIENCE, TENANT
    from thermocline.testing.entra.server import EntraServer
    from thermocline.testing.rig import Azurite, CosmosServer, RedisServer

QUEUE: Final = "vault-events"
# What any app's bindings may name; the defaults of the deployment.
COMMON: Final[Mapping[str, str]] = {
    "COSMOS_DATABASE": "memory",
    "COSMOS_CONTAINER": "state",
    "BLOB_CONTAINER": "memory",
    "THERMOCLINE_LEASES_CONTAINER": "leases",
    "THERMOCLINE_DEAD_LETTERS_CONTAINER": "dead-letters",
    "THERMOCLINE_SWEEP_SCHEDULE": "0 */10 * * * *",
    "THERMOCLINE_REPLAY_SCHEDULE": "0 */5 * * * *",
    "THERMOCLINE_JOBS_SCHEDULE": "30 * * * * *",
    "THERMOCLINE_VAULT_EVENTS_QUEUE": QUEUE,
}

CLIENT: Final = (
    "REDIS_URL",
    "COSMOS_ACCOUNT_URI",
    "COSMOS_KEY",
    "COSMOS_DATABASE",
    "COSMOS_CONTAINER",
    "BLOB_ACCOUNT_URL",
    "BLOB_CONTAINER",
)
"""What a memory over the servers is configured with."""


@asynccontextmanager
async def signing_in() -> AsyncIterator[dict[str, str]]:
    """A small Entra ID on loopback, and the settings by which memory-api trusts it."""
    server = EntraServer()
    await server.start(port=0)
    try:
        yield {
            "THERMOCLINE_API_AUTHORITY": server.url,
            "THERMOCLINE_API_AUDIENCE": AUDIENCE,
            "THERMOCLINE_API_TENANTS": TENANT,
        }
    finally:
        await server.stop()


@asynccontextmanager
async def embedded(home: Path) -> AsyncIterator[dict[str, str]]:
    """The embedded tiers in a folder; the apps share it as processes of one machine do."""
    yield {"THERMOCLINE_HOME": str(home)}


@asynccontextmanager
async def services(contract: Path) -> AsyncIterator[dict[str, str]]:
    """Redis, a strict Cosmos DB and Azurite on free ports, with what the contract says made in them. Raises MissingPart."""
    document = _read(contract)
    async with AsyncExitStack() as servers:
        redis, cosmos, azurite = RedisServer(), CosmosServer(), Azurite()
        for server in (redis, cosmos, azurite):
            await asyncio.to_thread(server.start)
            servers.push_async_callback(asyncio.to_thread, server.stop)
        await _make_containers(cosmos, document["cosmos"])
        for name in document["cold"]["containers"]:
            async with ContainerClient(azurite.blob_url, name, credential=azurite.key) as container:
                await container.create_container()
        yield {
            "REDIS_URL": redis.url,
            "COSMOS_ACCOUNT_URI": cosmos.url,
            "COSMOS_KEY": cosmos.key,
            "COSMOS_DATABASE": str(document["cosmos"]["database"]),
            "BLOB_ACCOUNT_URL": signed(azurite),
            "COSMOS": f"AccountEndpoint={cosmos.url};AccountKey={cosmos.key};",
            "EVENTS": azurite.connection_string,
        }


def signed(azurite: Azurite) -> str:
    """Azurite's blob service with a SAS of the account's key in the URL, as a memory without a token takes it."""
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    sas = generate_account_sas(
        azurite.account,
        account_key=azurite.key,
        resource_types=ResourceTypes(service=True, container=True, object=True),
        permission=AccountSasPermissions(
            read=True, write=True, delete=True, list=True, add=True, create=True, tag=True, filter_by_tags=True
        ),
        expiry=datetime.now(UTC) + timedelta(days=7),
    )
    return f"{azurite.blob_url}?{sas}"


def _read(contract: Path) -> Any:
    try:
        return json.loads(contract.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadApp(f"the containers are made as {contract} says, which cannot be read: {error}") from error


async def _make_containers(server: CosmosServer, wanted: Mapping[str, Any]) -> None:
    async with CosmosClient(server.url, server.key) as client:
        database = await client.create_database_if_not_exists(str(wanted["database"]))
        for name, one in wanted["containers"].items():
            key = one["partitionKey"]
            paths = key["paths"] if key["kind"] == "MultiHash" else key["paths"][0]
            lifetime = {} if one["defaultTtl"] is None else {"default_ttl": one["defaultTtl"]}
            await database.create_container_if_not_exists(
                name,
                PartitionKey(path=paths, kind=key["kind"]),
                indexing_policy=one["indexingPolicy"],
                **lifetime,
            )
