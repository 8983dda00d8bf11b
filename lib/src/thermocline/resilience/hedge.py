"""Hedged reads: where a read is later than usual a second one is sent, and the first answer wins (Dean and Barroso, "The Tail at Scale", 2013)."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from thermocline.clock import Clock
from thermocline.errors import TierUnavailable
from thermocline.resilience.latencies import Lately
from thermocline.resilience.retry_budget import RetryBudget
from thermocline.resilience.rules import Hedging

Result = TypeVar("Result")

_second: ContextVar[bool] = ContextVar("thermocline_second_read", default=False)


def is_second() -> bool:
    """Whether this is the second of two identical reads: a tier with several places to ask takes another one than for the first."""
    return _second.get()


class Hedges:
    """The hedged reads of one tier. ``sent`` and ``won`` are called for each second read, and for each that answered first.

    What is usual is learned per verb. Both reads are sent after their caller arrived, so either's answer may be used; the caller judges it by its floor
    as it would any. A failure is no answer while the other read is still under way; a refusal or a damaged record is one. Not thread-safe.
    """

    def __init__(
        self,
        rules: Hedging,
        clock: Clock,
        *,
        sent: Callable[[], None] = lambda: None,
        won: Callable[[], None] = lambda: None,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._sent = sent
        self._won = won
        self._budget = RetryBudget(ratio=rules.share, burst=10, full=False)
        self._lately: dict[str, Lately] = {}

    def usual(self, verb: str) -> float | None:
        """Seconds after which a second read is sent; None while too few were seen."""
        lately = self._lately.get(verb)
        return None if lately is None or len(lately) < self._rules.samples else lately.usual()

    async def run(self, verb: str, send: Callable[[], Awaitable[Result]]) -> Result:
        """The answer to ``send()``, or to a second one. Cancelling it cancels both (P10); when it returns or raises, neither is under way."""
        self._budget.request()
        lately = self._lately.get(verb)
        if lately is None:
            lately = self._lately[verb] = Lately(self._rules.quantile)
        usual = lately.usual() if len(lately) >= self._rules.samples else None
        began = self._clock.monotonic()
        try:
            if usual is None:
                return await send()
            return await self._both(send, usual)
        finally:  # of a second read that won, the first one's time is known to be at least this
            lately.add(self._clock.monotonic() - began)

    async def _both(self, send: Callable[[], Awaitable[Result]], usual: float) -> Result:
        reads = [asyncio.ensure_future(send())]
        try:
            await asyncio.wait(reads, timeout=usual)
            if not reads[0].done() and self._budget.take():
                self._sent()
                token = _second.set(True)
                try:
                    reads.append(asyncio.ensure_future(send()))
                finally:
                    _second.reset(token)
                await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
                if not _answered(reads[0]) and not _answered(reads[1]):
                    await asyncio.wait(reads)  # the one that is done has failed: the other's answer counts
                if not _answered(reads[0]) and _answered(reads[1]):
                    self._won()
                    return await reads[1]
            return await reads[0]
        finally:
            late = [read for read in reads if not read.done()]
            for read in late:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)


def _answered(read: "asyncio.Future[Result]") -> bool:
    """Whether it is done, and not for want of an answer."""
    return read.done() and not read.cancelled() and not isinstance(read.exception(), TierUnavailable)
