"""What a reading process of the nursery does: many callers at once, of one key; or dying while its read is under way."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from thermocline.client import MemoryClient
from thermocline.model import Key
from thermocline.resilience import Budget
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

Say = Callable[[str], None]


class DyingWarm(WarmMemory):
    """Kills its process as soon as it is asked."""

    dies = False

    async def read(self, *args: Any, **kwargs: Any) -> Any:
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().read(*args, **kwargs)


async def live(
    say: Say,
    *,
    redis: str,
    cosmos: str,
    cosmos_key: str,
    name: str,
    key: list[str],
    callers: int = 0,
    at: float = 0.0,
    over: float = 0.0,
    make: str | None = None,
    dies: bool = False,
) -> None:
    """``callers`` reads of a key, or `get_or_set` with a factory that takes a second and makes ``make``, begun at that time of the wall clock one after the
    other ``over`` so many seconds. Says how often the factory ran, and as a step what all of them were answered."""
    warm = DyingWarm(cosmos, "promises", name, key=cosmos_key, create=True)
    budget = Budget(hot=timedelta(seconds=10), warm=timedelta(seconds=30), call=timedelta(seconds=60))
    target, runs = Key(*key), 0

    async def factory() -> str:
        nonlocal runs
        runs += 1
        await asyncio.sleep(1.0)
        assert make is not None
        return make

    async with MemoryClient(hot=HotMemory(redis), warm=warm, budget=budget) as memory:
        await memory.get(Key(target.tenant, target.scope, "warming up"))
        warm.dies = dies

        async def one(number: int) -> object:
            await asyncio.sleep(max(0.0, at - time.time()) + over * number / callers)
            if make is None:
                return await memory.get(target)
            return await memory.get_or_set(target, factory)

        answers = await asyncio.gather(*(one(number) for number in range(callers)))
        assert len(answers) == callers
        for answer in {repr(answer) for answer in answers}:
            say(f"STEP {answer}")
        say(f"ACK {runs}")
