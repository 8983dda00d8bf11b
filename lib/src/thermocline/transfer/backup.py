"""`Backup`: all that a memory holds, or a tenant or scope of it, in files that describe themselves; and whether they are sound."""

import hashlib
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from thermocline.client import MemoryClient
from thermocline.client.moving.walk import live
from thermocline.errors import (
    Conflict,
    CorruptRecord,
    ThermoclineError,
    TierUnavailable,
    UnreadableRecord,
)
from thermocline.model import Authority, Envelope, Key, Pointer
from thermocline.transfer.chunks import (
    FORMAT,
    INLINE,
    MANIFEST,
    PART,
    PROGRESS,
    ChunkWriter,
    Manifest,
    chunk_name,
    head_line,
    manifest_digest,
    read_manifest,
    walk,
)
from thermocline.transfer.ends import End
from thermocline.transfer.passes import together
from thermocline.transfer.places import BackupPlace, FolderPlace, place_of
from thermocline.transfer.report import NAMED
from thermocline.transfer.spaces import Space, space_of

_TRIES: Final = 3
_END: Final = "end"  # the step after the last one: only the manifest is missing


@dataclass(slots=True)
class _Progress:
    """How far it came: the next page is of ``step`` from ``cursor`` on, and the chunks up to ``chunks`` are whole."""

    id: str
    owner: str
    tenant: str | None
    scope: str | None
    began_ms: int
    step: str = ""
    cursor: str | None = None
    chunks: int = 0
    last: str = ""
    damaged_count: int = 0
    damaged: list[str] = field(default_factory=list)
    elsewhere: int = 0


