"""Asking a cluster again who has which slots, behind the callers who noticed that something is wrong."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final

from thermocline.clock import Deadline

log = logging.getLogger("thermocline.hot")

PATIENCE: Final = 5.0  # seconds that the nodes of a cluster have to say it


class Lookout:
    """``stale``: a node could not be reached, or a slot has moved. ``caught``: what the SDK raises where nobody can say."""

    def __init__(self, caught: tuple[type[Exception], ...]) -> None:
        self.stale = False
        self._caught = caught
        self._looking: asyncio.Task[None] | None = None

    async def look(self, ask: Callable[[], Awaitable[object]], deadline: Deadline) -> None:
        """Have it asked, once for all callers, and wait for half of the time: a node that hangs, rather than refuses, must not hold up the keys of
        the others (P8). Who waited in vain goes on with what was known."""
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(self._ask(ask), name="thermocline cluster", context=Context())
        await asyncio.wait([self._looking], timeout=min(deadline.remaining() / 2, PATIENCE))

    async def _ask(self, ask: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await ask()
            self.stale = False
        except self._caught as error:
            log.debug("the nodes of the cluster do not say who has which slots: %s", type(error).__name__)
        finally:
            self._looking = None

    async def close(self) -> None:
        """Ask no more. Idempotent."""
        self.stale = False
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
