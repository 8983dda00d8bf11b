"""The services as code before this library used them."""

import uuid
from collections.abc import AsyncIterator

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.aio import CosmosClient
from azure.storage.blob.aio import ContainerClient
from redis.asyncio import Redis
from tests.dropin.world import DATABASE, Old

from thermocline.testing.rig import Azurite, CosmosServer, RedisServer


@pytest.fixture
async def old(redis_server: RedisServer, cosmos_server: CosmosServer, azurite: Azurite) -> AsyncIterator[Old]:
    suffix = uuid.uuid4().hex[:12]
    async with (
        CosmosClient(cosmos_server.url, cosmos_server.key) as account,
        Redis.from_url(redis_server.url) as redis,
        ContainerClient(azurite.blob_url, f"old-{suffix}", credential=azurite.key) as blobs,
    ):
        database = await account.create_database_if_not_exists(DATABASE)
        documents = await database.create_container(f"pk-{suffix}", PartitionKey("/pk"), default_ttl=-1)
        by_service = await database.create_container(f"service-{suffix}", PartitionKey("/service"))
        await blobs.create_container()
        made = Old(redis_server.url, cosmos_server, azurite, suffix, redis, database, documents, by_service, blobs)
        yield made
        for client in made.clients:
            await client.close()
        await database.delete_container(documents)
        await database.delete_container(by_service)
