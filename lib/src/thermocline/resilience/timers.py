"""Ends of waiting, for very many waiters: a timer of the event loop for each costs more than most of what they wait for."""

import asyncio
import math
from typing import Any, Final

SOON: Final = 0.5  # seconds; an end that is farther off is kept less precisely
_FINE: Final = 0.002  # seconds
_COARSE: Final = 0.05
# Seconds from which on steps grow: calls of days would each 50 ms leave a timer behind, until their ends
_LONG: Final = 1_024 * _COARSE


class Timers:
    """Ends futures with a TimeoutError when they are due, or up to 2 ms later; 50 ms where they are due in `SOON` or more, and a thousandth of what it was
    where that was longer than 50 seconds. Of one event loop."""

    __slots__ = ("_due", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._due: dict[tuple[float, int], tuple[set[asyncio.Future[Any]], asyncio.TimerHandle]] = {}

    def add(self, seconds: float, future: "asyncio.Future[Any]") -> "set[asyncio.Future[Any]]":
        """``future`` is ended in so many seconds from now, unless it is taken out of the set before."""
        due = self.loop.time() + seconds
        step = _FINE if seconds < SOON else _COARSE
        if seconds >= _LONG:
            step *= 2 ** int(math.log2(seconds / _LONG))
        place = (step, int(due / step) + 1)
        found = self._due.get(place)
        if found is None:
            found = self._due[place] = (set(), self.loop.call_at(place[1] * step, self._end, place))
        found[0].add(future)
        return found[0]

    def _end(self, place: tuple[float, int]) -> None:
        for future in self._due.pop(place)[0]:
            if not future.done():
                future.set_exception(TimeoutError())

    def close(self) -> None:
        """End nothing more."""
        for _, handle in self._due.values():
            handle.cancel()
        self._due.clear()
