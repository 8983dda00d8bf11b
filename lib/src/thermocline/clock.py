"""The clocks: wall time for expiry, monotonic time for waiting. A test can move them."""

import math
import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """What the library asks for the time. `thermocline.testing.ManualClock` is one that a test moves."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)  # no function of ours around it: a call asks for it half a dozen times

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


SYSTEM_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock by which a call must have ended. ``at`` is in seconds; infinity: none."""

    at: float
    clock: Clock = SYSTEM_CLOCK

    @classmethod
    def after(cls, seconds: float, clock: Clock = SYSTEM_CLOCK) -> "Deadline":
        return cls(clock.monotonic() + seconds, clock)

    @classmethod
    def never(cls) -> "Deadline":
        return cls(math.inf)

    def remaining(self) -> float:
        """Seconds that are left; 0 when it has passed, infinity where there is none."""
        return max(0.0, self.at - self.clock.monotonic())

    def expired(self) -> bool:
        return self.clock.monotonic() >= self.at

    def within(self, seconds: float) -> "Deadline":
        """This deadline, or ``seconds`` from now if that is earlier: a tier's share of the call."""
        return Deadline(min(self.at, self.clock.monotonic() + seconds), self.clock)
