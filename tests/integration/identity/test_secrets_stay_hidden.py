"""A known secret goes through every part that holds one, and through every way in which that can fail. It must not turn up anywhere."""

import asyncio
import base64
import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.identity.aio import ManagedIdentityCredential
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.integration.identity.load import Door
from tests.integration.identity.test_redis_tokens import Minting

from thermocline import ColdMemory, HotMemory, MemoryBuilder, MemorySettings, WarmMemory
from thermocline.errors import ThermoclineError
from thermocline.identity import EntraLogins, PasswordLogins, Vault
from thermocline.resilience import Budget
from thermocline.telemetry import configure
from thermocline.testing.rig import Azurite, CosmosServer, KeyVaultServer, RedisServer
from thermocline.tiers.table import TableMemory
from thermocline.wiring import builder

SECRET = "c2VjcmV0LW9mLXRoaXMtdGVzdC1hbmQtb2Ytbm9ib2R5LWVsc2U="  # Base64, so that it may be a Cosmos DB key as well
SAS = f"sv=2026-01-01&sig={SECRET.rstrip('=')}%3D"
HIDDEN = (SECRET, SECRET.rstrip("="))
PATIENT = Budget(hot=timedelta(seconds=10), warm=timedelta(seconds=10), cold=timedelta(seconds=10))


@contextmanager
def spans() -> Iterator[InMemorySpanExporter]:
    """What a backend of traces would get."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = configure(tracer_provider=provider, metrics=False, hot_hit_rate=1, key_hashes=True)
    try:
        yield exporter
    finally:
        telemetry.shutdown()
        provider.shutdown()


class Search:
    """Everything that was said so far."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._log = caplog
        self._said: list[str] = []
        self.errors = 0

    def look(self, *things: Any) -> None:
        for thing in things:
            self._said += [repr(thing), str(thing)]

    def error(self, error: BaseException) -> None:
        """The error as it is told, with all that lies behind it."""
        self.errors += 1
        self._said += ["".join(traceback.format_exception(error))]
        behind: BaseException | None = error
        while behind is not None:
            self._said += [repr(behind), str(behind), repr(behind.args), *getattr(behind, "__notes__", [])]
            behind = behind.__cause__ or behind.__context__

    def nothing_found(self, *hidden: str) -> None:
        records = [record.getMessage() + repr(record.args) + str(record.exc_text) for record in self._log.records]
        everything = "\n".join([*self._said, self._log.text, *records])
        assert len(everything) > 1000
        for secret in hidden or HIDDEN:
            at = everything.find(secret)
            assert at < 0, f"a secret is shown: …{everything[max(0, at - 300) : at]}[HERE]"


@pytest.fixture
def search(caplog: pytest.LogCaptureFixture) -> Search:
    caplog.set_level(logging.DEBUG)  # of all loggers, the SDKs' too
    return Search(caplog)


async def failing(search: Search, call: Any) -> None:
    try:
        await call
    except ThermoclineError as error:
        search.error(error)
    else:
        pytest.fail("it did not fail")


async def test_password_of_redis(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    locked_redis: RedisServer,
    unique_name: Callable[[str], str],
    search: Search,
) -> None:
    name, user = unique_name("hidden"), unique_name("user")
    door = Door([locked_redis], user)
    door.only(SECRET)
    vault.set(name, SECRET)
    url = f"redis://{user}:{SECRET}@127.0.0.1:{locked_redis.port}"
    with spans() as traced:
        async with Vault(vault.url, credential, options={"retry_total": 0}) as opened:
            await _fail_in_every_way(opened, name, locked_redis, door, vault, search, url)
        search.look(*(span.to_json() for span in traced.get_finished_spans()))
        assert len(traced.get_finished_spans()) > 0
    door.forget()
    search.nothing_found()
    assert search.errors == 6