class Backup:
    """Of ``memory``, into ``place``. ``space``: which tenant or scope (its new names mean nothing here)."""

    def __init__(self, memory: MemoryClient, place: BackupPlace, *, space: Space | None = None) -> None:
        self._end, self._place = End(memory), place_of(place)
        self._space = space_of(space)
        self._owner = secrets.token_hex(8)

    async def run(self) -> Manifest:
        """Write it, or the rest of one that was cut short, and read it all again to see that it is sound. Values are read page by page, large ones in
        chunks. What is written meanwhile may be in it or not; each record is as it was at some moment between begin and end.

        Raises `Conflict` where a complete backup, or one of something else, lies in that place, or another process has taken this one up meanwhile (the later
        one goes on); `TierUnavailable`: run it again then, it goes on; `CorruptRecord` if what was written cannot be read back.
        """
        await self._end.client.connect()
        if await self._place.get(MANIFEST) is not None:
            raise Conflict(f"there is a complete backup in {self._place} already: name another place")
        progress = await self._resumed()
        writer = ChunkWriter(
            self._place, progress.id, chunks=progress.chunks, last=progress.last, before=self._still_mine
        )
        await self._put(progress)
        stamps = {f"records of {stamp.name.lower()}": stamp for stamp in self._end.authorities()}
        names = list(stamps)
        if progress.step == _END:
            return await self._finish(progress, writer)
        at = names.index(progress.step) if progress.step in names else 0
        while at < len(names):
            progress.step = names[at]
            progress.cursor = await self._page(stamps[names[at]], progress.cursor, writer, progress)
            if progress.cursor is None:
                at += 1
                progress.step = names[at] if at < len(names) else _END
                await writer.close()
            await self._note(progress, writer)
        return await self._finish(progress, writer)

    async def _resumed(self) -> _Progress:
        data = await self._place.get(PROGRESS)
        tenant, scope = self._space.tenant, self._space.scope
        if data is None:
            return _Progress(secrets.token_hex(8), self._owner, tenant, scope, self._end.engine.now_ms())
        try:
            told = json.loads(data)
            form = told.pop("thermocline_backup")
            found = _Progress(**told) if form == FORMAT else None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptRecord(f"the progress of the backup in {self._place} cannot be read: begin another") from error
        if found is None:
            raise UnreadableRecord(f"the backup begun in {self._place} has format {form!r}: upgrade this program")
        if (found.tenant, found.scope) != (tenant, scope):
            raise Conflict(f"in {self._place} a backup of another tenant or scope was begun: name another place")
        found.owner = self._owner
        return found

    async def _still_mine(self) -> None:
        """Before anything is written: two processes at one backup would make nothing of it."""
        data = await self._place.get(PROGRESS)
        try:
            owner = None if data is None else json.loads(data)["owner"]
        except (ValueError, TypeError, KeyError):
            owner = None
        if owner != self._owner or await self._place.get(MANIFEST) is not None:
            raise Conflict(f"another process has taken up the backup in {self._place}: this one leaves it alone")

    async def _note(self, progress: _Progress, writer: ChunkWriter) -> None:
        """Written down where no lines wait: at the end of a page that closed its chunk."""
        if writer.waiting:
            return
        progress.chunks, progress.last = writer.chunks, writer.last
        await self._still_mine()
        await self._put(progress)

    async def _put(self, progress: _Progress) -> None:
        data = json.dumps({"thermocline_backup": FORMAT} | asdict(progress)).encode()
        await self._place.put(PROGRESS, data)

    async def _page(self, stamp: Authority, cursor: str | None, writer: ChunkWriter, progress: _Progress) -> str | None:
        end = self._end
        page = await end.page(stamp, self._space.tenant, self._space.scope, cursor)
        for words in page.damaged:
            _hurt(progress, words)
        now_ms = end.engine.now_ms()
        unique = {item.key: item for item in page.items}
        alive = [item for item in unique.values() if live(item, now_ms)]
        items = [item for item in alive if end.plan(item.key).authority is stamp]
        progress.elsewhere += len(alive) - len(items)
        for group in together(items):
            copies = await end.read([item.key for item in group])
            for key, copy in copies.items():
                await self._record(key, copy, writer, progress)
        if writer.worth_closing or writer.chunks > progress.chunks:
            await writer.close()
        return page.cursor

    async def _record(
        self, key: Key, copy: Envelope | ThermoclineError | None, writer: ChunkWriter, progress: _Progress
    ) -> None:
        for _ in range(_TRIES):
            try:
                if isinstance(copy, ThermoclineError):
                    raise copy
                if copy is None or not copy.live(self._end.engine.now_ms()):
                    return
                await self._write(copy, writer)
            except TierUnavailable:
                raise
            except (CorruptRecord, UnreadableRecord, Conflict) as error:
                again = (await self._end.read([key]))[key]
                before = copy.version if isinstance(copy, Envelope) else 0
                if isinstance(again, ThermoclineError) or (again is not None and again.version == before):
                    _hurt(progress, f"{key}: {error}")
                    return
                copy = again
            else:
                return
        _hurt(progress, f"{key}: it was written again and again while it was read")

    async def _write(self, copy: Envelope, writer: ChunkWriter) -> None:
        codec = self._end.engine.codec
        pointer: Pointer | None = codec.pointer_of(copy) if copy.pointer else None
        size = len(copy.payload) if pointer is None else pointer.size
        if size <= INLINE:
            copy = await self._end.whole(copy)
            digest = hashlib.sha256(copy.payload).hexdigest()
            await writer.line(head_line(copy, digest, len(copy.payload), payload=copy.payload))
            return
        digest = hashlib.sha256(copy.payload).hexdigest() if pointer is None else pointer.sha256
        await writer.line(head_line(copy, digest, size, payload=None))
        source = _slices(copy.payload) if pointer is None else self._end.stream(copy.key, pointer)
        try:
            async with aclosing(_parts(source)) as parts:
                async for part in parts:
                    await writer.part(part)
        except (CorruptRecord, UnreadableRecord) as error:
            await writer.line({"void": str(error)[:300]})
            raise
        await writer.line({"end": digest})

    async def _finish(self, progress: _Progress, writer: ChunkWriter) -> Manifest:
        found = await walk(self._place, progress.id, writer.chunks, writer.last)
        manifest = Manifest(
            id=progress.id,
            tenant=progress.tenant,
            scope=progress.scope,
            began_ms=progress.began_ms,
            ended_ms=self._end.engine.now_ms(),
            records=found.records,
            bytes=found.bytes,
            damaged_count=progress.damaged_count,
            damaged=progress.damaged,
            elsewhere=progress.elsewhere + await self._end.unreached(self._space.tenant, self._space.scope),
            chunks=found.chunks,
        )
        await self._still_mine()
        await self._tidy(writer.chunks)
        told: dict[str, Any] = asdict(manifest)
        data = json.dumps({"thermocline_backup": FORMAT, "sha256": manifest_digest(told)} | told).encode()
        await self._place.put(MANIFEST, data)
        return manifest

    async def _tidy(self, chunks: int) -> None:
        """What a process that was killed wrote beyond the last chunk may be data that was forgotten since."""
        number = chunks + 1
        while await self._place.get(chunk_name(number)):
            await self._place.put(chunk_name(number), b"")
            number += 1
        if isinstance(self._place, FolderPlace):
            await self._place.tidy()


async def verify_backup(place: BackupPlace) -> Manifest:
    """Read all of a backup and check it against its manifest. Raises `InvalidArgument` where there is none or an unfinished one, `CorruptRecord` for what is
    missing or altered, `UnreadableRecord` for a newer format."""
    return (await checked(place))[0]


async def checked(place: BackupPlace) -> tuple[Manifest, set[int]]:
    """The same, with the numbers of the records that were given up."""
    manifest = await read_manifest(place)
    last = str(manifest.chunks[-1]["sha256"]) if manifest.chunks else ""
    found = await walk(place, manifest.id, len(manifest.chunks), last)
    if (found.chunks, found.records, found.bytes) != (manifest.chunks, manifest.records, manifest.bytes):
        raise CorruptRecord(f"the backup in {place} is not what its manifest says")
    return manifest, found.voids


def _hurt(progress: _Progress, words: str) -> None:
    progress.damaged_count += 1
    if len(progress.damaged) < NAMED:
        progress.damaged.append(words[:300])


async def _slices(payload: bytes) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(payload), PART):
        yield payload[at : at + PART]


async def _parts(source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes in parts of `PART`."""
    waiting: list[bytes] = []
    size = 0
    async with aclosing(source) as chunks:
        async for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size < PART:
                continue
            whole = b"".join(waiting)
            full = size - size % PART
            for at in range(0, full, PART):
                yield whole[at : at + PART]
            waiting, size = [whole[full:]], size - full
    if size:
        yield b"".join(waiting)
