"""How the warm tier asks Cosmos DB: once, or again and again within the deadline. For Cosmos DB this is the one layer that retries (DESIGN section 5):
the SDK's retries are off, and the client does not repeat a tier's calls."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from thermocline.clock import Deadline
from thermocline.errors import TierTimeout
from thermocline.tiers.warm.trouble import TIER, Kind, Trouble

T = TypeVar("T")

LONGEST_CALL: Final = (
    60.0  # seconds; whatever the caller's deadline, so that T (a day) is longer than any call (COHERENCE section 2)
)
FIRST_PAUSE: Final = 0.01  # seconds; doubled at each try, each with jitter from half to one and a half
LONGEST_PAUSE: Final = 1.0

Call = Callable[[], Awaitable[T]]


def bounded(deadline: Deadline) -> Deadline:
    """The deadline, or `LONGEST_CALL` from now if that is earlier. Raises `TierTimeout` if it has passed."""
    if deadline.expired():
        raise TierTimeout("the deadline had passed before Cosmos DB was asked", tier=TIER, sent=False)
    return deadline.within(LONGEST_CALL)


@contextmanager
def told() -> Iterator[None]:
    """A `Trouble` from inside reaches the caller as the error of our tree that it means."""
    try:
        yield
    except Trouble as trouble:
        raise trouble.error from trouble


async def once(call: Call[T], deadline: Deadline) -> T:
    """One call. Raises `Trouble`; of the kind `LOST` if the deadline passes."""
    try:
        async with asyncio.timeout(deadline.remaining()):
            return await call()
    except TimeoutError as error:
        raise Trouble(Kind.LOST, TierTimeout("Cosmos DB did not answer within the deadline", tier=TIER)) from error


async def persistently(call: Call[T], deadline: Deadline) -> T:
    """A call that may be made again (a read): until it is answered, or the deadline leaves no time for another try.

    Raises `Trouble`: of another kind than `AGAIN` and `LOST` at once, else the last one.
    """
    pauses = Pauses(deadline)
    while True:
        try:
            return await once(call, deadline)
        except Trouble as trouble:
            if trouble.kind not in (Kind.AGAIN, Kind.LOST) or not await pauses.wait(trouble.retry_after):
                raise


class Pauses:
    """Growing pauses with jitter, none of which outlasts the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._next = FIRST_PAUSE

    async def wait(self, at_least: float | None = None) -> bool:
        """Wait, for ``at_least`` seconds if the service asked for that; False, at once, if the deadline comes first."""
        pause = self._next * (0.5 + random.random())  # noqa: S311 - jitter is no secret
        if at_least is not None:
            pause += at_least
        if pause >= self._deadline.remaining():
            return False
        self._next = min(LONGEST_PAUSE, 2 * self._next)
        await asyncio.sleep(pause)
        return True