async def _fail_in_every_way(
    opened: Vault, name: str, locked_redis: RedisServer, door: Door, vault: KeyVaultServer, search: Search, url: str
) -> None:
    logins = PasswordLogins(opened.secret(name), user=door.user)
    for hot in (
        HotMemory(f"redis://127.0.0.1:{locked_redis.port}", credential_provider=logins),
        HotMemory(url),
    ):
        async with MemoryBuilder().with_hot(hot).with_options(budget=PATIENT).build() as memory:
            await memory.set("key", 1)
            search.look(
                memory, hot, hot._link, hot.client, hot.client.connection_pool, logins, opened, opened.secret(name)
            )
            search.look(memory.stats(), hot._link._sign_in)
            door.only("another")
            await door.throw_out()
            await failing(search, memory.get("key"))
            await failing(search, memory.set("key", 2))
            vault.down("vault")
            await failing(search, memory.get("key"))
            vault.down()
            door.only(SECRET)


async def test_secrets_that_cannot_be_used(
    vault: KeyVaultServer, credential: ManagedIdentityCredential, unique_name: Callable[[str], str], search: Search
) -> None:
    async with Vault(vault.url, credential, options={"retry_total": 0}) as opened:
        for how in ({"enabled": False}, {"expires_in": -1.0}, {"begins_in": 100.0}):
            name = unique_name("unusable")
            vault.set(name, SECRET, **how)
            await failing(search, opened.secret(name).current())
        vault.roles()
        await failing(search, opened.secret("another").current())
        token = await credential.get_token("https://vault.azure.net/.default")
        search.nothing_found(SECRET, token.token)


async def test_key_of_cosmos(
    search: Search,
    vault: KeyVaultServer,
    opened: Vault,
    name: str,
    cosmos_server: CosmosServer,
    unique_name: Callable[[str], str],
) -> None:
    vault.set(name, SECRET)
    for warm in (
        WarmMemory(cosmos_server.url, "d", "c", key=opened.secret(name)),
        WarmMemory(cosmos_server.url, "d", "c", key=SECRET),
    ):
        search.look(warm)
        await failing(search, warm.connect())
    bad = unique_name("bad")
    vault.set(bad, f"{SECRET} with something behind")
    await failing(search, WarmMemory(cosmos_server.url, "d", "c", key=opened.secret(bad)).connect())
    await opened.close()
    search.nothing_found()


async def test_sas_of_blob_storage(
    search: Search,
    vault: KeyVaultServer,
    opened: Vault,
    name: str,
    azurite: Azurite,
    unique_name: Callable[[str], str],
) -> None:
    vault.set(name, SAS)
    cold = ColdMemory(azurite.blob_url, "hidden", credential=opened.secret(name))
    search.look(cold, opened.secret(name))
    await failing(search, cold.connect())
    gone = ColdMemory("http://127.0.0.1:9/account", "hidden", credential=opened.secret(name))
    await failing(search, gone.connect())
    bad = unique_name("bad")
    vault.set(bad, f"https://host/?{SAS}")
    await failing(search, ColdMemory(azurite.blob_url, "hidden", credential=opened.secret(bad)).connect())
    await opened.close()
    search.nothing_found()


async def test_sas_of_table_storage(
    search: Search,
    vault: KeyVaultServer,
    opened: Vault,
    name: str,
    azurite: Azurite,
    unique_name: Callable[[str], str],
) -> None:
    bad = unique_name("bad")
    vault.set(name, SAS)
    vault.set(bad, f"https://host/?{SAS}")
    table = TableMemory(azurite.table_url, "hidden", credential=opened.secret(name))
    search.look(table, table._account, table._service, opened.secret(name))
    await failing(search, table.connect())
    gone = TableMemory("http://127.0.0.1:9/account", "hidden", credential=opened.secret(name))
    await failing(search, gone.connect())
    await failing(search, TableMemory(azurite.table_url, "hidden", credential=opened.secret(bad)).connect())
    await opened.close()
    search.nothing_found()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_sas_of_a_service_that_does_not_speak(
    search: Search,
    vault: KeyVaultServer,
    opened: Vault,
    name: str,
    scheme: str,
) -> None:
    """An answer that is no HTTP, and TLS that never comes about: aiohttp tells of both with the whole URL."""
    vault.set(name, SAS)
    closed: list[asyncio.StreamWriter] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closed.append(writer)
        if scheme == "http":
            writer.write(b"no HTTP\r\n\r\n")
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/account"
    told = "no HTTP" if scheme == "http" else "Connection timeout"
    async with server:
        for sas in (SAS, opened.secret(name)):
            for tier in (
                ColdMemory(url, "hidden", credential=sas, connection_timeout=0.1),
                TableMemory(url, "hidden", credential=sas, connection_timeout=0.1),
            ):
                with pytest.raises(ThermoclineError, match=told) as caught:
                    await tier.connect()
                search.error(caught.value)
        for writer in closed:
            writer.close()
    await opened.close()
    search.nothing_found()


