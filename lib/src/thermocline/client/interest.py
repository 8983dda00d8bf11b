"""What a client knows of how its keys are read: how often, which decides what hot gets, and whether lately, which a sweep reads from the authority's notes.

Both are counted where the authority is asked, and cost a hit in hot nothing. That is enough: hot forgets a value after an hour at most, so a key that is in
use reaches the authority at least that often.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final

from thermocline.clock import Clock
from thermocline.errors import ThermoclineError
from thermocline.keys import key_digest
from thermocline.model import Key
from thermocline.policy import Plan
from thermocline.sketch import Frequency, Windows

log = logging.getLogger("thermocline.client")

CAPACITY: Final = 10_000  # keys whose frequency is told apart well; about 100 kB

Save = Callable[[list[tuple[int, bytes]]], Awaitable[None]]


class Interest:
    """``windows`` and ``every`` (seconds): which keys were read lately, handed to ``save`` at that interval and once more at `close`. None: that is not
    kept. Belongs to one event loop; the task that saves starts with the first read."""

    __slots__ = ("_clock", "_every", "_frequency", "_fresh", "_save", "_task", "_windows")

    def __init__(
        self,
        clock: Clock,
        *,
        counts: bool,
        windows: Windows | None = None,
        every: float = 0.0,
        save: Save | None = None,
    ) -> None:
        self._clock = clock
        self._frequency = Frequency(CAPACITY) if counts else None
        self._windows = windows
        self._every = every
        self._save = save
        self._fresh = False  # whether something was noted since it was saved
        self._task: asyncio.Task[None] | None = None

    def read(self, key: Key, plan: Plan) -> bool:
        """The authority is asked for ``key``. Whether its answer is worth a place in hot, by the rules of its route."""
        rules = plan.rules
        often = 1
        if self._frequency is not None and rules.promote_after > 1:
            often = self._frequency.note(key)
        if self._windows is not None:
            self._windows.note(key_digest(key), self._clock.wall_ms())
            self._fresh = True
            if self._task is None:
                work = self._keep_saving()  # of all readers: not in the context of the one who came first
                loop = asyncio.get_running_loop()
                self._task = loop.create_task(work, name="thermocline reads", context=Context())
        return rules.promote_on_read and often >= rules.promote_after

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self.save()

    async def save(self) -> None:
        """Write down what was noted since the last time. An outage is no error: it is written the next time, or a key is taken for idle too early."""
        if self._windows is None or self._save is None or not self._fresh:
            return
        self._fresh = False
        try:
            await self._save(self._windows.filters())
        except ThermoclineError as error:
            self._fresh = True
            log.warning("which keys were read could not be saved: %s", error)

    async def close(self) -> None:
        """Stop, and save for the last time."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.save()
