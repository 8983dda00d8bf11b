"""`get_or_set`: its time-outs, callers who go, and closing."""

import asyncio

import pytest
from tests.unit.getting.ground import KEY, NEVER, Factory, Ground, Run

from thermocline.client.getting.work import LONGEST_RUN
from thermocline.client.runs import AT_ONCE
from thermocline.errors import (
    ClientClosed,
    FactoryTimeout,
)
from thermocline.model import Key

# --- time-outs, cancelling, closing ----------------------------------------------------------------------------------


def test_the_time_that_is_told_is_rounded(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory = await ground.client()
        with pytest.raises(FactoryTimeout, match=r"within 0\.333 s;"):
            await memory.get_or_set(KEY, Factory(1.0), hard_timeout=1 / 3)
        await asyncio.sleep(1)

    run(main)


def test_the_hard_timeout_ends_the_waiting_and_not_the_factory(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(20.0)
        with pytest.raises(FactoryTimeout):
            await memory.get_or_set(KEY, factory, hard_timeout=0.5)
        assert ground.loop.time() < 0.6
        with pytest.raises(FactoryTimeout):  # without one: the call's own
            await memory.get_or_set(KEY, factory, timeout=2)
        assert ground.loop.time() < 2.7
        await asyncio.sleep(20)
        assert await memory.get(KEY) == 1
        assert factory.runs == 1

    run(main)


def test_a_factory_that_never_ends_is_ended(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(10 * LONGEST_RUN)
        with pytest.raises(FactoryTimeout):
            await memory.get_or_set(KEY, factory, hard_timeout=2 * LONGEST_RUN)
        assert factory.at_once == 0
        factory.seconds = 0.1
        assert await memory.get_or_set(KEY, factory) == 2

    run(main)


def test_cancelling_a_caller_cancels_nobody_else(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(1.0)
        first, second = (asyncio.create_task(memory.get_or_set(KEY, factory)) for _ in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        assert await second == 1
        with pytest.raises(asyncio.CancelledError):
            await first

    run(main)


def test_a_factory_whose_callers_have_all_gone_is_finished(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(1.0)
        caller = asyncio.create_task(memory.get_or_set(KEY, factory))
        await asyncio.sleep(0.5)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await asyncio.sleep(1)
        assert await memory.get(KEY) == 1

    run(main)


def test_of_those_only_so_many_go_on(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(5.0)
        keys = [Key("tenant", "scope", f"n{number}") for number in range(2 * AT_ONCE)]
        calls = [asyncio.create_task(memory.get_or_set(key, factory)) for key in keys]
        await asyncio.sleep(1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0)
        assert factory.at_once == AT_ONCE
        ended = next(key for key in keys if key not in memory._runs._runs)  # which, is the schedule's choice
        assert await memory.get_or_set(ended, factory) > 2 * AT_ONCE  # it can begin anew

    run(main)


def test_who_waits_for_another_process_and_goes_leaves_nothing_behind(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        await ground.hot.inner.take_hold(KEY, "another", 600_000, deadline=NEVER)
        with pytest.raises(FactoryTimeout):
            await memory.get_or_set(KEY, factory, hard_timeout=0.5)
        await asyncio.sleep(0)
        assert len(memory._runs) == 0
        assert factory.runs == 0

    run(main)


def test_closing_waits_a_moment_and_then_ends_the_factories(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(0.5)
        quick = asyncio.create_task(memory.get_or_set(KEY, factory))
        slow = asyncio.create_task(memory.get_or_set(Key("tenant", "scope", "slow"), Factory(60)))
        await asyncio.sleep(0.1)
        await memory.close()
        assert await quick == 1
        with pytest.raises(ClientClosed):
            await slow
        with pytest.raises(ClientClosed):
            await memory.get_or_set(KEY, factory)

    run(main)
