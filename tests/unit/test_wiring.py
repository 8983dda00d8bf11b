"""From settings to a client: the embedded tiers with nothing configured, the builder, and errors that name what to change."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import thermocline
from thermocline import MemoryBuilder, MemoryRules, MemorySettings, Route
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import ConfigurationError
from thermocline.model import Authority, MemoryTier
from thermocline.settings import variables
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.warm import WarmMemory
from thermocline.wiring import builder

SERVICES = [name for field in MemorySettings.model_fields for name in variables(field)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is configured but the home."""
    for name in SERVICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THERMOCLINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_every_public_name_can_be_imported() -> None:
    for name in thermocline.__all__:
        assert getattr(thermocline, name) is not None, name
    assert set(thermocline.__all__) <= set(dir(thermocline))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = thermocline.no_such_name


# --- embedded ----------------------------------------------------------------------------------------------------------


async def test_with_nothing_configured_the_embedded_tiers_lie_in_the_home(home: Path) -> None:
    async with await thermocline.connect() as memory:
        written = await memory.set("name", "value")
        assert (written.authority, written.durable) == (Authority.WARM, True)
        await memory.set("large", b"\x00\xff" * 200_000)
    assert (home / "warm.sqlite3").is_file()
    assert (home / "cold").is_dir()
    async with await thermocline.connect() as memory:
        assert await memory.get("name") == "value"
        assert await memory.get("large") == b"\x00\xff" * 200_000


async def test_a_client_is_not_connected_by_the_builder(home: Path) -> None:
    made = builder()
    assert [type(tier) for tier in made.tiers().values()] == [ProcessMemory, SqliteMemory, FolderMemory]
    memory = made.build()
    assert not any(home.parent.iterdir())
    assert await memory.get("name") is None
    assert memory.stats()["warm"]["reads"] == 1
    await memory.close()


async def test_settings_are_heeded(home: Path) -> None:
    settings = MemorySettings(home=home / "other", hot_max_bytes=2**20, compression="gzip", call_deadline_ms=1234)
    async with await thermocline.connect(settings) as memory:
        await memory.set("name", "x" * 100_000)
        engine = memory._engine
        assert engine.codec.encode(thermocline.Key.of("n"), "x" * 5000, now_ms=1).header.compressor == 2
        before, deadline, after = time.monotonic(), engine.budget.call(), time.monotonic()
        assert before + 1.234 <= deadline.at <= after + 1.234
        hot: Any = engine.hot
        assert hot._max_bytes == 2**20
    assert (home / "other" / "warm.sqlite3").is_file()


_CHILD = """
import asyncio, json, sys
import thermocline

async def main():
    async with await thermocline.connect() as memory:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            verb, key, *value = json.loads(line)
            if verb == "set":
                await memory.set(key, value[0])
                answer = None
            elif verb == "delete":
                await memory.delete(key)
                answer = None
            elif verb == "increment":
                answer = [await memory.increment(key) for _ in range(value[0])][-1]
            else:
                answer = await memory.get(key)
            print(json.dumps(answer), flush=True)

asyncio.run(main())
"""


class Child:
    """Another process with a client of its own on the same home."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.answer() == "ready"

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def send(self, *words: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def ask(self, *words: Any) -> Any:
        self.send(*words)
        return self.answer()

    def close(self) -> None:
        self.process.communicate(timeout=60)


async def test_two_processes_share_a_home_and_see_each_others_writes_at_once() -> None:
    """Each has a hot tier of its own: SQLite's data_version fences it."""
    child = await asyncio.to_thread(Child)
    try:
        async with await thermocline.connect() as memory:
            for number in range(50):
                await memory.set("name", number)
                assert await memory.get("name") == number  # from this process' memory
                assert child.ask("get", "name") == number
                child.ask("set", "name", -number)
                assert await memory.get("name") == -number
                assert child.ask("get", "name") == -number
            child.ask("delete", "name")
            assert await memory.get("name", default="gone") == "gone"
            stats = memory.stats()["hot"]
            assert stats["hits"] >= 50
    finally:
        await asyncio.to_thread(child.close)


async def test_two_processes_count_together() -> None:
    child = await asyncio.to_thread(Child)
    try:
        async with await thermocline.connect() as memory:
            child.send("increment", "count", 30)
            for _ in range(30):
                await memory.increment("count")
            await asyncio.to_thread(child.answer)
            assert await memory.get("count") == 60
            assert child.ask("get", "count") == 60
    finally:
        await asyncio.to_thread(child.close)


# --- the builder -------------------------------------------------------------------------------------------------------


