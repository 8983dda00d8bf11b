"""How many calls of one client go to a tier at the same time. The others wait here, where it costs their own deadline alone."""

import asyncio
import math
from collections import deque
from typing import Final

from thermocline.clock import Deadline

AT_ONCE: Final = 32  # more would wait for the tier's connections, and burn the tier's share of their deadlines there
_UNHURRIED: Final = (
    4  # calls that go out at once; further ones that begin in the same turn of the event loop wait for its end
)


class Gate:
    """First come, first served; a caller may be cancelled at any moment (P10).

    Ten thousand calls that begin together keep the event loop busy for longer than hot may take to answer. So all but the first few are let in when
    all have begun: their time runs only from then. Not thread-safe; belongs to one event loop.
    """

    __slots__ = ("_inside", "_most", "_opening", "_waiting")

    def __init__(self, most: int = AT_ONCE) -> None:
        self._most = most
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._opening = False  # whether the event loop will let some in at its next turn

    def try_enter(self) -> bool:
        """Enter if nobody has to wait now."""
        if self._inside >= _UNHURRIED or self._waiting:
            return False
        self._inside += 1
        return True

    async def enter(self, deadline: Deadline) -> None:
        """Wait for a place. Raises TimeoutError when the deadline comes first."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if not self._opening and self._inside < self._most:
            self._opening = True
            loop.call_soon(self._open)
        try:
            async with asyncio.timeout(None if deadline.at == math.inf else deadline.remaining()):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # the place was given at the same moment
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to who waits longest."""
        self._inside -= 1
        if self._waiting and not self._opening:
            self._let_in()

    def _open(self) -> None:
        self._opening = False
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._most:
            turn = self._waiting.popleft()
            if not turn.done():  # else its caller was cancelled
                turn.set_result(None)
                self._inside += 1
