"""The leases that this client holds in hot: renewed while the read lasts that they are for, and given back where it fails.

A lease is short (`LEASE_MS`), so that the death of its holder does not hold others up for long, and the authority may take longer than that. So a lease that
is still held a second later is renewed, each second. The renewals of all keys go together, and a read that is answered sooner costs none.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextvars import Context
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.engine import LEASE_MS, Engine
from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError, TierUnavailable
from thermocline.model import Key, MemoryTier
from thermocline.protocols import EntryOperation, Found, Leased, Renew, Settle

log = logging.getLogger("thermocline.client")

EVERY: Final = 1.0  # seconds between the renewals of a lease: a third of what it lasts
_YOUNG: Final = 0.6  # seconds: a lease that is younger waits for the next turn, before which it does not run out
_AT_ONCE: Final = 500  # leases in one pipeline
_A_SHARE: Final = 100  # of which so many are as much work as one call


def in_doubt(answer: object) -> bool:
    """Whether this stands for an answer that nobody has, though hot may have heard the question."""
    return isinstance(answer, TierUnavailable) and answer.sent


class _Held:
    __slots__ = ("key", "renewed", "until")

    def __init__(self, key: Key, renewed: float, until: float) -> None:
        self.key = key
        self.renewed = renewed  # when it was taken, or renewed for the last time
        self.until = until  # when its read has ended at the latest


class Leases:
    """``hold`` and ``drop`` cost a dictionary's entry. Not thread-safe; of one event loop. All times are the loop's, in seconds."""

    __slots__ = ("_closed", "_engine", "_held", "_orphans", "_returning", "_task", "_timer")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: dict[str, _Held] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._orphans: list[tuple[Key, str]] = []
        self._returning: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, key: Key, token: str, deadline: Deadline) -> None:
        """A read that began under this lease is under way, until `drop`, and at most until its ``deadline``."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._held[token] = _Held(key, now, now + deadline.remaining())
        if self._timer is None:
            self._timer = loop.call_later(EVERY, self._turn, loop, context=_NO_CONTEXT)

    def drop(self, token: str) -> None:
        """That read is over."""
        self._held.pop(token, None)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once a second while any is held."""
        self._timer = None
        now = loop.time()
        for token in [token for token, held in self._held.items() if held.until <= now]:
            del self._held[token]
        due = {token: held for token, held in self._held.items() if now - held.renewed >= _YOUNG}
        if due and self._task is None:
            self._task = loop.create_task(self._renew(due), name="thermocline leases", context=Context())
        if self._held:
            self._timer = loop.call_later(EVERY, self._turn, loop, context=_NO_CONTEXT)

    async def _renew(self, due: dict[str, _Held]) -> None:
        try:
            tokens = list(due)
            for at in range(0, len(tokens), _AT_ONCE):
                some = tokens[at : at + _AT_ONCE]
                now = asyncio.get_running_loop().time()
                answers = await self._tell([Renew(due[token].key, token, LEASE_MS) for token in some])
                for token, answer in zip(some, answers, strict=True):
                    if isinstance(answer, Leased):
                        due[token].renewed = now
                        self._engine.stats.count(telemetry.LEASES_RENEWED, MemoryTier.HOT)
                    elif not isinstance(answer, ThermoclineError):
                        self.drop(token)  # it has been revoked, or hot has lost it: the read goes on, and fills nothing
        except Exception:  # a tier raised what is not of our tree: it costs the leases, and no read
            log.exception("leases could not be renewed; the reads that hold them go on")
        finally:
            self._task = None

    async def give_back(self, pairs: Iterable[tuple[Key, str]]) -> None:
        """The reads of these failed: the next reader need not wait for what will not come. By the table that is a settle of no version without a value: one's
        own lease ends and leaves its floor, as if it had run out, and whatever else is there stays as it is. Where hot cannot be told, the lease runs out."""
        words: list[EntryOperation] = []
        for key, token in pairs:
            self.drop(token)
            words.append(Settle(key, token, 0, None))
        for answer in await self._tell(words):
            if isinstance(answer, ThermoclineError):
                log.debug("a lease could not be given back, and runs out: %s", answer)

    def orphaned(self, pairs: Iterable[tuple[Key, str]]) -> None:
        """Looks were sent, and nobody has their answers (the caller was cancelled, hot was too late, a connection broke), or what ends a lease may not have
        arrived: such a lease is given back behind the callers' backs, or the next reader would wait for nobody."""
        if self._closed:
            return
        self._orphans.extend(pairs)
        if self._returning is None and self._orphans:
            loop = asyncio.get_running_loop()
            self._returning = loop.create_task(self._return(), name="thermocline leases", context=Context())

    async def _return(self) -> None:
        try:
            while self._orphans:
                some, self._orphans = self._orphans[:_AT_ONCE], self._orphans[_AT_ONCE:]
                await self.give_back(some)
        except Exception:  # as of `_renew`
            log.exception("leases could not be given back; they run out")
        finally:
            self._returning = None

    async def _tell(self, words: Sequence[EntryOperation]) -> Sequence[Found | ThermoclineError | None]:
        engine, hot = self._engine, self._engine.hot
        if hot is None or not words:
            return []
        guard, deadline = engine.guards[MemoryTier.HOT], engine.hot_deadline()
        try:
            if len(words) == 1:
                return [await guard.call("renew", hot.operate, words[0], deadline=deadline)]
            times = 1 + len(words) / _A_SHARE
            answers: Any = await guard.call("renew", hot.operate_many, words, deadline=deadline, times=times)
        except ThermoclineError as error:
            return [error] * len(words)
        else:
            found: Sequence[Found | ThermoclineError | None] = answers
            return found

    async def close(self) -> None:
        """Renew no more."""
        self._closed = True
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._orphans.clear()
        tasks = [task for task in (self._task, self._returning) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_NO_CONTEXT: Final = Context()
