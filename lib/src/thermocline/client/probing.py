"""Whether a hot tier that was left alone is back: looked at behind the callers' backs, who have the authority to go to meanwhile.

It is back when it has answered some pings in a row, quickly, and was told all that it had missed from this client: only then it is read again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context

from thermocline.clock import Clock, Deadline
from thermocline.errors import AccessDenied, ThermoclineError, Throttled, TierFull
from thermocline.protocols import Tier
from thermocline.resilience import CircuitBreaker

log = logging.getLogger("thermocline.client")


class Prober:
    """The probes of one tier, at most one under way. ``pings`` of them must each be answered within ``quick`` seconds; then ``repair`` is awaited, which
    says whether the tier now knows what it missed."""

    __slots__ = ("_breaker", "_clock", "_pings", "_quick", "_repair", "_task", "_tier")

    def __init__(
        self,
        tier: Tier,
        breaker: CircuitBreaker,
        clock: Clock,
        *,
        pings: int,
        quick: float,
        repair: Callable[[], Awaitable[bool]],
    ) -> None:
        self._tier = tier
        self._breaker = breaker
        self._clock = clock
        self._pings = pings
        self._quick = quick
        self._repair = repair
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Begin to look, if it is time and nobody is looking."""
        if self._task is None and self._breaker.allow():
            work = self._look()
            self._task = asyncio.get_running_loop().create_task(work, name="thermocline probe", context=Context())

    def hurry(self) -> None:
        """A call got through all the same: look now."""
        self._breaker.hurry()
        self.wake()

    async def _look(self) -> None:
        breaker = self._breaker
        try:
            well = await self._answers() and await self._repair()
        except asyncio.CancelledError:
            breaker.released()
            raise
        except Exception:  # a tier raised what is not of our tree: its bug must not end in an unseen task
            log.exception(
                "whether hot is back could not be found out, in a way that no tier should fail; it is tried again"
            )
            well = False
        finally:
            self._task = None
        if well:
            breaker.success()
        else:
            breaker.failure()

    async def _answers(self) -> bool:
        for _ in range(self._pings):
            began = self._clock.monotonic()
            try:
                async with asyncio.timeout(self._quick):
                    await self._tier.ping(deadline=Deadline.after(self._quick, self._clock))
            except (Throttled, AccessDenied, TierFull):
                continue  # it answers
            except (ThermoclineError, TimeoutError):
                return False
            if self._clock.monotonic() - began > self._quick:
                return False
        return True

    async def close(self) -> None:
        """End the look that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
