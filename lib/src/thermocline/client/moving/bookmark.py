"""Where a pass is, written down after each page, and who has it: one note, replaced only as it was last seen."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from thermocline.client.engine import Engine
from thermocline.client.reads import Notebook
from thermocline.protocols import Note

NAME: Final = "sweep/state"


@dataclass(frozen=True, slots=True)
class Place:
    """``step`` is a name of the pass' steps ("": its begin), ``cursor`` the tier's own, None: from the step's begin. ``until_ms``: so long nobody else
    takes the pass; ``serial`` grows with each writing."""

    owner: str = ""
    until_ms: int = 0
    serial: int = 0
    step: str = ""
    cursor: str | None = None
    done: bool = True
    began_ms: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes) -> "Place":
        """What a note says; of one that is damaged or of another program, that there is no pass to take up."""
        try:
            said: Any = json.loads(data)
            place = cls(**said)
        except (ValueError, TypeError):
            return cls()
        kinds: dict[str, type] = {
            "owner": str,
            "until_ms": int,
            "serial": int,
            "step": str,
            "done": bool,
            "began_ms": int,
        }
        sound = all(type(getattr(place, name)) is kind for name, kind in kinds.items())
        cursor: Any = place.cursor
        counts: Any = place.counts
        return place if sound and isinstance(cursor, str | None) and isinstance(counts, dict) else cls()


class Bookmark:
    """The note of one process' pass."""

    def __init__(self, engine: Engine, book: Notebook, *, lease: timedelta) -> None:
        self._engine = engine
        self._book = book
        self._lease_ms = lease // timedelta(milliseconds=1)
        self._owner = engine.token()
        self._etag: str | None = None
        self.place = Place()

    async def take(self) -> int:
        """Take the pass that is under way, or begin one: 0. If somebody else has it now, until when (ms)."""
        note = await self._book.read(NAME, self._engine.budget.call())
        found = Place() if note is None else Place.read(note.data)
        now = self._engine.now_ms()
        if found.owner not in ("", self._owner) and not found.done and found.until_ms > now:
            return found.until_ms
        self._etag = None if note is None else note.etag
        self.place = replace(found, counts={}, step="", cursor=None, began_ms=now) if found.done else found
        self.place = replace(self.place, owner=self._owner, done=False)
        if await self.keep():
            return 0
        return now + self._lease_ms  # another was faster

    async def keep(self, *, over: bool = False, **changes: Any) -> bool:
        """Write down where the pass is, and have it for another while; ``over``: leave it to others. False: another process has it."""
        now = self._engine.now_ms()
        until = 0 if over else now + self._lease_ms
        place = replace(self.place, until_ms=until, serial=self.place.serial + 1, **changes)
        data = json.dumps(asdict(place), separators=(",", ":")).encode()
        written = await self._book.call(
            self._book.notes.write_note,
            NAME,
            data,
            if_etag=self._etag,
            if_absent=self._etag is None,
            deadline=self._engine.budget.call(),
        )
        if written is None:
            written = await self._mine(place)
        if written is None:
            return False
        self._etag, self.place = written.etag, place
        return True

    def due(self) -> bool:
        """Whether half of the time that nobody else takes the pass is over."""
        return self.place.until_ms - self._engine.now_ms() < self._lease_ms / 2

    async def _mine(self, place: Place) -> Note | None:
        """The answer to a write may have been lost: what is there now is then this very place."""
        note = await self._book.read(NAME, self._engine.budget.call())
        if note is None:
            return None
        there = Place.read(note.data)
        return note if (there.owner, there.serial) == (place.owner, place.serial) else None
