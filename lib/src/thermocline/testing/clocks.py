"""Clocks that a test moves."""

import math
import time


class ManualClock:
    """Stands still until it is moved. Serves as `thermocline.clock.Clock`."""

    __slots__ = ("_monotonic_us", "_wall_us")

    def __init__(self, *, wall_ms: int = 1_800_000_000_000, monotonic: float = 1000.0) -> None:
        self._wall_us = wall_ms * 1000
        self._monotonic_us = round(monotonic * 1_000_000)

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return self._wall_us // 1000

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""
        return self._monotonic_us / 1_000_000

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks. Raises ValueError for a negative or endless time."""
        if not 0 <= seconds < math.inf:
            raise ValueError(
                f"time passes forwards and ends: {seconds!r} s cannot pass; to turn the wall clock use set_wall"
            )
        micros = round(seconds * 1_000_000)
        self._wall_us += micros
        self._monotonic_us += micros

    def set_wall(self, wall_ms: int) -> None:
        """Turn the wall clock alone, forwards or back, as an administrator or NTP does."""
        self._wall_us = wall_ms * 1000


class JumpingClock:
    """The machine's clocks, with a wall clock that a test turns while time goes on. Serves as `thermocline.clock.Clock`."""

    __slots__ = ("ahead_ms",)

    def __init__(self) -> None:
        self.ahead_ms = 0  # of the machine's wall clock

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, by the turned clock."""
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. It does not jump."""
        return time.monotonic()

    def jump(self, seconds: float) -> None:
        """Turn the wall clock forwards, or back. Raises ValueError for an endless time."""
        if not math.isfinite(seconds):
            raise ValueError(f"a clock cannot jump by {seconds!r} s")
        self.ahead_ms += round(seconds * 1000)
