"""One pass over everything: what the source has is brought to the target, then what only the target has is looked for in the source.

Written down after each page in the target's notes, so that it can be killed at any point and taken up. A page that is done twice does no harm (`syncing`).
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import msgspec

from thermocline.client.moving.pace import Pace
from thermocline.client.moving.walk import live
from thermocline.errors import ThermoclineError
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Stored
from thermocline.transfer.ends import PAGE, TOGETHER, TOGETHER_BYTES, End
from thermocline.transfer.report import CopyReport
from thermocline.transfer.spaces import Space
from thermocline.transfer.syncing import Syncer

_NAMED: Final = "names"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a pass of this ``kind`` came: ``step`` "" is its begin, ``cursor`` the tier's own, None: from the step's begin."""

    kind: str
    began_ms: int
    step: str = ""
    cursor: str | None = None
    done: bool = False
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a pass judges. ``merge``, ``source_wins`` as of `decide`; ``after_ms``: records that were written before that are left alone."""

    merge: bool = False
    source_wins: bool = False
    dry_run: bool = False
    after_ms: int = 0


def together(items: Sequence[Stored]) -> Iterator[list[Stored]]:
    """The items in their order, as many at a time as are read and written together."""
    group: list[Stored] = []
    size = 0
    for item in items:
        if group and (len(group) >= TOGETHER or size + item.size > TOGETHER_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += item.size
    if group:
        yield group


class Pass:
    """``keeper`` is the side that keeps the checkpoint, in the note ``name``; ``beat`` is called before each group, and raises if another took over.
    ``keys``: these of the source instead of all."""

    def __init__(
        self,
        source: End,
        target: End,
        space: Space,
        terms: Terms,
        *,
        keeper: End,
        name: str,
        kind: str,
        since_ms: int = 0,
        keys: Sequence[Key] | None = None,
        pace: Pace,
        beat: Callable[[], Awaitable[None]],
    ) -> None:
        self._source, self._target, self._space, self._terms = source, target, space, terms
        self._keeper, self._note = keeper, f"transfer/{name}/pass"
        self._kind, self._since_ms = kind, since_ms
        self._keys = None if keys is None else list(keys)
        self._pace, self._beat = pace, beat
        self.report = CopyReport(dry_run=terms.dry_run)
        self._syncer = Syncer(source, target, space, self.report, merge=terms.merge, source_wins=terms.source_wins)
        self._began_ms = 0

    async def run(self) -> CopyReport:
        """To its end, from where the last one was cut short. Raises `TierUnavailable`, `Conflict` if another took over; call it again then."""
        steps = self._steps()
        names = list(steps)
        at, cursor = await self._begin(names)
        while at < len(names):
            cursor = await steps[names[at]](cursor)
            if cursor is None:
                at += 1
            if at < len(names):
                await self._keep(names[at], cursor)
        self.report.finished = True
        await self._keep(names[-1], None, done=True)
        return self.report

    def _steps(self) -> dict[str, Callable[[str | None], Awaitable[str | None]]]:
        if self._keys is not None:
            return {_NAMED: self._named}
        steps = {f"records of {stamp.name.lower()}": self._records(stamp) for stamp in self._source.authorities()}
        for stamp in self._target.authorities():
            steps[f"leftovers of {stamp.name.lower()}"] = self._leftovers(stamp)
        return steps

    # --- where it is ----------------------------------------------------------------------------------------------------

    async def _begin(self, names: list[str]) -> tuple[int, str | None]:
        found = None if self._terms.dry_run else await self.read(self._keeper, self._note)
        if found is not None and not found.done and found.kind == self._kind and found.began_ms >= self._since_ms:
            self.report.add(found.counts)
            self.report.resumed += 1
            self._began_ms = found.began_ms
            if found.step in names:
                return names.index(found.step), found.cursor
        else:
            self._began_ms = self._keeper.engine.now_ms()
        return 0, None

    @staticmethod
    async def read(keeper: End, note_name: str) -> Checkpoint | None:
        """The checkpoint that is there; one that cannot be read is none."""
        note = await keeper.book().read(note_name, keeper.call(10))
        if note is None:
            return None
        try:
            return msgspec.json.decode(note.data, type=Checkpoint)
        except msgspec.DecodeError:
            return None

    async def _keep(self, step: str, cursor: str | None, *, done: bool = False) -> None:
        await self._beat()
        if self._terms.dry_run:
            return
        place = Checkpoint(self._kind, self._began_ms, step, cursor, done, self.report.counts())
        book = self._keeper.book()
        # without a condition: who writes it has the migration's state, and what an older one wrote was done as well
        await book.call(
            book.notes.write_note, self._note, msgspec.json.encode(asdict(place)), deadline=self._keeper.call(10)
        )

    # --- the steps ------------------------------------------------------------------------------------------------------

    def _records(self, stamp: Authority) -> Callable[[str | None], Awaitable[str | None]]:
        async def page(cursor: str | None) -> str | None:
            space, terms = self._space, self._terms
            found = await self._source.page(stamp, space.tenant, space.scope, cursor)
            self._hurt(found.damaged)
            mine = {
                item.key: item
                for item in found.items
                if self._source.plan(item.key).authority is stamp and item.header.modified_ms >= terms.after_ms
            }
            self.report.records += len(mine)
            for group in together(list(mine.values())):
                await self._beat()  # just before it writes: who slept meanwhile finds that another took over
                await self._syncer.sync([item.key for item in group])
                await self._pace.records(len(group))
            return found.cursor

        return page

    def _leftovers(self, stamp: Authority) -> Callable[[str | None], Awaitable[str | None]]:
        async def page(cursor: str | None) -> str | None:
            tenant, scope = self._space.target()
            found = await self._target.page(stamp, tenant, scope, cursor)
            self._hurt(found.damaged)
            now_ms = self._target.engine.now_ms()
            there = {
                self._space.back(item.key): item
                for item in found.items
                if live(item, now_ms) and self._target.plan(item.key).authority is stamp
            }
            self.report.checked += len(there)
            for group in together(list(there.values())):
                await self._beat()
                await self._look_for([self._space.back(item.key) for item in group])
                await self._pace.records(len(group))
            return found.cursor

        return page

    async def _look_for(self, keys: list[Key]) -> None:
        """Those that the source does not have are deleted, or kept."""
        now_ms = self._source.engine.now_ms()
        copies = await self._source.read(keys)
        gone = [key for key, copy in copies.items() if not _there(copy, now_ms)]
        if self._terms.merge:  # the target's own; only what the source knows to be deleted or forgotten is looked at
            unknown = [key for key in gone if copies[key] is None]
            erased = await self._source.forgotten(unknown) if unknown else {}
            gone = [key for key in gone if copies[key] is not None or (key.tenant, key.scope) in erased]
        await self._syncer.sync(gone)

    async def _named(self, cursor: str | None) -> str | None:
        keys = self._keys or []
        at = int(cursor or 0)
        part = list(dict.fromkeys(keys[at : at + PAGE]))
        self.report.records += len(part)
        for start in range(0, len(part), TOGETHER):
            await self._beat()
            await self._syncer.sync(part[start : start + TOGETHER])
        await self._pace.records(len(part))
        return None if at + PAGE >= len(keys) else str(at + PAGE)

    def _hurt(self, damaged: Sequence[str]) -> None:
        self.report.damaged += len(damaged)
        for words in damaged:
            self.report.tell(words)


def _there(copy: Envelope | ThermoclineError | None, now_ms: int) -> bool:
    """Whether the source has it; one that it cannot read now is left to the pass over the source's own records."""
    return isinstance(copy, ThermoclineError) or (copy is not None and copy.live(now_ms))


def pace_of(end: End, per_second: float | None) -> Pace:
    """So many records a second."""
    none: Callable[[], Any] = lambda: 0.0  # noqa: E731
    return Pace(end.engine.clock, per_second=per_second, spent=none)
