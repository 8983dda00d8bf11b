"""Telemetry beside real services: Redis's pool, Cosmos DB's charges and throttles, and the correlation id on its way to Azure."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from thermocline import Budget, ColdMemory, HotMemory, MemoryClient, WarmMemory, telemetry
from thermocline.model import MemoryTier
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.pytest_plugin import MakeProxy
from thermocline.testing.rig import Azurite, CosmosServer, RedisCluster, RedisServer

Unique = Callable[[str], str]
WIRE = "azure.core.pipeline.policies.http_logging_policy"
PATIENT = Budget(  # a slow machine is no outage
    call=timedelta(minutes=1), hot=timedelta(seconds=10), warm=timedelta(seconds=15), cold=timedelta(seconds=30)
)


@pytest.fixture
async def client(
    redis_server: RedisServer, cosmos_server: CosmosServer, azurite: Azurite, unique_name: Unique
) -> AsyncIterator[MemoryClient]:
    container = unique_name("telemetry")
    async with MemoryClient(
        hot=HotMemory(redis_server.url),
        warm=WarmMemory(cosmos_server.url, "telemetry", container, key=cosmos_server.key, create=True),
        cold=ColdMemory.from_connection_string(azurite.connection_string, container, create=True),
        budget=PATIENT,
    ) as found:
        yield found


async def test_the_correlation_id_arrives_at_cosmos(
    client: MemoryClient, cosmos_server: CosmosServer, unique_name: Unique
) -> None:
    control: CosmosControl = cosmos_server.control
    given = unique_name("order")
    with telemetry.correlation(given):
        await client.set("key", 1)
        await client.get("unknown")
    await client.get("another")
    last = [one for one in control.stats().last if one["client_request_id"] == given]

    assert {one["kind"] for one in last} >= {"create", "read"}


async def test_the_correlation_id_arrives_at_blob_storage_under_a_valid_signature(
    client: MemoryClient, unique_name: Unique, caplog: pytest.LogCaptureFixture
) -> None:
    """Azurite answers with the id that it was sent; the SDK's own log of what is on the wire shows both."""
    given = unique_name("order")
    with caplog.at_level(logging.INFO, WIRE), telemetry.correlation(given):
        await client.set("key", random.Random(1).randbytes(300_000))  # too large for warm, however it is compressed
    told = [record.getMessage() for record in caplog.records if record.name == WIRE]

    sent = [one for one in told if one.startswith("Request URL") and f"'x-ms-client-request-id': '{given}'" in one]
    answered = [
        one for one in told if one.startswith("Response status: 201") and f"'x-ms-client-request-id': '{given}'" in one
    ]
    assert sent
    assert answered


async def test_charges_and_throttles_are_counted(client: MemoryClient, cosmos_server: CosmosServer) -> None:
    control: CosmosControl = cosmos_server.control
    before = telemetry.CLIENTS.counted(telemetry.REQUEST_UNITS).get("warm", 0)
    control.throttle(retry_after_ms=1, count=1, container=client.warm._container)  # type: ignore[union-attr]
    await client.lookup("unknown")  # refused, or tried again: that is the tier's affair
    control.reset("faults")
    await client.set("key", 1)
    figures = client.stats()["warm"]

    assert figures["throttled"] == 1
    assert figures["request_units"] > 0
    assert telemetry.CLIENTS.counted(telemetry.REQUEST_UNITS)["warm"] > before


async def test_charges_are_told_by_verb(client: MemoryClient, cosmos_server: CosmosServer) -> None:
    before = telemetry.CLIENTS.charged(telemetry.REQUEST_UNITS)
    connecting = client.stats()["warm"]["request_units_by_verb"]
    await asyncio.gather(*(client.set(f"key {number}", number) for number in range(8)), client.get("unknown"))
    await client.get_many([f"unknown {number}" for number in range(40)])
    figures = client.stats()["warm"]
    shares = figures["request_units_by_verb"]
    after = telemetry.CLIENTS.charged(telemetry.REQUEST_UNITS)

    assert set(connecting) == {"other"}, "the account and the container were read, and nothing else"
    assert shares["other"] == connecting["other"]
    assert set(shares) == {"other", "read", "read_many", "write"}
    assert all(units > 0 for units in shares.values())
    assert sum(shares.values()) == pytest.approx(figures["request_units"], abs=0.01)
    for verb in ("read", "read_many", "write"):
        assert after["warm", verb] - before.get(("warm", verb), 0) == pytest.approx(shares[verb], abs=0.01)


async def test_the_pools_use_is_told_while_calls_wait(redis_server: RedisServer, chaos_proxy: MakeProxy) -> None:
    proxy = await chaos_proxy(redis_server.url)
    hot = HotMemory(proxy.url, max_calls=2)
    patient = Budget(call=timedelta(minutes=1), hot=timedelta(minutes=1))
    async with MemoryClient(hot=hot, budget=patient) as client:
        await client.set("key", 1)
        assert hot.pool() == (0, 2)
        proxy.hold(requests=True)
        calls = [asyncio.create_task(hot.get(f"key {number}")) for number in range(6)]
        while hot.pool() != (6, 2):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)  # four of them wait for a place
        held = client.stats()["hot"]
        health = await client.health(timeout=0.05)
        proxy.restore()
        assert await asyncio.gather(*calls) == [None] * 6
        free = client.stats()["hot"]

    assert (held["pool_in_use"], held["pool_limit"]) == (6, 2)
    assert "as many calls as there may be (2) are under way" in " ".join(health.reasons)
    assert (free["pool_in_use"], free["pool_limit"]) == (0, 2)
    assert hot.pool() is None


async def test_a_clusters_pool_is_told_too(redis_cluster: RedisCluster) -> None:
    async with (
        HotMemory(redis_cluster.url, cluster=True, max_calls=7) as hot,
        MemoryClient(hot=hot, budget=PATIENT) as client,
    ):
        await client.set("key", 1)
        assert client.stats()["hot"]["pool_limit"] == 7
        assert hot.pool() == (0, 7)


async def test_health_beside_real_services(client: MemoryClient) -> None:
    health = await client.health(timeout=10)

    assert set(health.tiers) == {MemoryTier.HOT, MemoryTier.WARM, MemoryTier.COLD}
    assert all(tier.ping_ms is not None for tier in health.tiers.values())
    assert health.ready, health.reasons
