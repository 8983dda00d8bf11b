"""A wall clock that is turned while a client runs: by an administrator, by NTP after a start with a wrong clock, by a machine that wakes up."""

import asyncio
from typing import Final

from thermocline.clock import Clock

NOTICED_MS: Final = 1000  # COHERENCE section 2: clocks are right within a second


class Turns:
    """Holds the wall clock against the monotonic one. Where they come apart by more than a second, the monotonic clock is believed until the authority has
    been asked for its time, which is done at once (``noticed``): so neither what is written nor what is read meanwhile expires an hour early or late.

    A machine that slept shows the same, and there the wall clock is right: then the answers of one round trip are judged by the time of falling asleep.
    """

    __slots__ = ("_ahead", "_clock", "noticed")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = self._now()
        self.noticed = asyncio.Event()

    def by_ms(self) -> int:
        """By how much the wall clock has been turned since it was last believed, in ms; 0 below a second. Costs about 0.2 µs."""
        turned = self._now() - self._ahead
        if -NOTICED_MS <= turned <= NOTICED_MS:
            return 0
        self.noticed.set()
        return turned

    def believe(self) -> None:
        """The wall clock's difference from the authority's is known anew."""
        self._ahead = self._now()
        self.noticed.clear()

    async def wait(self, seconds: float) -> None:
        """Until a turn was noticed, or so many seconds have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self.noticed.wait()
        except TimeoutError:
            return

    def _now(self) -> int:
        return self._clock.wall_ms() - int(self._clock.monotonic() * 1000)
