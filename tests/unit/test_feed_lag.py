"""How late the change feed is: told while it is, and not for ever after a batch that was."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from thermocline import MemoryClient, ProcessMemory, SqliteMemory, telemetry
from thermocline.feed import Settling
from thermocline.testing import ManualClock


class Feed:
    """Batches of one document each, so many seconds late."""

    def __init__(self, client: MemoryClient) -> None:
        letters: Any = None  # nothing is set aside here
        self.clock = ManualClock()
        self.settling = Settling(client, letters, clock=self.clock)

    async def batch(self, late: int) -> float:
        done = await self.settling.settle([{"id": "no record", "_ts": self.clock.wall_ms() // 1000 - late}])
        assert late <= done.lag <= late + 1
        return done.lag


@pytest.fixture
async def feed(tmp_path: Path) -> AsyncIterator[Feed]:
    async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "warm.sqlite3")) as client:
        made = Feed(client)
        yield made
        made.settling.close()


async def test_a_feed_with_nothing_new_is_not_late(tmp_path: Path) -> None:
    clock = ManualClock()
    letters: Any = None  # nothing is set aside here
    async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "warm.sqlite3")) as client:
        worker = Settling(client, letters, clock=clock)
        late = {"id": "no record", "_ts": clock.wall_ms() // 1000 - 400}

        before = list(worker.gauges())
        done = await worker.settle([late])
        at_once = list(worker.gauges())
        clock.advance(119)
        soon_after = list(worker.gauges())
        clock.advance(2)
        idle = list(worker.gauges())
        worker.close()

    assert 399 <= done.lag <= 401
    assert before == idle == [(telemetry.FEED_LAG, telemetry.CLIENT, 0.0)]
    assert at_once == soon_after == [(telemetry.FEED_LAG, telemetry.CLIENT, done.lag)]


async def test_a_partition_that_is_on_time_hides_no_late_one(feed: Feed) -> None:
    late = await feed.batch(400)
    feed.clock.advance(60)
    on_time = await feed.batch(3)
    both = feed.settling.lag
    feed.clock.advance(61)
    late_one_ended = feed.settling.lag
    feed.clock.advance(60)

    assert both == late == feed.settling.lag + late
    assert late_one_ended == on_time


async def test_what_comes_later_and_is_as_late_takes_its_place(feed: Feed) -> None:
    for late in (100, 300, 200):
        await feed.batch(late)
        feed.clock.advance(50)

    told = []
    for _ in range(4):
        told.append(int(feed.settling.lag) // 100 * 100)
        feed.clock.advance(25)

    assert told == [300, 200, 200, 0]


async def test_many_batches_of_a_feed_that_catches_up_are_a_few_figures(feed: Feed) -> None:
    for late in range(5000, 0, -1):
        await feed.batch(late)
        feed.clock.advance(0.1)

    assert len(feed.settling._late) <= 121
    assert 1150 <= feed.settling.lag <= 1220  # of two minutes ago, and no older: 1200 batches
