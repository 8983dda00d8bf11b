"""How late the change feed is: told while it is, and not for ever after a batch that was."""

from pathlib import Path
from typing import Any

from thermocline import MemoryClient, ProcessMemory, SqliteMemory, telemetry
from thermocline.feed import Settling
from thermocline.testing import ManualClock


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
