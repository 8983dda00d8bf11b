"""A wall clock that is turned while a client runs makes nothing expire early or late: the monotonic clock counts until the authority has told its time."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline import MemoryClient
from thermocline.client.turns import Turns
from thermocline.clock import Deadline
from thermocline.errors import TierUnavailable
from thermocline.model import Key
from thermocline.testing import JumpingClock, ManualClock
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

KEY = Key("tenant", "scope", "name")
HOUR = 3600


class Dated(SqliteMemory):
    """An authority with an epoch that tells how far its clock is from the client's, as its last answer showed it."""

    def __init__(self, path: Path, clock: JumpingClock) -> None:
        super().__init__(path)
        self.turned = clock
        self.skew_ms = 0
        self.asked = asyncio.Event()
        self.down = 0

    async def epoch(self) -> int:
        if self.down:
            self.down -= 1
            raise TierUnavailable("away", tier="warm")
        self.skew_ms = -self.turned.ahead_ms
        self.asked.set()
        return 0


class Asked(FolderMemory):
    """An authority without an epoch that tells how far its clock is from the client's, as its last answer showed it."""

    def __init__(self, path: Path, clock: JumpingClock) -> None:
        super().__init__(path, fsync=False)
        self.turned = clock
        self.skew_ms = 0
        self.asked = asyncio.Event()
        self.down = 0

    async def ping(self, *, deadline: Deadline) -> None:
        if self.down:
            self.down -= 1
            raise TierUnavailable("away", tier="cold")
        self.skew_ms = -self.turned.ahead_ms
        self.asked.set()


def test_only_a_turn_is_noticed() -> None:
    clock = ManualClock()
    turns = Turns(clock)
    clock.advance(10 * HOUR)
    clock.set_wall(clock.wall_ms() + 900)
    assert turns.by_ms() == 0
    assert not turns.noticed.is_set()
    clock.set_wall(clock.wall_ms() - HOUR * 1000)
    assert turns.by_ms() == -HOUR * 1000 + 900
    assert turns.noticed.is_set()
    turns.believe()
    assert turns.by_ms() == 0
    assert not turns.noticed.is_set()


@pytest.mark.parametrize("epoch", [True, False])
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_nothing_expires_by_a_turned_clock(tmp_path: Path, jump: int, epoch: bool) -> None:
    clock = JumpingClock()
    tier = Dated(tmp_path / "warm.sqlite3", clock) if epoch else Asked(tmp_path / "cold", clock)
    tiers: dict[str, Any] = {"warm" if epoch else "cold": tier}
    async with MemoryClient(hot=ProcessMemory(), clock=clock, **tiers) as memory:
        before = await memory.set(KEY, "kept", ttl=timedelta(minutes=5))
        tier.down = 1
        tier.asked.clear()
        clock.jump(jump)
        assert await memory.get(KEY) == "kept"
        during = await memory.set(KEY, "kept", ttl=timedelta(minutes=5))
        await tier.asked.wait()  # at once, and again after it was away: not at the next look in half a minute
        while memory._engine.turns is None or memory._engine.turns.noticed.is_set():  # noqa: ASYNC110 - until it is cleared again
            await asyncio.sleep(0)
        assert await memory.get(KEY) == "kept"
        after = await memory.set(KEY, "kept", ttl=timedelta(minutes=5))
    assert before.expires is not None
    for later in (during.expires, after.expires):
        assert later is not None
        assert timedelta(0) <= later - before.expires < timedelta(minutes=1)
