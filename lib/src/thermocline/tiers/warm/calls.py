"""How the warm tier asks Cosmos DB: once, or again and again within the deadline. For Cosmos DB this is the one layer that retries (DESIGN section 5):
the SDK's retries are off, and the client does not repeat a tier's calls."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from thermocline.clock import Deadline
from thermocline.errors import TierTimeout
from thermocline.resilience import RetryBudget
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


async def persistently(call: Call[T], deadline: Deadline, retries: RetryBudget | None = None) -> T:
    """A call that may be made again (a read): until it is answered, the deadline leaves no time for another try, or the budget allows none.

    Raises `Trouble`: of another kind than `AGAIN` and `LOST` at once, else the last one.
    """
    pauses = Pauses(deadline, retries)
    while True:
        try:
            return await once(call, deadline)
        except Trouble as trouble:
            if trouble.kind not in (Kind.AGAIN, Kind.LOST) or not await pauses.wait(trouble):
                raise


class Pauses:
    """Growing pauses of one call with jitter, none of which outlasts the deadline.

    What got no answer is repeated on the budget ``retries`` (None: as often as there is time), but for the first ``free`` times. What the service
    answered that it did not do, as it does when it is asked for too much (429, 449, 410), is not: it says itself when to come again.
    """

    def __init__(self, deadline: Deadline, retries: RetryBudget | None = None, *, free: int = 0) -> None:
        self._deadline = deadline
        self._retries = retries
        self._free = free
        self._next = FIRST_PAUSE
        if retries is not None:
            retries.request()

    async def wait(self, trouble: Trouble | None = None) -> bool:
        """Wait before the call is made again because of ``trouble``, for as long as the service asked for at least; False, at once, if the deadline
        comes first, or if the budget is spent."""
        pause = self._next * (0.5 + random.random())  # noqa: S311 - jitter is no secret
        if trouble is not None and trouble.retry_after is not None:
            pause += trouble.retry_after
        if pause >= self._deadline.remaining():
            return False
        if trouble is not None and trouble.unanswered and not self._granted():
            return False
        self._next = min(LONGEST_PAUSE, 2 * self._next)
        await asyncio.sleep(pause)
        return True

    def _granted(self) -> bool:
        if self._free > 0:
            self._free -= 1
            return True
        return self._retries is None or self._retries.take()
