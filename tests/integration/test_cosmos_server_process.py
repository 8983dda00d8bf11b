"""The Cosmos server as a process: start, end, TLS with Entra tokens and data roles, and the acceptance probe."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError
from azure.cosmos import PartitionKey
from azure.cosmos import exceptions as ex
from azure.cosmos.aio import CosmosClient

from thermocline.testing.cosmos.auth import make_token
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.cosmos.process import CosmosProcess, StartError

PROBE = Path(__file__).parents[2].parent / "shared" / "tools" / "cosmos" / "probe.py"
PRINCIPAL = "11111111-2222-3333-4444-555555555555"


class Token:
    """A credential that hands out one principal's tokens."""

    def __init__(self, principal: str, lifetime: float = 3600) -> None:
        self.principal = principal
        self.lifetime = lifetime
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        until = time.time() + self.lifetime
        return AccessToken(make_token(self.principal, expires_on=until), int(time.time()) + 3600)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> "Token":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def secure() -> Iterator[CosmosProcess]:
    with CosmosProcess.start(tls=True, extra_args=["--aad", "roles"]) as server:
        yield server


@pytest.fixture
async def container(secure: CosmosProcess) -> str:
    async with CosmosClient(secure.url, secure.key) as client:
        database = await client.create_database_if_not_exists("d")
        await database.create_container_if_not_exists("c", PartitionKey("/p"))
    secure.control.reset("principals")
    return "c"


async def connect(url: str, credential: Any) -> None:
    """Opening a client reads the account; a client that failed to open must be closed all the same."""
    client = CosmosClient(url, credential)
    try:
        await client.__aenter__()
    finally:
        await client.close()


async def refused(awaitable: Any) -> ex.CosmosHttpResponseError:
    with pytest.raises(ex.CosmosHttpResponseError) as error:
        await awaitable
    return error.value


async def test_the_certificate_is_good_for_the_address_and_nothing_else(secure: CosmosProcess) -> None:
    assert secure.ca_file is not None
    context = ssl.create_default_context(cafile=str(secure.ca_file))
    async with aiohttp.ClientSession() as session:
        async with session.get(secure.url + "_control/ping", ssl=context) as answer:
            assert await answer.json() == {"ok": True}
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(secure.url + "_control/ping")


async def test_a_principal_without_a_role_is_told_which_action_is_missing(
    secure: CosmosProcess, container: str
) -> None:
    error = await refused(connect(secure.url, Token(PRINCIPAL)))
    assert container == "c"
    assert (error.status_code, error.sub_status) == (403, 5302)
    assert f"principal [{PRINCIPAL}] does not have required RBAC permissions" in str(error)
    assert "[Microsoft.DocumentDB/databaseAccounts/readMetadata] on resource [/]" in str(error)


async def test_a_reader_reads_and_cannot_write(secure: CosmosProcess, container: str) -> None:
    async with CosmosClient(secure.url, secure.key) as owner:
        await owner.get_database_client("d").get_container_client(container).upsert_item({"id": "x", "p": "1"})
    secure.control.grant(PRINCIPAL, "reader")
    token = Token(PRINCIPAL)
    async with CosmosClient(secure.url, token) as client:
        c = client.get_database_client("d").get_container_client(container)
        assert (await c.read_item("x", "1"))["id"] == "x"
        found: list[Any] = [i async for i in c.query_items("SELECT VALUE c.id FROM c", partition_key="1")]
        assert found == ["x"]
        error = await refused(c.create_item({"id": "y", "p": "1"}))
    assert (error.status_code, error.sub_status) == (403, 5302)
    assert "containers/items/create] on resource [/dbs/d/colls/c]" in str(error)
    assert token.scopes[0].startswith("https://127.0.0.1")


async def test_a_contributor_of_one_container_writes_there_but_makes_none(
    secure: CosmosProcess, container: str
) -> None:
    secure.control.grant(PRINCIPAL, {"role": "contributor", "scope": "/dbs/d/colls/c"})
    async with CosmosClient(secure.url, Token(PRINCIPAL)) as client:
        database = client.get_database_client("d")
        c = database.get_container_client(container)
        await c.upsert_item({"id": "mine", "p": "1", "v": 1})
        done = await c.patch_item("mine", "1", [{"op": "incr", "path": "/v", "value": 1}])
        assert done["v"] == 2
        error = await refused(database.create_container("another", PartitionKey("/p")))
    assert (error.status_code, error.sub_status) == (403, 5300)


