"""Telling hot what was erased: by the version of each tombstone, so that no copy of an older one is answered, whoever wrote the tombstone."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from thermocline.client.engine import Engine
from thermocline.client.together import chunks
from thermocline.client.writer import Writer
from thermocline.errors import ThermoclineError
from thermocline.model import Key, MemoryTier
from thermocline.protocols import Settle

CHUNK: Final = 100  # keys of one call
TRIES: Final = 3
PAUSE: Final = 0.1  # seconds before the second one; doubled each time


class Telling:
    """To the hot tier of one client, whatever its own routes keep there: others' may keep more."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine, self._writer = engine, writer

    async def tell(self, versions: Mapping[Key, int]) -> int:
        """Of what its authority has as a tombstone of this version. How many keys it could not be told of."""
        if self._engine.hot is None:
            return 0
        untold = 0
        for chunk in chunks(list(versions.items()), CHUNK):
            left = list(chunk)
            for attempt in range(TRIES):
                if attempt:
                    await asyncio.sleep(PAUSE * 2 ** (attempt - 1))
                answers = await self._writer.tell_hot(
                    [Settle(key, None, version, None) for key, version in left], paced=True
                )
                left = [pair for pair, error in zip(left, answers, strict=True) if error is not None]
                if not left:
                    break
            untold += len(left)
        return untold

    async def drop(self, keys: Sequence[Key]) -> int:
        """What another authority has as tombstones: its versions are not to be compared with the entry's, so the entry goes. For writers under way that is
        a lost announcement, which the hot entry's rules allow for. How many keys could not be dropped."""
        engine, hot = self._engine, self._engine.hot
        if hot is None:
            return 0
        left = 0
        for chunk in chunks(list(dict.fromkeys(keys)), CHUNK):
            for attempt in range(TRIES):
                if attempt:
                    await asyncio.sleep(PAUSE * 2 ** (attempt - 1))
                try:
                    await engine.guards[MemoryTier.HOT].call(
                        "drop", hot.drop, list(chunk), deadline=engine.hot_deadline(), paced=True, times=2, again=True
                    )
                except ThermoclineError:
                    continue
                break
            else:
                left += len(chunk)
        return left
