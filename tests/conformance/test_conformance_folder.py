"""A folder as payload store and as the authority."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thermocline.blobs.heads import INLINE_LIMIT
from thermocline.keys import head_path
from thermocline.model import Key, Pointer
from thermocline.testing import ManualClock
from thermocline.testing.conformance import PayloadsConformance, VersionsConformance
from thermocline.tiers.local.folder import FolderMemory


def flip_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


class FolderTier:
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def tier(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[FolderMemory]:
        async with FolderMemory(tmp_path / "folder", clock=clock, fsync=False) as tier:
            yield tier


class TestFolderVersions(FolderTier, VersionsConformance):
    oversize = INLINE_LIMIT

    async def reopen(self, tier: FolderMemory) -> FolderMemory:
        second = FolderMemory(tier.path, clock=ManualClock())
        await second.connect()
        return second

    async def damage(self, tier: FolderMemory, key: Key) -> None:
        await asyncio.to_thread(flip_last_byte, tier.path / head_path(key))


class TestFolderPayloads(FolderTier, PayloadsConformance):
    async def damage(self, tier: FolderMemory, key: Key, pointer: Pointer) -> None:
        await asyncio.to_thread(flip_last_byte, tier.path / pointer.path)