async def test_an_expired_token_and_a_disabled_key_are_401(secure: CosmosProcess, container: str) -> None:
    secure.control.grant(PRINCIPAL, "contributor")
    assert container == "c"
    assert (await refused(connect(secure.url, Token(PRINCIPAL, lifetime=-10)))).status_code == 401
    secure.control.account(keys_disabled=True)
    try:
        assert (await refused(connect(secure.url, secure.key))).status_code == 401
    finally:
        secure.control.account(keys_disabled=False)


async def test_a_wrong_key_is_401() -> None:
    with CosmosProcess.start(key="b3RoZXI=") as server:
        async with CosmosClient(server.url, server.key) as client:
            await client.create_database("d")
        assert (await refused(connect(server.url, "d3Jvbmc="))).status_code == 401


async def test_an_account_can_say_what_it_is() -> None:
    with CosmosProcess.start() as server:
        server.control.account(consistency="Eventual", multi_write=True)
        async with CosmosClient(server.url, server.key) as client:
            account = await client._get_database_account()
        assert account.ConsistencyPolicy == {"defaultConsistencyLevel": "Eventual"}
        assert [p["databaseAccountEndpoint"] for p in account.WritableLocations] == [server.url]


def test_stop_leaves_nothing_behind() -> None:
    server = CosmosProcess.start(tls=True)
    process = psutil.Process(server.pid)
    assert server.ca_file is not None
    assert server.ca_file.exists()
    assert server.errors == ""
    server.stop()
    server.stop()
    assert not process.is_running()
    assert not server.ca_file.exists()
    with pytest.raises(OSError, match="refused"):
        CosmosControl(server.url.replace("https", "http")).now()


async def test_a_killed_server_answers_nobody() -> None:
    server = CosmosProcess.start()
    async with CosmosClient(server.url, server.key, retry_total=0, retry_connect=0) as client:
        await client.create_database("d")
        server.kill()
        assert not server.running
        with pytest.raises(ServiceRequestError):
            await client.get_database_client("d").read()


def test_a_port_in_use_is_an_error_that_says_so() -> None:
    with CosmosProcess.start() as server:
        port = int(server.url.rstrip("/").rsplit(":", 1)[1])
        with pytest.raises(StartError, match="address already in use"):
            CosmosProcess.start(port=port)


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import time; from thermocline.testing.cosmos.process import CosmosProcess;"
        "p = CosmosProcess.start(); print(p.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    assert child.wait(timeout=20) is None or not child.is_running()
    assert not psutil.pid_exists(child.pid)


def test_it_listens_on_loopback_only() -> None:
    command = [sys.executable, "-m", "thermocline.testing.cosmos", "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "loopback" in done.stderr


async def test_many_clients_at_once_lose_no_increment() -> None:
    with CosmosProcess.start() as server:
        clients = [CosmosClient(server.url, server.key) for _ in range(4)]
        try:
            database = await clients[0].create_database("d")
            c = await database.create_container("c", PartitionKey("/p"))
            await c.create_item({"id": "k", "p": "1", "v": 0})
            boxes = [k.get_database_client("d").get_container_client("c") for k in clients]
            up = [{"op": "incr", "path": "/v", "value": 1}]
            done = await asyncio.gather(*(b.patch_item("k", "1", up) for b in boxes for _ in range(40)))
            assert sorted(d["v"] for d in done) == list(range(1, 161))
        finally:
            for client in clients:
                await client.close()


@pytest.mark.skipif(not PROBE.exists(), reason="tools/cosmos/probe.py is not beside this checkout")
def test_the_acceptance_probe_finds_no_difference() -> None:
    with CosmosProcess.start() as server:
        command = [sys.executable, str(PROBE), "--endpoint", server.url, "--key", server.key]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    differences = [line for line in done.stdout.splitlines() if "| NO " in line]
    assert differences == []
    assert done.returncode == 0, done.stderr
    assert "80 checks, 0 differ" in done.stdout
