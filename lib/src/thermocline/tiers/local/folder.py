"""`FolderMemory`: the embedded stand-in for Blob Storage, on a folder that several processes may share."""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from thermocline import configured
from thermocline.blobs import heads, wire
from thermocline.blobs.batch import each
from thermocline.blobs.upkeep import check_limit
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.cursors import pack_cursor, unpack_cursor
from thermocline.errors import (
    ConfigurationError,
    CorruptRecord,
    InvalidKey,
    ThermoclineError,
    TierTimeout,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.keys import blob_prefix, head_path
from thermocline.model import Authority, Envelope, Key, MemoryTier
from thermocline.protocols import Effect, Listed, Page, Verb, Write, Written
from thermocline.telemetry import CORRUPT, Stats
from thermocline.tiers.local.files import Files, NotDurable, translate
from thermocline.tiers.local.folder_upkeep import FolderUpkeep, etag_of
from thermocline.writes import check_pointer

GRACE: Final = timedelta(days=1)  # COHERENCE section 2: T
_CONNECTING: Final = 15.0  # seconds
_PER_CALL: Final = 64  # files that one call in the executor reads, so that a long batch leaves room for others


class _AbandonedError(Exception):
    """The caller gave up before the write took its place, and now it does not."""


class FolderMemory(FolderUpkeep):
    """A folder as cold tier: plays `Payloads`, and `Versions`, `Census`, `Relocates`, `Purges` and `Notes` where it is the authority.

    One file per key (`thermocline.blobs.heads`), replaced by rename under a lock file, and one immutable file per payload. Several processes may use
    one folder on a local disk; a holder's death frees its locks, and what it left half-written is removed by the next `connect`. ``fsync``: whether a
    write is on the disk before it is acknowledged (else the crash of the machine, not of the program, may lose the last seconds). ``executor`` runs all
    that blocks; None: eight threads of its own, so that a disk that hangs takes nobody else's. ``grace``: how long a tombstone or an expired record is kept
    at least (T); `purge` removes it then.
    """

    tier = MemoryTier.COLD
    authority = Authority.COLD

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock = SYSTEM_CLOCK,
        executor: Executor | None = None,
        fsync: bool = True,
        grace: timedelta | float = GRACE,
    ) -> None:
        given: Any = path
        if not isinstance(given, str | os.PathLike) or str(given) == "" or "\0" in str(given):
            raise ConfigurationError(f"FolderMemory needs the path of a folder, not {given!r:.80}")
        kept = configured.duration(grace, "FolderMemory: grace", least=timedelta(0))
        configured.clock(clock, "FolderMemory: clock")
        configured.executor(executor, "FolderMemory: executor")
        configured.switch(fsync, "FolderMemory: fsync")
        self.path = Path(path)
        self.stats = Stats()
        self._grace_ms = kept // timedelta(milliseconds=1)
        self._clock = clock
        self._executor = executor
        self._threads: ThreadPoolExecutor | None = None
        self._files = Files(self.path, fsync=fsync)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def grace(self) -> timedelta:
        """How long a tombstone or an expired record is kept: T."""
        return timedelta(milliseconds=self._grace_ms)

    @property
    def connected(self) -> bool:
        """Whether it is open: a client neither connects nor closes a tier that was opened before."""
        return self._loop is not None

    async def connect(self) -> None:
        """Make the folder where it is missing, and clear it of what dead writers left. Idempotent.

        Raises `AccessDenied`, `TierFull`, `TierUnavailable`, and `ConfigurationError` for a folder of a newer format.
        """
        if self._loop is not None:
            self._check_loop()
            return
        self._loop = asyncio.get_running_loop()
        try:
            await self._run("open the folder", self._files.prepare, deadline=Deadline.after(_CONNECTING, self._clock))
        except BaseException:
            self._loop = None
            raise

    async def close(self) -> None:
        """Nothing stays open between calls; after this there are none. Idempotent."""
        self._loop = None
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ping(self, *, deadline: Deadline) -> None:
        """Write one byte to a temporary file: the folder is there, writable and not full."""

        def probe() -> None:
            self._files.check()
            with self._files.temporary() as spool:
                spool.add(b"?")

        await self._run("write to the folder", probe, deadline=deadline)

    async def tidy(self, *, deadline: Deadline) -> int:
        """Remove the temporary files that writers left which died, as `connect` does; how many there were."""
        return await self._run("remove temporary files", self._files.clean, deadline=deadline)

    # --- versions ----------------------------------------------------------------------------------------------------

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        """The newest record, a tombstone or expired one too; None: there is no head."""
        return await self._run("read a head", self._read_record, key, deadline=deadline)

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        """The same for many; each answers for itself."""
        answers: list[Envelope | ThermoclineError | None] = []
        for first in range(0, len(keys), _PER_CALL):
            some = keys[first : first + _PER_CALL]
            try:
                answers += await self._run("read heads", self._read_some, some, deadline=deadline)
            except ThermoclineError as error:
                answers += [error] * len(some)
        return answers

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        """Replace the key's head under its lock; atomic, and durable with ``fsync`` when it returns.

        Raises `UnknownOutcome` where the deadline came, or the disk failed, after the new head had begun to take its place; any other error:
        certainly no effect.
        """
        heads.check(write)
        if write.verb is Verb.PUT:
            check_pointer(write.envelope, self._clock.wall_ms(), tier=self.tier)
        token: deque[None] = deque(
            [None]
        )  # who takes it decides: the writing thread for the write, its caller against it
        try:
            return await self._locked("write a head", partial(self._replace, write, token), deadline=deadline)
        except NotDurable as error:
            raise _unknown(write, f"the disk did not confirm it: {error}") from error
        except TierTimeout as error:
            if not _take(token):
                raise _unknown(write, "the disk did not answer in time") from error
            raise
        except asyncio.CancelledError:
            _take(token)
            raise

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        """Many writes, each for itself and atomic by itself."""
        return await each(writes, lambda write: self.write(write, deadline=deadline))

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        """Live keys of a scope by path. A damaged head is left out and counted."""
        check_limit(limit)
        after = "" if cursor is None else unpack_cursor(tenant, scope, prefix, cursor)
        top = blob_prefix(tenant, scope).rstrip("/")
        start = blob_prefix(tenant, scope, prefix)[len(top) + 1 :]
        lines, damaged, following = await self._run(
            "list heads", self._list, top, start, after, limit, deadline=deadline
        )
        if damaged:
            self.stats.count(CORRUPT, self.tier, damaged)
        items = [line for line in lines if line.key.name.startswith(prefix)]
        return Page(items, None if following is None else pack_cursor(tenant, scope, prefix, following))

    # --- in the executor ---------------------------------------------------------------------------------------------

    def _read_head(self, key: Key) -> heads.Head | None:
        data = self._files.read(head_path(key))
        return None if data is None else wire.unpack_head(data, key)

    def _read_record(self, key: Key) -> Envelope | None:
        """The record with the mark of its copy."""
        data = self._files.read(head_path(key))
        if data is None:
            return None
        return replace(wire.unpack_head(data, key).envelope, etag=etag_of(data))

    def _read_some(self, keys: Sequence[Key]) -> list[Envelope | ThermoclineError | None]:
        answers: list[Envelope | ThermoclineError | None] = []
        for key in keys:
            try:
                answers.append(self._read_record(key))
            except ThermoclineError as error:
                answers.append(error)
            except OSError as error:
                answers.append(translate(error, self.tier, "read a head"))
        return answers

    def _replace(self, write: Write, token: "deque[None]") -> Written | None:
        """The write under the key's lock; None: somebody else holds it."""
        path = head_path(write.key)
        with self._files.lock(path) as held:
            if not held:
                return None
            head = self._read_head(write.key)
            planned = heads.plan(write, head, authority=self.authority, now_ms=self._clock.wall_ms())
            if isinstance(planned, Written):
                return planned
            with self._files.temporary() as spool:
                spool.add(wire.pack_head(planned))
                self._files.seal(spool)
                if not _take(token):
                    raise _AbandonedError
                self._files.publish(spool, path)
            return Written(Effect.TOOK, planned.version, planned.envelope)

    def _list(self, top: str, start: str, after: str, limit: int) -> tuple[list[Listed], int, str | None]:
        """The next ``limit`` files' live heads, how many others are damaged, and where to go on."""
        now = self._clock.wall_ms()
        paths, following = self._paths(top, after, limit, start)
        lines, damaged = [], 0
        for path in paths:
            data = self._files.read(path)
            if data is None:
                continue  # swept meanwhile
            try:
                head = wire.unpack_any_head(data)
                if head_path(head.envelope.key) != path:
                    damaged += 1
                elif head.envelope.live(now):
                    lines.append(wire.listed(head))
            except (CorruptRecord, UnreadableRecord, InvalidKey):
                damaged += 1
        return lines, damaged, following


def _take(token: "deque[None]") -> bool:
    """Whether the token was still there; only one of two threads ever gets it."""
    try:
        token.pop()
    except IndexError:
        return False
    return True


def _unknown(write: Write, why: str) -> UnknownOutcome:
    return UnknownOutcome(f"folder: {write.key}: the write may have taken effect: {why}", write_id=write.id)
