"""The first write of a key that has copies of code before this library takes them over (docs/adrs/0011-drop-in.md).

A copy counts only while the authority knows nothing: a record, a tombstone and an expired record all have the word before it. So that this stays so when
they are gone, every write on such a route first removes what is left of the copies, and before that takes over their value, without which a crash in
between would lose it. The taking over is safe from a deletion that comes between: a *claim*, a dead record, is written first; the copy is read (again)
after it; and the value is written on condition of the claim's version. Whoever deletes removes the copies before it writes its tombstone, so it
either comes before the second reading, which then finds nothing, or raises the version that the condition names.
"""

import asyncio
from typing import Final

from thermocline.client.cascade import Cascade
from thermocline.client.engine import Engine
from thermocline.client.legacy import CLAIM, LegacyReads, unknown
from thermocline.client.writer import Writer
from thermocline.clock import Deadline
from thermocline.errors import Conflict
from thermocline.model import Envelope, Key
from thermocline.policy import Plan
from thermocline.protocols import Verb

_DEAD_MS: Final = 5_000  # a claim's end lies so long ago that no clock takes it for live
_FIRST_PAUSE: Final = 0.005  # seconds before a taking over that met another is begun anew; doubled each time
_LONGEST_PAUSE: Final = 0.1


class TakeOver:
    """What every write on a legacy route does first."""

    def __init__(self, engine: Engine, cascade: Cascade, writer: Writer, reads: LegacyReads) -> None:
        self._engine = engine
        self._cascade = cascade
        self._writer = writer
        self._reads = reads

    async def adopt(self, key: Key, plan: Plan, deadline: Deadline) -> bool:
        """Take over the old copy of ``key`` if it counts, and remove all copies; whether one was taken over. Can be cut off at any point.

        Raises `TierUnavailable` and `UnknownOutcome`: the write that this precedes has not been done then, and the key has the value that it had.
        """
        legacy = plan.legacy
        if legacy is None or legacy.name_of(key) is None:
            return False
        pause = _FIRST_PAUSE
        while True:
            found = await self._cascade.ask(key, plan, self._engine.floors.get(key), deadline)
            if not unknown(found):
                await self._reads.remove(key, legacy, deadline)
                return False
            copy = await self._reads.read(key, legacy, deadline, lasting=True)
            if copy is None:
                return False
            try:
                if found is None:
                    await self._put(self._claim(key), plan, deadline, None)
                    continue
                await self._put(copy, plan, deadline, found.version)
            except Conflict:  # another one takes it over, or deletes it
                if deadline.remaining() <= pause:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                await self._reads.remove(key, legacy, deadline)
                return True

    async def _put(self, envelope: Envelope, plan: Plan, deadline: Deadline, if_version: int | None) -> None:
        intent = await self._writer.intent(
            Verb.PUT, envelope, plan, deadline, if_version=if_version, if_absent=if_version is None
        )
        await self._writer.carry_out(intent, deadline)

    def _claim(self, key: Key) -> Envelope:
        now = self._engine.now_ms()
        return self._engine.codec.encode(key, None, now_ms=now, expires_ms=max(1, now - _DEAD_MS), media_type=CLAIM)
