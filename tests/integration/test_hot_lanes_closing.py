"""Lanes to Redis that are closed while calls still wait for a place on them."""

import asyncio

from thermocline.clock import Deadline
from thermocline.errors import TierTimeout, TierUnavailable
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory


async def test_who_waits_for_a_place_while_it_closes_opens_nothing_anew() -> None:
    """His lane would be nobody's to close."""
    with RedisServer() as server:
        async with HotMemory(server.url, max_calls=2) as tier:
            lanes = tier._link._lanes[""]
            calls = [
                asyncio.create_task(tier._call(("BLPOP", b"nothing%d" % number, 0), Deadline.after(10)))
                for number in range(6)
            ]
            await asyncio.sleep(0)
            assert lanes.calls == 6
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, TierUnavailable) and not isinstance(one, TierTimeout) for one in found), found
        assert not lanes._there
        assert lanes.calls == 0
