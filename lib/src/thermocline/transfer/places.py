"""Where a backup lies: a folder, or a container of Blob Storage. Few verbs: files of some megabytes, each there as a whole or not at all."""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from thermocline.errors import InvalidArgument, NotFound, TierFull, TierUnavailable

_FULL = 28  # ENOSPC


@runtime_checkable
class BackupPlace(Protocol):
    """``put`` replaces; ``get`` answers None where there is nothing of that name. Both raise `TierUnavailable`."""

    async def put(self, name: str, data: bytes) -> None: ...

    async def get(self, name: str) -> bytes | None: ...


@runtime_checkable
class Blobs(Protocol):
    """What is asked of a `ColdMemory`."""

    async def upload_bytes(self, blob_name: str, data: bytes) -> None: ...

    async def download_bytes(self, blob_name: str) -> bytes: ...


def place_of(given: Any) -> BackupPlace:
    """What a caller gave. Raises `InvalidArgument`."""
    if not isinstance(given, BackupPlace):
        raise InvalidArgument(f"a backup lies in a FolderPlace or BlobPlace, not in {given!r:.80}")
    return given


class FolderPlace:
    """A folder, made if it is missing. A file is written beside its name, synced to the disk and renamed."""

    def __init__(self, path: Path | str) -> None:
        given: Any = path
        if not isinstance(given, str | Path) or not str(given):
            raise InvalidArgument(f"a backup's folder is a path, not {given!r:.80}")
        self.path = Path(path).expanduser()

    def __str__(self) -> str:
        return str(self.path)

    async def put(self, name: str, data: bytes) -> None:
        try:
            await asyncio.to_thread(self._put, name, data)
        except OSError as error:
            kind = TierFull if error.errno == _FULL else TierUnavailable
            raise kind(f"{self.path / name} cannot be written: {error.strerror}", tier="backup") from error

    def _put(self, name: str, data: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.path)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path / name)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise

    async def tidy(self) -> None:
        """Remove what processes that were killed left of files that they were just writing."""
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        for pattern in (".chunk-*.jsonl.*", ".progress.json.*"):
            for path in self.path.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()

    async def get(self, name: str) -> bytes | None:
        try:
            return await asyncio.to_thread((self.path / name).read_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TierUnavailable(
                f"{self.path / name} cannot be read: {error.strerror}", tier="backup", sent=False
            ) from error


class BlobPlace:
    """Blobs of a container under ``prefix``. ``blobs`` is a `ColdMemory`, connected on its first use here and its owner's to close; its own names
    (``tc1/``) are left alone."""

    def __init__(self, blobs: Blobs, prefix: str = "") -> None:
        if not isinstance(blobs, Blobs):
            raise InvalidArgument(f"a backup is kept in a ColdMemory's container, not in a {type(blobs).__name__}")
        self._blobs = blobs
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._connected = False

    def __str__(self) -> str:
        return f"blobs {self._prefix}"

    async def put(self, name: str, data: bytes) -> None:
        await self._connect()
        await self._blobs.upload_bytes(self._prefix + name, data)

    async def get(self, name: str) -> bytes | None:
        await self._connect()
        try:
            return await self._blobs.download_bytes(self._prefix + name)
        except NotFound:
            return None

    async def _connect(self) -> None:
        connect = getattr(self._blobs, "connect", None)
        if connect is not None and not self._connected:
            await connect()
        self._connected = True
