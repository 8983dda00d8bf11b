from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thermocline.testing import ManualClock
from thermocline.tiers.local.folder import FolderMemory


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def folder(tmp_path: Path, clock: ManualClock) -> AsyncIterator[FolderMemory]:
    async with FolderMemory(tmp_path / "cold", clock=clock, fsync=False) as tier:
        yield tier
