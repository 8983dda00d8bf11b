"""The payload files of the folder tier (COHERENCE section 5), and how its calls reach the executor."""

import asyncio
import contextlib
import hashlib
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import RawIOBase
from itertools import islice
from typing import Any, Final, TypeVar

from thermocline.blobs.spool import Spool, fill
from thermocline.clock import Clock, Deadline
from thermocline.errors import (
    ClientClosed,
    CorruptRecord,
    InvalidArgument,
    TierTimeout,
    TierUnavailable,
)
from thermocline.keys import PAYLOAD_ROOT, from_payload_path, payload_path
from thermocline.model import Key, MemoryTier, Pointer
from thermocline.telemetry import REQUESTS, Stats
from thermocline.tiers.local.files import Files, NotDurable, TemporaryFile, translate

CHUNK: Final = 2**20  # bytes that a stream reads at once
_THREADS: Final = 8
_FIRST_WAIT: Final = 0.001  # seconds before a lock is tried again; doubled each time
_LONGEST_WAIT: Final = 0.02

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class StoredPayload:
    """A payload in a sweeper's listing. ``etag`` changes whenever it is written or renewed."""

    path: str
    etag: str
    size: int
    modified_ms: int


class FolderPayloads:
    """The part `Payloads` on a folder, and what its sweeper needs."""

    tier: MemoryTier
    stats: Stats
    _clock: Clock
    _executor: Executor | None
    _threads: ThreadPoolExecutor | None
    _files: Files
    _loop: asyncio.AbstractEventLoop | None

    async def put_payload(self, key: Key, data: bytes | AsyncIterator[bytes], *, deadline: Deadline) -> Pointer:
        """Write it to a temporary file, then give it its name, over the same content if that is there (which renews it, and mends it if it was damaged).
        Atomic: a reader sees all or nothing. An iterator is taken chunk by chunk."""
        checked: Any = data
        if not isinstance(checked, bytes | AsyncIterator):
            raise InvalidArgument(
                f"a payload is bytes or an asynchronous iterator of bytes, not {type(checked).__name__}"
            )
        spool = self._files.new_spool()
        try:
            if isinstance(data, bytes):
                await self._run("write a payload", spool.add, data, deadline=deadline)
            else:
                await fill(spool, data, partial(self._run, "write a payload", deadline=deadline))
            await self._run("write a payload", self._files.seal, spool, deadline=deadline)
            path = payload_path(key, spool.sha256)
            written_ms = await self._locked("write a payload", partial(self._place, spool, path), deadline=deadline)
            return Pointer(path, spool.sha256, spool.size, written_ms)
        except NotDurable as error:
            raise TierUnavailable(f"cold: the disk did not confirm a payload: {error}", tier=self.tier) from error
        finally:
            spool.discard()

    async def get_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> bytes | None:
        """The payload, its digest checked; None: there is none of that name. Raises `CorruptRecord` for other content, or a pointer of another key."""
        path = _checked(key, pointer)

        def read() -> bytes | None:
            data = self._files.read(path)
            if data is not None and (len(data) != pointer.size or hashlib.sha256(data).hexdigest() != pointer.sha256):
                raise _damaged(key)
            return data

        return await self._run("read a payload", read, deadline=deadline)

    async def stream_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> AsyncIterator[bytes]:
        """The payload in chunks of 1 MiB. The last one comes only if the digest fits, else `CorruptRecord`, as for a missing payload.
        ``deadline``: what remains of it at the start is each chunk's time."""
        path = _checked(key, pointer)
        patience = deadline.remaining()

        def wait() -> Deadline:
            return Deadline.after(patience, deadline.clock)

        with contextlib.closing(Reader(partial(self._files.open, path))) as reader:
            held: bytes | None = None
            try:
                while chunk := await self._run("read a payload", reader.next, deadline=wait()):
                    if held is not None:
                        yield held
                    held = chunk
            except LookupError as error:
                raise CorruptRecord(f"the payload of {key} is missing") from error
            if reader.sha256 != pointer.sha256:
                raise _damaged(key)
            if held is not None:
                yield held

    async def renew_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> Pointer | None:
        """A new time of modification, so that the sweeper leaves it alone; None: it is gone."""
        renew = partial(self._renew, _checked(key, pointer))
        written_ms = await self._locked("renew a payload", renew, deadline=deadline)
        return None if written_ms < 0 else Pointer(pointer.path, pointer.sha256, pointer.size, written_ms)

    # --- sweeping ----------------------------------------------------------------------------------------------------

    async def list_payloads(
        self, prefix: str = PAYLOAD_ROOT, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[StoredPayload], str | None]:
        """The next ``limit`` payloads whose paths start with ``prefix`` (`keys.blob_prefix` with `PAYLOAD_ROOT` for a scope's), by path."""
        if not prefix.startswith(PAYLOAD_ROOT):
            raise InvalidArgument(f"payloads lie below {PAYLOAD_ROOT}")
        top = PAYLOAD_ROOT.rstrip("/")
        start = prefix[len(PAYLOAD_ROOT) :]

        def read() -> tuple[list[StoredPayload], str | None]:
            paths, following = self._paths(top, cursor or "", limit, start)
            found = [(path, self._files.status(path)) for path in paths]
            return [
                StoredPayload(path, _etag(status), status.st_size, status.st_mtime_ns // 1_000_000)
                for path, status in found
                if status is not None
            ], following

        return await self._run("list payloads", read, deadline=deadline)

    async def sweep_payload(self, path: str, *, etag: str, unmodified_since_ms: int, deadline: Deadline) -> bool:
        """Remove an orphan under its lock: only as it was seen, and only if it was not modified after that moment. False: it was renewed, or is gone."""
        from_payload_path(path)

        def sweep() -> bool | None:
            with self._files.lock(path) as held:
                if not held:
                    return None
                status = self._files.status(path)
                if status is None or _etag(status) != etag or status.st_mtime_ns > unmodified_since_ms * 1_000_000:
                    return False
                self._files.remove(path)
                return True

        return await self._locked("sweep a payload", sweep, deadline=deadline)

    # --- in the executor ---------------------------------------------------------------------------------------------

    def _place(self, spool: TemporaryFile, path: str) -> int | None:
        with self._files.lock(path) as held:
            if not held:
                return None
            at_ns = self._next_time(path)
            spool.stamp(at_ns)
            self._files.publish(spool, path)
            return at_ns // 1_000_000

    def _renew(self, path: str) -> int | None:
        with self._files.lock(path) as held:
            if not held:
                return None
            if self._files.status(path) is None:
                return -1
            at_ns = self._next_time(path)
            self._files.touch(path, at_ns)
            return at_ns // 1_000_000

    def _next_time(self, path: str) -> int:
        """The clock's, or a millisecond more than what is there: the ETag changes each time."""
        status = self._files.status(path)
        now = self._clock.wall_ms() * 1_000_000
        return now if status is None else max(now, status.st_mtime_ns + 1_000_000)

    def _paths(self, top: str, after: str, limit: int, start: str = "") -> tuple[list[str], str | None]:
        """At most ``limit`` paths, and the last of them if there are more."""
        paths = list(islice(self._files.walk(top, start, after), limit + 1))
        return (paths[:limit], paths[limit - 1]) if len(paths) > limit else (paths, None)

    # --- the way to the executor -------------------------------------------------------------------------------------

    def _check_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise ClientClosed("the folder is not connected, or closed; call connect() first")
        if self._loop is not asyncio.get_running_loop():
            raise ClientClosed("the folder was connected in another event loop; make one FolderMemory per loop")
        return self._loop

    def _workers(self) -> Executor:
        if self._executor is not None:
            return self._executor
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="thermocline-folder")
        return self._threads

    async def _run(self, doing: str, function: Callable[..., R], *args: Any, deadline: Deadline) -> R:
        """Call it in the executor, within the deadline; the operating system's errors become ours."""
        loop = self._check_loop()
        remaining = deadline.remaining()
        if remaining <= 0:
            raise TierTimeout(f"cold: no time left to {doing}", tier=self.tier, sent=False)
        self.stats.count(REQUESTS, self.tier)
        limit = asyncio.timeout(None if math.isinf(remaining) else remaining)
        try:
            async with limit:
                return await loop.run_in_executor(self._workers(), partial(function, *args))
        except OSError as error:
            if limit.expired():
                raise TierTimeout(f"cold: the disk did not answer in time to {doing}", tier=self.tier) from error
            if isinstance(error, TierUnavailable):
                raise
            raise translate(error, self.tier, doing) from error

    async def _locked(self, doing: str, function: Callable[[], R | None], *, deadline: Deadline) -> R:
        """The same for a function that needs a lock and answers None while somebody else has it. Waits in the event loop, so no thread is blocked."""
        wait = _FIRST_WAIT
        while True:
            answer = await self._run(doing, function, deadline=deadline)
            if answer is not None:
                return answer
            await asyncio.sleep(min(wait, deadline.remaining()))
            wait = min(wait * 2, _LONGEST_WAIT)


class Reader:
    """A file that is read to its end while its digest is learned. Safe to `close` while a thread still reads."""

    def __init__(self, opener: Callable[[], RawIOBase]) -> None:
        self._spool = Spool(opener)
        self._digest = hashlib.sha256()
        self._offset = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def next(self) -> bytes:
        """The next chunk; empty at the end."""
        chunk = self._spool.block(self._offset, CHUNK)
        self._offset += len(chunk)
        self._digest.update(chunk)
        return chunk

    def close(self) -> None:
        self._spool.discard()


def _checked(key: Key, pointer: Pointer) -> str:
    """The payload's path, made from the key: a pointer cannot lead to another key's, nor out of the folder."""
    if payload_path(key, pointer.sha256) != pointer.path:
        raise CorruptRecord(f"the pointer of {key} names a payload of another key")
    return pointer.path


def _damaged(key: Key) -> CorruptRecord:
    return CorruptRecord(f"the payload of {key} does not have the content that its name says")


def _etag(status: Any) -> str:
    return f"{status.st_ino:x}.{status.st_mtime_ns:x}"
