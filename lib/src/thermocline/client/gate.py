"""How many calls of one client go to a tier at the same time. The others wait here, where it costs their own deadline alone."""

import asyncio
import math
from collections import OrderedDict
from typing import Final

from thermocline.clock import Deadline
from thermocline.resilience.rules import AT_ONCE, WAITING
from thermocline.resilience.timers import Timers

_UNHURRIED: Final = 4  # calls that go out at once; those beyond, in the same turn of the event loop, wait for its end
_FIRST: Final = (
    6  # places at the beginning, one more with each call that ends: of thirty connections opened together, all are late
)
_LOOK: Final = 0.01  # seconds
_LOOKS: Final = 100  # after the last call that had to wait


class Stalls:
    """How late the event loop was, looked at from when a call had to wait at a gate until a second after the last one. One per client."""

    __slots__ = ("_due", "_looks", "seconds")

    def __init__(self) -> None:
        self._due = 0.0
        self._looks = 0
        self.seconds = 0.0  # in all; grows only

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._looks == 0:
            self._next(loop)
        self._looks = _LOOKS

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _LOOK
        loop.call_at(self._due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        late = loop.time() - self._due
        if late > _LOOK / 2:
            self.seconds += late
        self._looks -= 1
        if self._looks:
            self._next(loop)


class LineFull(Exception):
    """As many wait as may."""


class Gate:
    """First come, first served; a caller may be cancelled at any moment (P10).

    Ten thousand calls that begin together keep the event loop busy for longer than hot may take to answer. So all but the first few are let in when
    all have begun: their time runs only from then. ``waiting`` calls stand in line at most. Not thread-safe; belongs to one event loop.
    """

    __slots__ = ("_inside", "_line", "_most", "_opening", "_places", "_timers", "_waiting", "stalls")

    def __init__(self, most: int = AT_ONCE, stalls: Stalls | None = None, waiting: int = WAITING) -> None:
        self.stalls = Stalls() if stalls is None else stalls
        self._line = waiting
        self._most = most
        self._places = min(_FIRST, most)
        self._inside = 0
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._timers: Timers | None = None
        self._opening = False  # whether the event loop will let some in at its next turn

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return len(self._waiting)

    def try_enter(self) -> bool:
        """Enter if nobody has to wait now."""
        if self._inside >= min(_UNHURRIED, self._most) or self._waiting:
            return False
        self._inside += 1
        return True

    async def enter(self, deadline: Deadline) -> None:
        """Wait for a place. Raises TimeoutError when the deadline comes first, and `LineFull` at once where too many wait already."""
        if (
            self._inside + len(self._waiting) >= self._most + self._line
        ):  # who only waits for his turn of the event loop is not in line
            raise LineFull
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting[turn] = None
        self.stalls.watch(loop)
        if not self._opening and self._inside < self._places:
            self._opening = True
            loop.call_soon(self._open)
        timers = self._timers
        if timers is None or timers.loop is not loop:
            timers = self._timers = Timers(loop)
        timer = None if deadline.at == math.inf else timers.add(deadline.remaining(), turn)
        try:
            await turn
        except BaseException as error:
            self._waiting.pop(turn, None)  # else those who gave up would fill the line
            if not isinstance(error, TimeoutError) and turn.done() and not turn.cancelled() and not turn.exception():
                self.leave()  # the place was given at the same moment
            raise
        finally:
            if timer is not None:
                timer.discard(turn)

    def leave(self) -> None:
        """Give the place to who waits longest."""
        self._inside -= 1
        if self._places < self._most and self._waiting:
            self._places += 1
        if self._waiting and not self._opening:
            self._let_in()

    def _open(self) -> None:
        self._opening = False
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._places:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():  # else its caller was cancelled
                turn.set_result(None)
                self._inside += 1
