"""A secret that was rotated is read at once by Key Vault's event, before Redis refuses the old one."""

import json
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from azure.identity.aio import ManagedIdentityCredential
from tests.integration.feed.test_feed_worker import event
from tests.integration.identity.load import Door

from thermocline import MemoryClient, MemorySettings
from thermocline.errors import InvalidArgument, TierUnavailable
from thermocline.functions.process import AppProcess
from thermocline.functions.worker import Worker
from thermocline.testing.rig import KeyVaultServer, RedisServer
from thermocline.wiring import connect

NAME = "redis-password"


@pytest.fixture(scope="module")
def locked_redis(no_server_left_behind: None) -> Iterator[RedisServer]:
    with RedisServer(password="the rig's own") as server:
        yield server


@pytest.fixture
def vault(key_vault: KeyVaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyVaultServer]:
    for name, value in key_vault.environment.items():
        monkeypatch.setenv(name, value)
    key_vault.set(NAME, "secret-0")
    yield key_vault
    key_vault.down()


@pytest.fixture
async def process(
    vault: KeyVaultServer, locked_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AppProcess]:
    door = Door([locked_redis], "worker")
    door.only("secret-0")
    monkeypatch.setenv("REDIS_URL", f"redis://{door.user}@127.0.0.1:{locked_redis.port}")
    monkeypatch.setenv("REDIS_PASSWORD_SECRET_NAME", NAME)
    monkeypatch.setenv("KEY_VAULT_URI", vault.url)
    monkeypatch.setenv("THERMOCLINE_HOT_DEADLINE_MS", "10000")
    async with ManagedIdentityCredential(connection_verify=str(vault.ca_file)) as credential:

        async def make(settings: MemorySettings) -> MemoryClient:
            return await connect(settings, credential=credential)

        made = AppProcess(make)
        yield made
        await made.close()
    door.forget()


def asked(vault: KeyVaultServer) -> int:
    return sum(f"/secrets/{NAME}" in str(line) and "200" in str(line) for line in vault.stats()["log"])


async def test_the_new_secret_is_there_before_the_old_one_is_refused(
    process: AppProcess, vault: KeyVaultServer, locked_redis: RedisServer
) -> None:
    worker = Worker(process)
    client = await process.client()
    await client.set("key", 1)
    door = Door([locked_redis], "worker")
    vault.set(NAME, "secret-1")
    vault.stats(reset=True)

    await worker.vault_event(json.dumps(event("SecretNewVersionCreated", NAME.upper())))

    assert asked(vault) == 1
    vault.down("vault")  # from here on nobody can ask: what is not there by now is missing
    door.only("secret-1")
    await door.throw_out()
    assert await client.get("key") == 1
    assert asked(vault) == 1


async def test_near_expiry_without_a_new_version_is_a_warning_with_the_name_alone(
    process: AppProcess, vault: KeyVaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(process)
    await process.client()

    await worker.vault_event(json.dumps(event("SecretNearExpiry", NAME)))
    await worker.vault_event(json.dumps(event("KeyNearExpiry", "disk-key")))
    await worker.vault_event(json.dumps(event("SecretExpired", "other")))

    told = [record for record in caplog.records if record.name == "thermocline.functions"]
    assert [record.levelno for record in told] == [logging.WARNING, logging.WARNING, logging.ERROR]
    assert [name in record.getMessage() for name, record in zip((NAME, "disk-key", "other"), told, strict=True)] == [
        True,
        True,
        True,
    ]
    assert "secret-0" not in caplog.text


async def test_near_expiry_with_a_new_version_is_none(
    process: AppProcess, vault: KeyVaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    await process.client()
    vault.set(NAME, "secret-2")

    await Worker(process).vault_event(json.dumps(event("SecretNearExpiry", NAME)))

    assert "nears its expiry" not in caplog.text


async def test_a_vault_that_is_away_lets_the_message_come_again(process: AppProcess, vault: KeyVaultServer) -> None:
    worker = Worker(process)
    await process.client()
    vault.down("vault")

    with pytest.raises(TierUnavailable):
        await worker.vault_event(json.dumps(event("SecretNewVersionCreated", NAME)))

    vault.down()
    vault.set(NAME, "secret-3")
    await worker.vault_event(json.dumps(event("SecretNewVersionCreated", NAME)))
    assert await (await process.client()).renew_secrets("unused") == {}
    assert await (await process.client()).renew_secrets() == {NAME: False}


async def test_what_is_no_event_is_refused_before_anything_is_made() -> None:
    async def never(settings: MemorySettings) -> MemoryClient:
        raise AssertionError("nothing is to be connected")

    worker = Worker(AppProcess(never))
    for body in ("", "no json", "[]", "{}", '{"type": "Microsoft.Storage.BlobCreated", "data": {}}', b"\xff\xfe"):
        with pytest.raises(InvalidArgument):
            await worker.vault_event(body)
    nameless = event("SecretNewVersionCreated", "x") | {"data": {"ObjectName": "a name\nwith a line"}}
    with pytest.raises(InvalidArgument, match="names no secret"):
        await worker.vault_event(json.dumps(nameless))
    await worker.vault_event(json.dumps(event("CertificateNearExpiry", "x")))
