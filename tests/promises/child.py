"""What a client process of the nursery does: one write, dying at a step of it."""

import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.model import Key, Pointer
from thermocline.protocols import EntryOperation, Found, Write, Written
from thermocline.resilience import Budget
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

Say = Callable[[str], None]


class Steps:
    """Counts what the write does, says it, and dies at number ``die_at`` (counted from 1)."""

    def __init__(self, say: Say, die_at: int | str | None) -> None:
        self._say = say
        self._die_at = die_at
        self._done = 0
        self.counting = False

    def __call__(self, what: str) -> None:
        if not self.counting:
            return
        self._done += 1
        self._say(f"STEP {what}")
        if self._die_at in (self._done, what):
            os.kill(os.getpid(), signal.SIGKILL)


class SteppingHot(HotMemory):
    steps: Steps

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        name = type(operation).__name__.lower()
        self.steps(f"before {name}")
        answer = await super().operate(operation, deadline=deadline)
        self.steps(f"after {name}")
        return answer


class SteppingWarm(WarmMemory):
    steps: Steps

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        self.steps("before write")
        written = await super().write(write, deadline=deadline)
        self.steps("after write")
        return written


class SteppingCold(ColdMemory):
    steps: Steps

    async def put_payload(self, key: Key, data: bytes | AsyncIterator[bytes], *, deadline: Deadline) -> Pointer:
        self.steps("before payload")
        pointer = await super().put_payload(key, data, deadline=deadline)
        self.steps("after payload")
        return pointer


async def live(
    say: Say,
    *,
    redis: str,
    cosmos: str,
    cosmos_key: str,
    blob: str,
    blob_key: str,
    name: str,
    key: list[str],
    verb: str = "set",
    value: Any = None,
    noise: int | None = None,
    die_at: int | str | None = None,
    known: bool = False,
) -> None:
    """Set (``value``, or ``noise`` bytes of random content) or delete a key, and say the version that was acknowledged."""
    steps = Steps(say, die_at)
    hot = SteppingHot(redis)
    warm = SteppingWarm(cosmos, "promises", name, key=cosmos_key, create=True)
    cold = SteppingCold(blob, name, credential=blob_key, create=True)
    hot.steps = warm.steps = cold.steps = steps
    budget = Budget(
        hot=timedelta(seconds=10), warm=timedelta(seconds=15), cold=timedelta(seconds=30), call=timedelta(seconds=60)
    )
    async with MemoryClient(hot=hot, warm=warm, cold=cold, budget=budget) as memory:
        target = Key(*key)
        if known:
            await memory.get(target)
        steps.counting = True
        if verb == "delete":
            result = await memory.delete(target)
        else:
            result = await memory.set(target, random.Random(noise).randbytes(noise) if noise is not None else value)
        say(f"ACK {result.version}")
        steps("acknowledged")
        steps.counting = False
