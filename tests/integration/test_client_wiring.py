"""`thermocline.connect` with the variables of real services."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import thermocline
from thermocline.errors import ConfigurationError, TierUnavailable
from thermocline.model import Authority
from thermocline.settings import MemorySettings, variables
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer
from thermocline.wiring import builder


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in MemorySettings.model_fields:
        for name in variables(field):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THERMOCLINE_HOME", str(tmp_path / "home"))


async def test_variables_name_the_services(
    redis_server: RedisServer,
    cosmos_server: CosmosServer,
    unique_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("COSMOS_ACCOUNT_URI", cosmos_server.url)
    monkeypatch.setenv("COSMOS_KEY", cosmos_server.key)
    monkeypatch.setenv("COSMOS_DATABASE", unique_name("d"))
    for name in ("HOT", "WARM"):
        monkeypatch.setenv(f"THERMOCLINE_{name}_DEADLINE_MS", "10000")  # a slow machine is no outage
    key = thermocline.Key(unique_name("t"), "scope", "name")
    with pytest.raises(ConfigurationError, match="COSMOS_CONTAINER"):
        await thermocline.connect()  # it makes no container by itself
    async with builder(create=True).build() as memory:
        assert (await memory.set(key, 1, ttl=timedelta(hours=1))).authority is Authority.WARM
    async with await thermocline.connect() as memory:
        assert await memory.get(key) == 1
        assert memory.stats()["hot"]["hits"] == 1
    assert not (tmp_path / "home").exists()


async def test_blob_alone(azurite: Azurite, unique_name: Callable[[str], str]) -> None:
    made = thermocline.MemoryBuilder().with_cold(
        blob_account_url=azurite.blob_url, container=unique_name("c"), credential=azurite.key, create=True
    )
    async with made.build() as memory:
        assert (await memory.set("name", 1)).authority is Authority.COLD
        assert await memory.get("name") == 1


async def test_redis_alone(redis_server: RedisServer, fresh_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(redis_server.port))
    monkeypatch.setenv("THERMOCLINE_HOT_DEADLINE_MS", "10000")
    async with await thermocline.connect() as memory:
        written = await memory.set(fresh_prefix, 1)
        assert (written.authority, written.durable) == (Authority.HOT, False)
        assert await memory.get(fresh_prefix) == 1


async def test_an_authority_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://nowhere.invalid")
    with pytest.raises(TierUnavailable, match=r"nowhere\.invalid"):
        await thermocline.connect()
