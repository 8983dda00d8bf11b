"""`SqliteMemory`: the durable embedded tier, one SQLite file. The authority where no service is configured."""

import asyncio
import math
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.codec import Codec
from thermocline.errors import (
    ClientClosed,
    ConfigurationError,
    InvalidArgument,
    ThermoclineError,
    TierDamaged,
    TierTimeout,
    TierUnavailable,
    UnknownOutcome,
)
from thermocline.model import Authority, Envelope, Key, MemoryTier
from thermocline.protocols import Effect, Page, Write, Written
from thermocline.telemetry import REQUESTS, Stats
from thermocline.tiers.local import sqlite_rows
from thermocline.tiers.local.sqlite_file import SqliteFile

T = TypeVar("T")

GRACE: Final = timedelta(days=1)  # how long a tombstone or an expired record is kept (COHERENCE section 2: T)
_READ_CHUNK: Final = 240  # keys in one SELECT: 4 values each, below 999, which older SQLite binds at most
_WRITE_CHUNK: Final = 100  # writes in one transaction
_WRITE_CHUNK_BYTES: Final = 8 * 2**20  # ... or as many as have this many bytes of payload


class SqliteMemory:
    """The authority over its keys in one SQLite file, which several processes of one machine may use at once (not over a network file system).

    A write is one transaction; it is durable when it returns, whatever happens to the process. With ``power_safe`` it also survives a loss of
    power, for one fsync per write; without it (the default) the last writes before such a loss may be missing, and the file is whole all the same.
    Versions are microseconds of ``clock``, or one more than the key's last if that is higher. Tombstones and expired records are kept for
    ``grace``; each write removes a few whose grace is over. ``max_bytes`` bounds the database file (its log, at most 64 MB, comes on top), and
    a write beyond it is `TierFull`.

    Everything that blocks runs in ``executor``; None: one thread of its own. A call that is cancelled, or whose deadline passes, has no
    effect unless its commit had begun. One `SqliteMemory` serves one client: another client, thread or process opens its own, else its embedded hot tier
    would not hear of the other's writes (see `data_version`).
    """

    tier: MemoryTier = MemoryTier.WARM
    authority: Authority = Authority.WARM

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock = SYSTEM_CLOCK,
        executor: Executor | None = None,
        max_bytes: int | None = None,
        grace: timedelta = GRACE,
        power_safe: bool = False,
    ) -> None:
        _check(path, max_bytes, grace)
        self.path: Final = Path(path)
        self.stats = Stats()
        self._clock = clock
        self._codec = Codec()
        self._grace_ms = grace // timedelta(milliseconds=1)
        self._given = executor
        self._executor: Executor | None = None
        self._file = SqliteFile(self.path, max_bytes=max_bytes, power_safe=power_safe)

    @property
    def grace(self) -> timedelta:
        """How long a tombstone or an expired record is kept: T."""
        return timedelta(milliseconds=self._grace_ms)

    # --- opening and closing ---------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether it is open: a client neither connects nor closes a tier that was opened before."""
        return self._executor is not None

    async def connect(self) -> None:
        """Open the file, or create it with its folders. Raises `ConfigurationError`, `AccessDenied`, `TierDamaged`, and `UnreadableRecord`
        for a file of a newer version; nothing that is there is overwritten."""
        if self._executor is None:
            self._executor = self._given or ThreadPoolExecutor(1, thread_name_prefix="thermocline-sqlite")
        try:
            await self._run(self._file.open, Deadline.never())
        except ThermoclineError:
            await self.close()  # nothing was opened, and who is refused need not close
            raise

    async def close(self) -> None:
        """Wait for what is under way, and close the file. Idempotent."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(executor, self._file.close)
        finally:
            if executor is not self._given:
                executor.shutdown(wait=False)

    def __del__(self) -> None:
        if getattr(self, "_executor", None) is not None:
            warnings.warn(
                f"SqliteMemory({str(self.path)!r}) was not closed; await its close()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    async def ping(self, *, deadline: Deadline) -> None:
        """Read once, and see that the path still names the file that was opened."""
        await self._read(lambda: self._file.check(deadline), deadline)

    async def verify(self, *, deadline: Deadline) -> None:
        """Read the whole file and check its structure (SQLite's quick_check; about a second per GB). Raises `TierDamaged`."""

        def job() -> None:
            with self._file.reading(deadline) as connection:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise TierDamaged(
                    f"{self.path} is damaged ({found}); nothing in it was changed. Restore it from a backup; `sqlite3 FILE .recover`"
                    " may save what is readable",
                    tier=self.tier,
                )

        await self._read(job, deadline)

    def data_version(self) -> int:
        """A number that differs from before if another connection to the file (another process, say) may have committed since; commits of this
        object leave it as it is. To be asked in the event loop's thread before an embedded hot tier answers. About 3 µs.

        Never misses a commit that was acknowledged before the call. May change without one: after a wait for another process' lock, or when a
        commit of our own takes longer than 2 ms.
        """
        return self._file.data_version()

    # --- the authority -------------------------------------------------------------------------------------------------

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        def job() -> Envelope | None:
            with self._file.reading(deadline) as connection:
                return sqlite_rows.read(connection, self._codec, key)

        return await self._read(job, deadline)

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

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        result = (await self._write_chunk([write], deadline))[0]
        if isinstance(result, ThermoclineError):
            raise result
        return result

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        """One transaction for up to 100 writes or 8 MiB. If it fails as a whole, as on a full disk, each of its writes is tried by itself."""
        done: list[Written | ThermoclineError] = []
        chunk: list[Write] = []
        size = 0
        for write in writes:
            size += len(write.envelope.payload)
            if chunk and (len(chunk) >= _WRITE_CHUNK or size > _WRITE_CHUNK_BYTES):
                done += await self._write_chunk(chunk, deadline)
                chunk, size = [], len(write.envelope.payload)
            chunk.append(write)
        if chunk:
            done += await self._write_chunk(chunk, deadline)
        return done

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        """See `Versions.scan`. A page reads one stretch of the index. Raises `InvalidArgument` for a limit below 1 and a foreign cursor."""
        if type(limit) is not int or not 0 < limit < 2**31:
            raise InvalidArgument(f"a page has room for 1 key or more (2**31 - 1 at most), not {limit!r}")
        Key(tenant, scope, prefix or "x")  # raises InvalidKey for what no key can begin with
        now_ms = self._clock.wall_ms()

        def job() -> Page:
            with self._file.reading(deadline) as connection:
                connection.set_progress_handler(deadline.expired, 100_000)
                try:
                    return sqlite_rows.scan(
                        connection, tenant, scope, prefix, limit=limit, cursor=cursor, now_ms=now_ms
                    )
                finally:
                    connection.set_progress_handler(None, 0)

        return await self._read(job, deadline)

    # --- how a call is run ---------------------------------------------------------------------------------------------

    async def _write_chunk(self, writes: Sequence[Write], deadline: Deadline) -> list[Written | ThermoclineError]:
        claim = _Claim()
        self.stats.count(REQUESTS, self.tier)
        try:
            return await self._run(lambda: self._commit(writes, claim, deadline), deadline)
        except ThermoclineError as error:
            if isinstance(error, TierUnavailable) and error.sent:
                return [_unknown(write, error) for write in writes]
            if len(writes) == 1 or isinstance(error, TierTimeout | ClientClosed):
                return [error] * len(writes)
        except TimeoutError as error:
            if claim.take("caller"):
                late = TierTimeout(
                    "the write did not begin to commit in time; it has no effect", tier=self.tier, sent=False
                )
                return [late] * len(writes)
            return [_unknown(write, error) for write in writes]
        except BaseException:
            claim.take("caller")  # cancelled: no effect, unless the commit has begun
            raise
        singly: list[Written | ThermoclineError] = []
        for write in writes:
            singly += await self._write_chunk([write], deadline)
        return singly

    def _commit(self, writes: Sequence[Write], claim: "_Claim", deadline: Deadline) -> list[Written | ThermoclineError]:
        with self._file.transaction(deadline) as transaction:
            now_ms = self._clock.wall_ms()
            done: list[Written | ThermoclineError] = []
            for write in writes:
                try:
                    done.append(
                        sqlite_rows.apply(transaction, self._codec, write, now_ms=now_ms, grace_ms=self._grace_ms)
                    )
                except ThermoclineError as error:
                    done.append(error)
            if any(isinstance(result, Written) and result.effect is Effect.TOOK for result in done):
                sqlite_rows.purge(transaction, now_ms)
                if deadline.expired() or not claim.take("job"):
                    raise TierTimeout(
                        "the write was not ready to commit in time; it has no effect", tier=self.tier, sent=False
                    )
                transaction.commit()
            return done

    async def _read(self, job: Callable[[], T], deadline: Deadline) -> T:
        self.stats.count(REQUESTS, self.tier)
        try:
            return await self._run(job, deadline)
        except ThermoclineError:
            raise
        except TimeoutError as error:
            raise TierTimeout(f"{self.path} did not answer in time", tier=self.tier) from error

    async def _run(self, job: Callable[[], T], deadline: Deadline) -> T:
        """Run ``job`` in the executor. Raises a bare TimeoutError when the deadline passes meanwhile; the job may then still be running."""
        executor = self._executor
        if executor is None:
            raise ClientClosed("this SqliteMemory is not connected; await its connect() first")
        if deadline.expired():
            raise TierTimeout("no time is left for this call", tier=self.tier, sent=False)
        future = asyncio.get_running_loop().run_in_executor(executor, job)
        if deadline.at == math.inf:
            return await future
        async with asyncio.timeout(deadline.remaining()):
            return await future


def _check(path: object, max_bytes: object, grace: object) -> None:
    if not isinstance(path, str | Path) or str(path) in ("", ":memory:") or "\0" in str(path):
        raise ConfigurationError(
            f"SqliteMemory needs the path of a file, not {path!r}; for memory alone use ProcessMemory"
        )
    if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 2**16):
        raise ConfigurationError(f"max_bytes is a whole number of bytes, at least 65536, or None, not {max_bytes!r}")
    if not isinstance(grace, timedelta) or grace < timedelta(0):
        raise ConfigurationError(f"grace is a timedelta of zero or more, not {grace!r}")


class _Claim:
    """Who decides a write's fate: the job that commits it, or the caller who has given up. The first to take it has it."""

    __slots__ = ("_lock", "_owner")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = ""

    def take(self, who: str) -> bool:
        with self._lock:
            self._owner = self._owner or who
            return self._owner == who


def _unknown(write: Write, cause: Exception) -> UnknownOutcome:
    unknown = UnknownOutcome(
        f"{write.key}: its commit was under way when the call ended; it may have taken effect. Read the key to know.",
        write_id=write.id,
    )
    unknown.__cause__ = cause
    return unknown
