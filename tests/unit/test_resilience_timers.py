"""Ends of waiting that many share: nobody's comes early, and nobody's is left out."""

import asyncio

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


async def test_calls_of_days_that_ended_leave_few_timers_behind() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    day = 86_400.0
    for each in range(36_000):  # one each 0.1 s of an hour
        future = loop.create_future()
        timers.add(day + each / 10, future).discard(future)
    assert len(timers._due) <= 100
    for place, (_, handle) in timers._due.items():
        assert place[0] <= day / 1_024
        assert handle.when() > loop.time() + day - 1
    timers.close()