def test_no_tier_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="at least one tier"):
        MemoryBuilder().build()
    with pytest.raises(ConfigurationError, match="at least one tier"):
        MemoryBuilder().with_hot(ProcessMemory()).without_hot().build()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda b: b.with_hot(), "url or a host"),
        (lambda b: b.with_warm(), "cosmos_endpoint"),
        (lambda b: b.with_cold(), "blob_account_url"),
        (lambda b: b.with_rules(MemoryRules(), write_cold=True), "not both"),
        (lambda b: b.with_rules(no_such_rule=True), "no_such_rule"),
        (lambda b: b.with_hot(url="http://host"), "redis"),
        (lambda b: b.with_hot(host="host/path"), "host"),
    ],
)
def test_what_a_builder_cannot_use(call: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        call(MemoryBuilder())


async def test_tiers_rules_routes_and_options(tmp_path: Path) -> None:
    codec = Codec(compression=None)
    made = (
        MemoryBuilder()
        .with_hot(ProcessMemory())
        .with_warm(SqliteMemory(tmp_path / "w.db"))
        .with_cold(FolderMemory(tmp_path / "cold"))
        .with_rules(hot_ttl_seconds=60, warm_ttl_seconds=3600)
        .with_route(Route("hot/", rules=MemoryRules(write_through=False)))
        .with_options(codec=codec)
    )
    assert list(made.tiers()) == [MemoryTier.HOT, MemoryTier.WARM, MemoryTier.COLD]
    async with made.build() as memory:
        assert memory._engine.codec is codec
        assert (await memory.set("name", 1)).authority is Authority.WARM
        assert await memory.ttl("name") is not None
        assert (await memory.set("hot/name", 1)).authority is Authority.HOT


def test_parts_make_the_tiers_of_the_services() -> None:
    made = (
        MemoryBuilder()
        .with_hot(host="cache.example.redis.azure.net", port=10000, password="p@ss", ssl=True)
        .with_warm(cosmos_endpoint="https://a.documents.azure.com:443/", key="Zm9v")
        .with_cold(blob_account_url="https://a.blob.core.windows.net/?sv=1&sig=x")
    )
    hot, warm, cold = made.tiers().values()
    assert isinstance(hot, HotMemory)
    assert hot.url.startswith("rediss://")
    assert isinstance(warm, WarmMemory)
    assert isinstance(cold, ColdMemory)


async def test_one_credential_is_made_for_both_and_closed_with_the_client() -> None:
    made = (
        MemoryBuilder()
        .with_warm(cosmos_endpoint="https://a.documents.azure.com:443/")
        .with_cold(blob_account_url="https://a.blob.core.windows.net/")
    )
    closes = made._options["closes"]
    assert len(closes) == 1
    assert hasattr(closes[0], "get_token")
    await made.build().close()
    with_key = MemoryBuilder().with_warm(cosmos_endpoint="https://a.documents.azure.com:443/", key="Zm9v")
    assert "closes" not in with_key._options


# --- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "kinds"),
    [
        ({"REDIS_URL": "redis://host"}, [HotMemory]),
        ({"REDIS_HOST": "host", "REDIS_PASSWORD": "x"}, [HotMemory]),
        ({"COSMOS_ENDPOINT": "https://host:443/", "COSMOS_KEY": "Zm9v"}, [WarmMemory]),
        (
            {"REDIS_URL": "redis://host", "COSMOS_ACCOUNT_URI": "https://host/", "COSMOS_KEY": "Zm9v"},
            [HotMemory, WarmMemory],
        ),
    ],
)
def test_the_environment_names_the_tiers(
    variables: dict[str, str], kinds: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert [type(tier) for tier in builder().tiers().values()] == kinds


async def test_a_dotenv_file_in_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BLOB_ACCOUNT_URL=https://host/?sig=x\nBLOB_CONTAINER=other\n")
    made = builder()
    assert [type(tier) for tier in made.tiers().values()] == [ColdMemory]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://host"),
        ("REDIS_PORT", "99999"),
        ("COSMOS_ACCOUNT_URI", "host"),
        ("COSMOS_KEY", "alone"),
        ("BLOB_CONTAINER", "No"),
        ("THERMOCLINE_HOT_MAX_BYTES", "many"),
        ("THERMOCLINE_CALL_DEADLINE_MS", "0"),
        ("THERMOCLINE_COMPRESSION", "lz4"),
        ("THERMOCLINE_HOT_MAX_BYTE", "1"),
    ],
)
async def test_errors_name_the_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        await thermocline.connect()


@pytest.fixture
def blocked(home: Path) -> None:
    (home / "warm.sqlite3").mkdir(parents=True)


async def test_a_connect_that_fails_leaves_nothing_open(blocked: None) -> None:
    with pytest.raises(thermocline.ThermoclineError, match=r"warm\.sqlite3"):
        await thermocline.connect()


async def test_the_embedded_authority_can_be_asked_directly(home: Path) -> None:
    made = builder()
    warm = made.tiers()[MemoryTier.WARM]
    async with made.build() as memory:
        await memory.set("name", 1)
        await warm.ping(deadline=Deadline.after(10))
