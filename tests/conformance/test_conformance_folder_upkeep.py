"""A folder as the authority, and those who keep it in order."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thermocline.keys import head_path
from thermocline.model import Key
from thermocline.testing import ManualClock
from thermocline.testing.conformance import (
    CensusConformance,
    NotesConformance,
    PurgesConformance,
    RelocatesConformance,
)
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

    async def reopen(self, tier: FolderMemory) -> FolderMemory:
        second = FolderMemory(tier.path, clock=ManualClock(), fsync=False)
        await second.connect()
        return second

    async def damage(self, tier: FolderMemory, key: Key) -> None:
        await asyncio.to_thread(flip_last_byte, tier.path / head_path(key))


class TestFolderCensus(FolderTier, CensusConformance):
    pass


class TestFolderRelocates(FolderTier, RelocatesConformance):
    pass


class TestFolderPurges(FolderTier, PurgesConformance):
    pass


class TestFolderNotes(FolderTier, NotesConformance):
    pass
