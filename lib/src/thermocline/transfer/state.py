"""Where a migration stands: one note in the source's tiers, replaced only as it was last seen, which operators and writers in both worlds heed."""

import asyncio
import logging
import re
import secrets
from dataclasses import asdict, astuple, dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from thermocline.errors import ConfigurationError, Conflict, CorruptRecord, InvalidArgument, ThermoclineError
from thermocline.model import instant
from thermocline.protocols import Note
from thermocline.transfer.ends import End
from thermocline.transfer.spaces import Space

log = logging.getLogger("thermocline.transfer")

QUIET: Final = timedelta(seconds=30)
LEASE: Final = timedelta(seconds=60)
_NAME: Final = re.compile("[a-z0-9-]{1,60}")


class Phase(StrEnum):
    """Which side has the word, and what writers do."""

    COPY = "copy"  # the source has the word, and is written alone
    DUAL = "dual"  # the source has the word; a writer brings each write to the target too
    FENCED = "fenced"  # the cut-over is under way: writers wait
    TARGET = "target"  # the target has the word; a writer brings each write to the source too, so that it can go back
    RETURNING = "returning"  # the way back is under way: writers wait
    DONE = "done"  # the target has the word, for good

    @property
    def waits(self) -> bool:
        return self in (Phase.FENCED, Phase.RETURNING)

    @property
    def in_target(self) -> bool:
        return self in (Phase.TARGET, Phase.RETURNING, Phase.DONE)

    @property
    def both(self) -> bool:
        return self in (Phase.DUAL, Phase.TARGET)


@dataclass(frozen=True, slots=True)
class State:
    """``until_ms``: so long nobody else than ``owner`` works on it; ``serial`` grows with each writing. ``fenced_ms``: when writers were told to wait.
    ``quiet_ms``: how long that takes to reach all of them, and their last write to end. ``merge``: the target had records of its own.
    ``cut_ms``: when writers last waited for a cut-over that came to its end. ``space``, ``mark``: which keys, and what tells the target from others."""

    phase: Phase = Phase.COPY
    owner: str = ""
    doing: str = ""
    until_ms: int = 0
    serial: int = 0
    fenced_ms: int = 0
    quiet_ms: int = QUIET // timedelta(milliseconds=1)
    merge: bool = False
    cut_ms: int = 0
    began_ms: int = 0
    space: tuple[str | None, ...] = ()
    mark: str = ""

    @property
    def hold_ms(self) -> int:
        """How long a writer may go by what it read of this."""
        return self.quiet_ms // 15

    @property
    def write_ms(self) -> int:
        """How long one write may take. What is left of ``quiet_ms`` is for its copies on the wire."""
        return self.quiet_ms * 2 // 3