async def test_signature_to_a_cosmos_db_that_does_not_speak(search: Search) -> None:
    """An answer that is no HTTP: aiohttp's error has the request with its Authorization header."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no HTTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    key = base64.b64encode(b"k" * 64).decode()
    async with server:
        with pytest.raises(ThermoclineError) as caught:
            await WarmMemory(url, "hidden", "hidden", key=key).connect()
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "sig%3d" not in repr(seen).lower()
        seen = seen.__cause__ or seen.__context__


async def test_token_of_redis(locked_redis: RedisServer, unique_name: Callable[[str], str], search: Search) -> None:
    user = unique_name("oid")
    credential = Minting(principal=user)
    logins = EntraLogins(credential)
    _, token = await logins.current()
    hot = HotMemory(f"redis://127.0.0.1:{locked_redis.port}", credential_provider=logins)
    await failing(search, hot.connect())
    search.look(logins, logins._tokens, hot, hot._link)
    await hot.close()
    await logins.close()
    search.nothing_found(token)


def test_settings(search: Search) -> None:
    settings = MemorySettings(
        env_file=None,
        redis_url=f"rediss://user:{SECRET.rstrip('=')}@host:1",
        redis_password=SECRET,
        cosmos_account_uri="https://account.documents.azure.com",
        cosmos_key=SECRET,
        blob_account_url=f"https://account.blob.core.windows.net?{SAS}",
        table_account_url=f"https://account.table.core.windows.net?{SAS}",
    )
    search.look(settings, builder(settings, credential=Minting(principal="p")))
    for wrong in (
        {"redis_password_secret_name": SECRET},
        {"redis_host": f"user:{SECRET}@host"},
        {"redis_url": f"http://:{SECRET}@host"},
        {"cosmos_key_secret_name": SECRET},
        {"blob_account_url": f"ftp://host?{SAS}"},
        {"table_account_url": f"ftp://host?{SAS}"},
        {"table_account_url": f"https://host?{SAS}", "table_sas_secret_name": "n", "key_vault_uri": "https://v"},
    ):
        with pytest.raises(ThermoclineError) as caught:
            MemorySettings(env_file=None, **wrong)
        search.error(caught.value)
    search._said.append("." * 1000)
    search.nothing_found()


def test_command_line(
    vault: KeyVaultServer,
    locked_redis: RedisServer,
    unique_name: Callable[[str], str],
    fresh_prefix: str,
    tmp_path: Path,
) -> None:
    """``doctor`` and ``stat`` in a process of their own that finds vault and identity as on Azure, by the default credential, over TLS."""
    name, user = unique_name("hidden"), unique_name("user")
    door = Door([locked_redis], user)
    door.only(SECRET)
    vault.set(name, SECRET)
    environment = {
        **{
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("REDIS_", "COSMOS_", "BLOB_", "TABLE_"))
        },
        **vault.environment,
        "REDIS_URL": f"redis://{user}@127.0.0.1:{locked_redis.port}",
        "REDIS_PASSWORD_SECRET_NAME": name,
        "KEY_VAULT_URI": vault.url,
        "THERMOCLINE_HOT_DEADLINE_MS": "10000",
        "THERMOCLINE_HOME": str(tmp_path),
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "thermocline.cli", *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
        )

    done = [run("set", fresh_prefix, "1"), run("stat", fresh_prefix, "--json")]
    assert [one.returncode for one in done] == [0, 0], [one.stderr + one.stdout for one in done]
    assert json.loads(done[1].stdout)
    vault.enable(name, False)
    done.append(run("doctor"))
    assert done[2].returncode != 0
    assert "disabled" in done[2].stderr + done[2].stdout
    door.forget()
    for one in done:
        assert SECRET not in one.stdout + one.stderr
