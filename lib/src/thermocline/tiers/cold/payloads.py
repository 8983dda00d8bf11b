"""Payload blobs (COHERENCE section 5): immutable, named by key and content, written once and removed by the sweeper alone."""

import asyncio
import base64
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from io import RawIOBase
from typing import Any, Final

from thermocline.blobs.spool import Spool, fill
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidArgument, TierUnavailable
from thermocline.keys import PAYLOAD_ROOT, from_payload_path, payload_path
from thermocline.model import Key, Pointer
from thermocline.tiers.cold.blobs import BLOCK, PARALLEL, Put
from thermocline.tiers.cold.door import TIER
from thermocline.tiers.cold.service import BlobService

_HASH_INLINE: Final = (
    2**20
)  # bytes, half a millisecond; more is hashed off the event loop (a thread's turn costs a quarter of a millisecond by itself)


@dataclass(frozen=True, slots=True)
class StoredPayload:
    """A payload in a sweeper's listing. ``modified_ms`` is when it was uploaded or last renewed, by the service's clock."""

    path: str
    etag: str
    size: int
    modified_ms: int


class BlobPayloads:
    """The part `Payloads` on a container, and what its sweeper needs."""

    _service: BlobService
    _executor: Executor | None

    async def put_payload(self, key: Key, data: bytes | AsyncIterator[bytes], *, deadline: Deadline) -> Pointer:
        """Store it where it is not yet, else renew what is there; a reader sees all or nothing.

        Up to 4 MiB go up in one request (over obstore: 16); more in blocks, four at once, which one request makes a blob of. A failure leaves at most
        blocks that nobody sees. An iterator is first written to a temporary file, through the executor.
        """
        if isinstance(data, bytes):
            sha256 = await self._sha256(data)
            path = payload_path(key, sha256)
            view = memoryview(data)

            async def block(offset: int) -> bytes:
                return bytes(view[offset : offset + BLOCK])

            put = await self._put(
                path, data if len(data) <= self._service.at_once else None, len(data), block, deadline
            )
            return Pointer(path, sha256, len(data), put.modified_ms)
        checked: Any = data
        if not isinstance(checked, AsyncIterator):
            raise InvalidArgument(
                f"a payload is bytes or an asynchronous iterator of bytes, not {type(checked).__name__}"
            )
        return await self._put_stream(key, data, deadline)

    async def _put_stream(self, key: Key, chunks: AsyncIterator[bytes], deadline: Deadline) -> Pointer:
        loop = asyncio.get_running_loop()
        spool = Spool(_temporary)
        try:
            await fill(spool, chunks, self._spooled)
            sha256, size = spool.sha256, spool.size
            path = payload_path(key, sha256)

            async def block(offset: int) -> bytes:
                return await loop.run_in_executor(self._executor, spool.block, offset, BLOCK)

            put = await self._put(path, await block(0) if size <= BLOCK else None, size, block, deadline)
            return Pointer(path, sha256, size, put.modified_ms)
        finally:
            spool.discard()

    async def _spooled(self, add: Callable[[bytes], None], chunk: bytes) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, add, chunk)
        except OSError as error:
            raise TierUnavailable(
                f"cold: cannot spool a stream to a temporary file: {error}", tier=TIER, sent=False
            ) from error

    async def _put(self, path: str, whole: bytes | None, size: int, block: Any, deadline: Deadline) -> Put:
        """Upload or renew, in turns: the sweeper may take the blob between finding it there and renewing it."""
        large = size > BLOCK  # then it is asked for before all of it is sent
        while True:
            if large and (renewed := await self._service.renew(path, _metadata(), deadline)) is not None:
                return renewed
            if whole is None:
                put = await self._put_blocks(path, size, block, deadline)
            else:
                put = await self._service.deposit(path, whole, metadata=_metadata(), deadline=deadline)
            if put is not None:
                return put
            if not large and (renewed := await self._service.renew(path, _metadata(), deadline)) is not None:
                return renewed

    async def _put_blocks(self, path: str, size: int, block: Any, deadline: Deadline) -> Put | None:
        # Two writers of one path have the same content, so the same blocks under the same ids: neither can spoil the other's.
        ids = {offset: _block_id(offset) for offset in range(0, size, BLOCK)}
        offsets = iter(ids)

        async def work() -> None:
            for offset in offsets:
                await self._service.stage(path, ids[offset], await block(offset), deadline)

        tasks = [asyncio.ensure_future(work()) for _ in range(min(PARALLEL, len(ids)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await self._service.commit(path, list(ids.values()), metadata=_metadata(), deadline=deadline)

    async def get_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> bytes | None:
        """The payload, its digest checked; None: there is none of that name. Raises `CorruptRecord` for other content, or a pointer of another key."""
        data = await self._service.content(_checked(key, pointer), pointer.size, deadline)
        if data is None:
            return None
        if len(data) != pointer.size or await self._sha256(data) != pointer.sha256:
            raise CorruptRecord(f"the payload of {key} does not have the content that its name says")
        return data

    async def stream_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> AsyncIterator[bytes]:
        """The payload in chunks of at most 4 MiB. The last one comes only if the digest fits, else `CorruptRecord`, as for a missing payload.
        ``deadline``: what remains of it at the start is each chunk's time."""
        path = _checked(key, pointer)
        patience = deadline.remaining()

        def wait() -> Deadline:
            return Deadline.after(patience, deadline.clock)

        digest = hashlib.sha256()
        held: bytes | None = None
        chunks = self._service.pieces(path, wait)
        async with contextlib.aclosing(chunks):
            try:
                async for chunk in chunks:
                    await self._update(digest, chunk)
                    if held is not None:
                        yield held
                    held = chunk
            except LookupError as error:
                raise CorruptRecord(f"the payload of {key} is missing") from error
        if digest.hexdigest() != pointer.sha256:
            raise CorruptRecord(f"the payload of {key} does not have the content that its name says")
        if held is not None:
            yield held

    async def renew_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> Pointer | None:
        """A new ETag and date, so that the sweeper leaves it alone; None: it is gone."""
        put = await self._service.renew(_checked(key, pointer), _metadata(), deadline)
        return None if put is None else Pointer(pointer.path, pointer.sha256, pointer.size, put.modified_ms)

    # --- sweeping ----------------------------------------------------------------------------------------------------

    async def list_payloads(
        self, prefix: str = PAYLOAD_ROOT, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[StoredPayload], str | None]:
        """One page of the payloads whose paths start with ``prefix`` (`keys.blob_prefix` with `PAYLOAD_ROOT` for a scope's), by path."""
        if not prefix.startswith(PAYLOAD_ROOT):
            raise InvalidArgument(f"payloads lie below {PAYLOAD_ROOT}")
        entries, following = await self._service.page(prefix, limit=limit, token=cursor, deadline=deadline)
        return [StoredPayload(e.name, e.etag, e.size, e.modified_ms) for e in entries], following

    async def sweep_payload(self, path: str, *, etag: str, unmodified_since_ms: int, deadline: Deadline) -> bool:
        """Remove an orphan: only under the ETag that was seen, and only if it was not modified after that moment. False: it was renewed, or is gone.

        Two requests: the service ignores If-Unmodified-Since beside If-Match, but as long as the ETag is the same, so is the date.
        """
        from_payload_path(path)
        there = await self._service.look(path, deadline)
        if there is None or there.etag != etag or there.modified_ms > unmodified_since_ms:
            return False
        return await self._service.delete(path, etag=etag, deadline=deadline)

    async def _sha256(self, data: bytes) -> str:
        digest = hashlib.sha256()
        await self._update(digest, data)
        return digest.hexdigest()

    async def _update(self, digest: Any, data: bytes) -> None:
        if len(data) <= _HASH_INLINE:
            digest.update(data)
        else:
            await asyncio.get_running_loop().run_in_executor(self._executor, digest.update, data)


def _checked(key: Key, pointer: Pointer) -> str:
    """The payload's path, made from the key: a pointer cannot lead to another key's."""
    if payload_path(key, pointer.sha256) != pointer.path:
        raise CorruptRecord(f"the pointer of {key} names a payload of another key")
    return pointer.path


def _metadata() -> dict[str, str]:
    return {"tcp": "1"}  # the format; setting it again is what renews a payload


def _block_id(offset: int) -> str:
    return base64.b64encode(f"{BLOCK:09d}.{offset:015d}".encode()).decode()


def _temporary() -> RawIOBase:
    return tempfile.TemporaryFile(buffering=0)
