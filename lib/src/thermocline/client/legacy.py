"""Copies that code before this library left, read where the authority knows nothing of a key. `takeover` has what their first write does."""

import asyncio
from dataclasses import replace
from typing import Final

from thermocline.client.engine import Engine
from thermocline.clock import Deadline
from thermocline.codec import LEGACY_TEXT
from thermocline.model import Envelope, Key
from thermocline.policy import LegacySource
from thermocline.protocols import PlainCopies, PlainCopy

CLAIM: Final = "application/vnd.thermocline.claim"


def unknown(found: Envelope | None) -> bool:
    """Whether the authority knows nothing of a key: an absence, or the claim of a taking over that is under way or was cut off."""
    return found is None or (found.media_type == CLAIM and not found.tombstone)


def sources_of(engine: Engine) -> list[PlainCopies]:
    """Where the routes find old copies, each once."""
    plans = engine.routes.plans()
    found = {id(source): source for plan in plans if plan.legacy is not None for source in plan.legacy.sources()}
    return [*found.values()]


async def connect_sources(sources: list[PlainCopies]) -> list[PlainCopies]:
    """Connect those that are not yet, and say which. Raises what the first one raises; all are closed again then."""
    opened: list[PlainCopies] = []
    try:
        for source in sources:
            if not getattr(source, "connected", False):
                opened.append(source)
                await source.connect()
    except BaseException:
        await asyncio.gather(*(source.close() for source in opened), return_exceptions=True)
        raise
    return opened


class LegacyReads:
    """Asking the old copies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(
        self, key: Key, legacy: LegacySource, deadline: Deadline, *, version: int = 0, lasting: bool = False
    ) -> Envelope | None:
        """The first copy, stamped with the claim's version (0: none); None if there is none. Raises `TierUnavailable` where a source before the
        first hit could not be asked (P1).

        ``lasting``: with the end of the copy that lasts longest, for whose sake the others are asked too. The old code wrote one value into hot for minutes
        and below for good; who takes over the copy in hot must not have the value end with it.
        """
        name = legacy.name_of(key)
        if name is None:
            return None
        engine = self._engine
        first: PlainCopy | None = None
        for source in legacy.sources():
            share = deadline.within(engine.budget.seconds(source.tier))
            copy = await source.plain_get(name, deadline=share)
            if copy is None or 0 < copy.expires_ms <= engine.now_ms():
                continue
            ends = max(first.expires_ms, copy.expires_ms) if first is not None and copy.expires_ms else copy.expires_ms
            first = replace(copy if first is None else first, expires_ms=ends)
            if not lasting or first.expires_ms == 0:
                break
        return None if first is None else await self._envelope(key, first, version)

    async def _envelope(self, key: Key, copy: PlainCopy, version: int) -> Envelope:
        engine = self._engine
        now = engine.now_ms()
        envelope = await engine.seal(
            key,
            engine.codec.prepare(copy.value),
            now_ms=now,
            expires_ms=engine.lifetimes.capped_ms(copy.expires_ms, key, None, now),
            media_type=LEGACY_TEXT if isinstance(copy.value, str) else None,
        )
        return replace(envelope, header=replace(envelope.header, version=version))

    async def remove(self, key: Key, legacy: LegacySource, deadline: Deadline) -> None:
        """Remove all copies, the last one that would be read first."""
        name = legacy.name_of(key)
        if name is None:
            return
        for source in reversed(legacy.sources()):
            share = deadline.within(self._engine.budget.seconds(source.tier))
            await source.plain_delete(name, deadline=share)
