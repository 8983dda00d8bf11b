"""What all parts have in common: capabilities, the clock, connecting and closing."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.errors import ClientClosed, TierTimeout
from thermocline.protocols import Tier
from thermocline.telemetry import REQUESTS, Stats
from thermocline.testing.clocks import ManualClock
from thermocline.testing.conformance.capabilities import Capability, needed_by
from thermocline.testing.conformance.samples import soon, stamp_by

PATIENCE = 20.0  # seconds of polling before something that ought to have happened counts as missing


class TierConformance:
    """Base of the suites. A subclass gives the fixture ``tier``, connected, and a new instance for each test."""

    gaps: ClassVar[Mapping[Capability, str]] = {}

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock that the tier was built with."""
        return SYSTEM_CLOCK

    @pytest.fixture(autouse=True)
    def stamp_samples(self, clock: Clock) -> None:
        stamp_by(clock)

    @pytest.fixture(autouse=True)
    def report_gap(self, request: pytest.FixtureRequest) -> None:
        capability = needed_by(request.function)
        if capability is not None and capability in self.gaps:
            pytest.skip(f"gap: {capability.name} ({capability}): {self.gaps[capability]}")

    async def use(self, tier: Any, deadline: Deadline) -> object:
        """One harmless call that asks the service, for the tests of closing and of deadlines. By default a ping."""
        await tier.ping(deadline=deadline)
        return None

    def test_each_gap_has_its_reason(self) -> None:
        assert all(Capability(capability) and reason.strip() for capability, reason in self.gaps.items())

    async def test_ping_answers(self, tier: Tier) -> None:
        await tier.ping(deadline=soon())

    async def test_requests_are_counted(self, tier: Any) -> None:
        """Under the tier's name, in the `Stats` that its client puts there."""
        tier.stats = Stats()
        await self.use(tier, soon())

        assert tier.stats.get(REQUESTS, tier.tier) >= 1

    async def test_connecting_twice_is_connecting_once(self, tier: Tier) -> None:
        await tier.connect()
        await tier.connect()

        await tier.ping(deadline=soon())

    async def test_closing_twice_is_closing_once(self, tier: Tier) -> None:
        await tier.close()
        await tier.close()

    async def test_after_closing_every_use_is_refused(self, tier: Tier) -> None:
        await tier.close()

        with pytest.raises(ClientClosed):
            await self.use(tier, soon())
        with pytest.raises(ClientClosed):
            await tier.ping(deadline=soon())

    async def test_past_deadline_is_a_timeout(self, tier: Tier, clock: Clock) -> None:
        with pytest.raises(TierTimeout) as caught:
            await self.use(tier, Deadline.after(-1, clock))

        assert caught.value.tier == tier.tier
        await self.use(tier, soon(clock))

    async def test_cancelled_calls_leave_the_tier_usable(self, tier: Tier) -> None:
        """P10. The calls are stopped after a different number of the loop's turns each."""
        for turns in itertools.chain(range(12), range(12, 60, 6)):
            await cancelled_after(turns, self.use(tier, soon()))

        await asyncio.gather(*(self.use(tier, soon()) for _ in range(20)))


async def cancelled_after(turns: int, call: Awaitable[object]) -> object:
    """Start a call and cancel it after so many turns of the loop. Returns its answer if it was quicker, else None."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


async def late_answers(call: Awaitable[Sequence[object]], number: int) -> list[type]:
    """The classes of a batch's answers, where the whole batch came too late: it may say so at once or for each key."""
    try:
        return [type(answer) for answer in await call]
    except TierTimeout as error:
        return [type(error)] * number


async def once(condition: Callable[[], Awaitable[bool]], *, clock: Clock, after_ms: int) -> None:
    """Return when ``condition`` holds, ``after_ms`` from now: a `ManualClock` is moved, for any other it is asked again and again.

    Raises AssertionError if it does not hold then, or within `PATIENCE` seconds of polling.
    """
    if isinstance(clock, ManualClock):
        clock.advance(after_ms / 1000)
        assert await condition()
        return
    patience = Deadline.after(PATIENCE)
    while not await condition():
        assert not patience.expired(), f"did not come about within {PATIENCE} s"
        await asyncio.sleep(0.01)
