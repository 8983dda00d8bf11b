"""The circuit breaker: a tier that keeps failing is left alone for a while, and then tried with one call."""

from collections import deque
from enum import Enum

from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.errors import ConfigurationError


class BreakerState(Enum):
    CLOSED = "closed"  # calls go through
    OPEN = "open"  # no call goes through
    HALF_OPEN = "half_open"  # a few go through, to see


class CircuitBreaker:
    """Counts what says that a tier is sick: timeouts, lost connections, answers of the 5xx kind. The caller decides what that is, and counts a
    refusal (throttled, denied, corrupt) as a success, since the tier answered.

    It opens when ``failures`` calls failed within ``window_s`` seconds and no more than that succeeded meanwhile: a busy tier with a few slow calls
    is not sick. Open, it refuses for ``open_for_s`` seconds; then ``half_open_probes`` calls may try. A success closes it; a failure opens it
    again for twice as long, at most ``open_at_most_s``. It closes to the first span once it has stayed closed for ``window_s``. A probe that never
    reports back (its task was killed) is forgotten after the current span.

    Not thread-safe; use one per tier and event loop. Asking a closed breaker costs about 0.1 µs.
    """

    __slots__ = (
        "_clock",
        "_closed_at",
        "_failed",
        "_first_span",
        "_longest_span",
        "_open",
        "_probe_limit",
        "_probes",
        "_span",
        "_succeeded",
        "_until",
        "_window",
    )

    def __init__(
        self,
        clock: Clock = SYSTEM_CLOCK,
        *,
        failures: int = 5,
        window_s: float = 10.0,
        open_for_s: float = 1.0,
        open_at_most_s: float = 30.0,
        half_open_probes: int = 1,
    ) -> None:
        if failures < 1 or half_open_probes < 1 or window_s <= 0 or not 0 < open_for_s <= open_at_most_s:
            raise ConfigurationError(
                "a breaker needs failures and half_open_probes of 1 or more, window_s over 0, and open_for_s over 0 and at most open_at_most_s"
            )
        self._clock = clock
        self._window = window_s
        self._first_span = self._span = open_for_s
        self._longest_span = open_at_most_s
        self._probe_limit = half_open_probes
        self._failed: deque[tuple[float, int]] = deque(maxlen=failures)  # when, and how many had succeeded by then
        self._succeeded = 0
        self._open = False
        self._until = 0.0  # while open: when calls may try
        self._probes = 0  # tries under way since then
        self._closed_at = clock.monotonic() - window_s

    @property
    def state(self) -> BreakerState:
        """The state now; looking takes no probe."""
        if not self._open:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._clock.monotonic() >= self._until else BreakerState.OPEN

    def retry_after(self) -> float:
        """Seconds until a call may try again; 0 when one may."""
        return max(0.0, self._until - self._clock.monotonic()) if self._open else 0.0

    def allow(self) -> bool:
        """Whether a call may go out now. Each True is to be followed by one `success`, `failure` or `released`."""
        if not self._open:
            return True
        now = self._clock.monotonic()
        if now < self._until:
            return False
        if self._probes >= self._probe_limit:
            if now < self._until + self._span:
                return False
            self._until = now  # nobody reported back in all that time: try anew
            self._probes = 0
        self._probes += 1
        return True

    def force(self) -> None:
        """A call goes out though `allow` said no: by one that paces itself. It is a probe, to be followed by `success`, `failure` or `released`."""
        if self._open:
            self._probes += 1

    def success(self) -> None:
        """A call was answered."""
        self._succeeded += 1
        if self._open and self._probes:  # an answer to a call from before it opened proves nothing
            self._open = False
            self._probes = 0
            self._failed.clear()
            self._closed_at = self._clock.monotonic()

    def failure(self) -> None:
        """A call failed in a way that says the tier is sick."""
        now = self._clock.monotonic()
        if self._open:
            if self._probes:
                self._span = min(self._span * 2, self._longest_span)
                self._shut(now)
            return
        self._failed.append((now, self._succeeded))
        since, succeeded = self._failed[0]
        if (
            len(self._failed) == self._failed.maxlen
            and now - since <= self._window
            and self._succeeded - succeeded <= len(self._failed)
        ):
            calm = now - self._closed_at >= self._window
            self._span = self._first_span if calm else min(self._span * 2, self._longest_span)
            self._shut(now)

    def released(self) -> None:
        """A call that was allowed ended without saying anything about the tier: it was cancelled, or never sent."""
        if self._open and self._probes:
            self._probes -= 1

    def _shut(self, now: float) -> None:
        self._open = True
        self._until = now + self._span
        self._probes = 0
