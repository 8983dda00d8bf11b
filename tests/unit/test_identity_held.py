"""A value that is fetched and kept: one fetch at a time, whatever becomes of those who wait for it."""

import asyncio
import pickle

import pytest

from thermocline.errors import ClientClosed, TierUnavailable
from thermocline.identity import Held, Value
from thermocline.identity.held import HOLD_OFF, OVERLAP
from thermocline.testing.clocks import ManualClock


class Source:
    """Gives out what it was told, when it is let."""

    def __init__(self) -> None:
        self.value = Value("first")
        self.asked = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> Value:
        self.asked += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_fetch_goes_on_when_who_waits_gives_up(source: Source, clock: ManualClock) -> None:
    """Hot's deadline of 50 ms is shorter than a vault's answer: the next call finds it."""
    held = Held("it", source, lapses=False, clock=clock)
    source.open.clear()
    hurried = asyncio.create_task(held.current())
    patient = asyncio.create_task(held.current())
    await asyncio.sleep(0)
    hurried.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hurried
    source.open.set()
    assert await patient == "first"
    assert (source.asked, held.generation) == (1, 1)
    await held.close()


async def test_failure_that_nobody_waits_for_is_no_noise(source: Source, clock: ManualClock) -> None:
    held = Held("it", source, lapses=False, clock=clock)
    source.error = TierUnavailable("down", tier="key vault")
    source.open.clear()
    hurried = asyncio.create_task(held.current())
    await asyncio.sleep(0)
    hurried.cancel()
    await asyncio.gather(hurried, return_exceptions=True)
    source.open.set()
    await asyncio.sleep(0)
    with pytest.raises(TierUnavailable, match="down"):
        await held.current()
    source.error = None
    clock.advance(HOLD_OFF)
    assert await held.current() == "first"
    await held.close()


def test_secret_is_neither_shown_nor_pickled() -> None:
    value = Value("hidden", 1.0)
    assert "hidden" not in f"{value!r} {value}"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(value)


async def test_storm_of_calls_asks_a_source_that_is_down_once(source: Source, clock: ManualClock) -> None:
    """Of a value that was never read, and of one that the service refuses: each call is told why, and only the first has asked."""
    held = Held("it", source, lapses=False, clock=clock)
    source.error = TierUnavailable("down", tier="key vault")
    for _ in range(20):
        with pytest.raises(TierUnavailable, match="down"):
            await held.current()
    assert source.asked == 1
    source.error = None
    clock.advance(HOLD_OFF)
    await held.current()
    source.error = TierUnavailable("down again", tier="key vault")
    for _ in range(20):
        with pytest.raises(TierUnavailable, match="down again"):
            await held.renew(1)
    assert source.asked == 3
    source.error, source.value = None, Value("second")
    clock.advance(HOLD_OFF)
    assert await held.renew(1)


async def test_refused_while_it_is_being_read_asks_once_more(source: Source, clock: ManualClock) -> None:
    """What is under way may have been answered before the value changed: then the change would be missed."""
    held = Held("it", source, lapses=False, clock=clock)
    await held.current()
    answers = iter(("first", "second"))  # the vault had no newer one when it was asked first

    async def next_answer() -> Value:
        source.asked += 1
        answer = next(answers)
        await source.open.wait()
        return Value(answer)

    held._fetch = next_answer
    source.open.clear()
    background = asyncio.create_task(held.try_fetch())
    while source.asked == 1:  # noqa: ASYNC110 - it begins with the loop's next turn
        await asyncio.sleep(0)
    refused = [asyncio.create_task(held.renew(1)) for _ in range(5)]
    await asyncio.sleep(0)
    source.open.set()
    assert await asyncio.gather(*refused) == [True] * 5
    assert await background
    assert source.asked == 3
    assert held.text == "second"


async def test_closing_ends_a_fetch_and_tells_who_waits(source: Source, clock: ManualClock) -> None:
    held = Held("it", source, lapses=False, clock=clock)
    source.open.clear()
    waiting = asyncio.create_task(held.current())
    await asyncio.sleep(0)
    await held.close()
    with pytest.raises(ClientClosed, match="while it was fetched"):
        await waiting
    with pytest.raises(ClientClosed, match="was closed"):
        _ = held.text


async def test_generation_grows_with_new_values_only(source: Source, clock: ManualClock) -> None:
    held = Held("it", source, lapses=False, clock=clock)
    assert held.generation == 0
    for value, generation in (("first", 1), ("first", 1), ("second", 2), ("first", 3)):
        source.value = Value(value)
        await held.fetch()
        assert (held.text, held.generation) == (value, generation)


async def test_refused_again_at_once_asks_once(source: Source, clock: ManualClock) -> None:
    held = Held("it", source, lapses=False, clock=clock)
    await held.current()
    assert [await held.renew(1) for _ in range(5)] == [False] * 5
    assert source.asked == 2
    clock.advance(HOLD_OFF)
    source.value = Value("second")
    assert await held.renew(1)
    assert await held.renew(1), "who was refused with the old value finds the new one, and nobody is asked"
    assert source.asked == 3


async def test_the_value_before_counts_for_a_while(source: Source, clock: ManualClock) -> None:
    held = Held("it", source, lapses=False, clock=clock)
    await held.current()
    seen = [held.previous]
    source.value = Value("second")
    await held.fetch()
    for seconds in (OVERLAP, 1):
        clock.advance(seconds)
        seen.append(held.previous)
    assert seen == [None, "first", None]


async def test_token_lapses_and_secret_does_not(source: Source, clock: ManualClock) -> None:
    source.value = Value("first", clock.wall_ms() / 1000 + 60)
    token, secret = (Held("it", source, lapses=lapses, clock=clock) for lapses in (True, False))
    for held in (token, secret):
        assert await held.current() == "first"
        assert held.expires == source.value.expires
    clock.advance(61)
    source.value = Value("second")
    assert await token.current() == "second"
    assert await secret.current() == "first", "whether it still counts is for the service to say"


async def test_failure_in_the_background_keeps_the_value(
    source: Source, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held("it", source, lapses=False, clock=clock)
    await held.current()
    source.error = TierUnavailable("down", tier="key vault")
    assert not await held.try_fetch()
    assert "it could not be read again" in caplog.text
    assert await held.current() == "first"


def test_no_repr_shows_it() -> None:
    assert "secret-text" not in repr(Value("secret-text", 1.0))
