"""Tiers whose calls a test holds at a point, so that an order of steps that is rare becomes certain."""

import asyncio
from collections import defaultdict
from typing import Any

from thermocline.clock import Deadline
from thermocline.model import Envelope, Key
from thermocline.protocols import EntryOperation, Found, Write, Written
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory


class Points:
    """``hold("publish")``: the next one stops there; ``await reached("publish")``; ``let("publish")`` lets it go on."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Event] = {}
        self._reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def hold(self, point: str) -> None:
        self._gates[point] = asyncio.Event()
        self._reached[point].clear()

    async def reached(self, point: str) -> None:
        await self._reached[point].wait()

    def let(self, point: str) -> None:
        self._gates.pop(point).set()

    async def pass_by(self, point: str) -> None:
        gate = self._gates.get(point)
        if gate is not None and not self._reached[point].is_set():
            self._reached[point].set()
            await gate.wait()


class HeldHot(HotMemory):
    """Points: ``announce``, ``publish``, … before an operation is sent."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.points = Points()

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        await self.points.pass_by(type(operation).__name__.lower())
        return await super().operate(operation, deadline=deadline)


class HeldWarm(WarmMemory):
    """Points: ``read`` (the answer is there, and not yet seen), ``write`` (not yet sent), ``written`` (done, and not yet known)."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.points = Points()

    async def _read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        found = await super()._read(key, deadline=deadline)
        await self.points.pass_by("read")
        return found

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        await self.points.pass_by("write")
        written = await super().write(write, deadline=deadline)
        await self.points.pass_by("written")
        return written
