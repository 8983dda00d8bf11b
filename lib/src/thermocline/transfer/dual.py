"""A memory for the time of a migration: it asks the side that has the word, and brings each write to the other."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final, TypeVar

import msgspec

from thermocline.client import Batch, MemoryClient, WriteResult
from thermocline.client.lifetime import Lifetime
from thermocline.client.reading import each_key
from thermocline.errors import (
    ConfigurationError,
    InvalidArgument,
    ThermoclineError,
    TierTimeout,
    TierUnavailable,
    UnknownOutcome,
)
from thermocline.model import Key, Outcome
from thermocline.transfer.ends import SHARED, End, share_hot
from thermocline.transfer.report import CopyReport
from thermocline.transfer.spaces import Space, space_of
from thermocline.transfer.state import Phase, State, StateBook
from thermocline.transfer.syncing import Syncer

MIRROR: Final = timedelta(seconds=2)
_UNBEGUN_MS: Final = 50  # how long it goes by that a migration has not begun
_GLANCE: Final = 0.05  # seconds between two looks at a state in which writers wait
_KEPT: Final = 10_000  # keys that are known to be behind; of more, the next pass finds them
_TOLD_EVERY: Final = 5.0  # seconds
_FITTED_EVERY: Final = 30.0  # seconds between two attempts to see that the target is the migration's
_NOTE_LASTS: Final = timedelta(days=30)

Answer = TypeVar("Answer")


class DualMemory:
    """The verbs of a `MemoryClient` over the two of a migration of this ``name`` and ``space`` (those of `Migration`).

    Which side has the word says the migration's state, which is read every few seconds. Until the cut-over that is ``source``, after it ``target``. While
    writers are to wait (`Phase.FENCED`) a write waits until its deadline and then raises `TierUnavailable`; nothing was written then. A write is
    acknowledged when the side that has the word has it. Then it is brought to the other side, for ``mirror`` at most; where that fails it is in ``behind``
    and in a note, and `repair` or the next pass of `Migration.copy` brings it: every pass compares everything, so nothing is lost even if this process dies.

    Both clients stay their owner's to close, and must not share a hot tier. Keys outside the space are the source's alone. Both sides' tiers must be
    reachable until `Migration.finish`: the state lies in the source's.
    """

    def __init__(
        self,
        source: MemoryClient,
        target: MemoryClient,
        *,
        name: str = "migration",
        space: Space | None = None,
        mirror: timedelta = MIRROR,
    ) -> None:
        self.space = space_of(space)
        self._source, self._target = End(source), End(target)
        self._book = StateBook(self._source, self._target, name, self.space)
        self._note = f"transfer/{name}/behind/{secrets.token_hex(8)}"
        given: Any = mirror
        if not isinstance(given, timedelta) or mirror <= timedelta(0):
            raise InvalidArgument(f"mirror is a timedelta above 0, not {mirror!r}")
        self._mirror_seconds = mirror.total_seconds()
        self._state: State | None = None
        self._read_at = -1e9
        self._told_at = -1e9
        self._why = ""
        self._apart = False
        self._fits = False
        self._fitted_at = -1e9
        self._reading: asyncio.Lock | None = None
        self.behind: dict[Key, str] = {}  # keys of the source whose other side may be older, and why

    # --- which side -------------------------------------------------------------------------------------------------------

    async def phase(self) -> Phase:
        """Who has the word now. Raises `TierUnavailable` where the source's tiers cannot be asked, `CorruptRecord`."""
        state = await self._current()
        return Phase.COPY if state is None else state.phase

    async def _current(self) -> State | None:
        if self._fresh():
            return self._state
        if self._reading is None:
            self._reading = asyncio.Lock()
        async with self._reading:
            if not self._fresh():
                await self._connect()
                at = self._source.engine.clock.monotonic()  # before it is read
                state = await self._book.read()
                await self._check(state)
                self._state, self._read_at = state, at
        return self._state

    async def _connect(self) -> None:
        await self._source.client.connect()
        await self._target.client.connect()
        if self._apart or not self.space.overlaps_itself():
            return
        try:
            shared = await share_hot(self._source, self._target)
        except TierUnavailable:  # hot is down, which stops nobody; it is asked again
            return
        if shared:
            raise ConfigurationError(SHARED)
        self._apart = True

    async def _check(self, state: State | None) -> None:
        """Once, that this is the migration's own space and target."""
        now = self._source.engine.clock.monotonic()
        needed = state is not None and state.phase.in_target
        if state is None or self._fits or (not needed and now - self._fitted_at < _FITTED_EVERY):
            return
        self._fitted_at = now
        try:
            await self._book.fits(state, 10 if needed else 1)
        except TierUnavailable:  # a target that is down stops nobody before it has the word; it is asked again
            if needed:
                raise
        else:
            self._fits = True

    def _fresh(self) -> bool:
        state = self._state
        if state is not None and state.phase is Phase.DONE:
            return True
        if state is not None and state.phase.waits:
            return False
        hold = _UNBEGUN_MS if state is None else state.hold_ms
        return self._source.engine.clock.monotonic() - self._read_at < hold / 1000

    def _side(self, phase: Phase, key: Key) -> tuple[MemoryClient, Key]:
        if phase.in_target and self.space.holds(key):
            return self._target.client, self.space.there(key)
        return self._source.client, key

    async def _for_writing(self, timeout: Lifetime) -> tuple[State, float]:
        """The state, once writers need not wait, and the seconds that the write may take."""
        deadline = self._source.engine.budget.call(timeout)
        while True:
            state = await self._current() or State()
            if not state.phase.waits:
                left = min(deadline.remaining(), state.write_ms / 1000)
                if left <= 0:
                    raise TierTimeout("the write's deadline came before its turn", tier="client", sent=False)
                return state, left
            if deadline.remaining() <= _GLANCE:
                raise TierUnavailable(
                    "a cut-over of the migration is under way, and writers wait; nothing was written, try again",
                    tier="client",
                    sent=False,
                )
            await asyncio.sleep(_GLANCE)

    # --- both sides -------------------------------------------------------------------------------------------------------

    async def _write(
        self,
        key: Key,
        timeout: Lifetime,
        verb: Callable[[MemoryClient, Key, float], Awaitable[Answer]],
    ) -> Answer:
        state, seconds = await self._for_writing(timeout)
        side, there = self._side(state.phase, key)
        try:
            answer = await verb(side, there, seconds)
        except (UnknownOutcome, asyncio.CancelledError) as error:
            self._late(state.phase, [key], error)
            raise
        await self._mirror(state.phase, [key])
        return answer

    async def _mirror(self, phase: Phase, keys: Sequence[Key]) -> None:
        mine = [key for key in keys if self.space.holds(key)]
        if not phase.both or not mine:
            return
        report = CopyReport()
        try:
            async with asyncio.timeout(self._mirror_seconds):
                await self._syncer(phase, report, tries=4).sync(
                    [self.space.there(key) for key in mine] if phase.in_target else mine
                )
        except asyncio.CancelledError:
            self._late(phase, mine, TimeoutError("the call was cancelled"))
            raise
        except (ThermoclineError, TimeoutError) as error:
            self._late(phase, mine, error)
            await self._tell()
            return
        if report.failed:
            self._late(phase, mine, UnknownOutcome(report.errors[0], write_id=""))
            await self._tell()
            return
        for key in mine:
            self.behind.pop(key, None)

    def _syncer(self, phase: Phase, report: CopyReport, tries: int = 8) -> Syncer:
        merge = self._state is not None and self._state.merge
        ends = (self._target, self._source) if phase.in_target else (self._source, self._target)
        space = self.space.turned() if phase.in_target else self.space
        return Syncer(*ends, space, report, merge=merge, tries=tries)

    def _late(self, phase: Phase, keys: Iterable[Key], error: BaseException) -> None:
        if not phase.both:
            return
        words = str(error) or type(error).__name__
        for key in keys:
            if self.space.holds(key) and len(self.behind) < _KEPT:
                self.behind[key] = words[:300]
        self._why = type(error).__name__  # for the note, which no `forget` finds: messages may name keys

    async def _tell(self) -> None:
        """Write down that something is behind, for whoever looks at the migration; every few seconds at most."""
        clock = self._source.engine.clock
        if clock.monotonic() - self._told_at < _TOLD_EVERY:
            return
        self._told_at = clock.monotonic()
        book = self._source.book()
        told = {"behind": len(self.behind), "at_ms": self._source.engine.now_ms(), "why": self._why}
        try:
            await book.call(
                book.notes.write_note,
                self._note,
                msgspec.json.encode(told),
                lasting=_NOTE_LASTS,
                deadline=self._source.call(2),
            )
        except ThermoclineError:
            self._told_at -= _TOLD_EVERY  # the next failure tells it; the pass finds them without

    async def repair(self) -> int:
        """Bring what is behind to the other side. Returns how many keys still are."""
        state = await self._current() or State()
        if not state.phase.both:
            return len(self.behind)
        for key in list(self.behind):
            await self._mirror(state.phase, [key])
        if not self.behind and self._told_at > 0:
            book = self._source.book()
            await book.call(book.notes.delete_note, self._note, deadline=self._source.call(10))
            self._told_at = -1e9
        return len(self.behind)

    # --- reading ------------------------------------------------------------------------------------------------------------

    async def get(self, key: Key | str, **options: Any) -> Any:
        """As of `MemoryClient`."""
        side, there = self._side(await self.phase(), Key.of(key))
        return await side.get(there, **options)

    async def lookup(self, key: Key | str, **options: Any) -> Outcome:
        """As of `MemoryClient`; the record's key is that of the side that answered."""
        side, there = self._side(await self.phase(), Key.of(key))
        return await side.lookup(there, **options)

    async def exists(self, key: Key | str, *, timeout: Lifetime = None) -> bool:
        """As of `MemoryClient`."""
        side, there = self._side(await self.phase(), Key.of(key))
        return await side.exists(there, timeout=timeout)

    async def ttl(self, key: Key | str, *, timeout: Lifetime = None) -> timedelta | None:
        """As of `MemoryClient`."""
        side, there = self._side(await self.phase(), Key.of(key))
        return await side.ttl(there, timeout=timeout)

    async def get_many(self, keys: Iterable[Key | str], *, type: Any = None, timeout: Lifetime = None) -> Batch[Any]:
        """As of `MemoryClient`."""
        batch: Batch[Any] = Batch()
        given = each_key(keys, batch.errors)
        for side, part in self._parts(await self.phase(), given).items():
            _into(batch, await side.get_many(part, type=type, timeout=timeout), part)
        return batch

    async def stream(self, key: Key | str, *, timeout: Lifetime = None) -> AsyncGenerator[bytes, None]:
        """As of `MemoryClient`."""
        side, there = self._side(await self.phase(), Key.of(key))
        async with aclosing(side.stream(there, timeout=timeout)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _parts(self, phase: Phase, given: Mapping[Any, Key]) -> dict[MemoryClient, dict[Key, Any]]:
        """By side: the keys as they are called there, and how they were given."""
        parts: dict[MemoryClient, dict[Key, Any]] = {}
        for name, key in given.items():
            side, there = self._side(phase, key)
            parts.setdefault(side, {})[there] = name
        return parts

    # --- writing ------------------------------------------------------------------------------------------------------------

    async def set(self, key: Key | str, value: Any, *, timeout: Lifetime = None, **options: Any) -> WriteResult:
        """As of `MemoryClient`. ``if_version`` is of the side that has the word: versions begin anew with a cut-over."""
        return await self._write(
            Key.of(key), timeout, lambda side, there, left: side.set(there, value, timeout=left, **options)
        )

    async def delete(self, key: Key | str, *, timeout: Lifetime = None, **options: Any) -> WriteResult:
        """As of `MemoryClient`."""
        return await self._write(
            Key.of(key), timeout, lambda side, there, left: side.delete(there, timeout=left, **options)
        )

    async def touch(self, key: Key | str, *, ttl: Lifetime, timeout: Lifetime = None) -> WriteResult:
        """As of `MemoryClient`."""
        return await self._write(
            Key.of(key), timeout, lambda side, there, left: side.touch(there, ttl=ttl, timeout=left)
        )

    async def update(
        self, key: Key | str, function: Callable[[Any], Any], *, timeout: Lifetime = None, **options: Any
    ) -> Any:
        """As of `MemoryClient`: atomic on the side that has the word."""
        return await self._write(
            Key.of(key), timeout, lambda side, there, left: side.update(there, function, timeout=left, **options)
        )

    async def increment(self, key: Key | str, by: float = 1, *, timeout: Lifetime = None, **options: Any) -> Any:
        """As of `MemoryClient`."""
        return await self._write(
            Key.of(key), timeout, lambda side, there, left: side.increment(there, by, timeout=left, **options)
        )

    async def append(self, key: Key | str, *items: Any, timeout: Lifetime = None, **options: Any) -> int:
        """As of `MemoryClient`."""
        return await self._write(
            Key.of(key), timeout, lambda side, there, left: side.append(there, *items, timeout=left, **options)
        )

    async def set_many(
        self, items: Mapping[Any, Any], *, timeout: Lifetime = None, **options: Any
    ) -> Batch[WriteResult]:
        """As of `MemoryClient`, but for ``atomic`` and ``if_versions``, which go with one side alone."""
        if options.keys() & {"atomic", "if_versions"}:
            raise InvalidArgument("while data is moved a batch is not atomic: use update, or set with if_version")
        batch: Batch[WriteResult] = Batch()
        given = each_key(items, batch.errors)

        async def part(side: MemoryClient, names: dict[Key, Any], left: float) -> Batch[WriteResult]:
            values = {there: items[name] for there, name in names.items()}
            return await side.set_many(values, timeout=left, **options)

        return await self._many(given, batch, part, timeout)

    async def delete_many(self, keys: Iterable[Key | str], *, timeout: Lifetime = None) -> Batch[WriteResult]:
        """As of `MemoryClient`, each for itself."""
        batch: Batch[WriteResult] = Batch()
        given = each_key(keys, batch.errors)

        async def part(side: MemoryClient, names: dict[Key, Any], left: float) -> Batch[WriteResult]:
            return await side.delete_many(names, timeout=left)

        return await self._many(given, batch, part, timeout)

    async def _many(
        self,
        given: Mapping[Any, Key],
        batch: Batch[WriteResult],
        part: Callable[[MemoryClient, dict[Key, Any], float], Awaitable[Batch[WriteResult]]],
        timeout: Lifetime,
    ) -> Batch[WriteResult]:
        state, seconds = await self._for_writing(timeout)
        try:
            for side, names in self._parts(state.phase, given).items():
                _into(batch, await part(side, names, seconds), names)
        except asyncio.CancelledError as error:
            self._late(state.phase, given.values(), error)
            raise
        await self._mirror(state.phase, list(dict.fromkeys(given.values())))
        return batch

    async def set_stream(
        self, key: Key | str, chunks: AsyncIterator[bytes], *, timeout: Lifetime = None, **options: Any
    ) -> WriteResult:
        """As of `MemoryClient`. A stream may last longer than a cut-over waits: if one began meanwhile, this raises `UnknownOutcome`; stream it again."""
        key = Key.of(key)
        state, _ = await self._for_writing(timeout)
        side, there = self._side(state.phase, key)
        result = await side.set_stream(there, chunks, timeout=timeout, **options)
        self._read_at = -1e9
        now = await self._current() or State()
        if now.phase is not state.phase or now.fenced_ms != state.fenced_ms:
            raise UnknownOutcome(
                f"the migration went on to {now.phase} while {key.name!r:.80} was streamed; stream it again",
                write_id="",
            )
        await self._mirror(state.phase, [key])
        return result


def _into(batch: Batch[Any], part: Batch[Any], names: Mapping[Key, Any]) -> None:
    """The answers of one side, under the names that were given."""
    batch.update({names[key]: value for key, value in part.items()})
    batch.missing += [names[key] for key in part.missing]
    batch.not_asked += [names[key] for key in part.not_asked]
    batch.errors.update({names[key]: error for key, error in part.errors.items()})
