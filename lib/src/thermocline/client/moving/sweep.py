"""One pass over everything that the authorities and cold hold: the lifetimes' rules, dead records, orphans, and the library's own notes.

A pass is a row of steps, each of them pages with the tier's own cursor. After a page the place is written down; whoever comes next goes on there,
also in another process, also after SIGKILL. A page that was begun is done anew: every action is conditional on what was seen, so that doing it twice, or in
two places at once, changes nothing (ADR 0009).
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol, runtime_checkable

from thermocline import telemetry
from thermocline.client.engine import Engine
from thermocline.client.guard import Guard
from thermocline.client.held import Sweepable
from thermocline.client.moving.bookmark import Bookmark
from thermocline.client.moving.moves import AT_ONCE, Moves
from thermocline.client.moving.orphans import Orphans
from thermocline.client.moving.pace import Pace
from thermocline.client.moving.report import SweepReport
from thermocline.client.moving.rules import Rules
from thermocline.client.moving.walk import PAGE, counted, page_of
from thermocline.client.owners import Owners
from thermocline.client.reads import notebook, tidy_reads
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, TierUnavailable
from thermocline.model import Authority, MemoryTier, instant
from thermocline.protocols import Purges

PURGED_AT_ONCE: Final = 200
_OWNERS_SHARES: Final = 4.0
_GIVES_UP: Final = 20  # failures in a row, after which a pass stops: the tier is down rather than a record sick

Step = Callable[[str | None], Awaitable[str | None]]
"""Does a page from a cursor on (None: the first) and gives the next one's."""


@runtime_checkable
class Tidies(Protocol):
    """A tier in which writers that died leave something behind."""

    async def tidy(self, *, deadline: Deadline) -> int:
        """Remove it; how many pieces there were."""
        ...


class _Lost(Exception):
    """Another process has the pass."""