def checked_name(name: Any) -> str:
    """A migration's name, which its notes bear. Raises `InvalidArgument`."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidArgument(f"a migration's name is 1 to 60 of a-z, 0-9 and -, not {name!r:.80}")
    return name


class StateBook:
    """The note of one migration, as one process sees it."""

    def __init__(self, source: End, target: End, name: str, space: Space, *, lease: timedelta = LEASE) -> None:
        self._end, self._target, self._space = source, target, space
        self._note = f"transfer/{checked_name(name)}/state"
        self._mark = f"transfer/{name}/mark"
        self._name = name
        self._lease_ms = lease // timedelta(milliseconds=1)
        self._owner = secrets.token_hex(10)
        self._etag: str | None = None
        self._writing = asyncio.Lock()
        self.state = State()

    def now_ms(self) -> int:
        return self._end.engine.now_ms()

    async def read(self) -> State | None:
        """What it says; None: the migration has not begun. Raises `CorruptRecord`, `TierUnavailable`."""
        note = await self._end.book().read(self._note, self._end.call(10))
        self._etag = None if note is None else note.etag
        if note is None:
            return None
        self.state = _decoded(note)
        return self.state

    async def take(self, doing: str, *allowed: Phase, first: State | None = None) -> State:
        """Be the one who works on it. ``first``: the state where there is none yet. Raises `Conflict` if another is at it, or in another phase."""
        found = await self.read()
        if found is None:
            if first is None:
                raise Conflict(f"there is no migration {self._name!r} yet: begin with copy")
            mark = await self._marked()
            found = replace(first, began_ms=self.now_ms(), space=astuple(self._space), mark=mark)
        else:
            await self.fits(found)
        if found.owner not in ("", self._owner) and found.until_ms > self.now_ms():
            raise Conflict(
                f"another operator is at {found.doing!r} of the migration {self._name!r}, at least until {instant(found.until_ms)}; nothing was done"
            )
        if found.phase not in allowed:
            phases = ", ".join(allowed)
            raise Conflict(
                f"the migration {self._name!r} is in the phase {found.phase!s}, and {doing} goes with: {phases}"
            )
        self.state = found
        return await self.keep(doing=doing)

    async def fits(self, state: State, seconds: float = 10) -> None:
        """Raise `ConfigurationError` unless this process has the space and the target that the migration began with: in another target records would be
        missed, or written where they do not belong. `TierUnavailable` if the target cannot be asked."""
        if state.space != astuple(self._space):
            raise ConfigurationError(
                f"the migration {self._name!r} began with the space {state.space!r} (tenant, scope, and their new names), not {astuple(self._space)!r}:"
                " name the same, or another migration"
            )
        note = await self._target.book().read(self._mark, self._target.call(seconds))
        if note is None or note.data.decode("ascii", "replace") != state.mark:
            raise ConfigurationError(
                f"the migration {self._name!r} began with another target than this one: give it that, or name another migration"
            )

    async def _marked(self) -> str:
        """What tells the target from every other one, written there with the first copy."""
        book = self._target.book()
        for _ in range(2):
            note = await book.read(self._mark, self._target.call(10))
            if note is not None:
                return note.data.decode("ascii", "replace")
            mark = secrets.token_hex(10).encode()
            await book.call(
                book.notes.write_note, self._mark, mark, if_absent=True, deadline=self._target.call(10)
            )  # and read, for another may have been first
        raise Conflict("the target's mark was written and is gone again: begin anew")

    async def keep(self, **changes: Any) -> State:
        """Write it down, and have it for another while. Raises `Conflict` if another has it."""
        return await self._write(until_ms=self.now_ms() + self._lease_ms, owner=self._owner, **changes)

    async def leave(self, **changes: Any) -> State:
        """Write it down, and leave it to others."""
        return await self._write(until_ms=0, owner="", doing="", **changes)

    def forget(self) -> None:
        """Be nobody: what was known of it is no longer to be relied on."""
        self._etag = None
        self.state = State()

    async def heartbeat(self) -> None:
        """Keep it if it is mine and half of the time is over. Raises as `keep` does."""
        async with self._writing:
            if self.state.owner == self._owner and self.state.until_ms - self.now_ms() < self._lease_ms / 2:
                await self._put(until_ms=self.now_ms() + self._lease_ms)

    async def beat(self) -> None:
        """Keep it for as long as this is not cancelled, however long one record takes."""
        try:
            while True:
                await asyncio.sleep(self._lease_ms / 4000)
                await self.heartbeat()
        except ThermoclineError as error:  # who works on it is told the same by the next `heartbeat` of his own
            log.warning("the lease of the migration %r was not renewed: %s", self._name, error)

    async def _write(self, **changes: Any) -> State:
        async with self._writing:
            return await self._put(**changes)

    async def _put(self, **changes: Any) -> State:
        state = replace(self.state, serial=self.state.serial + 1, **changes)
        book = self._end.book()
        written = await book.call(
            book.notes.write_note,
            self._note,
            msgspec.json.encode(asdict(state)),
            if_etag=self._etag,
            if_absent=self._etag is None,
            deadline=self._end.call(10),
        )
        if written is None:  # its answer may have been lost: what is there now is then this very state
            note = await book.read(self._note, self._end.call(10))
            if note is None or _decoded(note) != state:
                raise Conflict(f"another operator took the migration {self._name!r} over; nothing more was done here")
            written = note
        self._etag, self.state = written.etag, state
        return state


def _decoded(note: Note) -> State:
    try:
        return msgspec.json.decode(note.data, type=State)
    except msgspec.DecodeError as error:
        raise CorruptRecord(f"the state of a migration, the note {note.name}, cannot be read ({error})") from error
