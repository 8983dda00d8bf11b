"""The commands against real services: a backup in a container, by a SAS; old data by its services' settings."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from azure.storage.blob.aio import BlobServiceClient
from typer.testing import CliRunner, Result

from thermocline.cli.app import app
from thermocline.testing.rig import Azurite, RedisServer

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.env").write_text(f"THERMOCLINE_HOME={tmp_path / 'new'}\n")

    def run_it(*words: str) -> Result:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it


def sas(azurite: Azurite) -> str:
    return generate_account_sas(
        azurite.account,
        azurite.key,
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(**dict.fromkeys(("read", "write", "delete", "list", "add", "create"), True)),
        datetime.now(UTC) + timedelta(hours=1),
    )


def parsed(result: Result) -> Any:
    assert result.exit_code == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def test_a_backup_in_a_container(run: Run, azurite: Azurite, unique_name: Callable[[str], str], tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"))
    assert run("set", "n", "1", *home).exit_code == 0
    place = f"{azurite.blob_url}/{unique_name('kept')}/daily/1?{sas(azurite)}"
    assert parsed(run("backup", place, "--json", *home))["records"] == 1
    assert run("backup", place, *home).exit_code == 6
    assert parsed(run("backup", place, "--verify", "--json", *home))["chunks"][0]["name"] == "chunk-000001.jsonl"
    assert parsed(run("restore", place, "--json", "--home", str(tmp_path / "back")))["written"] == 1
    assert run("get", "n", "--home", str(tmp_path / "back")).stdout == "1\n"
    told = run("backup", "ftp://somewhere/else")
    assert (told.exit_code, "a folder, or a URL" in told.stderr) == (2, True)
    assert (
        "sig=" not in run("backup", f"{azurite.blob_url}/nowhere-{unique_name('x')}?{sas(azurite)}", "--verify").stderr
    )


def test_old_data_by_its_services_settings(
    run: Run,
    redis_server: RedisServer,
    azurite: Azurite,
    unique_name: Callable[[str], str],
) -> None:
    name = unique_name("old")
    redis_url = f"{redis_server.url.rsplit('/', 1)[0]}/9"

    async def leave() -> None:
        async with redis.asyncio.from_url(redis_url) as server:
            await server.flushdb()
            await server.set(f"{name}-hot", "in redis")
        async with BlobServiceClient(azurite.blob_url, credential=azurite.key) as service:
            container = await service.create_container(name)
            await container.upload_blob(f"{name}-cold", b"in a blob")

    asyncio.run(leave())
    old = (
        "--legacy",
        "--redis-url",
        redis_url,
        "--blob-account-url",
        f"{azurite.blob_url}?{sas(azurite)}",
        "--blob-container",
        name,
    )
    plan = parsed(run("migrate", "plan", "--to", "new.env", "--json", *old))
    assert (plan["records"], plan["possible"]) == (2, True)
    assert parsed(run("migrate", "copy", "--to", "new.env", "--json", *old))["written"] == 2
    assert parsed(run("migrate", "verify", "--to", "new.env", "--json", *old))["equal"] == 2
    assert parsed(run("migrate", "copy", "--to", "new.env", "--json", *old))["same"] == 2
    assert run("get", f"{name}-hot", "--env-file", "new.env").stdout == "in redis\n"
    assert run("get", f"{name}-cold", "--env-file", "new.env").stdout == "in a blob\n"
    assert run("migrate", "cut-over", "--to", "new.env", *old).exit_code == 2
    assert run("migrate", "copy", "--to", "new.env", "--legacy").exit_code == 2, "no services are named"
