"""What the tests of `get_or_set` stand on: embedded tiers in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.unit.virtual import Clients

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import TierUnavailable
from thermocline.model import Envelope, Key
from thermocline.protocols import Write, Written
from thermocline.testing import ChaosTier
from thermocline.testing.schedule import SeededLoop
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

KEY = Key("tenant", "scope", "name")
NEVER = Deadline.never()


class Warm(SqliteMemory):
    """An authority that can be down for reads or for writes, and tells no fence."""

    data_version = None  # type: ignore[assignment]
    reads_fail = False
    writes_fail = False

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        if self.reads_fail:
            raise TierUnavailable("it is down", tier="warm")
        return await super().read(key, deadline=deadline)

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        if self.writes_fail:
            raise TierUnavailable("it is down", tier="warm", sent=False)
        return await super().write(write, deadline=deadline)


class Far(ProcessMemory):
    """A hot tier whose holds take a moment, as Redis' do."""

    async def take_hold(self, key: Key, token: str, lasting_ms: int, *, deadline: Deadline) -> bool:
        await asyncio.sleep(0.001)
        return await super().take_hold(key, token, lasting_ms, deadline=deadline)


class Ground(Clients[ChaosTier, Warm]):
    def __init__(self, folder: Path, loop: SeededLoop) -> None:
        super().__init__(loop, ChaosTier(Far(clock=loop.clock)), Warm(folder / "memory.db", clock=loop.clock))

    def counted(self, client: MemoryClient, name: str) -> float:
        return client._engine.stats.get(name, "client")


class Factory:
    """Makes 1, 2, 3 …, each after so many seconds; or raises."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.runs = 0
        self.done = 0
        self.at_once = 0
        self.most_at_once = 0
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.runs += 1
        mine = self.runs
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            self.done += 1
            return mine
        finally:
            self.at_once -= 1


Main = Callable[[Ground], Coroutine[Any, Any, None]]
Run = Callable[[Main], None]
