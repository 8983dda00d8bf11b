"""A backup's files. Lines of JSON in chunks of some megabytes, each of which names the SHA-256 of the one before; and a manifest with all of them.

A record is one line with its payload in Base64, as it is stored; or, over `INLINE` bytes, a line without, then its parts, then a line that ends it with their
digest, or says that it is void. docs/moving-data.md has the format.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from thermocline.errors import CorruptRecord, InvalidArgument, UnreadableRecord
from thermocline.model import Authority, Envelope, Flags, Header, Key
from thermocline.transfer.places import BackupPlace

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
PROGRESS: Final = "progress.json"
CHUNK: Final = 4 * 2**20  # bytes after which a chunk is closed
INLINE: Final = 2**20  # bytes of a payload that stands in its record's line
PART: Final = 2**20  # bytes of a payload in one line
_HEADER: Final = (
    "serialiser",
    "compressor",
    "dictionary",
    "version",
    "raw_length",
    "expires_ms",
    "created_ms",
    "modified_ms",
)


def chunk_name(number: int) -> str:
    return f"chunk-{number:06}.jsonl"


@dataclass(slots=True)
class Manifest:
    """What a backup holds. ``records`` of ``bytes`` stored; ``voids`` were given up because they could not be read, and are not counted. ``chunks``: name,
    SHA-256 and size of each file. ``damaged``: records that are missing, in words. ``elsewhere``: live records that are not in it because they lie under
    another authority than the client's routes give their keys. Times in ms since 1970."""

    id: str = ""
    tenant: str | None = None
    scope: str | None = None
    began_ms: int = 0
    ended_ms: int = 0
    records: int = 0
    bytes: int = 0
    damaged_count: int = 0
    damaged: list[str] = field(default_factory=list)
    elsewhere: int = 0
    chunks: list[dict[str, Any]] = field(default_factory=list)


