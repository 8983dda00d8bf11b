"""`Migration`: records from one set of tiers or namespace to another, while an application goes on (docs/moving-data.md)."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from thermocline.client import MemoryClient
from thermocline.errors import Conflict, InvalidArgument, ThermoclineError
from thermocline.model import Key
from thermocline.transfer.compare import SKEW_MS
from thermocline.transfer.ends import End
from thermocline.transfer.passes import Checkpoint, Pass, Terms, pace_of
from thermocline.transfer.planning import MigrationPlan, Planning
from thermocline.transfer.report import CopyReport, Differences
from thermocline.transfer.spaces import Space, space_of
from thermocline.transfer.state import LEASE, QUIET, Phase, State, StateBook, checked_name
from thermocline.transfer.verify import Verification

LEAST_QUIET: Final = timedelta(seconds=1)
_GLANCE: Final = 0.05  # seconds


class Migration:
    """One migration, by its ``name``: whoever opens it anew, with the same clients and space, goes on where the last one ended.

    ``source`` and ``target`` are clients of different tiers, or of the same tiers with another authority; they stay their owner's to close. ``space`` says
    which keys, and what they are called in the target. ``keys``: these keys of the source instead of all, as those of old copies that a legacy route
    reads, which no tier can list. ``quiet``: how long a cut-over waits for writers in both worlds; ``lease``: how long an operator who says nothing keeps
    others away. Raises `InvalidArgument`.
    """

    def __init__(
        self,
        source: MemoryClient,
        target: MemoryClient,
        *,
        name: str = "migration",
        space: Space | None = None,
        keys: Sequence[Key | str] | None = None,
        quiet: timedelta = QUIET,
        lease: timedelta = LEASE,
        max_records_per_second: float | None = None,
    ) -> None:
        for what, span in (("quiet", quiet), ("lease", lease)):
            given: Any = span
            if not isinstance(given, timedelta) or span < LEAST_QUIET:
                raise InvalidArgument(f"{what} is a timedelta of at least a second, not {span!r}")
        self.name = checked_name(name)
        self.space = space_of(space)
        self._source, self._target = End(source), End(target)
        self._keys = None if keys is None else [Key.of(key) for key in keys]
        if self._keys is not None and any(not self.space.holds(key) for key in self._keys):
            raise InvalidArgument("one of the keys is not in the space that is moved")
        self._quiet = quiet
        self._book = StateBook(self._source, self._target, name, self.space, lease=lease)
        rate: Any = max_records_per_second
        if rate is not None and (
            isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf
        ):
            raise InvalidArgument(f"max_records_per_second is a number above 0, not {rate!r:.80}")
        self._per_second = max_records_per_second

    # --- looking --------------------------------------------------------------------------------------------------------

    async def plan(self, *, merge: bool = False) -> MigrationPlan:
        """What there is, what it takes, and what cannot be moved. Writes nothing but a probe that it removes."""
        await self._connect()
        return await Planning(self._source, self._target, self.space, keys=self._keys).run(merge=merge)

    async def status(self) -> tuple[State | None, Checkpoint | None]:
        """Where it stands: the state (None: not begun), and how far the last pass came."""
        await self._connect()
        state = await self._book.read()
        return state, await Pass.read(self._target, f"transfer/{self.name}/pass")

    async def verify(self) -> Differences:
        """Compare both sides, record for record, in both directions. While writers are at work a record that is just being written may show as different;
        each that differs is looked at three times."""
        await self._connect()
        state = await self._book.read()
        if state is not None:
            await self._book.fits(state)
        return await self._verify(State() if state is None else state, _nothing)

    # --- copying --------------------------------------------------------------------------------------------------------

    async def copy(self, *, merge: bool = False, source_wins: bool = False, dry_run: bool = False) -> CopyReport:
        """One pass over everything: new and changed records are written to the target, and what was deleted in the source is deleted there. It can be run
        as often as one likes before the cut-over, and goes on where one was cut short. The first one refuses, before it writes, a target that cannot hold some
        of the records, and one that holds records, unless ``merge``: then of each key the record that was written later counts. ``source_wins``: what is
        newer in the target is overwritten too.

        Raises `Conflict` where the target is not empty or does not fit, another operator is at it, or the cut-over is over; `TierUnavailable`: call it again
        then.
        """
        await self._connect()
        state = await self._book.read()
        if state is None:
            await self._first(merge)
        else:
            await self._book.fits(state)
        if merge and state is not None and not state.merge:
            raise Conflict("this migration began with an empty target; merge is said with its first copy")
        if dry_run:
            terms = self._terms(state if state is not None else State(merge=merge), source_wins, dry_run=True)
            return await self._pass("dry", terms, _nothing)
        first = State(quiet_ms=self._quiet // timedelta(milliseconds=1), merge=merge)
        async with self._working("copy", Phase.COPY, Phase.DUAL, first=first) as book:
            report = await self._pass("copy", self._terms(book.state, source_wins), book.heartbeat)
            await book.leave()
        return report

    async def _first(self, merge: bool) -> None:
        planning = Planning(self._source, self._target, self.space, keys=self._keys)
        await planning.apart()
        if not merge and self._keys is None and await planning.live_in_target(most=1):
            raise Conflict(
                "the target holds live records in this place already: empty it, choose another, or say merge, then the later one of each key counts"
            )
        await planning.fit()

    async def dual_write(self) -> State:
        """Begin the window in which every `DualMemory` writes both sides. The source keeps the word."""
        await self._connect()
        async with self._working("dual-write", Phase.COPY, Phase.DUAL) as book:
            return await book.leave(phase=Phase.DUAL)

    # --- over and back --------------------------------------------------------------------------------------------------

    async def cut_over(self, *, source_wins: bool = False) -> CopyReport:
        """Give the target the word: a pass, then writers wait for ``quiet``, a last pass, a verification. Killed on the way, it is called again, or
        `rollback` lets the writers go on with the source.

        Raises `Conflict` if something is left undone or differs: then the source has kept the word, and writers go on.
        """
        await self._connect()
        async with self._working("cut-over", Phase.COPY, Phase.DUAL, Phase.FENCED) as book:
            terms = self._terms(book.state, source_wins)
            if book.state.phase is not Phase.FENCED:
                self._refuse(await self._pass("copy", terms, book.heartbeat), terms)
                await book.keep(phase=Phase.FENCED, fenced_ms=book.now_ms())
            try:
                await self._wait_quiet(book)
                report = await self._pass("last", terms, book.heartbeat, since_ms=book.state.fenced_ms)
                self._refuse(report, terms)
                self._differ(await self._verify(book.state, book.heartbeat))
            except ThermoclineError:
                await book.leave(phase=Phase.DUAL)
                raise
            await book.leave(phase=Phase.TARGET, cut_ms=book.state.fenced_ms)
        return report

    async def rollback(self) -> CopyReport:
        """Give the source the word again, with what was written in the target since; possible until `finish`. Of a cut-over that was cut off: writers go on
        with the source. Raises as `cut_over` does; then the target has kept the word."""
        await self._connect()
        async with self._working("rollback", Phase.FENCED, Phase.TARGET, Phase.RETURNING) as book:
            if book.state.phase is Phase.FENCED:
                await book.leave(phase=Phase.DUAL)
                return CopyReport(finished=True)
            merge = book.state.merge
            terms = Terms(merge=merge, after_ms=book.state.cut_ms - SKEW_MS if merge else 0)
            if book.state.phase is not Phase.RETURNING:
                await book.keep(phase=Phase.RETURNING, fenced_ms=book.now_ms())
            try:
                await self._wait_quiet(book)
                since = book.state.fenced_ms
                report = await self._pass("back", terms, book.heartbeat, since_ms=since, back=True)
                self._refuse(report, terms)
                if not merge:
                    self._differ(await self._verify(book.state, book.heartbeat, back=True))
            except ThermoclineError:
                await book.leave(phase=Phase.TARGET)
                raise
            await book.leave(phase=Phase.DUAL)
        return report

    async def finish(self) -> State:
        """End it: the target has the word for good, the source is written no more, and there is no way back."""
        await self._connect()
        async with self._working("finish", Phase.TARGET, Phase.DONE) as book:
            return await book.leave(phase=Phase.DONE)

    # --- parts ----------------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await self._source.client.connect()
        await self._target.client.connect()

    @asynccontextmanager
    async def _working(self, doing: str, *phases: Phase, first: State | None = None) -> AsyncGenerator[StateBook, None]:
        """Be the one who works on it; given up where it ends by an error."""
        await self._book.take(doing, *phases, first=first)
        beating = asyncio.create_task(self._book.beat(), name="thermocline migration lease")
        try:
            yield self._book
        except (ThermoclineError, asyncio.CancelledError):
            if self._book.state.owner:
                try:
                    await self._book.leave()
                except ThermoclineError:  # the lease runs out by itself; what went wrong first is told
                    self._book.forget()
            raise
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    def _terms(self, state: State, source_wins: bool, *, dry_run: bool = False) -> Terms:
        return Terms(merge=state.merge, source_wins=source_wins, dry_run=dry_run)

    async def _pass(self, kind: str, terms: Terms, beat: Any, *, since_ms: int = 0, back: bool = False) -> CopyReport:
        source, target, space = self._source, self._target, self.space
        keys = self._keys
        if back:
            source, target, space = target, source, space.turned()
            keys = None if keys is None else [self.space.there(key) for key in keys]
        return await Pass(
            source,
            target,
            space,
            terms,
            keeper=self._target,
            name=self.name,
            kind=kind,
            since_ms=since_ms,
            keys=keys,
            pace=pace_of(source, self._per_second),
            beat=beat,
        ).run()

    async def _verify(self, state: State, beat: Any, *, back: bool = False) -> Differences:
        source, target, space, keys = self._source, self._target, self.space, self._keys
        if back:
            source, target, space = target, source, space.turned()
            keys = None if keys is None else [self.space.there(key) for key in keys]
        return await Verification(source, target, space, merge=state.merge, keys=keys, beat=beat).run()

    async def _wait_quiet(self, book: StateBook) -> None:
        """Until every writer has seen that it is to wait, and its last write has ended."""
        until = book.state.fenced_ms + book.state.quiet_ms
        while book.now_ms() < until:
            await asyncio.sleep(_GLANCE)
            await book.heartbeat()

    def _refuse(self, report: CopyReport, terms: Terms) -> None:
        kept = 0 if terms.merge else report.kept
        if report.failed or report.damaged or kept:
            first = [*report.errors, *report.newer][:1]
            raise Conflict(
                f"not moved: {report.failed}; damaged: {report.damaged}; newer where they were to go: {kept}"
                f" ({first[0] if first else ''}); nothing was switched. Mend them, or say source_wins for the newer ones"
            )

    def _differ(self, found: Differences) -> None:
        if not found.none:
            named = [*found.different, *found.missing, *found.extra, *found.damaged]
            raise Conflict(f"both sides differ: {found.told()}; the first: {named[0]}; nothing was switched")


async def _nothing() -> None:
    """Nobody has to be told."""
