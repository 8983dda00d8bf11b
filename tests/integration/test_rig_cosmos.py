"""The rig's Cosmos DB, with the official client."""

import os
from collections.abc import Callable
from datetime import timedelta

import psutil
import pytest
from azure.core.exceptions import AzureError
from azure.cosmos import PartitionKey
from azure.cosmos.aio import CosmosClient

from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import CosmosServer, RigError, StartFailed
from thermocline.testing.rig.cosmos import chosen_kind
from thermocline.testing.rig.process import leftovers


async def roundtrip(server: CosmosServer, database: str) -> None:
    """Write and read one item in a database of its own."""
    async with CosmosClient(server.url, server.key) as client:
        created = await client.create_database(database)
        try:
            container = await created.create_container("items", PartitionKey("/p"))
            await container.create_item({"id": "a", "p": "x", "value": 1})
            item = await container.read_item("a", "x")
            assert item["value"] == 1
        finally:
            await client.delete_database(database)


async def test_an_item_comes_back(cosmos_server: CosmosServer, unique_name: Callable[[str], str]) -> None:
    await roundtrip(cosmos_server, unique_name("database"))


async def test_a_killed_emulator_comes_back_empty_on_its_port(unique_name: Callable[[str], str]) -> None:
    with CosmosServer(kind="strict") as server:
        url = server.url
        async with CosmosClient(url, server.key) as client:
            await client.create_database("gone")
        pid = server.process.pid
        server.kill()
        assert not psutil.pid_exists(pid)
        with pytest.raises(RigError, match="before its start"):
            _ = server.url
        server.start()
        assert server.url == url
        async with CosmosClient(url, server.key) as client:
            assert [found async for found in client.list_databases()] == []
        await roundtrip(server, unique_name("database"))
        assert any("thermocline.testing.cosmos" in line for line in leftovers())
    assert not any("thermocline.testing.cosmos" in line and str(pid) in line for line in leftovers())


async def test_a_paused_emulator_can_be_stopped() -> None:
    server = CosmosServer(kind="strict")
    server.start()
    pid = server.process.pid
    server.pause()
    server.stop()
    server.stop()
    assert not psutil.pid_exists(pid)


def test_a_taken_port_is_named() -> None:
    with CosmosServer(kind="strict") as server:
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with pytest.raises(StartFailed, match=str(port)):
            CosmosServer(kind="strict", port=port).start()


async def test_a_lost_answer_leaves_the_write_done(
    cosmos_server: CosmosServer, unique_name: Callable[[str], str]
) -> None:
    if cosmos_server.kind != "strict":
        pytest.skip("needs the strict emulator: others send clients past the proxy")
    async with ChaosProxy(cosmos_server.url) as proxy, CosmosClient(proxy.url, cosmos_server.key) as client:
        database = await client.create_database(unique_name("database"))
        container = await database.create_container("items", PartitionKey("/p"))
        await container.create_item({"id": "a", "p": "x"})
        lost = proxy.lose_next_answer()
        with pytest.raises(AzureError):
            await container.create_item({"id": "b", "p": "x"})
        assert lost.is_set()
        assert await container.read_item("b", "x")
        await client.delete_database(database)


async def test_an_account_of_ones_own_is_used_and_left_alone(
    cosmos_server: CosmosServer, monkeypatch: pytest.MonkeyPatch, unique_name: Callable[[str], str]
) -> None:
    monkeypatch.setenv("THERMOCLINE_TEST_COSMOS_URL", cosmos_server.url)
    monkeypatch.delenv("THERMOCLINE_TEST_COSMOS_KEY", raising=False)
    assert chosen_kind() == "outside"
    with pytest.raises(RigError, match="THERMOCLINE_TEST_COSMOS_KEY is not"):
        CosmosServer().start()
    monkeypatch.setenv("THERMOCLINE_TEST_COSMOS_KEY", cosmos_server.key)
    with CosmosServer() as outside:
        await roundtrip(outside, unique_name("database"))
        with pytest.raises(RigError, match="kind='outside'"):
            outside.kill()
    await roundtrip(cosmos_server, unique_name("database"))


def test_options_of_the_strict_emulator_are_refused_elsewhere() -> None:
    with pytest.raises(RigError, match="strict emulator"):
        CosmosServer(kind="docker", ranges=3)


@pytest.mark.docker
@pytest.mark.skipif(os.environ.get("THERMOCLINE_TEST_DOCKER") != "1", reason="needs Docker: THERMOCLINE_TEST_DOCKER=1")
async def test_microsofts_emulator_runs_in_a_container(unique_name: Callable[[str], str]) -> None:
    with CosmosServer(kind="docker", patience=timedelta(minutes=1)) as server:
        await roundtrip(server, unique_name("database"))
