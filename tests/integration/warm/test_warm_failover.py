"""Two preferred regions, one of which is gone in all the ways that there are: reads go on at the other one. And what is told of priority."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import TierUnavailable
from thermocline.model import Key
from thermocline.resilience import Budget, Hedging, Resilience, in_background
from thermocline.testing import ChaosProxy
from thermocline.testing.conformance.samples import new_key, put, soon, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import CosmosServer
from thermocline.tiers.warm import WarmMemory

MakeProxy = Callable[..., Awaitable[ChaosProxy]]
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Regions:
    """East takes the writes; West is nearer."""

    def __init__(self, east: ChaosProxy, west: ChaosProxy, tier: WarmMemory) -> None:
        self.east = east
        self.west = west
        self.tier = tier
        self._west = 0

    def asked_west(self) -> bool:
        """Whether West was asked since this was asked last."""
        before, self._west = self._west, self.west.traffic.request_bytes
        return self._west > before


@pytest.fixture
async def regions(
    own_cosmos: CosmosServer, control: CosmosControl, chaos_proxy: MakeProxy, container_name: str
) -> Regions:
    east, west = await chaos_proxy(own_cosmos.url), await chaos_proxy(own_cosmos.url)
    control.account(regions={"East": east.url, "West": west.url})
    tier = WarmMemory(
        east.url, "warm", container_name, key=own_cosmos.key, create=True, preferred_regions=("West", "East")
    )
    return Regions(east, west, tier)


@pytest.mark.parametrize("how", ["refuses", "answers 503"])
async def test_read_goes_on_at_the_next_region(regions: Regions, how: str) -> None:
    key = new_key()
    async with regions.tier as tier:
        await tier.write(put(key, "v"), deadline=soon())
        assert value_of(await tier.read(key, deadline=soon())) == "v"
        assert regions.asked_west()
        if how == "refuses":
            regions.west.refuse()
            regions.west.cut()
        else:
            regions.west.answer(UNAVAILABLE)
        assert value_of(await tier.read(key, deadline=soon())) == "v"
        regions.asked_west()
        assert value_of(await tier.read(key, deadline=soon())) == "v"
        assert not regions.asked_west()  # it is passed over for a while
        regions.west.restore()


async def test_region_that_is_silent_is_passed_over_after_two_reads(regions: Regions) -> None:
    key = new_key()
    async with regions.tier as tier:
        await tier.write(put(key, "v"), deadline=soon())
        await tier.read(key, deadline=soon())
        regions.west.blackhole(answers=True)
        for _ in range(2):
            with pytest.raises(TierUnavailable):
                await tier.read(key, deadline=Deadline.after(0.2))
        assert value_of(await tier.read(key, deadline=soon())) == "v"
        regions.west.restore()


async def test_hedged_read_asks_the_other_region(regions: Regions) -> None:
    key = Key("hedged", "regions", "name")
    many = [Key("hedged", "regions", f"{number}") for number in range(12)]
    client = MemoryClient(
        warm=regions.tier,
        budget=Budget(warm=timedelta(seconds=30), call=timedelta(seconds=60)),
        resilience=Resilience(hedge=Hedging(share=1.0, samples=10)),
    )
    async with client:
        await client.set(key, "v")
        for one in many:
            assert await client.get(one) is None
        regions.west.hold(answers=True)
        assert await asyncio.wait_for(client.get(key), 20) == "v"  # West holds its answer back
        figures = client.stats()["warm"]
        assert (figures["hedges_sent"], figures["hedges_won"]) == (1, 1)
        regions.west.restore()


async def test_work_that_nobody_waits_for_is_of_low_priority(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    await warm.read(key, deadline=soon())
    await in_background(warm.read(key, deadline=soon()))
    await warm.read(key, deadline=soon())
    assert [one["priority"] for one in control.stats().last if one["kind"] == "read"] == ["", "Low", ""]
