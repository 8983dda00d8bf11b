"""Hot that missed a write is told as soon as it can be reached: the recovery queue paces itself, and does not wait for the circuit breaker."""

import asyncio
from pathlib import Path
from typing import Any

from thermocline.client import MemoryClient
from thermocline.testing.chaos import ChaosTier
from thermocline.testing.schedule import SeededLoop
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

PAUSE = 5.0  # the longest between two tries of the queue, seconds


def test_the_queue_does_not_wait_for_the_breaker(tmp_path: Path) -> None:
    """Found by the histories: a client that was cut off from Redis for half a second owed it the news for half a minute."""
    loop = SeededLoop(seed=1)

    async def main() -> None:
        hot: Any = ChaosTier(ProcessMemory(clock=loop.clock))
        warm = SqliteMemory(tmp_path / "a.db", clock=loop.clock)
        async with MemoryClient(hot=hot, warm=warm, clock=loop.clock) as memory:
            hot.down = True
            for _ in range(20):  # the breaker opens, and for longer each time
                result = await memory.set("key", "value")
                assert not result.hot
                await asyncio.sleep(5)
            assert memory.stats()["hot"]["breaker"] == "open"
            hot.down = False
            began = loop.time()

            assert await memory.settled(timeout=60)

            assert loop.time() - began <= PAUSE + 0.1
            assert memory.stats()["hot"]["breaker"] == "closed"  # it was a probe, too
            assert (await memory.set("key", "value")).hot

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
