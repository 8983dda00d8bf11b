"""Services that are unreachable, misconfigured, full or damaged: each a clear error of our own tree that says what to do, and nothing half-written."""

import contextlib
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.client.grounds import DATABASE, Embedded, Services, noise, roomy

from thermocline.client import MemoryClient
from thermocline.errors import (
    AccessDenied,
    ConfigurationError,
    CorruptRecord,
    ThermoclineError,
    TierDamaged,
    TierUnavailable,
    TooLarge,
)
from thermocline.model import Corrupt
from thermocline.policy import MemoryRules
from thermocline.testing.rig import RedisServer
from thermocline.testing.rig.ports import free_port
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.warm import WarmMemory

Make = Callable[[Services], dict[str, Any]]
KEY = "Zm9yZ2Vk" * 10 + "Zm9yZ2U="  # base64, and nobody's key

NOWHERE: dict[str, tuple[Make, type[ThermoclineError], str]] = {
    "hot: nothing listens": (
        lambda s: {"hot": HotMemory(f"redis://127.0.0.1:{free_port()}")},
        TierUnavailable,
        "refused|reach|connect",
    ),
    "hot: no such host": (
        lambda s: {"hot": HotMemory("redis://nowhere.invalid:6379")},
        TierUnavailable,
        "nowhere.invalid",
    ),
    "hot: no Redis": (lambda s: {"hot": HotMemory(s.azurite.blob_url.replace("http", "redis"))}, ThermoclineError, "."),
    "warm: nothing listens": (
        lambda s: {"warm": WarmMemory(f"http://127.0.0.1:{free_port()}", DATABASE, "c", key=s.cosmos.key)},
        TierUnavailable,
        "127.0.0.1",
    ),
    "warm: wrong key": (
        lambda s: {"warm": WarmMemory(s.cosmos.url, DATABASE, "clients", key=KEY)},
        AccessDenied,
        "key|role|credential",
    ),
    "warm: no container": (
        lambda s: {"warm": WarmMemory(s.cosmos.url, DATABASE, "missing", key=s.cosmos.key)},
        ConfigurationError,
        "COSMOS_CONTAINER",
    ),
    "warm: neither key nor credential": (
        lambda s: {"warm": WarmMemory(s.cosmos.url, DATABASE, "clients")},
        ConfigurationError,
        "credential",
    ),
    "cold: nothing listens": (
        lambda s: {"cold": ColdMemory(f"http://127.0.0.1:{free_port()}/devstoreaccount1", "memory", credential=KEY)},
        TierUnavailable,
        "127.0.0.1|connect|reach",
    ),
    "cold: wrong key": (
        lambda s: {"cold": ColdMemory(s.azurite.blob_url, "memory", credential=KEY)},
        AccessDenied,
        "key|role|credential",
    ),
    "cold: no container": (
        lambda s: {"cold": ColdMemory(s.azurite.blob_url, "missing", credential=s.azurite.key)},
        ConfigurationError,
        "BLOB_CONTAINER",
    ),
}


@pytest.mark.parametrize("row", NOWHERE)
async def test_services_that_cannot_be_used(services: Services, row: str) -> None:
    make, error, says = NOWHERE[row]
    memory = MemoryClient(**make(services), budget=roomy(connect=15))
    for call in (memory.connect, lambda: memory.set(services.key(), 1), lambda: memory.get(services.key())):
        with pytest.raises(error, match=says):
            await call()
    await memory.close()


async def test_a_hot_tier_that_needs_a_password(services: Services) -> None:
    with RedisServer(password="secret") as server:
        bare = server.url.replace(":secret@", "")
        memory = MemoryClient(hot=HotMemory(bare), budget=roomy())
        with pytest.raises(AccessDenied):
            await memory.set(services.key(), 1)
        await memory.close()
        async with MemoryClient(hot=HotMemory(server.url), budget=roomy()) as known:
            assert (await known.set(services.key(), 1)).found