class Sweep:
    """One process' part of a pass. ``page``: records of a census' page, and payloads of a listing's."""

    page: int = PAGE

    def __init__(self, engine: Engine, moves: Moves, rules: Rules, report: SweepReport, pace: Pace) -> None:
        self._engine = engine
        self._moves = moves
        self._rules = rules
        self._report = report
        self._pace = pace
        self._bookmark: Bookmark | None = None
        self._failed = 0  # failures up to the last success

    async def run(self, *, lease: timedelta, even_if_empty: bool = False) -> SweepReport:
        """Until all is done, a bound is reached, or a tier cannot be asked; the report says which."""
        report = self._report
        book = notebook(self._engine)
        if book is not None and not report.dry_run:
            self._bookmark = Bookmark(self._engine, book, lease=lease)
            until = await self._bookmark.take()
            if until:
                report.busy_until = instant(until)
                report.stopped = "another process is sweeping"
                return report
            if self._bookmark.place.step:
                report.add(self._bookmark.place.counts)
                report.resumed += 1
        try:
            await self._steps(even_if_empty)
        except _Lost:
            report.stopped = "another process has taken the pass over"
        except TierUnavailable as error:
            report.stopped = f"a tier could not be asked: {error}"
        finally:
            report.request_units = self._pace.units
        if self._bookmark is not None and not report.stopped.startswith("another"):
            await self._leave()
        return report

    async def _leave(self) -> None:
        assert self._bookmark is not None
        try:
            await self._bookmark.keep(over=True, done=self._report.finished, counts=self._report.counts())
        except TierUnavailable as error:  # the lease runs out, and the pass is taken up where it was last written down
            self._report.stopped = self._report.stopped or f"its end could not be written down: {error}"

    async def _steps(self, even_if_empty: bool) -> None:
        report = self._report
        steps = self._row(even_if_empty)
        names = list(steps)
        place = self._bookmark.place if self._bookmark is not None else None
        at, cursor = 0, None
        if place is not None and place.step in names:
            at, cursor = names.index(place.step), place.cursor
        while at < len(names):
            report.where = names[at]
            if reason := self._enough():
                report.stopped = reason
                return
            try:
                cursor = await steps[names[at]](cursor)
            except InvalidArgument:
                if cursor is None:
                    raise
                cursor = None  # the cursor is of another time: the step begins anew
                continue
            if cursor is None:
                at += 1
            if at < len(names):
                await self._keep(names[at], cursor)
        report.finished, report.where = True, ""

    def _enough(self) -> str:
        if self._failing():
            return f"{_GIVES_UP} failures in a page; the last: {self._report.errors[-1] if self._report.errors else 'see demotions.errors'}"
        self._failed = self._report.failed()
        return self._pace.over()

    def _failing(self) -> bool:
        return self._report.failed() - self._failed >= _GIVES_UP

    async def _keep(self, step: str, cursor: str | None) -> None:
        if self._bookmark is not None and not await self._bookmark.keep(
            step=step, cursor=cursor, counts=self._report.counts()
        ):
            raise _Lost

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _row(self, even_if_empty: bool) -> dict[str, Step]:
        engine = self._engine
        steps: dict[str, Step] = {}
        for stamp in counted(engine):
            steps[f"records of {stamp.name.lower()}"] = self._of_authority(stamp)
        tiers: dict[MemoryTier, object] = {tier.tier: tier for tier in engine.authorities.values()}
        for name, guard in engine.guards.items():
            tier = tiers.get(name)
            if isinstance(tier, Purges):
                steps[f"dead records of {name}"] = self._of_purges(tier, guard)
        cold: object = engine.cold
        if isinstance(cold, Sweepable) and engine.below_hot():
            steps["payloads"] = self._of_payloads(Orphans(engine, self._report), even_if_empty)
        steps["notes"] = self._notes
        return steps

    def _of_authority(self, stamp: Authority) -> Step:
        async def page(cursor: str | None) -> str | None:
            engine, report = self._engine, self._report
            await self._rules.prepare()
            limit = self._pace.page(self.page)
            found = await page_of(engine, stamp, tenant=None, scope=None, cursor=cursor, limit=limit)
            for at in range(0, len(found.items), AT_ONCE):
                before = report.changes()
                await self._rules.apply(found.items[at : at + AT_ONCE], stamp, self._moves, report)
                if self._pace.over() and (report.changes() > before or self._failing()):
                    return (
                        cursor or ""
                    )  # the page is done anew; only after a change, or bounds of less than its reading would let no pass come further
                await self._hold()
            report.records += len(found.items)
            report.damaged += len(found.damaged)
            await self._pace.records(len(found.items))
            return found.cursor

        async def whole(cursor: str | None) -> str | None:
            return await page(cursor or None)

        return whole

    async def _hold(self) -> None:
        """Within a long page: say that the pass is still under way."""
        if self._bookmark is not None and self._bookmark.due() and not await self._bookmark.keep():
            raise _Lost

    def _of_purges(self, tier: Purges, guard: Guard) -> Step:
        async def page(cursor: str | None) -> str | None:
            if self._report.dry_run:
                return None
            engine = self._engine
            limit = self._pace.page(PURGED_AT_ONCE)

            async def purge(*, deadline: Deadline) -> int:
                return await tier.purge(dead_before_ms=engine.now_ms(), limit=limit, deadline=deadline)

            gone = await guard.call("purge", purge, deadline=engine.budget.call(30), times=8)
            self._report.purged += gone
            await self._pace.records(gone)
            return "more" if gone else None

        return page

    def _of_payloads(self, orphans: Orphans, even_if_empty: bool) -> Step:
        owners = Owners(self._engine)
        strangers: list[str] | None = None

        async def page(cursor: str | None) -> str | None:
            nonlocal strangers
            report = self._report
            if report.records == 0 and not even_if_empty:
                report.errors.append(
                    "the authorities hold no record at all, so the payloads in cold were left alone: is this the right container? If it is, say even_if_empty"
                )
                return None
            if strangers is None:
                strangers = await owners.strangers(self._engine.budget.call(_OWNERS_SHARES))
            if strangers:
                report.errors.append(
                    f"cold also holds the payloads of other authorities ({', '.join(strangers)}), so all payloads were left alone: sweep with all of them"
                    " configured; of one that is gone for good say disown=[its name] (docs/moving-data-between-tiers.md)"
                )
                return None
            seen, following = await orphans.page(self._pace.page(self.page), cursor)
            await self._pace.records(seen)
            return following

        return page

    async def _notes(self, cursor: str | None) -> str | None:
        engine, report = self._engine, self._report
        cold: object = engine.cold
        if isinstance(cold, Tidies) and not report.dry_run:
            report.temporary += await cold.tidy(deadline=engine.budget.call())
        book = notebook(engine)
        if book is not None:
            report.notes += await tidy_reads(engine, book, dry_run=report.dry_run)
        return None


def spent(engine: Engine) -> Callable[[], float]:
    """The request units that this client was charged so far."""
    tiers = [str(tier) for tier in engine.guards]
    return lambda: sum(engine.stats.get(telemetry.REQUEST_UNITS, tier) for tier in tiers)
