"""The rig: servers start on free ports, take real clients, break on request, and leave nothing behind."""

import redis.asyncio
from azure.storage.blob.aio import BlobServiceClient

from thermocline.testing.rig import Azurite, RedisCluster, RedisServer


async def test_redis_answers_a_real_client(redis_server: RedisServer, fresh_prefix: str) -> None:
    async with redis.asyncio.from_url(redis_server.url) as client:
        await client.set(fresh_prefix + "a", "1")
        assert await client.get(fresh_prefix + "a") == b"1"


async def test_a_cluster_takes_keys_of_every_slot(redis_cluster: RedisCluster, fresh_prefix: str) -> None:
    async with redis.asyncio.RedisCluster.from_url(redis_cluster.url) as client:
        served = set()
        for number in range(200):
            key = f"{fresh_prefix}{number}"
            await client.set(key, number)
            served.add(redis_cluster.node_of(client.keyslot(key)).port)
        assert served == {node.port for node in redis_cluster.nodes}


async def test_azurite_takes_an_upload(azurite: Azurite, fresh_prefix: str) -> None:
    async with BlobServiceClient.from_connection_string(azurite.connection_string) as client:
        container = await client.create_container(fresh_prefix + "c")
        await container.upload_blob("a", b"payload")
        assert await (await container.download_blob("a")).readall() == b"payload"