# --- embedded ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Embedded]:
    ground = Embedded(tmp_path, "tenant")
    yield ground
    await ground.close()


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond this many bytes: what a full disk looks like to a process."""
    before, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, action)


@pytest.mark.parametrize("tiers", [["warm"], ["cold"], ["hot", "warm", "cold"]])
async def test_a_full_disk_refuses_the_write_and_loses_nothing(embedded: Embedded, tiers: list[str]) -> None:
    await embedded.prepare(tiers)
    memory = await embedded.open(rules=MemoryRules(cold_threshold_bytes=100_000))
    key, other, large = embedded.key(), embedded.key("other"), noise(4 * 2**20)
    await memory.set(key, "kept")
    with full_disk(200_000):
        for call in (
            lambda: memory.set(key, large),
            lambda: memory.set(other, large),
            lambda: memory.update(key, lambda value: large),
        ):
            with pytest.raises(TierUnavailable, match=r"full|space|large"):
                await call()
        batch = await memory.set_many({key: large})
        assert isinstance(batch.errors[key], TierUnavailable)
        assert await memory.get(key) == "kept"  # reading goes on
    fresh = await embedded.open(hot=None) if "hot" in tiers else memory
    assert await fresh.get(key) == "kept"
    assert not await fresh.exists(other)
    assert (await memory.set(other, large)).found  # and so does writing, when there is room again
    assert await fresh.get(other) == large


async def test_a_full_process_memory_makes_room_or_says_what_it_holds(embedded: Embedded) -> None:
    async with MemoryClient(hot=ProcessMemory(1_000_000)) as memory:
        with pytest.raises(TooLarge, match="max_bytes"):
            await memory.set(embedded.key(), noise(300_000))
        for number in range(100):
            await memory.set(embedded.key(f"{number}"), noise(50_000))
        assert await memory.get(embedded.key("99")) == noise(50_000)


def damage(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, embedded: Embedded) -> None:
    path = tmp_path / "warm.sqlite3"
    path.write_bytes(b"my diary\n" * 1000)
    memory = MemoryClient(warm=SqliteMemory(path), budget=roomy())
    with pytest.raises(TierDamaged, match=str(path)):
        await memory.get(embedded.key())
    await memory.close()
    assert path.read_bytes() == b"my diary\n" * 1000


async def test_a_damaged_record_raises_and_costs_no_other(tmp_path: Path, embedded: Embedded) -> None:
    await embedded.prepare(["warm"])
    memory = await embedded.open()
    bad, good = embedded.key("bad"), embedded.key("good")
    await memory.set_many({bad: "x" * 100, good: "y"})
    with embedded.shared["warm"]._file.transaction(memory._engine.budget.call()) as transaction:
        transaction.execute(
            "UPDATE records SET record = CAST(substr(record, 1, length(record) - 1) || x'00' AS BLOB) WHERE name = ?",
            ("bad",),
        )
        transaction.commit()
    for call in (lambda: memory.get(bad), lambda: memory.exists(bad), lambda: memory.increment(bad)):
        with pytest.raises(CorruptRecord, match="restore it from a backup"):
            await call()
    assert isinstance(await memory.lookup(bad), Corrupt)
    batch = await memory.get_many([bad, good])
    assert (batch, list(batch.errors)) == ({good: "y"}, [bad])
    await memory.set(bad, "new")  # a new value mends it
    assert await memory.get(bad) == "new"


@pytest.mark.parametrize("part", ["h", "p"])
async def test_a_damaged_file_of_the_folder_is_corrupt_and_costs_no_other(
    tmp_path: Path, embedded: Embedded, part: str
) -> None:
    await embedded.prepare(["cold"])
    memory = await embedded.open(rules=MemoryRules(cold_threshold_bytes=100))
    bad, good = embedded.key("bad"), embedded.key("good")
    await memory.set_many({bad: noise(1000), good: noise(1000)})
    [path] = [path for path in (tmp_path / "cold" / "tc1" / part).rglob("*") if path.is_file() and "/bad" in str(path)]
    damage(path, path.stat().st_size // 2, b"\x00\xff\x00\xff")
    with pytest.raises(CorruptRecord, match="bad"):
        await memory.get(bad)
    assert isinstance(await memory.lookup(bad), Corrupt)
    batch = await memory.get_many([bad, good])
    assert (batch, list(batch.errors)) == ({good: noise(1000)}, [bad])
    if part == "h":  # its version is lost with it, and a new one could be below those that others have seen
        with pytest.raises(CorruptRecord):
            await memory.set(bad, "new")
    else:
        await memory.set(bad, "new")
        assert await memory.get(bad) == "new"


async def test_a_home_that_cannot_be_written(tmp_path: Path, embedded: Embedded) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for tier in (SqliteMemory(blocked / "warm.sqlite3"), FolderMemory(blocked / "cold")):
        name = str(tier.tier)
        memory = MemoryClient(**{name: tier})  # type: ignore[arg-type]
        with pytest.raises(ThermoclineError, match="file"):
            await memory.set(embedded.key(), 1)
        await memory.close()
    assert blocked.read_text() == "in the way"
