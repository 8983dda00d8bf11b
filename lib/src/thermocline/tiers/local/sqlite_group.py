"""Reads and writes of one key, by many callers at once: writes share a transaction (group commit), reads a turn of the executor."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, ThermoclineError, TierTimeout, TierUnavailable
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Write, Written
from thermocline.telemetry import REQUESTS
from thermocline.tiers.local import sqlite_rows
from thermocline.tiers.local.gathering import Gathering
from thermocline.tiers.local.sqlite_calls import Claim
from thermocline.tiers.local.sqlite_upkeep import SqliteUpkeep, unknown

WRITES_TOGETHER: Final = 100  # in one transaction
BYTES_TOGETHER: Final = 8 * 2**20  # ... or as many as have this many bytes of payload
_READS_TOGETHER: Final = 64  # a few milliseconds, which a write may have to wait

Answer = Written | ThermoclineError
Found = Envelope | ThermoclineError | None


@dataclass(frozen=True, slots=True)
class Reading:
    """A read that waits for its turn."""

    key: Key
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Writing:
    """A write that waits for its turn; who holds its claim decides whether it takes place."""

    write: Write
    deadline: Deadline
    claim: Claim


class SqliteGroups(SqliteUpkeep):
    """`read` and `write` of `SqliteMemory`."""

    _reads: Gathering[Reading, Found] | None = None
    _writes: Gathering[Writing, Answer] | None = None

    # --- reads ---------------------------------------------------------------------------------------------------------

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        """See `Versions.read`. One SELECT; reads of one moment share a turn of the executor."""
        self._ready(deadline)
        self.stats.count(REQUESTS, self.tier)
        reads = self._reads
        if reads is None or reads.loop is not asyncio.get_running_loop():
            reads = Gathering(self._submitted, self._read_each, most=_READS_TOGETHER, size=_nothing, full=1)
            self._reads = reads
        try:
            found = await reads.join(Reading(key, deadline), deadline)
        except TimeoutError as error:
            raise TierTimeout(f"{self.path} did not answer in time", tier=self.tier) from error
        if isinstance(found, ThermoclineError):
            raise found
        return found

    def _read_each(self, calls: Sequence[Reading]) -> list[Found]:
        found: list[Found] = []
        for call in calls:
            try:
                with self._file.reading(call.deadline) as connection:
                    found.append(sqlite_rows.read(connection, self._codec, call.key))
            except ThermoclineError as error:
                found.append(error)
        return found

    # --- writes --------------------------------------------------------------------------------------------------------

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        """See `Versions.write`. Writes that arrive while one is being committed go together in the next transaction; each is acknowledged after the
        commit that holds it, and fails by itself."""
        self._ready(deadline)
        self.stats.count(REQUESTS, self.tier)
        writes = self._writes
        if writes is None or writes.loop is not asyncio.get_running_loop():
            writes = Gathering(
                self._submitted, self._write_each, most=WRITES_TOGETHER, size=_size_of, full=BYTES_TOGETHER
            )
            self._writes = writes
        claim = Claim()
        try:
            answer = await self._claimed(writes.join(Writing(write, deadline, claim), deadline), claim)
        except TierUnavailable as error:
            raise (unknown(write, error) if error.sent else error) from error
        if isinstance(answer, ThermoclineError):
            raise answer
        return answer

    def _write_each(self, calls: Sequence[Writing]) -> list[Answer]:
        """In one transaction; where that fails as a whole, as on a full disk, each by itself."""
        try:
            return self._commit_each(calls)
        except ThermoclineError as error:
            if isinstance(error, TierUnavailable) and error.sent:
                return [unknown(call.write, error) for call in calls]
            if len(calls) == 1 or isinstance(error, TierTimeout | ClientClosed):
                return [error for _ in calls]
        return [answer for call in calls for answer in self._write_each([call])]

    def _commit_each(self, calls: Sequence[Writing]) -> list[Answer]:
        """Apply, and commit what was applied if all who asked for it still wait: else undo it all, and again without who has left."""
        latest = max((call.deadline for call in calls), key=Deadline.remaining)
        gone: set[int] = set()
        while True:
            with self._file.transaction(latest) as transaction:
                now_ms = self._clock.wall_ms()
                keys = [call.write.key for place, call in enumerate(calls) if place not in gone]
                states = sqlite_rows.ahead(transaction, keys) if len(keys) > 1 else None
                answers: list[Answer] = []
                took: list[int] = []
                for place, call in enumerate(calls):
                    if place in gone:
                        answers.append(self._too_late())
                        continue
                    try:
                        written = sqlite_rows.apply(
                            transaction, self._codec, call.write, now_ms=now_ms, grace_ms=self._grace_ms, states=states
                        )
                    except ThermoclineError as error:
                        answers.append(error)
                        continue
                    answers.append(written)
                    if written.effect is Effect.TOOK:
                        took.append(place)
                if not took:
                    return answers
                sqlite_rows.purge(transaction, now_ms)
                left = {
                    place for place in took if calls[place].deadline.expired() or not calls[place].claim.take("job")
                }
                if not left:
                    transaction.commit()
                    return answers
            gone |= left

    def _too_late(self) -> TierTimeout:
        return TierTimeout("the write was not ready to commit in time; it has no effect", tier=self.tier, sent=False)

    # --- closing -------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Wait for what is under way, and close the file. Idempotent."""
        for line in (self._reads, self._writes):
            if line is not None and line.loop is asyncio.get_running_loop():
                line.flush()
        await super().close()


def _size_of(call: Writing) -> int:
    return len(call.write.envelope.payload)


def _nothing(_: Reading) -> int:
    return 0
