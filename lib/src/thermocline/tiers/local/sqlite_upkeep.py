"""What keeps `SqliteMemory` in order: `Census`, `Relocates`, `Purges`, `Notes` and `Atomic`, each call one transaction or one look."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from thermocline.blobs.upkeep import (
    check_atomic,
    check_census,
    check_limit,
    check_move,
    check_note,
    check_note_conditions,
    check_notes,
)
from thermocline.clock import Deadline
from thermocline.errors import TierUnavailable, UnknownOutcome
from thermocline.model import Envelope
from thermocline.protocols import Effect, Inventory, Note, Write, Written
from thermocline.tiers.local import sqlite_census, sqlite_notes, sqlite_rows
from thermocline.tiers.local.sqlite_calls import SqliteCalls
from thermocline.tiers.local.sqlite_file import Transaction

T = TypeVar("T")

ATOMIC_MOST: Final = 1_000  # nobody else writes the file meanwhile


class SqliteUpkeep(SqliteCalls):
    """The parts of `SqliteMemory` beside `Versions`."""

    atomic_most: int = ATOMIC_MOST

    # --- records -----------------------------------------------------------------------------------------------------

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        """See `Census.census`. Each record comes exactly once, in the order of the keys; every byte of it is read and checked. A page ends early at
        16 MiB of records."""
        check_census(tenant, scope, limit)
        return await self._look(
            lambda connection: sqlite_census.census(connection, self._codec, tenant, scope, limit=limit, cursor=cursor),
            deadline,
        )

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        """See `Relocates.relocate`. One transaction."""
        check_move(old, new)

        def job(transaction: Transaction) -> tuple[bool, bool]:
            moved = sqlite_rows.relocate(transaction, self._codec, old, new, now_ms=self._clock.wall_ms())
            return moved, moved

        return await self._change(lambda claim: self._transact(job, claim, deadline), deadline)

    async def purge(self, *, dead_before_ms: int, limit: int, deadline: Deadline) -> int:
        """See `Purges.purge`. One transaction; writes remove a few due records each as well, so there may be none left."""
        check_limit(limit)

        def job(transaction: Transaction) -> tuple[int, bool]:
            removed = sqlite_rows.purge_dead(
                transaction,
                dead_before_ms=dead_before_ms,
                limit=limit,
                now_ms=self._clock.wall_ms(),
                grace_ms=self._grace_ms,
            )
            return removed, removed > 0

        return await self._change(lambda claim: self._transact(job, claim, deadline), deadline)

    async def write_atomic(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written]:
        """See `Atomic.write_atomic`. One transaction of at most 1,000 writes."""
        check_atomic(writes, self.atomic_most)
        if not writes:
            return []

        def job(transaction: Transaction) -> tuple[list[Written], bool]:
            now_ms = self._clock.wall_ms()
            done = [
                sqlite_rows.apply(transaction, self._codec, write, now_ms=now_ms, grace_ms=self._grace_ms)
                for write in writes
            ]
            return _together(writes, done)

        try:
            return await self._change(lambda claim: self._transact(job, claim, deadline), deadline)
        except TierUnavailable as error:
            if error.sent:
                raise unknown(writes[0], error) from error
            raise

    # --- notes -------------------------------------------------------------------------------------------------------

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None:
        """See `Notes.read_note`. Raises `CorruptRecord` for one that was altered from outside."""
        check_note(name)
        return await self._look(lambda connection: sqlite_notes.read(connection, name), deadline)

    async def write_note(
        self,
        name: str,
        data: bytes,
        *,
        if_etag: str | None = None,
        if_absent: bool = False,
        lasting: timedelta | None = None,
        deadline: Deadline,
    ) -> Note | None:
        """See `Notes.write_note`. One transaction, which also removes the notes that need not be kept any longer."""
        check_note(name, data, lasting=lasting)
        check_note_conditions(if_etag, if_absent)

        def job(transaction: Transaction) -> tuple[Note | None, bool]:
            note = sqlite_notes.write(
                transaction,
                name,
                data,
                if_etag=if_etag,
                if_absent=if_absent,
                lasting=lasting,
                now_ms=self._clock.wall_ms(),
            )
            return note, note is not None

        return await self._change(lambda claim: self._transact(job, claim, deadline), deadline)

    async def delete_note(self, name: str, *, if_etag: str | None = None, deadline: Deadline) -> bool:
        """See `Notes.delete_note`. One transaction."""
        check_note(name)

        def job(transaction: Transaction) -> tuple[bool, bool]:
            removed = sqlite_notes.delete(transaction, name, if_etag)
            return removed, removed

        return await self._change(lambda claim: self._transact(job, claim, deadline), deadline)

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        """See `Notes.list_notes`."""
        check_notes(prefix, limit)
        return await self._look(
            lambda connection: sqlite_notes.names(connection, prefix, limit=limit, cursor=cursor), deadline
        )

    async def _look(self, look: Callable[[sqlite3.Connection], T], deadline: Deadline) -> T:
        """Read with the reading connection; a statement that takes too long is interrupted."""

        def job() -> T:
            with self._file.reading(deadline) as connection:
                connection.set_progress_handler(deadline.expired, 100_000)
                try:
                    return look(connection)
                finally:
                    connection.set_progress_handler(None, 0)

        return await self._read(job, deadline)


def _together(writes: Sequence[Write], done: list[Written]) -> tuple[list[Written], bool]:
    """The answers of several writes, each as if by itself, made one; and whether they are to be committed."""
    refused = [answer.effect is Effect.REFUSED for answer in done]
    known = [
        answer.effect is Effect.TOOK and answer.envelope is None for answer in done
    ]  # by its id, of an earlier copy
    if any(known):
        if any(refused) or any(answer.envelope is not None for answer in done if answer.effect is Effect.TOOK):
            raise UnknownOutcome(
                f"{writes[0].key} and others: they took effect, but so long ago that not all of their versions are known; read them",
                write_id=writes[0].id,
            )
        return done, False
    if any(refused):
        return [answer if no else Written(Effect.NOTHING, 0) for answer, no in zip(done, refused, strict=True)], False
    return done, any(answer.effect is Effect.TOOK for answer in done)


def unknown(write: Write, cause: Exception) -> UnknownOutcome:
    """What a write is told whose commit was under way."""
    error = UnknownOutcome(
        f"{write.key}: its commit was under way when the call ended; it may have taken effect. Read the key to know.",
        write_id=write.id,
    )
    error.__cause__ = cause
    return error
