"""Values of any size as streams of bytes, in bounded memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from thermocline import telemetry
from thermocline.client.cascade import Cascade
from thermocline.client.engine import Engine
from thermocline.client.result import WriteResult
from thermocline.client.touching import Touches
from thermocline.client.writer import Writer
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidArgument, TierTimeout, TooLarge
from thermocline.model import Envelope, Key, MemoryTier, Pointer
from thermocline.policy import Plan
from thermocline.protocols import Verb

_CHUNK = 1 << 20  # bytes


class Streams:
    """The streaming verbs of one client."""

    def __init__(self, engine: Engine, cascade: Cascade, writer: Writer, touches: Touches) -> None:
        self._engine = engine
        self._cascade = cascade
        self._writer = writer
        self._touches = touches

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
            await engine.signed(plan.authority, deadline)
            pointer = await guard.call(
                "put_payload",
                engine.cold.put_payload,
                key,
                _checked(chunks),
                deadline=deadline,
                times=1000,
                aside=True,
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

    async def read(self, key: Key, plan: Plan, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        """Chunks of the value's bytes. A pointer that leads nowhere is asked for again from the authority; only the same one twice is corrupt."""
        engine = self._engine
        answer = await self._cascade.read(key, plan, deadline)
        envelope = answer.envelope
        if engine.lifetimes.slides and envelope is not None and not answer.stale:
            self._touches.renew(envelope, plan)
        failed = ""
        while envelope is not None and envelope.pointer and not envelope.header.compressor and engine.cold is not None:
            pointer = engine.codec.pointer_of(envelope)
            begun = False
            try:
                async with aclosing(self._from_cold(key, pointer, deadline)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except CorruptRecord:
                if begun or pointer.path == failed:
                    raise
                failed = pointer.path
            envelope = await self._cascade.ask(key, plan, envelope.version, deadline)
            if envelope is not None and not envelope.live(engine.now_ms()):
                envelope = None
        resolved = await self._cascade.resolve(envelope, plan, deadline) if envelope is not None else None
        if resolved is None:
            raise KeyError(str(key))
        data = await self._bytes(resolved)
        for at in range(0, len(data), _CHUNK):
            yield data[at : at + _CHUNK]

    async def _from_cold(self, key: Key, pointer: Pointer, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        """Each chunk has cold's share of the deadline."""
        engine = self._engine
        assert engine.cold is not None
        guard = engine.guards[MemoryTier.COLD]
        engine.stats.count(telemetry.READS, "cold")
        source: Any = engine.cold.stream_payload(key, pointer, deadline=deadline.within(guard.share))
        async with aclosing(source) as chunks:

            async def first(*, deadline: Deadline) -> bytes | None:
                return await anext(chunks, None)

            chunk = await guard.call("stream", first, deadline=deadline)
            while chunk is not None:
                yield chunk
                if deadline.expired():
                    raise TierTimeout(f"{key.name!r:.80} did not arrive within the call's deadline", tier="cold")
                chunk = await anext(chunks, None)
        engine.stats.count(telemetry.HITS, "cold")

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
