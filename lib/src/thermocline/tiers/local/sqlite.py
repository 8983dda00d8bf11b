"""`SqliteMemory`: the durable embedded tier, one SQLite file. The authority where no service is configured."""

from collections.abc import Sequence
from typing import Final

from thermocline.blobs.upkeep import check_limit
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, ThermoclineError, TierTimeout, TierUnavailable
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Page, Write, Written
from thermocline.telemetry import CORRUPT
from thermocline.tiers.local import sqlite_rows
from thermocline.tiers.local.sqlite_calls import GRACE, Claim
from thermocline.tiers.local.sqlite_file import Transaction
from thermocline.tiers.local.sqlite_group import BYTES_TOGETHER, WRITES_TOGETHER, SqliteGroups
from thermocline.tiers.local.sqlite_upkeep import unknown

__all__ = ["GRACE", "SqliteMemory"]

_READ_CHUNK: Final = 240  # keys in one SELECT: 4 values each, below 999, which older SQLite binds at most


class SqliteMemory(SqliteGroups):
    """The authority over its keys in one SQLite file, which several processes of one machine may use at once (not over a network file system).

    A write is one transaction, or part of one with others of its moment; it is durable when it returns, whatever happens to the process. With
    ``power_safe`` it also survives a loss of power, for one fsync per transaction; without it (the default) the last writes before such a loss may be
    missing, and the file is whole all the same.
    Versions are microseconds of ``clock``, or one more than the key's last if that is higher. Tombstones and expired records are kept for
    ``grace``; each write removes a few whose grace is over. ``max_bytes`` bounds the database file (its log, at most 64 MB, comes on top), and
    a write beyond it is `TierFull`.

    Everything that blocks runs in ``executor``; None: one thread of its own. A call that is cancelled, or whose deadline passes, has no
    effect unless its commit had begun. One `SqliteMemory` serves one client: another client, thread or process opens its own, else its embedded hot tier
    would not hear of the other's writes (see `data_version`).
    """

    at_once = True  # one SELECT

    # --- the authority -------------------------------------------------------------------------------------------------

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        """One SELECT for up to 240 keys. Where the file is damaged, each key of that SELECT is read by itself."""
        found: list[Envelope | ThermoclineError | None] = []
        for start in range(0, len(keys), _READ_CHUNK):
            found += await self._read_chunk(keys[start : start + _READ_CHUNK], deadline)
        return found

    async def _read_chunk(self, keys: Sequence[Key], deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        def job() -> list[Envelope | ThermoclineError | None]:
            with self._file.reading(deadline) as connection:
                return sqlite_rows.read_many(connection, self._codec, keys)

        try:
            return await self._read(job, deadline)
        except TierTimeout as error:
            return [error] * len(keys)
        except ThermoclineError as error:
            if len(keys) == 1 or not isinstance(error, TierUnavailable):
                return [error] * len(keys)
        singly: list[Envelope | ThermoclineError | None] = []
        for key in keys:
            singly += await self._read_chunk([key], deadline)
        return singly

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        """One transaction for up to 100 writes or 8 MiB. If it fails as a whole, as on a full disk, each of its writes is tried by itself."""
        done: list[Written | ThermoclineError] = []
        chunk: list[Write] = []
        size = 0
        for write in writes:
            size += len(write.envelope.payload)
            if chunk and (len(chunk) >= WRITES_TOGETHER or size > BYTES_TOGETHER):
                done += await self._write_chunk(chunk, deadline)
                chunk, size = [], len(write.envelope.payload)
            chunk.append(write)
        if chunk:
            done += await self._write_chunk(chunk, deadline)
        return done

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        """See `Versions.scan`. A page reads one stretch of the index. A damaged row is left out and counted. Raises `InvalidArgument` for a limit
        below 1 and a foreign cursor."""
        check_limit(limit)
        Key(tenant, scope, prefix or "x")  # raises InvalidKey for what no key can begin with
        now_ms = self._clock.wall_ms()
        page, damaged = await self._look(
            lambda connection: sqlite_rows.scan(
                connection, tenant, scope, prefix, limit=limit, cursor=cursor, now_ms=now_ms
            ),
            deadline,
        )
        if damaged:
            self.stats.count(CORRUPT, self.tier, damaged)
        return page

    # --- writes, by the chunk ------------------------------------------------------------------------------------------

    async def _write_chunk(self, writes: Sequence[Write], deadline: Deadline) -> list[Written | ThermoclineError]:
        try:
            return await self._change(lambda claim: self._commit(writes, claim, deadline), deadline)
        except ThermoclineError as error:
            if isinstance(error, TierUnavailable) and error.sent:
                return [unknown(write, error) for write in writes]
            if len(writes) == 1 or isinstance(error, TierTimeout | ClientClosed):
                return [error] * len(writes)
        singly: list[Written | ThermoclineError] = []
        for write in writes:
            singly += await self._write_chunk([write], deadline)
        return singly

    def _commit(self, writes: Sequence[Write], claim: Claim, deadline: Deadline) -> list[Written | ThermoclineError]:
        def job(transaction: Transaction) -> tuple[list[Written | ThermoclineError], bool]:
            now_ms = self._clock.wall_ms()
            done: list[Written | ThermoclineError] = []
            states = sqlite_rows.ahead(transaction, [write.key for write in writes]) if len(writes) > 1 else None
            for write in writes:
                try:
                    done.append(
                        sqlite_rows.apply(
                            transaction, self._codec, write, now_ms=now_ms, grace_ms=self._grace_ms, states=states
                        )
                    )
                except ThermoclineError as error:
                    done.append(error)
            took = any(isinstance(result, Written) and result.effect is Effect.TOOK for result in done)
            if took:
                sqlite_rows.purge(transaction, now_ms)
            return done, took

        return self._transact(job, claim, deadline)
