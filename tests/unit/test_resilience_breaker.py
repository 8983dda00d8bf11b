"""The circuit breaker under a clock that the test moves."""

from typing import Any

import pytest

from thermocline.errors import ConfigurationError
from thermocline.resilience import CircuitBreaker
from thermocline.testing.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        assert breaker.allow()
        breaker.failure()


def state(breaker: CircuitBreaker) -> str:  # by value: the type checker would hold the first state for the last
    return breaker.state.value


def test_it_opens_at_the_fifth_failure_and_refuses(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, 4)
    assert state(breaker) == "closed"
    fail(breaker, 1)
    assert state(breaker) == "open"
    assert not breaker.allow()
    assert breaker.retry_after() == 1.0


def test_failures_far_apart_do_not_open_it(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    for _ in range(50):
        fail(breaker, 1)
        clock.advance(2.6)  # never five within ten seconds
    assert state(breaker) == "closed"


def test_a_few_failures_among_many_successes_do_not_open_it(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    for turn in range(1000):
        assert breaker.allow()
        if turn % 10:
            breaker.success()
        else:
            breaker.failure()
    assert state(breaker) == "closed"
    for _ in range(4):  # every other call fails: sick
        fail(breaker, 1)
        breaker.success()
    fail(breaker, 1)
    assert state(breaker) == "open"


def test_after_the_span_one_probe_decides(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, 5)
    clock.advance(0.999)
    assert not breaker.allow()
    clock.advance(0.001)
    assert state(breaker) == "half_open"
    assert breaker.allow()
    assert not breaker.allow()
    breaker.success()
    assert state(breaker) == "closed"
    fail(breaker, 4)  # counts from nothing again
    assert state(breaker) == "closed"


def test_each_failed_probe_doubles_the_span_up_to_the_longest(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, 5)
    spans = []
    for _ in range(7):
        spans.append(breaker.retry_after())
        clock.advance(breaker.retry_after())
        fail(breaker, 1)
    assert spans == [1, 2, 4, 8, 16, 30, 30]


def test_a_tier_that_flaps_is_left_alone_for_longer_and_a_calm_one_is_forgiven(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    spans = []
    for pause in (0, 0, 10):
        fail(breaker, 5)
        spans.append(breaker.retry_after())
        clock.advance(breaker.retry_after())
        assert breaker.allow()
        breaker.success()
        clock.advance(pause)
    fail(breaker, 5)
    spans.append(breaker.retry_after())
    assert spans == [1, 2, 4, 1]


def test_late_answers_to_calls_from_before_it_opened_change_nothing(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    assert breaker.allow()
    fail(breaker, 5)
    breaker.success()
    breaker.failure()
    assert state(breaker) == "open"
    assert breaker.retry_after() == 1.0


def test_a_probe_that_is_given_back_or_lost_does_not_block_the_next(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    fail(breaker, 5)
    clock.advance(1)
    assert breaker.allow()
    breaker.released()
    assert breaker.allow()  # and this one never reports back
    assert not breaker.allow()
    clock.advance(1)
    assert breaker.allow()
    breaker.success()
    assert state(breaker) == "closed"


def test_several_probes_at_once_when_asked_for(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock, failures=1, half_open_probes=3)
    fail(breaker, 1)
    clock.advance(1)
    assert [breaker.allow() for _ in range(4)] == [True, True, True, False]


def test_a_released_call_of_a_closed_breaker_counts_for_nothing(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock, failures=2)
    fail(breaker, 1)
    assert breaker.allow()
    breaker.released()
    assert state(breaker) == "closed"
    fail(breaker, 1)
    assert state(breaker) == "open"


@pytest.mark.parametrize(
    "given",
    [
        {"failures": 0},
        {"half_open_probes": 0},
        {"window_s": 0},
        {"open_for_s": 0},
        {"open_for_s": 5, "open_at_most_s": 4},
    ],
)
def test_a_breaker_that_cannot_work_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="a breaker needs"):
        CircuitBreaker(**given)


def test_a_forced_call_is_a_probe(clock: ManualClock) -> None:
    breaker = CircuitBreaker(clock)
    breaker.force()  # of a closed one: nothing special
    fail(breaker, 5)
    assert not breaker.allow()

    breaker.force()
    breaker.failure()
    assert breaker.retry_after() == 2.0

    breaker.force()
    breaker.success()
    assert state(breaker) == "closed"
