"""Guards as a client makes them: slowness, shares, waiting lines, probes. The clock is the test's."""

import asyncio
from typing import Any

import pytest

from thermocline.client.guard import Guard
from thermocline.client.guarding import Guarding
from thermocline.client.probing import Prober
from thermocline.clock import Deadline
from thermocline.errors import CircuitOpen, Overloaded, Throttled, TierTimeout, TierUnavailable
from thermocline.model import MemoryTier
from thermocline.policy import MemoryRules, Routes
from thermocline.resilience import Budget, Cause, Limits, Resilience
from thermocline.telemetry import Stats
from thermocline.testing import ManualClock

HOT, WARM = MemoryTier.HOT, MemoryTier.WARM


class Tier:
    """Answers after ``seconds`` of the test's clock; ``error``: with that."""

    def __init__(self, tier: MemoryTier, clock: ManualClock) -> None:
        self.tier = tier
        self.stats = Stats()
        self.seconds = 0.001
        self.error: Exception | None = None
        self.deadlines: list[float] = []
        self.pings = 0
        self._clock = clock

    async def connect(self) -> None: ...

    async def close(self) -> None: ...

    async def read(self, *, deadline: Deadline) -> str:
        self.deadlines.append(round(deadline.remaining(), 6))
        self._clock.advance(self.seconds)
        if self.error is not None:
            raise self.error
        return "answer"

    async def ping(self, *, deadline: Deadline) -> None:
        self.pings += 1
        await self.read(deadline=deadline)


class World:
    def __init__(self, resilience: Resilience | None = None, *, tiers: tuple[MemoryTier, ...] = (HOT, WARM)) -> None:
        self.clock = ManualClock()
        self.stats = Stats()
        self.tiers = {tier: Tier(tier, self.clock) for tier in tiers}
        routes = Routes(MemoryRules(), tiers=tiers)
        rules = Resilience() if resilience is None else resilience
        self.guards = Guarding(routes, Budget(self.clock), rules, self.stats, self.clock).make(self.tiers)

    async def read(self, tier: MemoryTier, times: int = 1, *, seconds: float = 60, **options: Any) -> None:
        for _ in range(times):
            deadline = Deadline.after(seconds, self.clock)
            await self.guards[tier].call("read", self.tiers[tier].read, deadline=deadline, again=True, **options)

    def probed(self, repaired: bool = True) -> Prober:
        """Give hot its prober."""
        guard: Guard = self.guards[HOT]

        async def repair() -> bool:
            return repaired

        guard.prober = Prober(self.tiers[HOT], guard.breaker, self.clock, pings=3, quick=0.025, repair=repair)
        return guard.prober


async def looked(guard: Guard) -> str:
    """The breaker's state once the prober is done."""
    assert guard.prober is not None
    if guard.prober._task is not None:
        await guard.prober._task
    return guard.breaker.state.value


async def test_slow_hot_is_left_alone_where_the_authority_is_faster() -> None:
    world = World()
    world.tiers[HOT].seconds, world.tiers[WARM].seconds = 0.04, 0.01
    await world.read(WARM)
    await world.read(HOT, 20)
    assert world.guards[HOT].breaker.cause is Cause.SLOWNESS
    assert world.guards[HOT].answers_slowly
    assert world.stats.get("breaker_slowness", "hot") == 1
    with pytest.raises(CircuitOpen, match="hot was slow repeatedly"):
        await world.read(HOT)


@pytest.mark.parametrize("warm_seconds", [0.1, None])
async def test_slow_hot_is_asked_where_the_authority_is_slower_or_not_known(warm_seconds: float | None) -> None:
    world = World()
    world.tiers[HOT].seconds = 0.04
    if warm_seconds is not None:
        world.tiers[WARM].seconds = warm_seconds
        await world.read(WARM)
    await world.read(HOT, 100)
    assert world.guards[HOT].breaker.state.value == "closed"


async def test_hot_alone_is_never_too_slow() -> None:
    world = World(tiers=(HOT,))
    world.tiers[HOT].seconds = 0.049
    await world.read(HOT, 100)
    assert world.guards[HOT].breaker.state.value == "closed"


async def test_authority_is_left_alone_for_slowness_on_request() -> None:
    for limits, state in ((Limits(), "closed"), (Limits(slow_after=0.5), "open")):
        world = World(Resilience(warm=limits))
        world.tiers[WARM].seconds = 0.3
        await world.read(WARM, 20)
        assert world.guards[WARM].breaker.state.value == state


async def test_refusals_are_quick_answers() -> None:
    world = World()
    world.tiers[WARM].error = Throttled("slow down", tier="warm")
    for _ in range(50):
        with pytest.raises(Throttled):
            await world.read(WARM)
    assert world.guards[WARM].breaker.state.value == "closed"


