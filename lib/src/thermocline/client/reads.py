"""Which keys were read lately, across clients: filters that clients save as notes, and a sweep lays over each other.

A client that saves its reads keeps a Bloom filter per day of the keys for which it asked the authority, and writes it to a note of its own. A key is idle if no
filter of the last days has it. The error is one-sided but for two stated cases: a filter may hold a key that was not read (`thermocline.sketch.probability`),
which then stays where it is; a read is forgotten if its client died before it saved it (at most its interval), and a key that hot alone answered
was read up to hot's ceiling (an hour) later than is known. Days are whole: an idle time is rounded up to days.
"""

import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from thermocline.client.engine import Engine
from thermocline.client.guard import Guard
from thermocline.client.interest import Interest
from thermocline.clock import Deadline
from thermocline.configured import duration
from thermocline.errors import ConfigurationError
from thermocline.keys import key_digest
from thermocline.model import Key
from thermocline.protocols import Note, Notes
from thermocline.sketch import Windows, merged, noted

SPAN: Final = timedelta(days=1)  # of one window
KEPT: Final = timedelta(days=92)  # how long the notes stay: idleness is known for so long
LEAST_EVERY: Final = timedelta(seconds=1)
_PREFIX: Final = "reads/day/"
_PAGE: Final = 100
_SPAN_MS: Final = SPAN // timedelta(milliseconds=1)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Notebook:
    """The tier that holds the library's notes, behind its guard."""

    notes: Notes
    guard: Guard

    async def call(
        self, method: Callable[..., Awaitable[Result]], *arguments: Any, deadline: Deadline, **given: Any
    ) -> Result:
        """One call of `Notes` within the tier's share."""

        async def ask(*, deadline: Deadline) -> Result:
            return await method(*arguments, deadline=deadline, **given)

        return await self.guard.call("note", ask, deadline=deadline, times=4)

    async def read(self, name: str, deadline: Deadline) -> Note | None:
        return await self.call(self.notes.read_note, name, deadline=deadline)


def notebook(engine: Engine) -> Notebook | None:
    """Where this client's tiers keep notes: the first authority that can, else cold, else hot; None: none of them can."""
    for tier in (*engine.below_hot(), engine.cold, engine.hot):
        if tier is not None and isinstance(tier, Notes):
            return Notebook(tier, engine.guards[tier.tier])
    return None


def interest_of(engine: Engine, save_reads: timedelta | float | None) -> Interest | None:
    """What the client is to remember of its reads; None: nothing. Raises `ConfigurationError` for an interval that cannot be, or without a place."""
    counts = any(plan.rules.promote_after > 1 for plan in engine.routes.plans())
    if save_reads is None:
        return Interest(engine.clock, counts=True) if counts else None
    every = duration(save_reads, "save_reads", least=LEAST_EVERY, most=SPAN)
    book = notebook(engine)
    if book is None:
        raise ConfigurationError(
            "save_reads needs a tier that keeps notes: Cosmos DB, Blob Storage, Redis, SQLite or a folder"
        )
    saver = _Saver(engine, book, engine.token())
    return Interest(
        engine.clock, counts=counts, windows=Windows(_SPAN_MS), every=every.total_seconds(), save=saver.save
    )


@dataclass(slots=True)
class _Saver:
    engine: Engine
    book: Notebook
    client: str
    saved: int = -1  # the newest window that was saved

    async def save(self, windows: list[tuple[int, bytes]]) -> None:
        for number, content in windows:
            if number >= self.saved and any(content):
                await self.book.call(
                    self.book.notes.write_note,
                    _name(number, self.client),
                    zlib.compress(content, 1),
                    lasting=KEPT + SPAN,
                    deadline=self.engine.budget.call(),
                )
        self.saved = max(self.saved, windows[0][0])


@dataclass(slots=True)
class Reads:
    """The filters of all clients, one per window: about 32 kB of memory for each day."""

    filters: dict[int, bytes] = field(default_factory=dict)

    def since(self, key: Key, ms: int) -> bool:
        """Whether any client may have read the key at or after that moment."""
        digest = key_digest(key)
        return any(noted(content, digest) for number, content in self.filters.items() if (number + 1) * _SPAN_MS > ms)

    def add(self, number: int, data: bytes) -> None:
        content = zlib.decompress(data)
        known = self.filters.get(number)
        self.filters[number] = content if known is None else merged(known, content)


async def load_reads(engine: Engine, book: Notebook, since_ms: int) -> Reads:
    """All that was saved of the windows that end after that moment."""
    reads = Reads()
    for name in await _names(engine, book):
        number = _number(name)
        if number is not None and (number + 1) * _SPAN_MS > since_ms:
            note = await book.read(name, engine.budget.call())
            if note is not None:
                reads.add(number, note.data)
    return reads


async def tidy_reads(engine: Engine, book: Notebook, *, dry_run: bool) -> int:
    """Merge the notes of each window that is over for a day into one, and remove what is older than is kept. Returns how many notes went.

    A merged note is written before its parts are removed, and each of them only as it was read: killed in between, parts are merged again.
    """
    now = engine.now_ms()
    windows: dict[int, list[str]] = {}
    for name in await _names(engine, book):
        number = _number(name)
        if number is not None and (number + 2) * _SPAN_MS <= now:
            windows.setdefault(number, []).append(name)
    gone = 0
    oldest = now - KEPT // timedelta(milliseconds=1)
    for number, names in windows.items():
        into = _name(number, "merged")
        if (number + 1) * _SPAN_MS < oldest:
            gone += len(names) if dry_run else await _remove(engine, book, names, {})
        elif any(name != into for name in names):
            gone += sum(name != into for name in names) if dry_run else await _merge(engine, book, number, names, into)
    return gone


async def _merge(engine: Engine, book: Notebook, number: int, names: list[str], into: str) -> int:
    found = [note for name in names if (note := await book.read(name, engine.budget.call())) is not None]
    reads = Reads()
    for note in found:
        reads.add(number, note.data)
    if not reads.filters:
        return 0
    before = next((note.etag for note in found if note.name == into), None)
    written = await book.call(
        book.notes.write_note,
        into,
        zlib.compress(reads.filters[number], 1),
        if_etag=before,
        if_absent=before is None,
        lasting=KEPT + SPAN,
        deadline=engine.budget.call(),
    )
    if written is None:
        return 0  # another sweep was faster; the next one merges what it left
    parts = {note.name: note.etag for note in found if note.name != into}
    return await _remove(engine, book, list(parts), parts)


async def _remove(engine: Engine, book: Notebook, names: list[str], etags: dict[str, str]) -> int:
    gone = 0
    for name in names:
        gone += await book.call(book.notes.delete_note, name, if_etag=etags.get(name), deadline=engine.budget.call())
    return gone


async def _names(engine: Engine, book: Notebook) -> list[str]:
    names: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = await book.call(
            book.notes.list_notes, _PREFIX, limit=_PAGE, cursor=cursor, deadline=engine.budget.call()
        )
        names += page
        if cursor is None:
            return names


def _name(number: int, client: str) -> str:
    return f"{_PREFIX}{number:08d}/{client}"


def _number(name: str) -> int | None:
    part = name[len(_PREFIX) :].partition("/")[0]
    return int(part) if part.isdecimal() else None
