"""`demote` and `promote`: each record by itself, a few at a time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from thermocline.client.engine import Engine
from thermocline.client.fences import LONGEST_WRITE
from thermocline.client.moving.prefetch import Prefetch
from thermocline.client.moving.result import Fate, Moved
from thermocline.client.moving.transfer import LEAST_BYTES, Transfer
from thermocline.client.moving.walk import TOGETHER, Selection, live, pages, reads_for
from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.model import Envelope, Key
from thermocline.policy import Plan
from thermocline.protocols import Stored

AT_ONCE: Final = 8  # records that are moved at the same time


class Moves:
    """The moving of one client. Each record has the deadline of one write, from its reading on: an erasure waits that long for moves under way."""

    def __init__(self, engine: Engine, transfer: Transfer, prefetch: Prefetch) -> None:
        self._engine = engine
        self._transfer = transfer
        self._prefetch = prefetch

    async def run(
        self,
        chosen: Selection | Sequence[Key],
        *,
        down: bool,
        into_hot: bool = False,
        limit: int | None,
        dry_run: bool,
        deadline: Deadline,
    ) -> Moved:
        """Move what is chosen until it is done, ``limit`` records were moved, or the deadline is there."""
        result = Moved(dry_run=dry_run, up=not down)
        async with aclosing(self._batches(chosen, result)) as batches:
            async for batch in batches:
                while batch:
                    left = AT_ONCE if limit is None else min(AT_ONCE, limit - result.moved)
                    if left <= 0 or deadline.expired():
                        result.more = True
                        return result
                    some, batch = batch[:left], batch[left:]
                    await self._some(some, result, down=down, dry_run=dry_run)
                    if into_hot and not dry_run:
                        await self._to_hot([stored.key for stored, _ in some], result, deadline)
        return result

    async def _batches(
        self, chosen: Selection | Sequence[Key], result: Moved
    ) -> AsyncGenerator[list[tuple[Stored, Plan]], None]:
        """What is to be moved: live, and of the selection."""
        engine, route = self._engine, self._engine.routes.route
        if not isinstance(chosen, Selection):
            for at in range(0, len(chosen), TOGETHER):
                yield await self._looked_up(chosen[at : at + TOGETHER], result)
            return
        reads = await reads_for(engine, chosen.idle_ms)
        async with aclosing(pages(engine, chosen)) as found:
            async for stamp, page in found:
                now = engine.now_ms()
                result.damaged += len(page.damaged)
                there = [stored for stored in page.items if route(stored.key).authority == stamp and live(stored, now)]
                result.seen += len(there)
                yield [(stored, route(stored.key)) for stored in there if chosen.holds(stored, now, reads)]

    async def _looked_up(self, keys: Sequence[Key], result: Moved) -> list[tuple[Stored, Plan]]:
        """What the authorities hold of these keys."""
        engine = self._engine
        by_plan: dict[int, tuple[Plan, list[Key]]] = {}
        for key in keys:
            plan = engine.routes.route(key)
            by_plan.setdefault(id(plan), (plan, []))[1].append(key)
        found: list[tuple[Stored, Plan]] = []
        for plan, asked in by_plan.values():
            authority, guard = engine.authority(plan.authority), engine.guards[plan.tier]
            answers: Sequence[Envelope | ThermoclineError | None]
            try:
                answers = await guard.call(
                    "read_many", authority.read_many, asked, deadline=engine.budget.call(), times=4
                )
            except ThermoclineError as error:
                answers = [error] * len(asked)
            now = engine.now_ms()
            for key, answer in zip(asked, answers, strict=True):
                result.seen += 1
                if isinstance(answer, ThermoclineError):
                    result.fail(key, answer)
                elif answer is None or not answer.live(now):
                    result.count(Fate.CHANGED, 0)
                else:
                    found.append((self._stored(answer), plan))
        return found

    def _stored(self, found: Envelope) -> Stored:
        pointer = self._engine.codec.pointer_of(found) if found.pointer else None
        return Stored(found.key, found.header, len(found.payload), pointer)

    async def _some(self, some: Sequence[tuple[Stored, Plan]], result: Moved, *, down: bool, dry_run: bool) -> None:
        async with asyncio.TaskGroup() as group:
            for stored, plan in some:
                if dry_run:
                    fate = self.would(stored, plan, down=down)
                    result.count(fate, stored.size if stored.pointer is None else stored.pointer.size)
                else:
                    group.create_task(self.one(stored, plan, result, down=down))

    def would(self, stored: Stored, plan: Plan, *, down: bool) -> Fate:
        """What a move of it would come to."""
        if (stored.pointer is None) is not down:
            return Fate.CLEAN
        if not self._transfer.movable(plan):
            return Fate.UNFIT
        if stored.pointer is None:
            return Fate.MOVED if stored.size >= LEAST_BYTES else Fate.UNFIT
        return Fate.MOVED if plan.cold_above is not None and stored.pointer.size <= plan.cold_above else Fate.UNFIT

    async def one(self, stored: Stored, plan: Plan, result: Moved, *, down: bool) -> None:
        """Move one record as it was seen, and count what became of it."""
        fate = self.would(stored, plan, down=down)
        if fate is not Fate.MOVED:
            result.count(fate, 0)
            return
        engine, transfer, key = self._engine, self._transfer, stored.key
        deadline = engine.budget.call().within(LONGEST_WRITE)
        try:
            found = await transfer.read(key, plan, deadline)
            if found is None or found.version != stored.header.version or not found.live(engine.now_ms()):
                result.count(Fate.CHANGED, 0)
            elif down:
                fate, reused = await transfer.demote(found, plan, deadline)
                result.count(fate, len(found.payload))
                result.reused += reused and fate is Fate.MOVED
            else:
                size = engine.codec.pointer_of(found).size if found.pointer else 0
                result.count(await transfer.promote(found, plan, deadline), size)
        except ThermoclineError as error:
            result.fail(key, error)

    async def _to_hot(self, keys: Sequence[Key], result: Moved, deadline: Deadline) -> None:
        fetched = await self._prefetch.run({key: key for key in keys}, deadline)
        result.into_hot += len(fetched.promoted)
        for key, error in fetched.errors.items():
            result.fail(key, error)
