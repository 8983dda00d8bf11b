"""The builder's tiers: from settings, from parts, without hot; who makes an identity and who closes it."""

from pathlib import Path

import pytest

from thermocline import FolderMemory, MemoryBuilder, MemorySettings, MemoryTier, ProcessMemory, SqliteMemory, connect
from thermocline.errors import ConfigurationError
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory
from thermocline.wiring import builder

SIGNED = "https://account.blob.core.windows.net?sv=2026-01-01&sig=c2lnbmF0dXJl"


async def test_with_nothing_configured_the_tiers_are_embedded_and_under_home(tmp_path: Path) -> None:
    settings = MemorySettings(env_file=None, home=tmp_path / "home")

    tiers = builder(settings).tiers()

    assert {name: type(tier) for name, tier in tiers.items()} == {
        MemoryTier.HOT: ProcessMemory,
        MemoryTier.WARM: SqliteMemory,
        MemoryTier.COLD: FolderMemory,
    }
    assert not (tmp_path / "home").exists()  # building does nothing yet
    async with await connect(settings) as memory:
        await memory.set("key", 1)
    async with await connect(settings) as memory:
        assert await memory.get("key") == 1


async def test_exactly_the_named_services_are_used_and_one_identity_is_made_for_them() -> None:
    settings = MemorySettings(
        env_file=None,
        redis_host="localhost",
        cosmos_account_uri="https://account.documents.azure.com",
        blob_account_url="https://account.blob.core.windows.net",
    )
    made = builder(settings)

    tiers = made.tiers()

    kinds = {name: type(tier) for name, tier in tiers.items()}
    assert kinds == {MemoryTier.HOT: HotMemory, MemoryTier.WARM: WarmMemory, MemoryTier.COLD: ColdMemory}
    warm = tiers[MemoryTier.WARM]
    assert isinstance(warm, WarmMemory)
    assert warm.credential is not None
    await made.close()
    assert list(builder(MemorySettings(env_file=None, redis_host="localhost")).tiers()) == [MemoryTier.HOT]


async def test_an_address_that_is_signed_needs_no_identity() -> None:
    settings = MemorySettings(env_file=None, blob_account_url=SIGNED)
    made = builder(settings)

    assert list(made.tiers()) == [MemoryTier.COLD]
    cold = made.tiers()[MemoryTier.COLD]
    assert isinstance(cold, ColdMemory)
    assert cold._account.credential is None
    assert "c2lnbmF0dXJl" not in repr(settings)


async def test_without_hot_a_client_reads_the_authoritys_own_word(tmp_path: Path) -> None:
    made = MemoryBuilder().with_hot(ProcessMemory()).with_warm(SqliteMemory(tmp_path / "warm.sqlite3")).without_hot()

    async with made.build() as memory:
        await memory.set("key", 1)
        assert await memory.get("key") == 1
        assert set(memory.stats()) == {"warm", "client"}


def test_a_builder_without_tiers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one tier"):
        MemoryBuilder().with_hot(ProcessMemory()).without_hot().build()
