"""A payload of unknown length on its way: written to a file while its digest is learned, then read again in blocks. Memory holds one chunk."""

import hashlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from io import RawIOBase
from typing import Any

from thermocline.errors import InvalidArgument


class Spool:
    """A file (unbuffered, so that closing it cannot fail for want of space) that is written, then read.

    Its methods block: call them in an executor. It is opened by the first of them, so that a caller who is cancelled always has it to `discard`,
    which is safe while another thread still works on it.
    """

    def __init__(self, opener: Callable[[], RawIOBase]) -> None:
        self.size = 0
        self._opener = opener
        self._file: RawIOBase | None = None
        self._discarded = False
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()

    @property
    def sha256(self) -> str:
        """Hex digest of what was added."""
        return self._digest.hexdigest()

    def _opened(self) -> RawIOBase:
        """The file. To be called under the lock."""
        if self._discarded:
            raise DiscardedError
        if self._file is None:
            self._file = self._opener()
        return self._file

    def add(self, chunk: bytes) -> None:
        """Append."""
        with self._lock:
            file = self._opened()
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
            self._digest.update(chunk)
            self.size += len(chunk)

    def sync(self) -> None:
        """Wait until the disk has the content."""
        with self._lock:
            os.fsync(self._opened().fileno())

    def stamp(self, at_ns: int) -> None:
        """Set the file's time of modification."""
        with self._lock:
            os.utime(self._opened().fileno(), ns=(at_ns, at_ns))

    def block(self, offset: int, size: int) -> bytes:
        """What lies at ``offset``, at most ``size`` bytes."""
        with self._lock:
            file = self._opened()
            file.seek(offset)
            return file.read(size) or b""

    def discard(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._discarded = True
            if self._file is not None:
                self._file.close()


class DiscardedError(Exception):
    """The spool's owner has given up; seen only by a thread that still works for it."""


async def fill(
    spool: Spool, chunks: AsyncIterator[bytes], run: Callable[[Callable[[bytes], None], bytes], Awaitable[None]]
) -> None:
    """Write all chunks into the spool; ``run`` calls a function with an argument in the executor. What the iterator raises is raised."""
    async for chunk in chunks:
        checked: Any = chunk
        if not isinstance(checked, bytes | bytearray | memoryview):
            raise InvalidArgument(f"a payload's chunks are bytes, not {type(checked).__name__}")
        await run(spool.add, bytes(chunk))
