"""Hot that missed a write is told as soon as it can be reached: the recovery queue paces itself, and does not wait for the circuit breaker."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError, TierDamaged
from thermocline.protocols import EntryOperation, Found
from thermocline.testing.chaos import ChaosTier
from thermocline.testing.schedule import SeededLoop
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory


class Choosy(ProcessMemory):
    """A hot tier where another program has put something under one name."""

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        if operation.key.name == "another's":
            raise TierDamaged("something else lies under the key", tier="hot")
        return await super().operate(operation, deadline=deadline)

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        answers: list[Found | ThermoclineError | None] = []
        for operation in operations:
            try:
                answers.append(await self.operate(operation, deadline=deadline))
            except TierDamaged as error:
                answers.append(error)
        return answers


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


def test_a_key_that_hot_refuses_for_ever_does_not_keep_all_of_hot_from_being_read(tmp_path: Path) -> None:
    """Found in review: one Redis key of another type, and after the next outage hot's breaker never closed."""
    loop = SeededLoop(seed=1)

    async def main() -> None:
        hot: Any = ChaosTier(Choosy(clock=loop.clock))
        warm = SqliteMemory(tmp_path / "a.db", clock=loop.clock)
        async with MemoryClient(hot=hot, warm=warm, clock=loop.clock) as memory:
            assert (await memory.set("key", "value")).hot
            assert not (await memory.set("another's", 1)).hot  # is due from now on, and will never be told
            assert memory.stats()["hot"]["breaker"] == "closed"
            hot.down = True
            for _ in range(10):
                assert await memory.get("key") == "value"
            assert memory.stats()["hot"]["breaker"] == "open"
            hot.down = False
            began = loop.time()
            while memory.stats()["hot"]["breaker"] != "closed" and loop.time() < began + 120:
                await asyncio.sleep(0.5)
                assert await memory.get("key") == "value"
            assert loop.time() - began <= 2 * PAUSE
            assert await memory.get("another's") == 1
            assert not await memory.settled(timeout=1)  # what is due is still known

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
