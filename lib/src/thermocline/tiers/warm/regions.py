"""Which region a read asks. Regions are preferred only by who accepts their lag; writes always go to the write region. Pure."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.resilience import is_second
from thermocline.tiers.warm.trouble import Trouble

AWAY_SECONDS: Final = (
    5.0  # that a region is not read which did not answer; doubled each time up to `LONGEST`, until it answers
)
LONGEST: Final = 60.0


class Regions:
    """The preferred ones, nearest first. One that gives no answer (unreachable, 5xx, dropped; or two calls in a row that were given up) is passed over for
    a while, so the same call's next try asks another; a second, hedged read asks another at once. With fewer than two there is nothing to choose."""

    __slots__ = ("_abandoned", "_away", "_clock", "_names", "_span")

    def __init__(self, names: Sequence[str], clock: Clock = SYSTEM_CLOCK) -> None:
        self._names = list(names)
        self._clock = clock
        self._away: dict[str, float] = {}  # until when
        self._span: dict[str, float] = {}
        self._abandoned: dict[str, int] = {}

    def passed_over(self) -> list[str]:
        """Those that a read that is sent now leaves out; never all of them."""
        now = self._clock.monotonic()
        out = [name for name in self._names if self._away.get(name, 0.0) > now]
        left = [name for name in self._names if name not in out]
        if is_second() and len(left) > 1:
            out.append(left[0])
        return out if len(out) < len(self._names) else []

    @contextmanager
    def asked(self) -> Iterator[dict[str, Any]]:
        """Around one read: its options for the SDK. What it raises says how its region is."""
        if len(self._names) < 2:
            yield {}
            return
        out = self.passed_over()
        region = next(name for name in self._names if name not in out)
        try:
            yield {"excluded_locations": out} if out else {}
        except Trouble as trouble:
            if trouble.unanswered:
                self._lost(region)
            else:
                self._well(region)
            raise
        except asyncio.CancelledError:
            given_up = self._abandoned[region] = self._abandoned.get(region, 0) + 1
            if given_up >= 2:
                self._lost(region)
            raise
        except GeneratorExit:  # of a query whose further pages nobody wants
            self._well(region)
            raise
        else:
            self._well(region)

    def _lost(self, region: str) -> None:
        span = self._span.get(region, AWAY_SECONDS)
        self._away[region] = self._clock.monotonic() + span
        self._span[region] = min(span * 2, LONGEST)

    def _well(self, region: str) -> None:
        self._abandoned.pop(region, None)
        if self._away.get(region, 0.0) <= self._clock.monotonic():
            self._span.pop(region, None)
