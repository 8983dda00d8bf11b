"""Single flight: callers who miss together ask the authority once.

A caller takes only the result of a read that was sent after it arrived; one that comes later waits for the next flight, at most one more. A
flight heeds the highest floor of those who joined it, and belongs to the client: cancelling its first caller cancels nobody else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from thermocline.clock import Deadline
from thermocline.errors import ClientClosed
from thermocline.model import Key
from thermocline.policy import Plan

Result = TypeVar("Result")


class Flight(Generic[Result]):
    """One read of the authority under way, or about to be. Until it is ``sent``, callers may join."""

    __slots__ = ("deadline", "floor", "key", "lease", "plan", "sent", "task", "told")

    def __init__(self, key: Key, plan: Plan, floor: int, lease: str | None, told: bool, deadline: Deadline) -> None:
        self.key = key
        self.plan = plan
        self.floor = floor
        self.lease = lease  # the token of the lease that one of the callers holds
        self.told = told  # whether hot could be reached when the callers looked
        self.deadline = deadline
        self.sent = False
        self.task: asyncio.Task[Result] | None = None

    def merge(self, floor: int, lease: str | None, told: bool, deadline: Deadline) -> None:
        self.floor = max(self.floor, floor)
        self.lease = self.lease or lease
        self.told = self.told or told
        if deadline.at > self.deadline.at:
            self.deadline = deadline


class Flights(Generic[Result]):
    """The flights of a client by key: at most one sent and one waiting for it."""

    def __init__(
        self, fly: Callable[[Flight[Result]], Awaitable[Result]], joined: Callable[[], None] = lambda: None
    ) -> None:
        self._fly = fly
        self._joined = joined
        self._current: dict[Key, Flight[Result]] = {}
        self._waiting: dict[Key, Flight[Result]] = {}
        self._tasks: set[asyncio.Task[Result]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    async def read(
        self, key: Key, plan: Plan, *, floor: int, lease: str | None, told: bool, deadline: Deadline
    ) -> Result:
        """The result of a read sent after now. Raises what the read raises, TimeoutError at the caller's own deadline, or `ClientClosed`."""
        if self._closed:
            raise _closed()
        current = self._current.get(key)
        joinable = self._waiting.get(key) or (current if current is not None and not current.sent else None)
        if joinable is not None:
            self._joined()
            joinable.merge(floor, lease, told, deadline)
            flight = joinable
        else:
            flight = Flight(key, plan, floor, lease, told, deadline)
            (self._current if current is None else self._waiting)[key] = flight
            self._start(flight, after=current)
        if flight.task is None:  # pragma: no cover - _start sets it
            raise RuntimeError("a flight without a task")
        try:
            async with asyncio.timeout(deadline.remaining() if deadline.at != float("inf") else None):
                return await asyncio.shield(flight.task)
        except asyncio.CancelledError as error:
            if flight.task.cancelled() and not _is_cancelled():
                raise _closed() from error  # the flight was cancelled, not its caller
            raise

    def _start(self, flight: Flight[Result], after: Flight[Result] | None) -> None:
        task = asyncio.get_running_loop().create_task(self._run(flight, after), name="thermocline read")
        flight.task = task
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, flight: Flight[Result], after: Flight[Result] | None) -> Result:
        key = flight.key
        if after is not None and after.task is not None:
            await asyncio.wait([after.task])
            del self._waiting[key]
            self._current[key] = flight
        try:
            return await self._fly(flight)
        finally:
            if self._current.get(key) is flight:
                del self._current[key]

    def _ended(self, task: asyncio.Task[Result]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: its callers may all have gone

    async def close(self, patience: float = 1.0) -> None:
        """Start no more, wait ``patience`` seconds for those under way, and cancel the rest: their callers get `ClientClosed`."""
        self._closed = True
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed while this read was under way; make a new one")


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
