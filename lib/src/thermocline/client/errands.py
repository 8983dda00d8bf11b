"""Tasks that a part of the client owns, since each works for several callers: they end with the client, and those who wait for them are told."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class Errands:
    """Not thread-safe; of one event loop."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, name: str, work: Coroutine[Any, Any, None], told: Callable[[], None]) -> None:
        """Do this, in nobody's context. ``told`` tells all who wait that it was ended: a task that is cancelled before its first step tells nobody anything."""
        task = asyncio.get_running_loop().create_task(work, name=f"thermocline {name}", context=Context())
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                told()

        task.add_done_callback(ended)

    async def close(self) -> None:
        """End what is under way. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
