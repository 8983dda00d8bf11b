"""The retry budget, the deadlines' shares, and the clock that tests move."""

import math
from datetime import timedelta
from typing import Any

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import ConfigurationError, InvalidArgument
from thermocline.model import MemoryTier
from thermocline.resilience import Budget, RetryBudget
from thermocline.testing.clocks import ManualClock


def test_extra_requests_are_a_tenth_of_the_ordinary_ones_and_a_burst() -> None:
    budget = RetryBudget()
    assert sum(budget.take() for _ in range(100)) == 10  # the burst
    extra = 0
    for _ in range(1000):
        budget.request()
        extra += budget.take()
    assert 98 <= extra <= 101


def test_unused_budget_does_not_pile_up() -> None:
    budget = RetryBudget(ratio=0.5, burst=2)
    for _ in range(1000):
        budget.request()
    assert [budget.take() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("given", [{"ratio": -0.1}, {"ratio": 1.1}, {"ratio": math.nan}, {"burst": 0}])
def test_a_budget_that_cannot_work_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="a ratio from 0 to 1"):
        RetryBudget(**given)


def test_each_tier_gets_its_share_of_the_call() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    call = budget.call()
    assert call.remaining() == 10
    shares = {tier: budget.share(call, tier).remaining() for tier in MemoryTier}
    assert shares == {
        MemoryTier.HOT: pytest.approx(0.05),
        MemoryTier.WARM: pytest.approx(0.5),
        MemoryTier.WARM_PLUS: pytest.approx(0.5),
        MemoryTier.COLD: pytest.approx(5),
    }


def test_no_share_outlasts_the_call() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    call = budget.call(timedelta(seconds=1))
    clock.advance(0.98)
    assert budget.share(call, MemoryTier.HOT).remaining() == pytest.approx(0.02)
    clock.advance(1)
    late = budget.share(call, MemoryTier.COLD)
    assert late.remaining() == 0
    assert late.expired()


def test_a_call_without_end_still_visits_tiers_in_time() -> None:
    budget = Budget(ManualClock())
    call = budget.call(math.inf)
    assert call.remaining() == math.inf
    assert budget.share(call, MemoryTier.WARM).remaining() == pytest.approx(0.5)
    assert budget.share(Deadline.never(), MemoryTier.HOT).remaining() == pytest.approx(0.05)


def test_connecting_has_a_deadline_of_its_own() -> None:
    assert Budget(ManualClock()).begin_connect().remaining() == 15
    assert Budget(ManualClock(), connect=timedelta(seconds=3)).begin_connect().remaining() == 3


@pytest.mark.parametrize("timeout", [0, -1, timedelta(0), timedelta(seconds=-1), math.nan, True, "1"])
def test_impossible_timeouts_are_refused(timeout: Any) -> None:
    with pytest.raises(InvalidArgument, match="a timeout is"):
        Budget(ManualClock()).call(timeout)


@pytest.mark.parametrize("name", ["call", "connect", "hot", "warm", "cold"])
def test_impossible_deadlines_are_refused_by_name(name: str) -> None:
    wrong: Any
    for wrong in (timedelta(0), timedelta(seconds=-1), "5", True):
        with pytest.raises(ConfigurationError, match=f"the deadline {name} is"):
            Budget(ManualClock(), **{name: wrong})


def test_the_manual_clock_moves_only_when_told() -> None:
    moved = ManualClock(wall_ms=5000, monotonic=1.0)
    clock: Clock = moved
    assert (clock.wall_ms(), clock.monotonic()) == (5000, 1.0)
    moved.advance(0.0005)
    moved.advance(0.0005)
    assert (clock.wall_ms(), clock.monotonic()) == (5001, 1.001)
    moved.set_wall(1000)
    assert (clock.wall_ms(), clock.monotonic()) == (1000, 1.001)
    for wrong in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match="time passes forwards"):
            moved.advance(wrong)
