"""Convoys: what is told to hot in one tick goes there together, each for itself (client/convoys.py)."""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from thermocline.client import MemoryClient
from thermocline.client.result import WriteResult
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, Conflict, ThermoclineError
from thermocline.protocols import Write, Written
from thermocline.resilience import Budget
from thermocline.tiers.local.process import ProcessMemory

PATIENT = Budget(hot=timedelta(seconds=10))  # a slow machine is no outage


class Slow(ProcessMemory):
    """Hot alone, whose writes wait to be let through; notes what came together."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.let.set()
        self.convoys: list[list[str]] = []

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        self.convoys.append([write.key.name])
        await self.let.wait()
        return await super().write(write, deadline=deadline)

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        self.convoys.append([write.key.name for write in writes])
        await self.let.wait()
        return await super().write_many(writes, deadline=deadline)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def held(hot: Slow, calls: Sequence[Awaitable[WriteResult]]) -> list[WriteResult]:
    """Begin them together, and let hot answer when all have begun."""
    hot.let.clear()
    begun = [asyncio.ensure_future(call) for call in calls]
    await turns()
    hot.let.set()
    return await asyncio.gather(*begun)


async def test_the_first_goes_at_once_and_the_others_together_in_their_order() -> None:
    hot = Slow()
    async with MemoryClient(hot=hot, budget=PATIENT) as memory:
        results = await held(hot, [memory.set(f"n{number}", number) for number in range(5)])
        assert hot.convoys == [["n0"], ["n1", "n2", "n3", "n4"]]
        assert [result.found for result in results] == [True] * 5
        hot.convoys.clear()
        await held(hot, [memory.set("a", 1), memory.set("b", 1)])
        assert hot.convoys == [["a"], ["b"]], "Redis runs the first one's script while the others are prepared"


async def test_each_answers_for_itself() -> None:
    async with MemoryClient(hot=Slow(), budget=PATIENT) as memory:
        await memory.set("there", 1)
        came = await asyncio.gather(
            memory.set("x", 1),
            memory.set("there", 2, if_absent=True),
            memory.set("new", 2, if_absent=True),
            memory.set("there", 3, if_version=7),
            memory.delete("nothing"),
            return_exceptions=True,
        )
        kinds: list[Any] = [type(one) for one in came]
        assert kinds[1] is kinds[3] is Conflict
        assert [await memory.get(name) for name in ("x", "there", "new")] == [1, 1, 2]


async def test_what_was_cancelled_before_it_left_is_not_sent_and_disturbs_nobody() -> None:
    hot = Slow()
    async with MemoryClient(hot=hot, budget=PATIENT) as memory:
        hot.let.clear()
        first = asyncio.create_task(memory.set("first", 1))
        await turns()
        others = [asyncio.create_task(memory.set(f"n{number}", number)) for number in range(4)]
        await asyncio.sleep(0)  # they have joined, and the convoy has not left
        others[1].cancel()
        await turns()
        others[2].cancel()  # it is on its way
        await turns()
        hot.let.set()
        came = await asyncio.gather(first, *others, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in came] == [False, False, True, True, False]
        assert hot.convoys == [["first"], ["n0", "n2", "n3"]]
        assert await memory.get("n1") is None


async def test_who_waits_while_the_client_closes_is_told() -> None:
    hot = Slow()
    memory = MemoryClient(hot=hot, budget=PATIENT)
    await memory.connect()
    hot.let.clear()
    writes = [asyncio.create_task(memory.set(f"n{number}", 1)) for number in range(3)]
    await turns(5)
    closing = asyncio.create_task(memory.close())
    for write in writes[1:]:
        with pytest.raises(ClientClosed):
            await write
    hot.let.set()
    await closing
    await asyncio.gather(writes[0], return_exceptions=True)
