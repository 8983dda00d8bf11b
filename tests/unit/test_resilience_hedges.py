"""Second reads: when one is sent, whose answer counts, and that nothing of them is left. Every read here waits for the test, not for time."""

import asyncio
from collections.abc import Callable

import pytest

from thermocline.clock import SYSTEM_CLOCK
from thermocline.errors import ConfigurationError, CorruptRecord, TierUnavailable
from thermocline.resilience import Hedges, Hedging, Limits, Resilience, is_second


class Reads:
    """What a tier was sent: each read ends as the test says, by its number from 0."""

    def __init__(self) -> None:
        self.sent: list[asyncio.Future[str]] = []
        self.seconds: list[bool] = []
        self.cancelled = 0
        self._changed = asyncio.Condition()

    async def __call__(self) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.sent.append(answer)
        self.seconds.append(is_second())
        async with self._changed:
            self._changed.notify_all()
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def until(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.sent) >= count)


async def at_once() -> str:
    return "at once"


async def trained(share: float = 1.0, calls: int = 50) -> tuple[Hedges, list[str]]:
    """Hedges that know a read to take some microseconds, and what they told."""
    told: list[str] = []
    rules = Hedging(share=share, samples=50)
    hedges = Hedges(rules, SYSTEM_CLOCK, sent=lambda: told.append("sent"), won=lambda: told.append("won"))
    for _ in range(calls):
        await hedges.run("read", at_once)
    return hedges, told


async def test_few_samples_hedge_nothing() -> None:
    hedges, told = await trained(calls=49)
    assert hedges.usual("read") is None
    reads = Reads()
    call = asyncio.create_task(hedges.run("read", reads))
    await reads.until(1)
    reads.sent[0].set_result("first")
    assert (await call, len(reads.sent), told) == ("first", 1, [])
    assert hedges.usual("read") is not None
    assert hedges.usual("get_payload") is None  # each verb for itself


async def test_second_read_that_answers_first_wins_and_the_first_is_cancelled() -> None:
    hedges, told = await trained()
    reads = Reads()
    call = asyncio.create_task(hedges.run("read", reads))
    await reads.until(2)
    reads.sent[1].set_result("second")
    assert await call == "second"
    assert (told, reads.cancelled, reads.seconds) == (["sent", "won"], 1, [False, True])
    assert not is_second()


async def test_first_read_that_answers_after_all_wins() -> None:
    hedges, told = await trained()
    reads = Reads()
    call = asyncio.create_task(hedges.run("read", reads))
    await reads.until(2)
    reads.sent[0].set_result("first")
    assert await call == "first"
    assert (told, reads.cancelled) == (["sent"], 1)


async def test_failure_is_no_answer_while_the_other_is_under_way() -> None:
    hedges, told = await trained()
    reads = Reads()
    call = asyncio.create_task(hedges.run("read", reads))
    await reads.until(2)
    reads.sent[1].set_exception(TierUnavailable("second", tier="warm"))
    await asyncio.sleep(0)
    assert not call.done()
    reads.sent[0].set_result("first")
    assert await call == "first"
    assert told == ["sent"]


async def test_second_answer_counts_where_the_first_fails_late() -> None:
    hedges, told = await trained()
    reads = Reads()
    call = asyncio.create_task(hedges.run("read", reads))
    await reads.until(2)
    reads.sent[0].set_exception(TierUnavailable("first", tier="warm"))
    await asyncio.sleep(0)
    reads.sent[1].set_result("second")
    assert await call == "second"
    assert told == ["sent", "won"]


async def test_where_both_fail_the_first_ones_error_is_raised() -> None:
    hedges, _ = await trained()
    reads = Reads()
    call = asyncio.create_task(hedges.run("read", reads))
    await reads.until(2)
    for number, text in enumerate(("first", "second")):
        reads.sent[number].set_exception(TierUnavailable(text, tier="warm"))
    with pytest.raises(TierUnavailable, match="first"):
        await call


async def test_damaged_record_is_an_answer() -> None:
    hedges, _ = await trained()
    reads = Reads()
    call = asyncio.create_task(hedges.run("read", reads))
    await reads.until(2)
    reads.sent[1].set_exception(CorruptRecord("damaged"))
    with pytest.raises(CorruptRecord):
        await call
    assert reads.cancelled == 1


async def test_cancelled_caller_leaves_neither_read_behind() -> None:
    hedges, _ = await trained()
    reads = Reads()
    call = asyncio.create_task(hedges.run("read", reads))
    await reads.until(2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert reads.cancelled == 2
    assert all(read.cancelled() for read in reads.sent)


async def test_no_more_second_reads_than_the_share() -> None:
    """Every read is late, as in an outage; one call in twenty may be hedged, from the first on."""
    hedges, told = await trained(share=0.05, calls=100)
    told.clear()
    turn = asyncio.Event()

    async def late() -> str:
        await turn.wait()
        return "late"

    calls = [asyncio.create_task(hedges.run("read", late)) for _ in range(300)]
    for _ in range(20):
        await asyncio.sleep(0.005)
    turn.set()
    await asyncio.gather(*calls)
    assert 10 <= told.count("sent") <= (100 + 300) * 0.05


Refused = Callable[[], object]


@pytest.mark.parametrize(
    "given",
    [
        lambda: Hedging(share=0),
        lambda: Hedging(quantile=1),
        lambda: Hedging(samples=300),
        lambda: Limits(at_once=0),
        lambda: Limits(waiting=-1),
        lambda: Limits(slow_after=2),
        lambda: Limits(probes=0),
        lambda: Resilience(retry_ratio=2),
        lambda: Resilience(retry_burst=0),
    ],
)
def test_numbers_that_cannot_be_are_refused(given: Refused) -> None:
    with pytest.raises(ConfigurationError):
        given()
