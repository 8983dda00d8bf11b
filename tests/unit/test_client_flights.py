"""Single flight: who shares a read, who waits for the next one, and what cancelling and closing do, with a task and without."""

import asyncio

import pytest

from thermocline.client.flight import Flight, Flights
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed
from thermocline.model import Key, MemoryTier
from thermocline.policy import MemoryRules, Plan, Routes

KEY = Key("t", "s", "n")
ALONE = Routes(MemoryRules(), tiers={MemoryTier.WARM}).default
BELOW_HOT = Routes(MemoryRules(), tiers={MemoryTier.HOT, MemoryTier.WARM}).default


class Authority:
    """Answers each read with its number, when it is let."""

    def __init__(self) -> None:
        self.sent = 0
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.flights: Flights[int] = Flights(self._fly)

    async def _fly(self, flight: Flight[int]) -> int:
        flight.sent = True
        self.sent += 1
        number = self.sent
        self.asked.set()
        await self.gate.wait()
        return number

    def caller(self, plan: Plan, seconds: float = 60.0) -> "asyncio.Task[int]":
        deadline = Deadline.after(seconds)
        read = self.flights.read(KEY, plan, floor=0, lease=None, told=True, deadline=deadline)
        return asyncio.get_running_loop().create_task(read)


@pytest.fixture(params=[ALONE, BELOW_HOT], ids=["alone", "below hot"])
def plan(request: pytest.FixtureRequest) -> Plan:
    chosen: Plan = request.param
    return chosen


async def test_callers_of_one_tick_share_a_read(plan: Plan) -> None:
    authority = Authority()
    authority.gate.set()

    assert await asyncio.gather(*(authority.caller(plan) for _ in range(32))) == [1] * 32
    assert len(authority.flights) == 0


async def test_a_caller_never_takes_a_read_sent_before_he_came(plan: Plan) -> None:
    authority = Authority()
    first = authority.caller(plan)
    await authority.asked.wait()
    later = [authority.caller(plan) for _ in range(5)]
    await asyncio.sleep(0)
    authority.gate.set()

    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 5


async def test_who_comes_when_a_read_has_just_ended_gets_one_of_his_own(plan: Plan) -> None:
    authority = Authority()
    authority.gate.set()

    assert [await authority.caller(plan) for _ in range(3)] == [1, 2, 3]
    assert len(authority.flights) == 0


@pytest.mark.parametrize("steps", range(6))
async def test_cancelling_the_first_caller_cancels_nobody_else(plan: Plan, steps: int) -> None:
    authority = Authority()
    first, second = authority.caller(plan), authority.caller(plan)
    for _ in range(steps):
        await asyncio.sleep(0)
    third = authority.caller(plan)
    await asyncio.sleep(0)
    first.cancel()
    authority.gate.set()

    with pytest.raises(asyncio.CancelledError):
        await first
    assert {await second, await third} <= {1, 2}
    assert len(authority.flights) == 0


async def test_cancelling_an_only_caller_lets_the_next_one_read(plan: Plan) -> None:
    authority = Authority()
    first = authority.caller(plan)
    await authority.asked.wait()
    second = authority.caller(plan)
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    authority.gate.set()

    assert await second == 2


async def test_a_caller_waits_no_longer_than_his_deadline(plan: Plan) -> None:
    authority = Authority()

    with pytest.raises(TimeoutError):
        await authority.caller(plan, seconds=0.02)
    authority.gate.set()
    assert await authority.caller(plan) == 2
    await authority.flights.close()


async def test_closing_ends_what_is_under_way_with_an_error_of_ours(plan: Plan) -> None:
    authority = Authority()
    first = authority.caller(plan)
    await authority.asked.wait()
    second = authority.caller(plan)
    await asyncio.sleep(0)
    assert len(authority.flights) >= 1

    await authority.flights.close(patience=0.01)

    for caller in (first, second, authority.caller(plan)):
        with pytest.raises(ClientClosed):
            await caller
    assert len(authority.flights) == 0


@pytest.mark.parametrize("steps", range(4))
async def test_closing_in_the_first_steps_of_a_read_ends_it(plan: Plan, steps: int) -> None:
    authority = Authority()
    caller = authority.caller(plan)
    for _ in range(steps):
        await asyncio.sleep(0)

    await authority.flights.close(patience=0.01)

    with pytest.raises(ClientClosed):
        await caller


async def test_closing_waits_for_a_read_that_is_answered_in_time(plan: Plan) -> None:
    authority = Authority()
    caller = authority.caller(plan)
    await authority.asked.wait()
    closing = asyncio.get_running_loop().create_task(authority.flights.close(patience=10))
    await asyncio.sleep(0)
    authority.gate.set()
    await closing

    assert await caller == 1
