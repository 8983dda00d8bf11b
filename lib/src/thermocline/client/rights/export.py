"""`export`: everything that is held of a scope, from every tier, as lines of JSON that people and programs can read.

The first line says what this is; then one line a record; the last line counts them, so that a file that was cut short shows. Values over `INLINE` bytes follow
their record in parts. Read from the authorities themselves: hot holds copies only, and nothing is moved by an export.
"""

import base64
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Final

import msgspec

from thermocline.client.cascade import Cascade
from thermocline.client.engine import Engine
from thermocline.client.rights.alone import Alone, scopes_of
from thermocline.clock import Deadline
from thermocline.codec import BYTES, JSON, TEXT
from thermocline.errors import ConfigurationError, CorruptRecord, ThermoclineError, UnreadableRecord
from thermocline.model import Authority, Envelope, Flags, Key, instant
from thermocline.protocols import Census, Stored, Versions
from thermocline.resilience import in_background

FORMAT: Final = 1
PAGE: Final = 100  # records that are read together
INLINE: Final = 4 * 2**20  # bytes of a value that stands in its line; larger ones follow in parts
PART: Final = 3 * 2**20  # bytes of one part
_TOMBSTONE: Final = int(Flags.TOMBSTONE)


class Export:
    """One export under way."""

    def __init__(self, engine: Engine, cascade: Cascade, *, tenant: str, scope: str | None) -> None:
        for stamp, tier in engine.authorities.items():
            if not isinstance(tier, Census):
                raise ConfigurationError(
                    f"the tier that is {stamp.name} cannot count what it holds (protocols.Census), so nobody can say that an export is whole"
                )
        self._engine, self._cascade = engine, cascade
        self._tenant, self._scope = tenant, scope
        self._alone = Alone(engine, tenant, scope)
        self._records = 0
        self._damaged: dict[str, None] = {}

    async def lines(self) -> AsyncGenerator[str, None]:
        """Raises `TierUnavailable`; a record that is damaged does not end it, and is named in the last line."""
        engine = self._engine
        yield _line(
            {
                "thermocline_export": FORMAT,
                "tenant": self._tenant,
                "scope": self._scope,
                "at": instant(engine.now_ms()),
            }
        )
        for stamp, tier in engine.authorities.items():
            async with aclosing(self._of(stamp, tier)) as lines:
                async for line in lines:
                    yield line
        async with aclosing(self._plain()) as lines:
            async for line in lines:
                yield line
        unsearched = self._alone.unsearched()
        yield _line(
            {"records": self._records}
            | ({"unsearched": unsearched} if unsearched else {})
            | {"damaged": [*self._damaged]}
        )

    def _call(self) -> Deadline:
        return self._engine.budget.call(None)

    async def _of(self, stamp: Authority, tier: Versions) -> AsyncGenerator[str, None]:
        for scope in scopes_of(self._scope):
            async with aclosing(self._of_scope(stamp, tier, scope)) as lines:
                async for line in lines:
                    yield line

    async def _of_scope(self, stamp: Authority, tier: Versions, scope: str | None) -> AsyncGenerator[str, None]:
        assert isinstance(tier, Census)
        cursor: str | None = None
        seen: set[Key] = (
            set()
        )  # a census gives a record at least once; this holds one authority's names of one scope or tenant
        while True:
            page = await in_background(
                tier.census(tenant=self._tenant, scope=scope, limit=PAGE, cursor=cursor, deadline=self._call())
            )
            self._damaged.update(dict.fromkeys(page.damaged))
            live = [item for item in page.items if self._live(item) and item.key not in seen]
            seen.update(item.key for item in live)
            copies = await in_background(tier.read_many([item.key for item in live], deadline=self._call()))
            for item, copy in zip(live, copies, strict=True):
                async with aclosing(self._record(stamp, item.key, copy)) as lines:
                    async for line in lines:
                        yield line
            cursor = page.cursor
            if cursor is None:
                return

    async def _plain(self) -> AsyncGenerator[str, None]:
        """What tiers hold by ``tier=``; of no authority, and without a version."""
        async with aclosing(self._alone.values()) as copies:
            async for tier, copy in copies:
                if isinstance(copy, str):
                    self._damaged[copy] = None
                    continue
                for line in self._lines_of(copy, Authority.NONE, str(tier)):
                    yield line

    def _live(self, item: Stored) -> bool:
        header = item.header
        return not header.flags & _TOMBSTONE and not 0 < header.expires_ms <= self._engine.now_ms()

    async def _record(
        self, stamp: Authority, key: Key, copy: Envelope | ThermoclineError | None
    ) -> AsyncGenerator[str, None]:
        """The lines of one record; none if it has been deleted since it was counted."""
        engine = self._engine
        tier = stamp.name.lower()
        try:
            if isinstance(copy, ThermoclineError):
                raise copy
            if copy is None or not copy.live(engine.now_ms()):
                return
            if copy.pointer:
                tier = "cold"
                resolved = await self._cascade.resolve(copy, engine.routes.route(key), self._call())
                if resolved is None:
                    return
                copy = resolved
            if copy.header.dictionary and engine.shelves is not None:
                await engine.shelves.fetch(copy, self._call())
            raw = engine.codec.raw(copy)
        except (CorruptRecord, UnreadableRecord) as error:
            self._damaged[f"{key}: {error}"] = None
            return
        for line in self._lines_of(copy, stamp, tier, raw):
            yield line

    def _lines_of(self, copy: Envelope, stamp: Authority, tier: str, raw: bytes | None = None) -> Iterator[str]:
        raw = self._engine.codec.raw(copy) if raw is None else raw
        self._records += 1
        told = _told(copy, stamp, tier)
        if len(raw) <= INLINE:
            yield _line(told | _value(copy, raw, self._engine))
            return
        parts = -(-len(raw) // PART)
        yield _line(told | {"kind": _kind(copy), "parts": parts})
        for n in range(parts):
            data = base64.b64encode(raw[n * PART : (n + 1) * PART]).decode()
            yield _line({"key": told["key"], "version": told["version"], "part": n, "base64": data})


def _told(copy: Envelope, stamp: Authority, tier: str) -> dict[str, Any]:
    header, key = copy.header, copy.key
    return {
        "key": {"tenant": key.tenant, "scope": key.scope, "name": key.name},
        "version": header.version,
        "authority": stamp.name.lower(),
        "tier": tier,
        "created": instant(header.created_ms),
        "modified": instant(header.modified_ms),
        "expires": instant(header.expires_ms),
        "media_type": copy.media_type,
        "tags": dict(copy.tags),
    }


def _kind(copy: Envelope) -> str:
    return {BYTES: "bytes", TEXT: "text", JSON: "json"}.get(copy.header.serialiser, "msgpack")


def _value(copy: Envelope, raw: bytes, engine: Engine) -> dict[str, Any]:
    """JSON and text as they are; bytes in Base64; what JSON cannot hold as MessagePack in Base64, with words that people can read beside it."""
    kind = _kind(copy)
    if kind == "json":
        return {"kind": kind, "value": msgspec.Raw(raw)}
    if kind == "text":
        return {"kind": kind, "value": raw.decode()}
    told: dict[str, Any] = {"kind": kind, "base64": base64.b64encode(raw).decode()}
    if kind == "msgpack":
        told["shown"] = repr(engine.codec.decode(copy))[:100_000]
    return told


def _line(told: dict[str, Any]) -> str:
    return msgspec.json.encode(told).decode()