@pytest.mark.parametrize(("seconds", "hot"), [(60, 0.05), (0.55, 0.05), (0.11, 0.0275), (0.02, 0.005)])
async def test_hot_leaves_the_authority_its_time(seconds: float, hot: float) -> None:
    world = World()
    await world.read(HOT, seconds=seconds)
    await world.read(WARM, seconds=seconds)
    assert world.tiers[HOT].deadlines == [hot]
    assert world.tiers[WARM].deadlines == [min(0.5, seconds)]


async def test_hot_alone_has_all_the_time() -> None:
    world = World(tiers=(HOT,))
    await world.read(HOT, seconds=0.04)
    assert world.tiers[HOT].deadlines == [0.04]


@pytest.mark.parametrize("again", [True, False])
async def test_who_begin_together_fill_the_places_before_the_line(again: bool) -> None:
    """Found in review: with a short line, calls were refused while places were free, because all that begin in one turn stand in it for a moment."""
    world = World(Resilience(warm=Limits(at_once=12, waiting=3)))
    guard, go = world.guards[WARM], asyncio.Event()

    async def held(*, deadline: Deadline) -> str:
        await go.wait()
        return "answer"

    async def call() -> str:
        return await guard.call("write", held, deadline=Deadline.after(60), again=again)

    calls = [asyncio.create_task(call()) for _ in range(20)]
    for _ in range(4):
        await asyncio.sleep(0)
    go.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[:15] == ["answer"] * 15
    assert [type(answer) for answer in answers[15:]] == [Overloaded] * 5


async def test_one_call_too_many_is_refused_at_once() -> None:
    world = World(Resilience(warm=Limits(at_once=2, waiting=3)))
    guard, go = world.guards[WARM], asyncio.Event()

    async def held(*, deadline: Deadline) -> str:
        await go.wait()
        return "answer"

    def call() -> "asyncio.Task[str]":
        return asyncio.create_task(guard.call("read", held, deadline=Deadline.after(60), again=True))

    calls = [call() for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert guard.waiting == 3
    with pytest.raises(Overloaded, match="3 calls of this process wait for warm") as refused:
        await call()
    assert not refused.value.sent
    assert world.stats.get("refused", "warm") == 1
    assert guard.breaker.state.value == "closed"
    calls[-1].cancel()  # one who goes makes room
    await asyncio.gather(calls[-1], return_exceptions=True)
    calls[-1] = call()
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*calls) == ["answer"] * 5


async def test_prober_closes_after_three_quick_pings_and_no_caller_pays() -> None:
    world = World()
    guard, hot = world.guards[HOT], world.tiers[HOT]
    world.probed()
    hot.error = TierTimeout("late", tier="hot")
    for _ in range(5):
        with pytest.raises(TierTimeout):
            await world.read(HOT)
    asked = len(hot.deadlines)
    with pytest.raises(CircuitOpen):
        await world.read(HOT)
    assert len(hot.deadlines) == asked
    world.clock.advance(1)
    with pytest.raises(CircuitOpen):  # wakes the prober, and does not wait for it
        await world.read(HOT)
    assert await looked(guard) == "open"
    assert hot.pings == 1  # the first one failed
    hot.error = None
    world.clock.advance(2)
    with pytest.raises(CircuitOpen):
        await world.read(HOT)
    assert await looked(guard) == "closed"
    assert hot.pings == 4
    await world.read(HOT)


async def test_slow_pings_and_what_is_not_repaired_keep_it_open() -> None:
    for seconds, repaired in ((0.03, True), (0.001, False)):
        world = World()
        guard, hot = world.guards[HOT], world.tiers[HOT]
        prober = world.probed(repaired)
        hot.error = TierUnavailable("gone", tier="hot")
        for _ in range(5):
            with pytest.raises(TierUnavailable):
                await world.read(HOT)
        hot.error, hot.seconds = None, seconds
        world.clock.advance(1)
        prober.wake()
        assert await looked(guard) == "open"


async def test_call_that_got_through_has_hot_looked_at_now() -> None:
    world = World()
    guard, hot = world.guards[HOT], world.tiers[HOT]
    world.probed()
    hot.error = TierUnavailable("gone", tier="hot")
    for _ in range(5):
        with pytest.raises(TierUnavailable):
            await world.read(HOT)
    hot.error = None
    await world.read(HOT, paced=True)  # the end of a write, which is always tried
    assert guard.breaker.tripped  # it closes nothing by itself: hot is to be told first what it missed
    assert await looked(guard) == "closed"
