"""One deadline per call, shared out to the tiers."""

import math
from datetime import timedelta
from typing import Final

from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.configured import clock as check_clock
from thermocline.configured import duration
from thermocline.errors import InvalidArgument
from thermocline.model import MemoryTier

CALL: Final = timedelta(seconds=10)
CONNECT: Final = timedelta(seconds=15)
HOT: Final = timedelta(milliseconds=50)
WARM: Final = timedelta(milliseconds=500)
COLD: Final = timedelta(seconds=5)


class Budget:
    """How long a call may take in all, and how much of that one visit to a tier may take at most.

    The shares are the latency tiers that users of the design know (hot under 50 ms, warm up to 500 ms, cold seconds). A visit ends by the
    earlier of its share and the call's own deadline. ``warm`` counts for the fourth tier, warm plus, too. Times are timedeltas or seconds. Raises
    `ConfigurationError` for one that is not longer than zero.
    """

    __slots__ = ("_call", "_clock", "_shares", "connect")

    def __init__(
        self,
        clock: Clock = SYSTEM_CLOCK,
        *,
        call: timedelta | float = CALL,
        connect: timedelta | float = CONNECT,
        hot: timedelta | float = HOT,
        warm: timedelta | float = WARM,
        cold: timedelta | float = COLD,
    ) -> None:
        check_clock(clock, "Budget: clock")
        given = {"call": call, "connect": connect, "hot": hot, "warm": warm, "cold": cold}
        spans = {name: duration(span, f"the deadline {name}") for name, span in given.items()}
        self._clock = clock
        self._call = spans["call"].total_seconds()
        self.connect: Final = spans["connect"]
        self._shares = {
            MemoryTier.HOT: spans["hot"].total_seconds(),
            MemoryTier.WARM: spans["warm"].total_seconds(),
            MemoryTier.WARM_PLUS: spans["warm"].total_seconds(),
            MemoryTier.COLD: spans["cold"].total_seconds(),
        }

    def call(self, timeout: timedelta | float | None = None) -> Deadline:
        """The deadline of a call that begins now; ``timeout`` (a timedelta or seconds) instead of the default, None: the default.

        Raises `InvalidArgument` for one that is not longer than zero.
        """
        if timeout is None:
            return Deadline(self._clock.monotonic() + self._call, self._clock)
        if isinstance(timeout, bool) or not isinstance(timeout, timedelta | int | float):
            raise InvalidArgument(f"a timeout is a timedelta or a number of seconds, not {type(timeout).__name__}")
        try:
            seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
        except OverflowError:
            seconds = math.inf
        if not seconds > 0:
            raise InvalidArgument(f"a timeout is longer than zero, not {seconds} s; leave it out for the default")
        return Deadline(self._clock.monotonic() + seconds, self._clock)

    def share(self, deadline: Deadline, tier: MemoryTier) -> Deadline:
        """The deadline of one visit to ``tier`` that begins now, within the call's ``deadline``."""
        at = self._clock.monotonic() + self._shares[tier]
        return deadline if deadline.at <= at else Deadline(at, self._clock)

    def begin_connect(self) -> Deadline:
        """The deadline of connecting, which begins now and has a span of its own."""
        return Deadline(self._clock.monotonic() + self.connect.total_seconds(), self._clock)

    def seconds(self, tier: MemoryTier) -> float:
        """The share of one visit to ``tier``, in seconds."""
        return self._shares[tier]
