"""ChaosTier does what it says: each fault before or after the effect, by script, by seed, per key of a batch."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, Throttled, TierTimeout, TierUnavailable, UnknownOutcome
from thermocline.model import Envelope
from thermocline.protocols import Entries, Payloads, Versions
from thermocline.testing import ChaosTier, Fault
from thermocline.testing.conformance import samples
from thermocline.tiers.local.process import ProcessMemory

SOON = Deadline(math.inf)


@pytest.fixture
async def inner() -> AsyncIterator[ProcessMemory]:
    tier = ProcessMemory()
    await tier.connect()
    yield tier
    await tier.close()


def test_it_plays_the_parts_of_its_tier_only(inner: ProcessMemory) -> None:
    chaos: object = ChaosTier(inner)

    assert isinstance(chaos, Entries)
    assert isinstance(chaos, Versions)
    assert not isinstance(chaos, Payloads)
    assert isinstance(chaos, ChaosTier)
    assert not hasattr(chaos, "put_payload")


@pytest.mark.parametrize(
    ("fault", "error", "effect"),
    [
        (Fault.REFUSE, TierUnavailable, False),
        (Fault.THROTTLE, Throttled, False),
        (Fault.HANG, UnknownOutcome, False),
        (Fault.LOSE, UnknownOutcome, True),
        (Fault.CANCEL_BEFORE, asyncio.CancelledError, False),
        (Fault.CANCEL_AFTER, asyncio.CancelledError, True),
    ],
)
async def test_write_fails_before_or_after_its_effect(
    inner: ProcessMemory, fault: Fault, error: type[BaseException], effect: bool
) -> None:
    chaos = ChaosTier(inner, script=[fault])
    key = samples.new_key()

    writing = asyncio.create_task(chaos.write(samples.put(key), deadline=Deadline.after(0.02)))
    with pytest.raises(error):
        await writing

    assert (await inner.read(key, deadline=SOON) is not None) is effect
    assert chaos.injected == Counter({("write", fault): 1})
    assert await chaos.read(key, deadline=SOON) == await inner.read(key, deadline=SOON)
    assert chaos.calls == Counter({"write": 1, "read": 1})


async def test_read_fails_as_a_tier_does(inner: ProcessMemory) -> None:
    chaos = ChaosTier(inner, script=[Fault.REFUSE, Fault.LOSE, Fault.HANG])
    key = samples.new_key()

    with pytest.raises(TierUnavailable) as refused:
        await chaos.read(key, deadline=SOON)
    with pytest.raises(TierUnavailable) as lost:
        await chaos.read(key, deadline=SOON)
    with pytest.raises(TierTimeout):
        await chaos.read(key, deadline=Deadline.after(0.01))

    assert (refused.value.sent, lost.value.sent, lost.value.tier) == (False, True, "hot")


async def test_slow_call_gives_way_to_others(inner: ProcessMemory) -> None:
    chaos = ChaosTier(inner, script=[Fault.SLOW], latency=timedelta(milliseconds=20))
    key = samples.new_key()
    slow = asyncio.create_task(chaos.write(samples.put(key, "slow"), deadline=SOON))
    await asyncio.sleep(0)

    await chaos.write(samples.put(key, "quick"), deadline=SOON)
    await slow

    assert samples.value_of(await chaos.read(key, deadline=SOON)) == "slow"


async def test_batch_fails_for_some_of_its_keys(inner: ProcessMemory) -> None:
    keys = [samples.new_key(f"n{number}") for number in range(12)]
    chaos = ChaosTier(inner, script=[Fault.LOSE, Fault.REFUSE, None], verbs={"write_many", "read_many"}, seed=3)

    written = await chaos.write_many([samples.put(key, key.name) for key in keys], deadline=SOON)
    read = await chaos.read_many(keys, deadline=SOON)

    unknown = [answer for answer in written if isinstance(answer, UnknownOutcome)]
    assert 0 < len(unknown) < 12
    assert 0 < sum(isinstance(answer, TierUnavailable) for answer in read) < 12
    assert {samples.value_of(answer) for answer in read if isinstance(answer, Envelope)} < {key.name for key in keys}
    assert None not in read  # every write took effect, those of unknown outcome too
    assert await chaos.read_many(keys, deadline=SOON) == await inner.read_many(keys, deadline=SOON)


async def test_tier_that_is_down_is_not_asked(inner: ProcessMemory) -> None:
    chaos = ChaosTier(inner)
    keys = [samples.new_key(), samples.new_key()]
    chaos.down = True

    with pytest.raises(TierUnavailable):
        await chaos.ping(deadline=SOON)
    answers = await chaos.write_many([samples.put(key) for key in keys], deadline=SOON)
    chaos.down = False

    assert [type(answer) for answer in answers] == [TierUnavailable] * 2
    assert await chaos.read_many(keys, deadline=SOON) == [None, None]


async def test_same_seed_makes_the_same_faults(inner: ProcessMemory) -> None:
    async def fates(seed: int) -> list[str]:
        chaos = ChaosTier(inner, rates={Fault.REFUSE: 0.3, Fault.THROTTLE: 0.2}, verbs={"peek"}, seed=seed)
        found = []
        for _ in range(200):
            try:
                await chaos.peek(samples.new_key(), deadline=SOON)
                found.append("")
            except TierUnavailable as error:
                found.append(type(error).__name__)
            await chaos.read(samples.new_key(), deadline=SOON)
        assert sum(chaos.injected.values()) == 200 - found.count("")
        return found

    first = await fates(1)

    assert first == await fates(1)
    assert first != await fates(2)
    assert 50 < first.count("") < 150


def test_rates_that_are_none_are_refused(inner: ProcessMemory) -> None:
    with pytest.raises(InvalidArgument):
        ChaosTier(inner, rates={Fault.LOSE: 0.7, Fault.SLOW: 0.7})
    with pytest.raises(InvalidArgument):
        ChaosTier(inner, rates={Fault.LOSE: -0.1})


async def test_direct_methods_and_counters_are_those_of_the_tier(inner: ProcessMemory) -> None:
    chaos = ChaosTier(inner)
    await chaos.peek(samples.new_key(), deadline=SOON)

    assert chaos.stats is inner.stats
    assert chaos.held_bytes == inner.held_bytes
    with pytest.raises(AttributeError):
        _ = chaos.no_such_thing
