"""Values of any size as streams of bytes, in bounded memory."""

from collections.abc import AsyncIterator, Mapping

from thermocline import telemetry
from thermocline.client.cascade import Cascade
from thermocline.client.engine import Engine
from thermocline.client.result import WriteResult
from thermocline.client.writer import Writer
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, TooLarge
from thermocline.model import Envelope, Key, MemoryTier
from thermocline.policy import Plan
from thermocline.protocols import Verb

_CHUNK = 1 << 20  # bytes


class Streams:
    """The streaming verbs of one client."""

    def __init__(self, engine: Engine, cascade: Cascade, writer: Writer) -> None:
        self._engine = engine
        self._cascade = cascade
        self._writer = writer

    async def write(
        self,
        key: Key,
        plan: Plan,
        chunks: AsyncIterator[bytes],
        now_ms: int,
        expires_ms: int,
        media_type: str,
        tags: Mapping[str, str] | None,
        deadline: Deadline,
    ) -> WriteResult:
        engine = self._engine
        if engine.cold is None or plan.cold_above is None:
            data = await _collect(chunks, plan.rules.max_value_bytes)
            serialised = engine.codec.prepare(data)
            envelope = await engine.seal(
                key, serialised, now_ms=now_ms, expires_ms=expires_ms, media_type=media_type, tags=tags
            )
        else:
            guard = engine.guards[MemoryTier.COLD]
            pointer = await guard.call(
                "put_payload", engine.cold.put_payload, key, _checked(chunks), deadline=deadline, times=1000
            )
            engine.stats.count(telemetry.WRITES, "cold")
            engine.stats.count(telemetry.BYTES_RAW, "cold", pointer.size)
            engine.stats.count(telemetry.BYTES_STORED, "cold", pointer.size)
            empty = engine.codec.encode(
                key, b"", now_ms=now_ms, expires_ms=expires_ms, media_type=media_type, tags=tags
            )
            envelope = engine.codec.point(empty, pointer)
        intent = await self._writer.intent(Verb.PUT, envelope, plan, deadline)
        return await self._writer.carry_out(intent, deadline)

    async def read(self, key: Key, plan: Plan, deadline: Deadline) -> AsyncIterator[bytes]:
        engine = self._engine
        envelope = (await self._cascade.read(key, plan, deadline)).envelope
        if envelope is None:
            raise KeyError(str(key))
        if envelope.pointer and not envelope.header.compressor and engine.cold is not None:
            pointer = engine.codec.pointer_of(envelope)
            engine.stats.count(telemetry.READS, "cold")
            async for chunk in engine.cold.stream_payload(key, pointer, deadline=deadline):
                yield chunk
            engine.stats.count(telemetry.HITS, "cold")
            return
        resolved = await self._cascade.resolve(envelope, plan, deadline)
        if resolved is None:
            raise KeyError(str(key))
        data = await self._bytes(resolved)
        for at in range(0, len(data), _CHUNK):
            yield data[at : at + _CHUNK]

    async def _bytes(self, envelope: Envelope) -> bytes:
        """The serialised value, decompressed: the bytes themselves of a value that is bytes."""
        value = await self._engine.decode(envelope, None)
        return value if isinstance(value, bytes) else self._engine.codec.prepare(value).raw


async def _checked(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidArgument(f"a stream is made of bytes, not {type(chunk).__name__}")
        yield bytes(chunk)


async def _collect(chunks: AsyncIterator[bytes], most: int) -> bytes:
    parts, size = [], 0
    async for chunk in _checked(chunks):
        size += len(chunk)
        if size > most:
            raise TooLarge(
                f"the stream has more than {most} bytes, and there is no cold tier to hold it; configure one"
            )
        parts.append(chunk)
    return b"".join(parts)
