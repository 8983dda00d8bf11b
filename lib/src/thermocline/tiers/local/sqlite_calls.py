"""How `SqliteMemory` opens its file and runs what it is called for: in an executor, within a deadline, cancelled without an effect or not at all."""

import asyncio
import math
import threading
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Final, Self, TypeVar

from thermocline import configured
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.codec import Codec
from thermocline.errors import ClientClosed, ConfigurationError, ThermoclineError, TierDamaged, TierTimeout
from thermocline.model import Authority, MemoryTier
from thermocline.telemetry import REQUESTS, Stats
from thermocline.tiers.local.sqlite_file import SqliteFile, Transaction

T = TypeVar("T")

GRACE: Final = timedelta(days=1)  # how long a tombstone or an expired record is kept (COHERENCE section 2: T)


class SqliteCalls:
    """The ground of `SqliteMemory`."""

    tier: MemoryTier = MemoryTier.WARM
    authority: Authority = Authority.WARM

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock = SYSTEM_CLOCK,
        executor: Executor | None = None,
        max_bytes: int | None = None,
        grace: timedelta | float = GRACE,
        power_safe: bool = False,
    ) -> None:
        _check(path, max_bytes)
        kept = configured.duration(grace, "SqliteMemory: grace", least=timedelta(0))
        configured.clock(clock, "SqliteMemory: clock")
        configured.executor(executor, "SqliteMemory: executor")
        configured.switch(power_safe, "SqliteMemory: power_safe")
        self.path: Final = Path(path)
        self.stats = Stats()
        self._clock = clock
        self._codec = Codec()
        self._grace_ms = kept // timedelta(milliseconds=1)
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

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()  # cancelled half-way: the block does not begin, so it does not end
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

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
        commit of our own takes longer than 25 ms.
        """
        return self._file.data_version()

    # --- how a call is run ---------------------------------------------------------------------------------------------

    async def _change(self, job: Callable[["Claim"], T], deadline: Deadline) -> T:
        """Run ``job``, which commits by `_transact`. An error that is a `TierUnavailable` with ``sent`` leaves open whether it did; any other: it did not."""
        claim = Claim()
        self.stats.count(REQUESTS, self.tier)
        return await self._claimed(self._run(lambda: job(claim), deadline), claim)

    async def _claimed(self, call: Awaitable[T], claim: "Claim") -> T:
        """What ``call`` gives. Where the caller leaves first, ``claim`` decides whether it took effect."""
        try:
            return await call
        except ThermoclineError:
            raise
        except TimeoutError as error:
            if claim.take("caller"):
                raise TierTimeout(
                    "the write did not begin to commit in time; it has no effect", tier=self.tier, sent=False
                ) from error
            raise TierTimeout(f"{self.path} did not end a commit in time", tier=self.tier) from error
        except BaseException:
            claim.take("caller")  # cancelled: no effect, unless the commit has begun
            raise

    def _transact(self, job: Callable[[Transaction], tuple[T, bool]], claim: "Claim", deadline: Deadline) -> T:
        """One transaction, in the executor: what ``job`` answers, and whether what it did is to be committed; else it is undone."""
        with self._file.transaction(deadline) as transaction:
            answer, keep = job(transaction)
            if keep:
                if deadline.expired() or not claim.take("job"):
                    raise TierTimeout(
                        "the write was not ready to commit in time; it has no effect", tier=self.tier, sent=False
                    )
                transaction.commit()
            return answer

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
        self._ready(deadline)
        return await self._within(self._submitted(job), deadline)

    def _ready(self, deadline: Deadline) -> None:
        if self._executor is None:
            raise ClientClosed("this SqliteMemory is not connected; await its connect() first")
        if deadline.expired():
            raise TierTimeout("no time is left for this call", tier=self.tier, sent=False)

    def _submitted(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """The job, put into the executor. Raises `ClientClosed`."""
        executor = self._executor
        if executor is None:
            raise ClientClosed("this SqliteMemory was closed")
        return asyncio.get_running_loop().run_in_executor(executor, job)

    async def _within(self, future: "asyncio.Future[T]", deadline: Deadline) -> T:
        """Raises a bare TimeoutError when the deadline passes."""
        if deadline.at == math.inf:
            return await future
        async with asyncio.timeout(deadline.remaining()):
            return await future


def _check(path: object, max_bytes: object) -> None:
    if not isinstance(path, str | Path) or str(path) in ("", ":memory:") or "\0" in str(path):
        raise ConfigurationError(
            f"SqliteMemory needs the path of a file, not {path!r:.80}; for memory alone use ProcessMemory"
        )
    if max_bytes is not None:
        configured.whole(max_bytes, "SqliteMemory: max_bytes", least=2**16, unit="bytes")


class Claim:
    """Who decides a write's fate: the job that commits it, or the caller who has given up. The first to take it has it."""

    __slots__ = ("_lock", "_owner")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = ""

    def take(self, who: str) -> bool:
        with self._lock:
            self._owner = self._owner or who
            return self._owner == who
