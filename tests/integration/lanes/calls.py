"""Calls past the tier's verbs, and a look at the connections that they share."""

from typing import Any

from thermocline.clock import Deadline
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.lanes import Lanes


def soon(seconds: float = 10) -> Deadline:
    return Deadline.after(seconds)


async def ask(tier: HotMemory, *words: bytes | str | int, seconds: float = 10) -> Any:
    return await tier._call(words, soon(seconds))


def lanes_of(tier: HotMemory) -> Lanes:
    return tier._link._lanes[""]
