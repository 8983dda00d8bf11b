"""Who joins a run that is under way is given nothing that was read before he came: it may have been deleted or overwritten since (P3, P4, P6)."""

import asyncio

import pytest
from tests.unit.getting.ground import KEY, Factory, Far, Ground, Run

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import FactoryTimeout
from thermocline.model import Envelope, Key
from thermocline.testing import ChaosTier
from thermocline.tiers.local.process import ProcessMemory


class Late(Far):
    """A hot tier whose next answers to a plain GET are long on their way."""

    late = 0.0
    asked: asyncio.Event

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        found, late = await super().peek(key, deadline=deadline), self.late
        if late:
            self.late = 0.0
            self.asked.set()
        await asyncio.sleep(late)
        return found


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("deleted", [True, False])
def test_what_was_read_before_a_caller_came_is_not_for_him(run: Run, own: bool, deleted: bool) -> None:
    """Found in review: a run that reads what another process made may be joined by who comes after that was deleted."""

    async def main(ground: Ground) -> None:
        hot = Late(clock=ground.loop.clock)
        hot.asked = asyncio.Event()
        ground.hot = ChaosTier(hot)
        await ground.hot.connect()
        other, memory = await ground.client(), await ground.client()
        made = asyncio.create_task(other.get_or_set(KEY, Factory(1.0)))
        await asyncio.sleep(0.1)
        mine = Factory(0.2)
        first = asyncio.create_task(memory.get_or_set(KEY, mine))  # waits for the other's
        assert await made == 1
        hot.late = 0.04  # reads it; the answer is on its way
        await hot.asked.wait()

        writer = memory if own else other
        await (writer.delete(KEY) if deleted else writer.set(KEY, "newer"))
        mine.runs = 10
        assert await memory.get_or_set(KEY, mine) == (11 if deleted else "newer")
        assert await first == 1  # he came before
        assert await memory.get(KEY) == (11 if deleted else "newer")

    run(main)


def test_what_a_run_left_to_another_process_is_for_nobody_who_joined_it(run: Run) -> None:
    """It returns what its first caller had read, which may have been deleted or have expired by then."""

    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(0.2)
        await memory.set(KEY, "old", ttl=10)
        await asyncio.sleep(1)
        assert await ground.hot.inner.take_hold(KEY, "another", 60_000, deadline=Deadline.never())
        assert await memory.get_or_set(KEY, factory, fresh_for=0.5, soft_timeout=0) == "old"
        (under_way,) = memory._runs._runs.values()
        await asyncio.wait([under_way.task])
        assert not under_way.serves(10**9)
        assert factory.runs == 0

    run(main)


class Taken(Far):
    """A hot tier whose answer to who takes a hold is long on its way."""

    async def take_hold(self, key: Key, token: str, lasting_ms: int, *, deadline: Deadline) -> bool:
        taken = await super().take_hold(key, token, lasting_ms, deadline=deadline)
        await asyncio.sleep(0.03)
        return taken


def test_who_goes_while_the_hold_is_being_taken_leaves_none(run: Run) -> None:
    """Found in review: with a short hard_timeout, each call left a hold for which others waited five seconds."""

    async def main(ground: Ground) -> None:
        ground.hot = ChaosTier(Taken(clock=ground.loop.clock))
        await ground.hot.connect()
        hasty, patient, factory = await ground.client(), await ground.client(), Factory(0.1)
        with pytest.raises(FactoryTimeout):
            await hasty.get_or_set(KEY, factory, hard_timeout=0.01)
        began = ground.loop.time()
        assert await patient.get_or_set(KEY, factory) == 1
        assert ground.loop.time() - began < 1

    run(main)


def test_a_factory_that_is_cancelled_from_within_is_told_apart_and_rests(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, runs = await ground.client(), 0

        async def cancelled() -> None:
            nonlocal runs
            runs += 1
            raise asyncio.CancelledError

        with pytest.raises(FactoryTimeout, match="cancelled from within"):
            await memory.get_or_set(KEY, cancelled)
        await memory.set(KEY, "old")
        await asyncio.sleep(1)
        for _ in range(5):
            assert await memory.get_or_set(KEY, cancelled, fresh_for=0.5) == "old"
        assert runs == 2  # a refresh that failed is not tried again at once

    run(main)


async def test_a_plain_factory_that_raises_stop_iteration_holds_nobody_up() -> None:
    """`next(rows)` of no rows: no future takes that exception, and its callers waited for five minutes."""
    async with asyncio.timeout(30), MemoryClient(hot=ProcessMemory()) as memory:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await memory.get_or_set(KEY, lambda: next(iter(())))
