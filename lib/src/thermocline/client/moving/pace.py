"""What a sweep may take: records a second, request units, time."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from thermocline.clock import Clock
from thermocline.errors import InvalidArgument

_GLANCE: Final = 0.05  # seconds between two looks at the clock


class Pace:
    """``per_second``: records that are looked at, on average over what has passed; ``request_units``: of Cosmos DB, as ``spent`` counts them; ``duration``:
    from now on. None: no bound. It waits by ``clock``, which a test may move."""

    def __init__(
        self,
        clock: Clock,
        *,
        per_second: float | None = None,
        request_units: float | None = None,
        duration: timedelta | None = None,
        spent: Callable[[], float],
    ) -> None:
        for name, given in (("max_records_per_second", per_second), ("max_request_units", request_units)):
            _check(name, given)
        checked: Any = duration
        if duration is not None and (not isinstance(checked, timedelta) or duration <= timedelta()):
            raise InvalidArgument(f"max_duration is a timedelta longer than zero, not {duration!r}")
        self.per_second = per_second
        self._units = request_units
        self._clock = clock
        self._spent = spent
        self._before = spent()
        self.began = clock.monotonic()
        self._ends = None if duration is None else self.began + duration.total_seconds()
        self._next = self.began

    @property
    def units(self) -> float:
        """Request units charged since it began: to all calls of this client."""
        return self._spent() - self._before

    def page(self, most: int) -> int:
        """How many records to ask for at once: no more than a second's."""
        return most if self.per_second is None else max(1, min(most, int(self.per_second)))

    async def records(self, count: int) -> None:
        """So many were looked at: wait until as many would have been at the given rate."""
        if self.per_second is None or count <= 0:
            return
        self._next = max(self._next, self._clock.monotonic() - 1.0) + count / self.per_second
        until = self._next if self._ends is None else min(self._next, self._ends)
        while (wait := until - self._clock.monotonic()) > 0:  # noqa: ASYNC110 - a clock that a test moves has no event
            await asyncio.sleep(min(wait, _GLANCE))

    def over(self) -> str:
        """Why it is enough, in words; empty: it is not."""
        if self._ends is not None and self._clock.monotonic() >= self._ends:
            return "its time was up (max_duration)"
        if self._units is not None and self.units >= self._units:
            return f"it was charged {self.units:.0f} request units (max_request_units)"
        return ""


def _check(name: str, given: Any) -> None:
    if given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < float("inf"):
        raise InvalidArgument(f"{name} is a number larger than zero, not {given!r}")
