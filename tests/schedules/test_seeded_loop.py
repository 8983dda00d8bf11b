"""The loop under the schedules: its order and its clock come from the seed, and it promises what asyncio's own loops promise."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from thermocline.testing import ScheduleStuckError, SeededLoop


@contextmanager
def seeded(seed: int = 0, **options: Any) -> Iterator[SeededLoop]:
    loop = SeededLoop(seed, **options)
    try:
        yield loop
    finally:
        loop.close()


def run(main: Coroutine[Any, Any, Any], seed: int = 0) -> tuple[Any, SeededLoop]:
    with seeded(seed) as loop:
        return loop.run_until_complete(main), loop


async def three() -> list[str]:
    """Three tasks of two steps each, and the order in which they made them."""
    order: list[str] = []

    async def walk(name: str) -> None:
        for _ in range(2):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(*map(walk, "abc"))
    return order


def test_every_order_of_tasks_is_found_and_the_same_seed_gives_the_same() -> None:
    orders = {seed: tuple(run(three(), seed)[0]) for seed in range(1000)}
    assert len(set(orders.values())) == 90  # 6! / (2! 2! 2!)
    assert all(tuple(run(three(), seed)[0]) == orders[seed] for seed in range(50))


def test_digests_tell_schedules_apart() -> None:
    runs = [run(three(), 7)[1], run(three(), 7)[1]]
    assert runs[0].digest == runs[1].digest
    assert runs[0].steps == runs[1].steps
    assert len({run(three(), seed)[1].digest for seed in range(100)}) == 100


def test_a_journal_says_who_went_on_and_when() -> None:
    async def main() -> None:
        await asyncio.create_task(asyncio.sleep(1.5), name="sleeper")

    with seeded(journal=True) as loop:
        loop.run_until_complete(main())
        assert loop.journal is not None
        assert "1.500000 task sleeper" in loop.journal


def test_time_jumps_to_the_next_timer_and_both_clocks_with_it() -> None:
    async def main() -> tuple[float, float, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SeededLoop)
        wall = loop.clock.wall_ms()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3600))
            group.create_task(asyncio.sleep(5))
        return loop.time(), loop.clock.monotonic(), loop.clock.wall_ms() - wall

    assert run(main())[0] == (3600.0, 3600.0, 3_600_000)


def test_a_timeout_comes_before_what_takes_longer() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.25):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main())[0] == 0.25


def test_a_cancelled_timer_moves_no_clock() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(1000, lambda: None).cancel()
        await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    assert run(main())[0] == 1.0


def test_plain_callbacks_keep_their_order() -> None:
    async def main() -> list[int]:
        called: list[int] = []
        loop = asyncio.get_running_loop()
        busy = [asyncio.create_task(three()) for _ in range(3)]
        for number in range(20):
            loop.call_soon(called.append, number)
        await asyncio.gather(*busy)
        await asyncio.sleep(1)
        return called

    for seed in range(20):
        assert run(main(), seed)[0] == list(range(20))


def test_an_executors_work_is_a_step_in_this_thread() -> None:
    async def main() -> tuple[list[str], bool]:
        loop = asyncio.get_running_loop()
        order: list[str] = []

        def work(name: str) -> bool:
            order.append(name)
            return threading.current_thread() is threading.main_thread()

        with ThreadPoolExecutor(1) as pool:
            here = await asyncio.gather(loop.run_in_executor(pool, work, "a"), loop.run_in_executor(None, work, "b"))
        return order, all(here)

    results = [run(main(), seed)[0] for seed in range(30)]
    assert all(here for _, here in results)
    assert {tuple(order) for order, _ in results} == {("a", "b"), ("b", "a")}


def test_an_executors_error_is_the_callers() -> None:
    def work() -> None:
        raise LookupError("nothing there")

    async def main() -> None:
        with pytest.raises(LookupError, match="nothing there"):
            await asyncio.get_running_loop().run_in_executor(None, work)

    _, loop = run(main())
    assert loop.errors == []


def test_work_whose_caller_is_cancelled_is_done_or_left_but_nothing_between() -> None:
    async def main() -> int:
        done: list[None] = []

        async def caller() -> None:
            await asyncio.get_running_loop().run_in_executor(None, done.append, None)

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(1)
        return len(done)

    assert {run(main(), seed)[0] for seed in range(50)} == {0, 1}


def test_a_deadlock_is_told_with_the_tasks_that_wait() -> None:
    async def main() -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="for ever")

    with seeded(3) as loop:
        task = loop.create_task(main())
        with pytest.raises(ScheduleStuckError, match=r"seed 3: nothing can go on.*for ever"):
            loop.run_until_complete(task)
        for left in asyncio.all_tasks(loop):
            left.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


def test_a_schedule_without_end_is_told() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await asyncio.Event().wait()

    with seeded(most_steps=1000) as loop:
        task = loop.create_task(main())
        with pytest.raises(ScheduleStuckError, match="no end after 1000 steps"):
            loop.run_until_complete(task)
        assert loop.steps == 1001
        task.cancel()


def test_errors_that_nobody_awaits_are_kept() -> None:
    def fail() -> None:
        raise LookupError("in a callback")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(1)

    _, loop = run(main())
    assert [str(context["exception"]) for context in loop.errors] == ["in a callback"]


def test_another_thread_is_refused() -> None:
    with seeded() as loop, ThreadPoolExecutor(1) as pool:
        with pytest.raises(RuntimeError, match="one thread"):
            pool.submit(loop.call_soon_threadsafe, print).result()
        called: list[int] = []
        loop.call_soon_threadsafe(called.append, 1)
        loop.run_until_complete(asyncio.sleep(1))
        assert called == [1]


def test_it_serves_an_asyncio_runner() -> None:
    with asyncio.Runner(loop_factory=lambda: SeededLoop(5)) as runner:
        assert sorted(runner.run(three())) == list("aabbcc")
