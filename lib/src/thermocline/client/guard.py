"""One tier as the client sees it: its share of the deadline, its breaker, its figures. Every call to a tier goes through here."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from thermocline import telemetry
from thermocline.client.gate import Gate, LineFull, Stalls
from thermocline.client.probing import Prober
from thermocline.clock import Clock, Deadline
from thermocline.errors import (
    AccessDenied,
    CircuitOpen,
    CorruptRecord,
    Overloaded,
    PointerTooOld,
    Throttled,
    TierDamaged,
    TierFull,
    TierTimeout,
    TierUnavailable,
    UnknownOutcome,
)
from thermocline.model import MemoryTier
from thermocline.resilience import BreakerState, Cause, CircuitBreaker, Hedges, Lately, Limits
from thermocline.telemetry import Stats

Result = TypeVar("Result")

_HELD_UP: Final = 0.4  # of a share: where the event loop was late by more, a time-out says that this process had no time, not the tier
_LEAST: Final = 0.25  # of what is left of a call's time, for a tier that is asked before another
_SECOND: Final = 4.0  # shares for the second try of a call that was held up
_POINT_READ: Final = "read"
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
    ``below`` are the seconds that a call needs which goes on to the tier below: where its deadline has not that much left, the share is smaller in
    proportion (a quarter of what is left at least).

    A breaker that is open fails a call with `CircuitOpen` before anything is sent. Of many calls at the same time most
    wait at the `Gate`: that counts into the call's own deadline and not into the tier's share. ``prober``: looks whether the tier is back; where there is
    none, callers' own calls do.
    """

    __slots__ = (
        "_below",
        "_clock",
        "_gate",
        "_stats",
        "breaker",
        "hedges",
        "lately",
        "name",
        "prober",
        "share",
        "slow",
        "tier",
    )

    def __init__(
        self,
        tier: MemoryTier,
        share: float,
        breaker: CircuitBreaker,
        stats: Stats,
        clock: Clock,
        stalls: Stalls | None = None,
        *,
        limits: Limits | None = None,
        slow: float = math.inf,
        below: float = 0.0,
        hedges: Hedges | None = None,
    ) -> None:
        limits = Limits() if limits is None else limits
        self.tier = tier
        self.name = str(tier)
        self.share = share
        self.breaker = breaker
        self.hedges = hedges
        self.prober: Prober | None = None
        self.lately = Lately()  # of its point reads, where hot is judged by them
        self._below = below
        self.slow = slow  # seconds after which an answered call is a slow one
        self._gate = Gate(limits.at_once, stalls, limits.waiting)
        self._stats = stats
        self._clock = clock

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return self._gate.waiting

    async def close(self) -> None:
        """End what looks whether the tier is back."""
        if self.prober is not None:
            await self.prober.close()

    def check(self) -> None:
        """Raise `CircuitOpen` if the tier is being left alone now."""
        if self.breaker.state is BreakerState.OPEN:
            raise self._open()

    @property
    def answers_slowly(self) -> bool:
        """Whether it is left alone though it answers: what others must learn from it is still to be told."""
        return self.breaker.cause is Cause.SLOWNESS

    def _open(self) -> CircuitOpen:
        self._stats.count(telemetry.UNAVAILABLE, self.name)
        what = "was slow" if self.breaker.cause is Cause.SLOWNESS else "failed"
        return CircuitOpen(
            f"{self.name} {what} repeatedly and is left alone for a moment (its circuit breaker is open); nothing was sent",
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
        hedge: bool = False,
    ) -> Result:
        """``await method(*arguments, deadline=...)`` within ``times`` the tier's share and the call's ``deadline``. ``paced``: by a caller that backs off
        by itself; it goes out though the breaker is open, as a probe. ``again``: may be repeated, and is if this process was held up meanwhile.
        ``aside``: lasts as long as its caller's data, so it takes nobody's place at the gate. ``hedge``: a read that may be sent a second time where
        the first is late, if this tier's reads are hedged."""
        gate = self._gate
        if not aside and not (again and gate.try_enter()):
            # what cannot be repeated is not begun while the event loop is kept busy by others that begin
            await self._queue(deadline, paced)
        late: _HeldUp | None = None
        try:
            while True:
                try:
                    return await self._attempt(verb, method, arguments, deadline, times, paced, hedge)
                except _HeldUp as held:
                    if late is not None or not again or held.in_doubt or deadline.expired():
                        late = held
                        break
                    late, times = held, max(times, _SECOND)
        finally:
            if not aside:
                gate.leave()
        if late.error is not None:
            raise late.error
        answers: Result = late.answers
        return answers

    async def _queue(self, deadline: Deadline, paced: bool) -> None:
        """Wait for a place, until the deadline; while the breaker is open no longer than the tier's share, and only if ``paced``."""
        if self.breaker.tripped and (self.prober is not None or self.breaker.state is BreakerState.OPEN):
            if self.prober is not None:
                self.prober.wake()
            if not paced:
                raise self._open()
            deadline = deadline.within(self.share)
        try:
            await self._gate.enter(deadline)
        except LineFull as error:
            self._stats.count(telemetry.REFUSED, self.name)
            raise Overloaded(
                f"{self.waiting} calls of this process wait for {self.name} already, as many as may; nothing was sent. Ask for less at once, or raise"
                " Limits.waiting",
                tier=self.name,
                sent=False,
            ) from error
        except TimeoutError as error:
            raise TierTimeout(
                f"so many calls of this process to {self.name} are under way that this one's turn did not come within its deadline; nothing was sent",
                tier=self.name,
                sent=False,
            ) from error

    def _let_through(self, paced: bool) -> None:
        """The breaker is open, or half open: whether this call may go out."""
        if self.prober is not None:
            self.prober.wake()
            if not paced:
                raise self._open()
        elif not self.breaker.allow():
            if not paced:
                raise self._open()
            self.breaker.force()

    async def _attempt(
        self,
        verb: str,
        method: Callable[..., Awaitable[Result]],
        arguments: tuple[Any, ...],
        deadline: Deadline,
        times: float,
        paced: bool,
        hedge: bool,
    ) -> Result:
        """Raises `_HeldUp` in place of a time-out while this process was held up."""
        if self.breaker.tripped:
            self._let_through(paced)
        clock, stalls = self._clock, self._gate.stalls
        began, stalled = clock.monotonic(), stalls.seconds
        ends = began + self.share * times
        if deadline.at < ends + self._below:
            ends = self._shortened(deadline, began, ends)
        stats = self._stats
        try:
            limit = deadline if deadline.at < ends else Deadline(ends, clock)
            if hedge and self.hedges is not None:
                result = await self.hedges.run(verb, lambda: self._followed(verb, method(*arguments, deadline=limit)))
            else:
                result = await self._followed(verb, method(*arguments, deadline=limit))
        except (TierUnavailable, UnknownOutcome) as error:
            self._unanswered(verb, error, (began, min(ends, deadline.at), stalled), times, deadline)
            raise
        except asyncio.CancelledError:
            self._released()
            raise
        except CorruptRecord:
            self._answered(0.0, times, stalled)
            stats.count(telemetry.CORRUPT, self.name)
            raise
        except BaseException:
            self._answered(0.0, times, stalled)
            raise
        took = clock.monotonic() - began
        sick = isinstance(result, list) and result and all(map(says_sick, result))
        stats.observe(verb, self.name, took, telemetry.UNAVAILABLE if sick else telemetry.OK)
        if isinstance(result, list) and sick:
            late = all(isinstance(answer, _LATE) for answer in result)
            held_up = late and self._held_up(min(ends, deadline.at), stalls.seconds - stalled)
            if held_up or (late and self._hurried(deadline, began)):
                self._released()
            else:
                self._failed()
            stats.count(telemetry.UNAVAILABLE, self.name)
            if held_up:
                raise _HeldUp(None, result)
        else:
            if took < self.slow and not self.breaker.tripped:
                self.breaker.success()
            else:
                self._answered(took, times, stalled)
            if verb == _POINT_READ:
                self.lately.add(took)
        return result

    # --- what the breaker is told

    def _answered(self, took: float, times: float, stalled: float) -> None:
        """A call was answered after ``took`` seconds. That it was slow says nothing where the event loop was late for most of them."""
        slow = took >= self.slow * times and self._gate.stalls.seconds - stalled < took / 2
        if self.prober is not None and self.breaker.tripped:
            if not slow:
                self.prober.hurry()
        elif slow:
            self.breaker.slow(took)
        else:
            self.breaker.success()

    def _unanswered(
        self,
        verb: str,
        error: TierUnavailable | UnknownOutcome,
        when: tuple[float, float, float],
        times: float,
        deadline: Deadline,
    ) -> None:
        """A call raised. ``when``: it began, it was due, and how late the event loop was until then. Raises `_HeldUp` in its place if this process was."""
        began, due, stalled = when
        held_up = isinstance(error, _LATE) and self._held_up(due, self._gate.stalls.seconds - stalled)
        if isinstance(error, _WELL):
            self._answered(self._clock.monotonic() - began, times, stalled)
        elif held_up or (isinstance(error, _LATE) and self._hurried(deadline, began)):
            self._released()
        else:
            self._failed()
        self._stats.count(telemetry.UNAVAILABLE, self.name)
        self._stats.observe(verb, self.name, self._clock.monotonic() - began, telemetry.UNAVAILABLE)
        if held_up:
            raise _HeldUp(error) from error

    def _failed(self) -> None:
        if self.prober is None or not self.breaker.tripped:
            self.breaker.failure()

    def _released(self) -> None:
        if self.prober is None or not self.breaker.tripped:
            self.breaker.released()

    def _shortened(self, deadline: Deadline, began: float, ends: float) -> float:
        """When this tier's time is up in a call that has not enough left for it and for the tier below: they share what there is in proportion, but this
        one has a quarter of it at least, or it could never answer."""
        left, share = deadline.at - began, ends - began
        if not self._below:
            return ends
        return began + min(share, left * max(share / (share + self._below), _LEAST))

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


def says_sick(answer: object) -> bool:
    """Whether a batch's answer for one key says that the tier is down; if all of them do, the call has failed."""
    return isinstance(answer, TierUnavailable | UnknownOutcome) and not isinstance(answer, _WELL)
