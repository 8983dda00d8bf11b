"""A call that this process held up is made again, unless it was a write that may have taken effect."""

from typing import Any

import pytest

from thermocline.client.guard import Guard
from thermocline.clock import Deadline
from thermocline.errors import CircuitOpen, TierTimeout, UnknownOutcome
from thermocline.model import MemoryTier
from thermocline.resilience import CircuitBreaker
from thermocline.telemetry import Stats
from thermocline.testing import ManualClock


class Late:
    """Answers only when this process has slept for long."""

    def __init__(self, clock: ManualClock, answers: list[Any]) -> None:
        self._clock = clock
        self._answers = answers
        self.calls = 0

    async def __call__(self, *, deadline: Deadline) -> Any:
        self.calls += 1
        self._clock.advance(1.5)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def guard(clock: ManualClock) -> Guard:
    return Guard(MemoryTier.WARM, 0.5, CircuitBreaker(clock), Stats(), clock)


async def test_read_that_was_held_up_is_made_again() -> None:
    clock = ManualClock()
    late = Late(clock, [TierTimeout("late", tier="warm"), "answer"])
    assert await guard(clock).call("read", late, deadline=Deadline.after(60, clock), again=True) == "answer"
    assert late.calls == 2


async def test_write_of_unknown_outcome_is_not_begun_anew() -> None:
    """What the second one says of itself, as that nothing was sent, is not true of the first one's copies."""
    clock = ManualClock()
    refused = CircuitOpen("nothing was sent", tier="warm", sent=False)
    late = Late(clock, [UnknownOutcome("late", write_id="w"), refused])
    with pytest.raises(UnknownOutcome):
        await guard(clock).call("write", late, deadline=Deadline.after(60, clock), again=True)
    assert late.calls == 1


async def test_batch_with_writes_of_unknown_outcome_is_not_begun_anew() -> None:
    clock = ManualClock()
    first = [TierTimeout("late", tier="warm", sent=False), UnknownOutcome("late", write_id="w")]
    late = Late(clock, [list(first), ["never asked"]])
    answers = await guard(clock).call("write_many", late, deadline=Deadline.after(60, clock), again=True)
    assert answers == first
    assert late.calls == 1
