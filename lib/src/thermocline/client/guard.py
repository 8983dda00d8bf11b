"""One tier as the client sees it: its share of the deadline, its breaker, its figures. Every call to a tier goes through here."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from thermocline import telemetry
from thermocline.client.gate import Gate, Stalls
from thermocline.clock import Clock, Deadline
from thermocline.errors import (
    AccessDenied,
    CircuitOpen,
    CorruptRecord,
    PointerTooOld,
    Throttled,
    TierDamaged,
    TierFull,
    TierTimeout,
    TierUnavailable,
    UnknownOutcome,
)
from thermocline.model import MemoryTier
from thermocline.resilience import BreakerState, CircuitBreaker
from thermocline.telemetry import Stats

Result = TypeVar("Result")

_HELD_UP: Final = 0.4  # of a share: where the event loop was late by more, a time-out says that this process had no time, not the tier
_SECOND: Final = 4.0  # shares for the second try of a call that was held up
_LATE = (TierTimeout, UnknownOutcome)
_WELL = (
    Throttled,
    AccessDenied,
    PointerTooOld,
    TierDamaged,
    TierFull,
)  # it answered: that it refuses does not make it sick


class Guard:
    """``share`` is the tier's share of a call's deadline in seconds (of a write: four times as much, since a write without an answer is sent again).

    A breaker that is open fails a call with `CircuitOpen` before anything is sent. Of many calls at the same time most
    wait at the `Gate`: that counts into the call's own deadline and not into the tier's share.
    """

    __slots__ = ("_clock", "_gate", "_stats", "breaker", "name", "share", "tier")

    def __init__(
        self,
        tier: MemoryTier,
        share: float,
        breaker: CircuitBreaker,
        stats: Stats,
        clock: Clock,
        stalls: Stalls | None = None,
    ) -> None:
        self.tier = tier
        self.name = str(tier)
        self.share = share
        self.breaker = breaker
        self._gate = Gate(stalls=stalls)
        self._stats = stats
        self._clock = clock

    def check(self) -> None:
        """Raise `CircuitOpen` if the tier is being left alone now."""
        if self.breaker.state is BreakerState.OPEN:
            raise self._open()

    def _open(self) -> CircuitOpen:
        self._stats.count(telemetry.UNAVAILABLE, self.name)
        return CircuitOpen(
            f"{self.name} failed repeatedly and is left alone for a moment (its circuit breaker is open); nothing was sent",
            tier=self.name,
            sent=False,
        )

    async def call(
        self,
        verb: str,
        method: Callable[..., Awaitable[Result]],
        *arguments: Any,
        deadline: Deadline,
        times: float = 1.0,
        paced: bool = False,
        again: bool = False,
        aside: bool = False,
    ) -> Result:
        """``await method(*arguments, deadline=...)`` within ``times`` the tier's share and the call's ``deadline``. ``paced``: by a caller that backs off
        by itself; it goes out though the breaker is open, as a probe. ``again``: may be repeated, and is if this process was held up meanwhile.
        ``aside``: lasts as long as its caller's data, so it takes nobody's place at the gate."""
        if aside:
            return await self._repeated(verb, method, arguments, deadline, times, paced, again)
        gate = self._gate
        if (
            not again or not gate.try_enter()
        ):  # what cannot be repeated is not begun while the event loop is kept busy by others that begin
            await self._queue(deadline, paced)
        try:
            return await self._repeated(verb, method, arguments, deadline, times, paced, again)
        finally:
            gate.leave()

    async def _repeated(
        self,
        verb: str,
        method: Callable[..., Awaitable[Result]],
        arguments: tuple[Any, ...],
        deadline: Deadline,
        times: float,
        paced: bool,
        again: bool,
    ) -> Result:
        try:
            return await self._attempt(verb, method, arguments, deadline, times, paced)
        except _HeldUp as held:
            late = held
        if again and not late.in_doubt and not deadline.expired():
            try:
                return await self._attempt(verb, method, arguments, deadline, max(times, _SECOND), paced)
            except _HeldUp as held:
                late = held
        if late.error is not None:
            raise late.error
        answers: Result = late.answers
        return answers

    async def _queue(self, deadline: Deadline, paced: bool) -> None:
        """Wait for a place, until the deadline; while the breaker is open no longer than the tier's share, and only if ``paced``."""
        if self.breaker.state is BreakerState.OPEN:
            if not paced:
                raise self._open()
            deadline = deadline.within(self.share)
        try:
            await self._gate.enter(deadline)
        except TimeoutError as error:
            raise TierTimeout(
                f"so many calls of this process to {self.name} are under way that this one's turn did not come within its deadline; nothing was sent",
                tier=self.name,
                sent=False,
            ) from error

    async def _attempt(
        self,
        verb: str,
        method: Callable[..., Awaitable[Result]],
        arguments: tuple[Any, ...],
        deadline: Deadline,
        times: float,
        paced: bool,
    ) -> Result:
        """Raises `_HeldUp` in place of a time-out while this process was held up."""
        if not self.breaker.allow():
            if not paced:
                raise self._open()
            self.breaker.force()
        clock, stalls = self._clock, self._gate.stalls
        began, stalled = clock.monotonic(), stalls.seconds
        ends = began + self.share * times
        stats = self._stats
        try:
            answer = method(*arguments, deadline=deadline if deadline.at < ends else Deadline(ends, clock))
            result = await self._followed(verb, answer)
        except (TierUnavailable, UnknownOutcome) as error:
            held_up = isinstance(error, _LATE) and self._held_up(min(ends, deadline.at), stalls.seconds - stalled)
            if isinstance(error, _WELL):
                self.breaker.success()
            elif held_up or (isinstance(error, _LATE) and self._hurried(deadline, began)):
                self.breaker.released()
            else:
                self.breaker.failure()
            stats.count(telemetry.UNAVAILABLE, self.name)
            stats.observe(verb, self.name, clock.monotonic() - began, telemetry.UNAVAILABLE)
            if held_up:
                raise _HeldUp(error) from error
            raise
        except asyncio.CancelledError:
            self.breaker.released()
            raise
        except CorruptRecord:
            self.breaker.success()
            stats.count(telemetry.CORRUPT, self.name)
            raise
        except BaseException:
            self.breaker.success()
            raise
        sick = isinstance(result, list) and result and all(map(_says_sick, result))
        stats.observe(verb, self.name, clock.monotonic() - began, telemetry.UNAVAILABLE if sick else telemetry.OK)
        if isinstance(result, list) and sick:
            late = all(isinstance(answer, _LATE) for answer in result)
            held_up = late and self._held_up(min(ends, deadline.at), stalls.seconds - stalled)
            if held_up or (late and self._hurried(deadline, began)):
                self.breaker.released()
            else:
                self.breaker.failure()
            stats.count(telemetry.UNAVAILABLE, self.name)
            if held_up:
                raise _HeldUp(None, result)
        else:
            self.breaker.success()
        return result

    def _followed(self, verb: str, answer: Awaitable[Result]) -> Awaitable[Result]:
        """The call, for spans and for what it is charged."""
        if self.tier is MemoryTier.WARM:  # the one whose service says what each request costs
            answer = telemetry.charge_to(verb, answer)
        trail = telemetry.trail()
        return answer if trail is None else trail.follow(self.name, verb, answer)

    def _held_up(self, due: float, stalled: float) -> bool:
        """Whether a time-out that was ``due`` then says more of this process, which ``stalled`` for so many seconds meanwhile, than of the tier."""
        return max(stalled, self._clock.monotonic() - due) > self.share * _HELD_UP

    def _hurried(self, deadline: Deadline, began: float) -> bool:
        """Whether the caller left the tier less than half of its share: that it was late says nothing of it then, and must not cost others."""
        return deadline.at < began + self.share / 2


class _HeldUp(Exception):
    """In place of a time-out, or of a batch's answers, that say nothing of the tier: the event loop came to them late."""

    def __init__(self, error: TierUnavailable | UnknownOutcome | None, answers: Any = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.answers = answers

    @property
    def in_doubt(self) -> bool:
        """Whether a write may have taken effect: a second one would not know of the first one's copies, and could say of them that nothing was written."""
        return any(isinstance(one, UnknownOutcome) for one in (self.error, *(self.answers or ())))


def _says_sick(answer: object) -> bool:
    """Whether a batch's answer for one key says that the tier is down; if all of them do, the call has failed."""
    return isinstance(answer, TierUnavailable | UnknownOutcome) and not isinstance(answer, _WELL)
