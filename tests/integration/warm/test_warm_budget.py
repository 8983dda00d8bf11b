"""What a sick Cosmos DB is sent besides, counted at the server: a tenth, and not the same again and again; and what its own words to wait are worth."""

import pytest

from thermocline.clock import Deadline
from thermocline.errors import Throttled, TierUnavailable, UnknownOutcome
from thermocline.resilience import RetryBudget
from thermocline.testing.conformance.samples import new_key, put, soon
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory

CALLS = 100


async def test_reads_that_get_no_answer_are_repeated_by_a_tenth(warm: WarmMemory, control: CosmosControl) -> None:
    refused: list[int] = []
    warm.retries = RetryBudget(refused=lambda: refused.append(1))
    key = new_key()
    control.fail(503, kinds=("read",))
    for _ in range(CALLS):
        with pytest.raises(TierUnavailable):
            await warm.read(key, deadline=Deadline.after(5))
    sent = control.stats().kinds["read"]
    assert CALLS < sent <= CALLS * 1.1 + 10
    assert CALLS - 2 <= len(refused) <= CALLS  # but for who had the first ten, a call ends when it is refused one more


async def test_write_without_an_answer_is_sent_once_more_at_least(warm: WarmMemory, control: CosmosControl) -> None:
    spent = RetryBudget(ratio=0, burst=1)
    assert spent.take()
    warm.retries = spent
    control.drop(after=True, kinds=("create",), count=1)
    assert (await warm.write(put(new_key(), "v"), deadline=soon())).version > 0
    control.drop(kinds=("writes",))
    control.drop(kinds=("reads",))
    with pytest.raises(UnknownOutcome):
        await warm.write(put(new_key(), "v"), deadline=soon())
    assert control.stats().kinds["create"] == 2 + 2


async def test_throttling_is_waited_out_without_a_budget(warm: WarmMemory, control: CosmosControl) -> None:
    spent = RetryBudget(ratio=0, burst=1)
    assert spent.take()
    warm.retries = spent
    key = new_key()
    await warm.write(put(key, "v"), deadline=soon())
    control.throttle(retry_after_ms=1, kinds=("read",), count=5)
    assert await warm.read(key, deadline=soon()) is not None
    assert control.stats().kinds["read"] == 6


async def test_wait_that_does_not_fit_is_told_to_the_caller(warm: WarmMemory, control: CosmosControl) -> None:
    control.throttle(retry_after_ms=60_000, kinds=("read",))
    with pytest.raises(Throttled) as caught:
        await warm.read(new_key(), deadline=Deadline.after(10))
    assert caught.value.retry_after == 60
    assert control.stats().kinds["read"] == 1
