"""The circuit breaker: a tier that keeps failing, or keeps being slow, is left alone for a while, and then tried with one call."""

from collections import deque
from collections.abc import Callable
from enum import Enum

from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.errors import ConfigurationError


class BreakerState(Enum):
    CLOSED = "closed"  # calls go through
    OPEN = "open"  # no call goes through
    HALF_OPEN = "half_open"  # a few go through, to see


class Cause(Enum):
    """Why a breaker opened."""

    ERRORS = "errors"
    SLOWNESS = "slowness"


class CircuitBreaker:
    """Counts what says that a tier is sick: timeouts, lost connections, answers of the 5xx kind, and answers that were long in coming. The caller decides
    what that is, and counts a refusal (throttled, denied, corrupt) as a success, since the tier answered.

    It opens when ``failures`` calls failed within ``window_s`` seconds and no more than that succeeded quickly meanwhile: a busy tier with a few slow calls
    is not sick. It opens as well when ``slow_calls`` were slow within ``window_s`` and no more than that quick, if ``pays`` (given the seconds
    that those took at the median) says that leaving it alone is of use. Open, it refuses for ``open_for_s`` seconds; then ``half_open_probes`` calls
    may try. When ``closing`` of them in a row were answered quickly it closes; one that is not opens it again for twice as long, at most
    ``open_at_most_s``. It closes to the first span once it has stayed closed for ``window_s``. A probe that never reports back (its task was killed) is
    forgotten after the current span. ``opened`` is called with the cause each time it opens from closed.

    Not thread-safe; use one per tier and event loop. Asking a closed breaker costs about 0.1 µs.
    """

    __slots__ = (
        "_clock",
        "_closed_at",
        "_closing",
        "_failed",
        "_first_span",
        "_good",
        "_longest_span",
        "_opened",
        "_pays",
        "_probe_limit",
        "_probes",
        "_slow",
        "_span",
        "_succeeded",
        "_until",
        "_window",
        "cause",
        "tripped",
    )

    def __init__(
        self,
        clock: Clock = SYSTEM_CLOCK,
        *,
        failures: int = 5,
        window_s: float = 10.0,
        slow_calls: int = 20,
        open_for_s: float = 1.0,
        open_at_most_s: float = 30.0,
        half_open_probes: int = 1,
        closing: int = 1,
        pays: Callable[[float], bool] = lambda seconds: True,
        opened: Callable[[Cause], None] = lambda cause: None,
    ) -> None:
        counts = (failures, slow_calls, half_open_probes, closing)
        if min(counts) < 1 or window_s <= 0 or not 0 < open_for_s <= open_at_most_s:
            raise ConfigurationError(
                "a breaker needs failures, slow_calls, half_open_probes and closing of 1 or more, window_s over 0, and open_for_s over 0 and at most"
                " open_at_most_s"
            )
        self._clock = clock
        self._window = window_s
        self._first_span = self._span = open_for_s
        self._longest_span = open_at_most_s
        self._probe_limit = half_open_probes
        self._closing = closing
        self._pays = pays
        self._opened = opened
        self._failed: deque[tuple[float, int]] = deque(maxlen=failures)  # when, and how many had succeeded by then
        self._slow: deque[tuple[float, int, float]] = deque(maxlen=slow_calls)  # the same, and how many seconds
        self._succeeded = 0
        self.tripped = False  # whether it is open or half open
        self._until = 0.0  # while open: when calls may try
        self._probes = 0  # tries under way since then
        self._good = 0  # tries in a row that went well
        self._closed_at = clock.monotonic() - window_s
        self.cause: Cause | None = None  # of the last time that it opened; None while it is closed

    @property
    def state(self) -> BreakerState:
        """The state now; looking takes no probe."""
        if not self.tripped:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._clock.monotonic() >= self._until else BreakerState.OPEN

    def retry_after(self) -> float:
        """Seconds until a call may try again; 0 when one may."""
        return max(0.0, self._until - self._clock.monotonic()) if self.tripped else 0.0

    def allow(self) -> bool:
        """Whether a call may go out now. Each True is to be followed by one `success`, `slow`, `failure` or `released`."""
        if not self.tripped:
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
        """A call goes out though `allow` said no: by one that paces itself. It is a probe, to be followed by `success`, `slow`, `failure` or `released`."""
        if self.tripped:
            self._probes += 1

    def hurry(self) -> None:
        """Something says that the tier is back: the next call may try at once."""
        if self.tripped:
            self._until = min(self._until, self._clock.monotonic())

    def success(self) -> None:
        """A call was answered, and quickly."""
        self._succeeded += 1
        if self.tripped and self._probes:  # an answer to a call from before it opened proves nothing
            self._probes -= 1
            self._good += 1
            if self._good >= self._closing:
                self._close()

    def slow(self, seconds: float) -> None:
        """A call was answered, after so many seconds that the tier seems sick."""
        if self.tripped:
            self._again()
            return
        now = self._clock.monotonic()
        self._slow.append((now, self._succeeded, seconds))
        since, succeeded, _ = self._slow[0]
        if self._reached(since, succeeded, len(self._slow), self._slow.maxlen, now):
            took = sorted(entry[2] for entry in self._slow)
            if self._pays(took[len(took) // 2]):
                self._begin(now, Cause.SLOWNESS)

    def failure(self) -> None:
        """A call failed in a way that says the tier is sick."""
        if self.tripped:
            self._again()
            return
        now = self._clock.monotonic()
        self._failed.append((now, self._succeeded))
        since, succeeded = self._failed[0]
        if self._reached(since, succeeded, len(self._failed), self._failed.maxlen, now):
            self._begin(now, Cause.ERRORS)

    def released(self) -> None:
        """A call that was allowed ended without saying anything about the tier: it was cancelled, or never sent."""
        if self.tripped and self._probes:
            self._probes -= 1

    def _reached(self, since: float, succeeded: int, count: int, most: int | None, now: float) -> bool:
        """Whether there are as many as it takes, all within the window, and no more quick answers beside them."""
        return count == most and now - since <= self._window and self._succeeded - succeeded <= count

    def _again(self) -> None:
        """A probe did not go well."""
        if self._probes:
            self._span = min(self._span * 2, self._longest_span)
            self._shut(self._clock.monotonic())

    def _begin(self, now: float, cause: Cause) -> None:
        calm = now - self._closed_at >= self._window
        self._span = self._first_span if calm else min(self._span * 2, self._longest_span)
        self._shut(now)
        self.cause = cause
        self._opened(cause)

    def _shut(self, now: float) -> None:
        self.tripped = True
        self._until = now + self._span
        self._probes = self._good = 0

    def _close(self) -> None:
        self.tripped = False
        self._probes = self._good = 0
        self._failed.clear()
        self._slow.clear()
        self.cause = None
        self._closed_at = self._clock.monotonic()
