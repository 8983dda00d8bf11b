"""The cache-aside that everybody writes first: read hot, else warm and SET; write warm and SET hot. It shows that the harness bites."""

import itertools
import time
from typing import Any

from thermocline.client import WriteResult
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import ThermoclineError
from thermocline.model import (
    Authority,
    Envelope,
    Header,
    Hit,
    Key,
    MemoryTier,
    Miss,
    Outcome,
    Record,
    Unavailable,
    instant,
)
from thermocline.protocols import Effect, Verb, Write
from thermocline.testing.scenarios.places import Places
from thermocline.tiers.hot import HotMemory

SECONDS = 10.0


class NaiveCascade:
    """The verbs of the client that the workload of a naive run uses, over the same two tiers. Its copies in hot are packed records under plain keys."""

    def __init__(self, tiers: Places) -> None:
        self.hot = HotMemory(tiers.redis)
        self.warm = tiers.warm()
        self.codec = Codec()
        self.numbers = itertools.count()

    async def connect(self) -> None:
        await self.hot.connect()
        await self.warm.connect()

    async def close(self) -> None:
        await self.hot.close()
        await self.warm.close()

    async def _read(self, key: Key) -> tuple[Envelope | None, MemoryTier]:
        copy = await self.hot.get(str(key))
        if isinstance(copy, bytes):
            return self.codec.unpack(copy, key), MemoryTier.HOT
        found = await self.warm.read(key, deadline=Deadline.after(SECONDS))
        if found is not None and found.live(now_ms()):
            await self._fill(found)
        return found, MemoryTier.WARM

    async def _fill(self, found: Envelope) -> None:
        ends = found.header.expires_ms
        lasting = max(1, ends - now_ms()) / 1000 if ends else 300.0
        await self.hot.set(str(found.key), self.codec.pack(found), ttl_seconds=lasting)

    async def lookup(self, key: Key) -> Outcome:
        try:
            found, tier = await self._read(key)
        except ThermoclineError as error:
            return Unavailable(key, tier=MemoryTier.WARM, error=error)
        if found is None or not found.live(now_ms()):
            return Miss(key, tier, found.version if found is not None else 0)
        record = Record(key, self.codec.decode(found), found.version, instant(found.header.expires_ms))
        return Hit(record, tier)

    async def get(self, key: Key, *, default: Any = None) -> Any:
        found, _ = await self._read(key)
        return self.codec.decode(found) if found is not None and found.live(now_ms()) else default

    async def exists(self, key: Key) -> bool:
        found, _ = await self._read(key)
        return found is not None and found.live(now_ms())

    async def set(self, key: Key, value: Any, *, ttl: float | None = None, **_: Any) -> WriteResult:
        ends = now_ms() + int(ttl * 1000) if ttl is not None else 0
        return await self._write(Verb.PUT, self.codec.encode(key, value, now_ms=now_ms(), expires_ms=ends))

    async def delete(self, key: Key) -> WriteResult:
        return await self._write(Verb.DELETE, self.codec.tombstone(key, now_ms=now_ms()))

    async def touch(self, key: Key, *, ttl: float | None) -> WriteResult:
        ends = now_ms() + int(ttl * 1000) if ttl is not None else 0
        return await self._write(Verb.TOUCH, Envelope(key, Header(expires_ms=ends, modified_ms=now_ms())))

    async def _write(self, verb: Verb, envelope: Envelope) -> WriteResult:
        key = envelope.key
        write = Write(verb, f"{time.time_ns():026d}{next(self.numbers)}", envelope)
        written = await self.warm.write(write, deadline=Deadline.after(SECONDS))
        stamped = written.envelope
        if verb is Verb.PUT and stamped is not None:
            await self._fill(stamped)
        else:
            await self.hot.delete(str(key))
        took = written.effect is Effect.TOOK
        expires = instant(envelope.header.expires_ms)
        return WriteResult(key, written.version if took else 0, Authority.WARM, True, found=took, expires=expires)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
