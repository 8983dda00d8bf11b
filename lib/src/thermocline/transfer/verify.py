"""Whether both sides have the same: every record's decoded value and metadata, by checksum, in both directions."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from thermocline.client.moving.walk import live
from thermocline.codec import JSON
from thermocline.errors import ThermoclineError, TierUnavailable
from thermocline.model import Authority, Envelope, Key
from thermocline.transfer.compare import FENCE_MS, aligned, canonical, carried, fingerprint
from thermocline.transfer.ends import TOGETHER, WHOLE, Changed, End
from thermocline.transfer.passes import together
from thermocline.transfer.report import Differences
from thermocline.transfer.spaces import Space

_LOOKS: Final = 3  # at a record that differs: it may be under way
_LARGE: Final = 64 * 2**20  # bytes
_PAUSE: Final = 0.2  # seconds between two looks


class Verification:
    """``merge``: the target has records of its own, and newer ones, which are no differences."""

    def __init__(
        self,
        source: End,
        target: End,
        space: Space,
        *,
        merge: bool = False,
        keys: Sequence[Key] | None = None,
        beat: Callable[[], Awaitable[None]],
    ) -> None:
        self._source, self._target, self._space = source, target, space
        self._merge, self._keys, self._beat = merge, keys, beat
        self.found = Differences()

    async def run(self) -> Differences:
        """Reads every value of both sides, large ones in chunks. Raises `TierUnavailable`."""
        if self._keys is not None:
            for at in range(0, len(self._keys), TOGETHER):
                await self._compare([*self._keys[at : at + TOGETHER]])
                await self._beat()
            return self.found
        for stamp in self._source.authorities():
            await self._walk(self._source, stamp, forward=True)
        for stamp in self._target.authorities():
            await self._walk(self._target, stamp, forward=False)
        return self.found

    async def _walk(self, end: End, stamp: Authority, *, forward: bool) -> None:
        """Forward: each record of the source; else: each of the target that the source does not have."""
        tenant, scope = (self._space.tenant, self._space.scope) if forward else self._space.target()
        cursor: str | None = None
        seen: set[Key] = set()  # of this page and the one before: a census may give a record twice where it is moved
        while True:
            page = await end.page(stamp, tenant, scope, cursor)
            for words in page.damaged:
                self.found.note("damaged", words)
            now_ms = end.engine.now_ms()
            items = [item for item in page.items if live(item, now_ms) and end.plan(item.key).authority is stamp]
            items = [item for item in items if item.key not in seen]
            seen = {item.key for item in items}
            for group in together(items):
                keys = [item.key if forward else self._space.back(item.key) for item in group]
                await (self._compare(keys) if forward else self._look_for(keys))
                await self._beat()
            cursor = page.cursor
            if cursor is None:
                return

    async def _look_for(self, keys: list[Key]) -> None:
        if self._merge:
            return
        copies = await self._source.read(keys)
        now_ms = self._source.engine.now_ms()
        await self._compare(
            [key for key, copy in copies.items() if not isinstance(copy, Envelope) or not copy.live(now_ms)]
        )

    async def _compare(self, keys: list[Key]) -> None:
        left = keys
        for look in range(_LOOKS):
            if not left:
                return
            if look:
                await asyncio.sleep(_PAUSE)
            verdicts = await self._look(left)
            last = look == _LOOKS - 1
            for key in left:
                kind, words = verdicts[key]
                if kind == "equal":
                    self.found.equal += 1
                elif kind == "forgotten":
                    self.found.forgotten += 1
                elif kind and last:
                    self.found.note(kind, f"{key}{words}")
            left = [key for key in left if verdicts[key][0] not in ("", "equal", "forgotten")]

    async def _look(self, keys: list[Key]) -> dict[Key, tuple[str, str]]:
        """Of each key its kind ("": on neither side) and words."""
        there = {key: self._space.there(key) for key in keys}
        theirs = await self._target.read(list(there.values()))
        ours = await self._source.read(keys)
        fences = await self._target.forgotten(list(there.values()))
        return {
            key: await self._judged(ours[key], theirs[there[key]], fences.get((there[key].tenant, there[key].scope), 0))
            for key in keys
        }

    async def _judged(
        self, mine: Envelope | ThermoclineError | None, other: Envelope | ThermoclineError | None, fence_ms: int
    ) -> tuple[str, str]:
        for copy in (mine, other):
            if isinstance(copy, ThermoclineError):
                if isinstance(copy, TierUnavailable):
                    raise copy
                return "damaged", f": {copy}"
        assert not isinstance(mine, ThermoclineError)
        assert not isinstance(other, ThermoclineError)
        now_ms = self._source.engine.now_ms()
        here = mine is not None and mine.live(now_ms)
        there = other is not None and other.live(now_ms)
        if mine is None or not here:
            return ("extra", "") if there and not self._merge else ("", "")
        if other is None or not there:
            if fence_ms and mine.header.modified_ms <= fence_ms + FENCE_MS:
                return "forgotten", ""
            later = other is not None and self._merge and other.header.modified_ms > mine.header.modified_ms
            return ("", "") if later else ("missing", "")
        try:
            wanted = aligned(self._target.engine.capped(carried(mine, other.key)), other)
            wanted = replace(mine, header=replace(mine.header, expires_ms=wanted.header.expires_ms))
            same = await checksum(self._source, wanted) == await checksum(self._target, other)
        except Changed as error:
            return "different", f": {error}"
        except TierUnavailable:
            raise
        except ThermoclineError as error:
            return "damaged", f": {error}"
        if same:
            return "equal", ""
        if self._merge and other.header.modified_ms > mine.header.modified_ms:
            return "", ""
        return "different", f": {_how(wanted, other)}"


async def checksum(end: End, copy: Envelope) -> str:
    """Of the decoded value and the metadata. What is read in chunks is bytes as they are; compressed payloads beyond `_LARGE` stand for their values as
    they are stored."""
    return fingerprint(copy, await _value_digest(end, copy))


async def _value_digest(end: End, copy: Envelope) -> str:
    codec, header = end.engine.codec, copy.header
    if copy.pointer:
        pointer = codec.pointer_of(copy)
        plain = not header.compressor and header.serialiser != JSON
        if pointer.size > (WHOLE if plain else _LARGE):
            digest = hashlib.sha256()
            async with aclosing(end.stream(copy.key, pointer)) as chunks:
                async for chunk in chunks:
                    digest.update(chunk)
            return digest.hexdigest() if plain else f"stored-{header.compressor}-{digest.hexdigest()}"
        copy = await end.whole(copy)
    return hashlib.sha256(canonical(copy, codec)).hexdigest()


def _how(mine: Envelope, other: Envelope) -> str:
    a, b = mine.header, other.header
    parts = [
        name
        for name, differ in (
            ("expiry", a.expires_ms != b.expires_ms),
            ("time of writing", a.modified_ms != b.modified_ms),
            ("kind of value", a.serialiser != b.serialiser),
            ("media type", mine.media_type != other.media_type),
            ("tags", dict(mine.tags) != dict(other.tags)),
        )
        if differ
    ]
    return ", ".join(parts) if parts else "value"
