"""Ends of waiting that many share: nobody's comes early, nobody's is left out, and who was cancelled leaves no error behind."""

import asyncio
import gc
from typing import Any

import pytest

from thermocline.resilience.timers import SOON, Timers


async def test_they_end_what_is_due_and_nothing_that_was_taken_out() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    due, other = loop.create_future(), loop.create_future()
    timers.add(0.0, due)
    timers.add(0.0, other).discard(other)
    with pytest.raises(TimeoutError):
        await due
    assert not other.done()
    timers.add(60.0, other)
    timers.close()
    assert not timers._due


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.03, SOON - 0.001, SOON, SOON + 0.02])
async def test_none_ends_early(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    future, began = loop.create_future(), loop.time()
    Timers(loop).add(seconds, future)
    with pytest.raises(TimeoutError):
        await future
    assert loop.time() - began >= seconds


async def test_many_of_one_moment_share_a_timer_of_the_loop() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    futures = [loop.create_future() for _ in range(500)]
    for future in futures:
        timers.add(0.02, future)
    assert len(timers._due) < 50
    done, _ = await asyncio.wait(futures)
    assert all(isinstance(future.exception(), TimeoutError) for future in done)
    assert not timers._due


async def test_who_is_cancelled_at_the_moment_leaves_no_error_that_nobody_asks_for() -> None:
    loop = asyncio.get_running_loop()
    said: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: said.append(context))
    future = loop.create_future()

    async def waits() -> None:
        await future

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    future.add_done_callback(lambda _: task.cancel())  # in the turn in which it ends
    Timers(loop).add(0.0, future)
    with pytest.raises((asyncio.CancelledError, TimeoutError)):
        await task
    del future, task
    gc.collect()
    assert said == []
