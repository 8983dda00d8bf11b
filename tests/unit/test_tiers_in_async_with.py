"""Every public tier is connected and closed by ``async with``; the embedded ones that were made so last."""

from pathlib import Path

import pytest

import thermocline
from thermocline import ConfigurationError, Key, MemoryClient, ProcessMemory, SqliteMemory
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed

TIERS = [name for name in thermocline.__all__ if name.endswith("Memory") and name != "ScopedMemory"]
KEY = Key("tenant", "scope", "name")


@pytest.mark.parametrize("name", [*TIERS, "LegacyDocuments"])
def test_every_tier_is_an_async_context_manager(name: str) -> None:
    kind = getattr(thermocline, name)
    assert callable(kind.__aenter__)
    assert callable(kind.__aexit__)
    assert len(TIERS) == 7


async def test_a_sqlite_memory_is_open_within_and_closed_after(tmp_path: Path) -> None:
    async with SqliteMemory(tmp_path / "warm.sqlite3") as tier:
        within = tier.connected
        assert await tier.read(KEY, deadline=Deadline.after(5)) is None
    assert (within, tier.connected) == (True, False)
    with pytest.raises(ClientClosed):
        await tier.read(KEY, deadline=Deadline.after(5))


async def test_a_process_memory_is_open_within_and_closed_after() -> None:
    async with ProcessMemory() as tier:
        within = tier.connected
    assert (within, tier.connected) == (True, False)


async def test_what_cannot_be_opened_is_not_left_half_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    tier = SqliteMemory(tmp_path / "file" / "warm.sqlite3")
    with pytest.raises((ConfigurationError, thermocline.TierUnavailable)):
        async with tier:
            pass
    assert not tier.connected


async def test_a_client_leaves_it_open_for_its_owner(tmp_path: Path) -> None:
    async with SqliteMemory(tmp_path / "warm.sqlite3") as tier:
        async with MemoryClient(warm=tier) as memory:
            await memory.set("name", 1)
        assert tier.connected
