"""`HoldsConformance`: what the holds of a hot tier must do."""

import asyncio

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import InvalidArgument
from thermocline.model import Key
from thermocline.protocols import Holds
from thermocline.testing.conformance.base import TierConformance, once
from thermocline.testing.conformance.samples import new_key, new_word, soon

SHORT_MS = 80
LASTING_MS = 60_000


class HoldsConformance(TierConformance):
    """Give it ``tier``, one with `Holds`."""

    async def use(self, tier: Holds, deadline: Deadline) -> object:
        return await tier.take_hold(new_key(), new_word(), LASTING_MS, deadline=deadline)

    async def test_one_of_many_takes_it(self, tier: Holds) -> None:
        key = new_key()
        takes = (tier.take_hold(key, f"T{n}", LASTING_MS, deadline=soon()) for n in range(20))

        assert sorted(await asyncio.gather(*takes)) == [False] * 19 + [True]

    async def test_taken_again_by_its_holder_it_lasts_longer(self, tier: Holds, clock: Clock) -> None:
        key, timer = new_key(), new_key("timer")
        assert await tier.take_hold(key, "T1", SHORT_MS, deadline=soon())
        assert await tier.take_hold(key, "T1", LASTING_MS, deadline=soon())
        assert await tier.take_hold(timer, "T1", SHORT_MS, deadline=soon())

        async def over() -> bool:
            return await tier.take_hold(timer, "T2", LASTING_MS, deadline=soon())

        await once(over, clock=clock, after_ms=SHORT_MS + 1)
        assert not await tier.take_hold(key, "T2", LASTING_MS, deadline=soon())

    async def test_released_by_its_holder_alone(self, tier: Holds) -> None:
        key = new_key()
        await tier.take_hold(key, "T1", LASTING_MS, deadline=soon())
        await tier.release_hold(key, "T2", deadline=soon())
        assert not await tier.take_hold(key, "T2", LASTING_MS, deadline=soon())

        await tier.release_hold(key, "T1", deadline=soon())
        await tier.release_hold(key, "T1", deadline=soon())
        assert await tier.take_hold(key, "T2", LASTING_MS, deadline=soon())
        await tier.release_hold(key, "T1", deadline=soon())
        assert not await tier.take_hold(key, "T3", LASTING_MS, deadline=soon())

    async def test_each_key_has_its_own(self, tier: Holds) -> None:
        key = new_key()
        await tier.take_hold(key, "T1", LASTING_MS, deadline=soon())

        alike = (
            Key(key.tenant, key.scope, key.name + "h"),
            Key(key.tenant, key.scope + "h", key.name),
            Key(key.tenant + "h", key.scope, key.name),
        )
        for other in alike:
            assert await tier.take_hold(other, "T2", LASTING_MS, deadline=soon()), other

    @pytest.mark.parametrize("token", ["", "x" * 256])
    async def test_token_of_no_length_that_it_can_have_is_refused(self, tier: Holds, token: str) -> None:
        with pytest.raises(InvalidArgument):
            await tier.take_hold(new_key(), token, LASTING_MS, deadline=soon())

    async def test_hold_that_lasts_no_time_is_refused(self, tier: Holds) -> None:
        with pytest.raises(InvalidArgument):
            await tier.take_hold(new_key(), "T1", 0, deadline=soon())