class ChunkWriter:
    """Writes lines into chunks, from number ``chunks`` + 1 on, whose predecessor has the digest ``last``. ``before`` is called before each is written, and
    raises if it is not to be."""

    def __init__(
        self,
        place: BackupPlace,
        backup: str,
        *,
        chunks: int = 0,
        last: str = "",
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._place, self._backup, self._before = place, backup, before
        self.chunks, self.last = chunks, last
        self._lines: list[bytes] = []
        self._size = 0

    @property
    def waiting(self) -> bool:
        """Whether there are lines that no chunk has yet."""
        return bool(self._lines)

    @property
    def worth_closing(self) -> bool:
        """Whether so much waits that a place to go on from is worth a smaller chunk."""
        return self._size >= CHUNK // 4

    async def part(self, data: bytes) -> None:
        """A part of the payload whose record's line came before."""
        await self.line({"part": base64.b64encode(data).decode()})

    async def line(self, told: dict[str, Any]) -> None:
        """One line; a chunk that has become full is written."""
        if not self._lines:
            first = {"chunk": self.chunks + 1, "backup": self._backup, "after": self.last}
            self._lines.append(_packed(first))
        packed = _packed(told)
        self._lines.append(packed)
        self._size += len(packed)
        if self._size >= CHUNK:
            await self.close()

    async def close(self) -> None:
        """Write what is there as a chunk."""
        if not self._lines:
            return
        data = b"".join(self._lines)
        if self._before is not None:
            await self._before()
        await self._place.put(chunk_name(self.chunks + 1), data)
        self.chunks += 1
        self.last = hashlib.sha256(data).hexdigest()
        self._lines, self._size = [], 0


def _packed(told: dict[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def head_line(copy: Envelope, sha256: str, size: int, *, payload: bytes | None) -> dict[str, Any]:
    """A record's line; without ``payload`` its parts follow."""
    key, header = copy.key, copy.header
    told: dict[str, Any] = {"key": [key.tenant, key.scope, key.name], "authority": header.authority.name.lower()}
    told |= {name: getattr(header, name) for name in _HEADER}
    told |= {"media_type": copy.media_type, "tags": dict(copy.tags), "sha256": sha256, "size": size}
    return told if payload is None else told | {"payload": base64.b64encode(payload).decode()}


@dataclass(slots=True)
class Head:
    """A record's line, read back. ``copy`` holds the payload where it stood in the line."""

    copy: Envelope
    sha256: str
    size: int
    whole: bool


def read_head(told: dict[str, Any]) -> Head:
    """Raises `CorruptRecord`."""
    try:
        header = Header(flags=Flags.NONE, authority=Authority.NONE, **{name: int(told[name]) for name in _HEADER})
        whole = "payload" in told
        payload = base64.b64decode(told["payload"], validate=True) if whole else b""
        copy = Envelope(Key(*told["key"]), header, payload, str(told["media_type"]), dict(told["tags"]))
        head = Head(copy, str(told["sha256"]), int(told["size"]), whole)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise CorruptRecord(f"a record of the backup cannot be read: {error}") from error
    if whole and hashlib.sha256(payload).hexdigest() != head.sha256:
        raise CorruptRecord(f"the payload of {copy.key} does not fit its digest")
    return head


def read_part(told: dict[str, Any]) -> bytes:
    """Raises `CorruptRecord`."""
    try:
        return base64.b64decode(told["part"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise CorruptRecord(f"a part of the backup cannot be read: {error}") from error


async def read_manifest(place: BackupPlace) -> Manifest:
    """Raises `InvalidArgument` where there is no backup or an unfinished one, `UnreadableRecord` for a newer format, `CorruptRecord`."""
    data = await place.get(MANIFEST)
    if data is None:
        begun = await place.get(PROGRESS) is not None
        raise InvalidArgument(
            f"the backup in {place} is not complete: run backup again, it goes on"
            if begun
            else f"there is no backup in {place}"
        )
    try:
        told = json.loads(data)
        form = told.pop("thermocline_backup")
    except (ValueError, AttributeError, KeyError) as error:
        raise CorruptRecord(f"the manifest of the backup in {place} cannot be read") from error
    if form != FORMAT:
        raise UnreadableRecord(f"the backup in {place} has format {form!r}: upgrade this program to read it")
    digest = told.pop("sha256", "")
    if digest != manifest_digest(told):
        raise CorruptRecord(f"the manifest of the backup in {place} is damaged: its checksum does not fit")
    try:
        return Manifest(**told)
    except TypeError as error:
        raise CorruptRecord(f"the manifest of the backup in {place} cannot be read: {error}") from error


def manifest_digest(told: dict[str, Any]) -> str:
    """The checksum that a manifest bears: of all else in it."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


async def read_lines(
    place: BackupPlace, number: int, *, backup: str, after: str, sha256: str | None
) -> AsyncGenerator[dict[str, Any], None]:
    """The lines of one chunk, without its first. Raises `CorruptRecord` for one that is missing, altered or not the next."""
    name = chunk_name(number)
    data = await place.get(name)
    if data is None:
        raise CorruptRecord(f"the backup in {place} lacks {name}")
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptRecord(f"{name} of the backup in {place} is damaged: its checksum does not fit")
    for line in _lines(data, name, place, {"chunk": number, "backup": backup, "after": after}):
        yield line


def _lines(data: bytes, name: str, place: BackupPlace, first: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        lines: list[Any] = [json.loads(line) for line in data.splitlines()]
    except ValueError as error:
        raise CorruptRecord(f"{name} of the backup in {place} is damaged: {error}") from error
    if not lines or lines[0] != first or not all(isinstance(line, dict) for line in lines):
        raise CorruptRecord(f"{name} of the backup in {place} is damaged, or does not follow the one before it")
    return lines[1:]


@dataclass(slots=True)
class Walked:
    """What a walk over all chunks found. ``voids``: numbers (from 1) of records that were given up."""

    records: int = 0
    bytes: int = 0
    chunks: list[dict[str, Any]] = field(default_factory=list)
    voids: set[int] = field(default_factory=set)


class _Checks:
    """Follows the lines of a backup, record for record."""

    def __init__(self) -> None:
        self.found = Walked()
        self.open: Head | None = None
        self._number = 0
        self._digest = hashlib.sha256()
        self._size = 0

    def line(self, told: dict[str, Any]) -> None:
        """Raises `CorruptRecord` for what is not whole, or does not fit its digest."""
        head, found = self.open, self.found
        if head is None:
            self._number += 1
            head = read_head(told)
            if head.whole:
                found.records += 1
                found.bytes += head.size
            else:
                self.open, self._digest, self._size = head, hashlib.sha256(), 0
        elif "part" in told:
            part = read_part(told)
            self._digest.update(part)
            self._size += len(part)
        elif "void" in told:
            found.voids.add(self._number)
            self.open = None
        elif told.get("end") != head.sha256 or self._digest.hexdigest() != head.sha256 or self._size != head.size:
            raise CorruptRecord(f"the payload of {head.copy.key} in the backup does not fit its digest")
        else:
            found.records += 1
            found.bytes += self._size
            self.open = None


async def walk(place: BackupPlace, backup: str, count: int, last: str) -> Walked:
    """Read every chunk and check it: that it follows the one before, that each record is whole and fits its digest. One chunk is held at a time.
    Raises `CorruptRecord`."""
    checks = _Checks()
    after = ""
    for number in range(1, count + 1):
        name = chunk_name(number)
        data = await place.get(name)
        if data is None:
            raise CorruptRecord(f"the backup in {place} lacks {name}")
        for told in _lines(data, name, place, {"chunk": number, "backup": backup, "after": after}):
            checks.line(told)
        after = hashlib.sha256(data).hexdigest()
        checks.found.chunks.append({"name": name, "sha256": after, "bytes": len(data)})
    if after != last or checks.open is not None:
        raise CorruptRecord(f"the backup in {place} ends before its time, or its last chunk is damaged")
    return checks.found
