"""A tier that answers, but slowly: when its breaker opens, and what it takes to close it. Under a clock that the test moves."""

import pytest

from thermocline.resilience import Cause, CircuitBreaker, Lately
from thermocline.testing.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def slow(breaker: CircuitBreaker, times: int, seconds: float = 0.04) -> None:
    for _ in range(times):
        assert breaker.allow()
        breaker.slow(seconds)


def state(breaker: CircuitBreaker) -> str:
    return breaker.state.value


def test_twenty_slow_answers_open_it_and_it_says_why(clock: ManualClock) -> None:
    causes: list[Cause] = []
    breaker = CircuitBreaker(clock, opened=causes.append)
    slow(breaker, 19)
    assert state(breaker) == "closed"
    slow(breaker, 1)
    assert (state(breaker), breaker.cause, causes) == ("open", Cause.SLOWNESS, [Cause.SLOWNESS])


def test_no_more_than_half_may_be_slow(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    for _ in range(200):
        breaker.slow(0.04)
        breaker.success()
        breaker.success()
    assert state(breaker) == "closed"
    for _ in range(20):
        breaker.slow(0.04)
        breaker.success()
    assert state(breaker) == "open"


def test_slow_answers_far_apart_do_not_open_it(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    for _ in range(100):
        slow(breaker, 1)
        clock.advance(0.6)  # never twenty within ten seconds
    assert state(breaker) == "closed"


def test_it_stays_closed_where_leaving_the_tier_alone_would_not_pay(clock: ManualClock) -> None:
    asked: list[float] = []

    def pays(seconds: float) -> bool:
        asked.append(seconds)
        return seconds > 0.045

    breaker = CircuitBreaker(clock, pays=pays)
    slow(breaker, 30)
    assert state(breaker) == "closed"
    assert set(asked) == {0.04}
    slow(breaker, 10, seconds=0.05)  # the upper median of the last twenty
    assert state(breaker) == "open"


def test_slow_answers_are_no_successes_that_outweigh_failures(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock, pays=lambda seconds: False)
    for _ in range(5):
        slow(breaker, 6)
        breaker.failure()
    assert (state(breaker), breaker.cause) == ("open", Cause.ERRORS)


def test_so_many_good_probes_in_a_row_close_it(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock, failures=1, closing=3)
    breaker.failure()
    clock.advance(1)
    for _ in range(2):
        assert breaker.allow()
        breaker.success()
    assert state(breaker) == "half_open"
    assert breaker.allow()
    breaker.slow(0.04)  # begins anew
    assert breaker.retry_after() == 2.0
    clock.advance(2)
    for _ in range(3):
        assert state(breaker) == "half_open"
        assert breaker.allow()
        breaker.success()
    assert (state(breaker), breaker.cause) == ("closed", None)


def test_it_may_be_hurried(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock, failures=1)
    breaker.hurry()  # of a closed one: nothing
    assert state(breaker) == "closed"
    breaker.failure()
    assert not breaker.allow()
    breaker.hurry()
    assert breaker.allow()


def test_what_is_usual_is_of_lately() -> None:
    lately = Lately(0.95)
    assert lately.usual() is None
    for number in range(100):
        lately.add(number / 100)
    assert lately.usual() == 0.95
    for _ in range(300):
        lately.add(2.0)
    assert (len(lately), lately.usual()) == (256, 2.0)
