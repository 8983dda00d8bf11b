"""The folder tier's files: atomic replacement, locks that die with their holder, and what the operating system's errors mean. All of it blocks."""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

from thermocline.blobs.spool import Spool
from thermocline.errors import (
    AccessDenied,
    ConfigurationError,
    ThermoclineError,
    TierDamaged,
    TierFull,
    TierUnavailable,
    TooLarge,
)

MARK: Final = (
    "thermocline-folder"  # the file that says what this folder is; without it, nothing found means nothing known
)
FORMAT: Final = b"1\n"
TEMPORARY: Final = "new"
LOCKS: Final = "locks"
PRIVATE: Final = 0o700  # of folders that are made; files get 0600

_SETTLED: Final = 10_000  # folders remembered as durable

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_DAMAGED: Final = (errno.EIO, errno.EUCLEAN)


class NotDurable(Exception):
    """A file took its place, but the disk did not confirm it. ``cause`` is the operating system's error."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def translate(error: OSError, tier: str, doing: str) -> ThermoclineError:
    """What an error of the operating system means for an operation that certainly had no effect."""
    said = f"{tier}: cannot {doing}: {os.strerror(error.errno) if error.errno else error}"
    where = f" ({error.filename})" if error.filename is not None else ""
    if error.errno in _FULL:
        return TierFull(f"{said}{where}: make room on the disk, or raise the quota", tier=tier, sent=False)
    if error.errno in _DENIED:
        return AccessDenied(f"{said}{where}: the folder must be readable and writable", tier=tier, sent=False)
    if error.errno == errno.ENAMETOOLONG:
        return TooLarge(f"{said}: the folder's own path is too long; choose a shorter one")
    if error.errno in _DAMAGED:
        return TierDamaged(f"{said}{where}: check the disk", tier=tier, sent=False)
    return TierUnavailable(f"{said}{where}", tier=tier, sent=False)


class Files:
    """Files below one root, by relative path with ``/``. Safe to share between threads and processes."""

    def __init__(self, root: Path, *, fsync: bool) -> None:
        self.root = root
        self._fsync = fsync
        self._settled: set[Path] = set()  # folders whose own entries, up to the root, this object has made durable

    def prepare(self) -> None:
        """Make the folder, or check that it is one of ours, and remove what writers that died have left."""
        mark = self.root / MARK
        self.root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        for name in (TEMPORARY, LOCKS):
            (self.root / name).mkdir(mode=PRIVATE, exist_ok=True)
        if not mark.exists():
            with self.temporary() as spool:
                spool.add(FORMAT)
                self.seal(spool)
                self.publish(spool, MARK)
        found = mark.read_bytes()
        if found != FORMAT:
            raise ConfigurationError(
                f"the folder {self.root} has format {found[:20]!r}, this program knows {FORMAT!r}: upgrade it"
            )
        self.clean()

    def check(self) -> None:
        """Raise if the folder is no longer there, as after an unmount: then nothing found means nothing known."""
        if not (self.root / MARK).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.root / MARK))

    def read(self, path: str) -> bytes | None:
        """A file's content, one version of it; None: there is none of that name."""
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self.check()
            return None

    def status(self, path: str) -> os.stat_result | None:
        """A file's state; None: there is none of that name."""
        try:
            return (self.root / path).stat()
        except (FileNotFoundError, NotADirectoryError):
            self.check()
            return None

    def open(self, path: str) -> FileIO:
        """A file to read, unbuffered. Raises `LookupError` if there is none of that name."""
        try:
            return (self.root / path).open("rb", buffering=0)
        except (FileNotFoundError, NotADirectoryError) as error:
            self.check()
            raise LookupError(path) from error

    # --- writing -----------------------------------------------------------------------------------------------------

    def new_spool(self) -> "TemporaryFile":
        """A temporary file, not made yet."""
        return TemporaryFile(self.root / TEMPORARY)

    @contextlib.contextmanager
    def temporary(self) -> Iterator["TemporaryFile"]:
        """A spool that is removed again unless it was published."""
        spool = self.new_spool()
        try:
            yield spool
        finally:
            spool.discard()

    def seal(self, spool: "TemporaryFile") -> None:
        """Make a finished spool's content durable, before it is published."""
        if self._fsync:
            spool.sync()

    def publish(self, spool: "TemporaryFile", path: str) -> None:
        """Put a sealed spool in the place of whatever is at ``path``; atomic, and durable with ``fsync``.

        Raises `NotDurable` if it took the place and the disk did not confirm it; any other error: it did not.
        """
        target = self.root / path
        self._make_folder(target.parent)
        spool.rename(target)
        if self._fsync:
            try:
                _sync_folder(target.parent)
                self._settle(target.parent)
            except OSError as error:
                raise NotDurable(error) from error

    def remove(self, path: str) -> None:
        """Remove a file. Emptied folders stay: removing them would race with writers who make them."""
        target = self.root / path
        target.unlink()
        if self._fsync:
            _sync_folder(target.parent)

    def touch(self, path: str, at_ns: int) -> None:
        """Set a file's time of modification."""
        os.utime(self.root / path, ns=(at_ns, at_ns))

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[bool]:
        """Try to take the lock of a path (one of 256 lock files), against threads and processes. False: somebody else has it.

        The operating system frees it when its holder ends, however it ends.
        """
        shard = hashlib.blake2b(path.encode(), digest_size=1).hexdigest()
        descriptor = os.open(self.root / LOCKS / shard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have the descriptor too
        finally:
            os.close(descriptor)

    # --- walking -----------------------------------------------------------------------------------------------------

    def walk(self, top: str, start: str = "", after: str = "") -> Iterator[str]:
        """Paths of the files below ``top`` that begin with ``top/start``, in the order of their segments, behind ``after``."""
        yield from self._walk(top, start.split("/"), after[len(top) + 1 :].split("/") if after else [])

    def _walk(self, folder: str, start: list[str], after: list[str]) -> Iterator[str]:
        first = start[0] if start else ""
        try:
            with os.scandir(self.root / folder) as found:
                entries = sorted(
                    (e.name, e.is_dir(follow_symlinks=False)) for e in found if _begins(e.name, first, start)
                )
        except (FileNotFoundError, NotADirectoryError):
            self.check()
            return
        for name, is_folder in entries:
            if after and name < after[0]:
                continue
            same = bool(after) and name == after[0]
            if is_folder:
                yield from self._walk(f"{folder}/{name}", start[1:], after[1:] if same else [])
            elif not same and len(start) <= 1:
                yield f"{folder}/{name}"

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, for the owner alone; never the root, which may be gone for a reason."""
        if folder == self.root:
            return
        try:
            folder.mkdir(mode=PRIVATE, exist_ok=True)
        except FileNotFoundError:
            self._make_folder(folder.parent)
            folder.mkdir(mode=PRIVATE, exist_ok=True)

    def _settle(self, folder: Path) -> None:
        """Make the folder's own entry durable, and those above it. Others may have made them and not have come to it, so the first use counts."""
        fresh = []
        while folder != self.root and folder not in self._settled:
            _sync_folder(folder.parent)
            fresh.append(folder)
            folder = folder.parent
        if len(self._settled) > _SETTLED:
            self._settled.clear()
        self._settled.update(fresh)

    def clean(self) -> int:
        """Remove the temporary files of writers that died; how many."""
        gone = 0
        for path in (self.root / TEMPORARY).iterdir():
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    gone += 1
                except BlockingIOError:
                    continue  # its writer lives
                finally:
                    os.close(descriptor)
        return gone


class TemporaryFile(Spool):
    """A spool with a name, which goes away with it unless the file was renamed.

    It is locked for as long as it is open: who can take its lock knows that its writer has died.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(self._make)
        self._folder = folder
        self._path: Path | None = None

    def rename(self, target: Path) -> None:
        """Put it in the place of whatever is at ``target``."""
        with self._lock:
            self._opened()
            assert self._path is not None
            self._path.rename(target)
            self._path = None

    def discard(self) -> None:
        """Close and remove it, unless it was renamed. Idempotent."""
        with self._lock:
            if self._path is not None:
                self._path.unlink(missing_ok=True)
                self._path = None
        super().discard()

    def _make(self) -> FileIO:
        while True:
            path = self._folder / os.urandom(12).hex()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink > 0:
                self._path = path
                return os.fdopen(descriptor, "w+b", buffering=0)
            os.close(descriptor)  # a cleaner was faster between the two calls


def _begins(name: str, first: str, start: list[str]) -> bool:
    return name.startswith(first) if len(start) <= 1 else name == first


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
