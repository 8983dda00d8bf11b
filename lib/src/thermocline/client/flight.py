"""Single flight: callers who miss together ask the authority once.

A caller takes only the result of a read that was sent after it arrived; one that comes later waits for the next flight, at most one more. A
flight heeds the highest floor of those who joined it, and belongs to the client: cancelling its first caller cancels nobody else.

A flight that nobody joined, and that owes hot no report, needs no task of its own: its only caller flies it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from thermocline.clock import Deadline
from thermocline.errors import ClientClosed
from thermocline.model import Key
from thermocline.policy import Plan

Result = TypeVar("Result")


class Flight(Generic[Result]):
    """One read of the authority under way, or about to be. Until it is ``sent``, callers may join."""

    __slots__ = ("deadline", "floor", "key", "landed", "lease", "limit", "plan", "sent", "task", "told")

    def __init__(self, key: Key, plan: Plan, floor: int, lease: str | None, told: bool, deadline: Deadline) -> None:
        self.key = key
        self.plan = plan
        self.floor = floor
        self.lease = lease  # the token of the lease that one of the callers holds
        self.told = told  # whether hot could be reached when the callers looked
        self.deadline = deadline
        self.sent = False
        self.task: asyncio.Task[Result] | None = None
        self.limit: asyncio.Timeout | None = None  # of the caller who flies it without a task
        self.landed: asyncio.Future[None] | None = None  # for the next flight, which waits for one without a task

    def ending(self) -> "asyncio.Future[Any]":
        """Is done when the flight is over."""
        if self.task is not None:
            return self.task
        if self.landed is None:
            self.landed = asyncio.get_running_loop().create_future()
        return self.landed

    def stop(self) -> None:
        """End one that its caller flies: his time is up."""
        over = self.landed is not None and self.landed.done()
        if self.limit is not None and not over and not self.limit.expired():
            self.limit.reschedule(0)

    def merge(self, floor: int, lease: str | None, told: bool, deadline: Deadline) -> None:
        self.floor = max(self.floor, floor)
        self.lease = lease or self.lease  # where there are two, hot knows the younger one alone
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
        return len(self._tasks) + sum(flight.limit is not None for flight in self._current.values())

    def landing(self, key: Key, lease: str | None) -> "asyncio.Future[Any] | None":
        """The end of the flight of ``key`` under that lease (None: under any); None: there is none."""
        for flight in (self._current.get(key), self._waiting.get(key)):
            if flight is not None and flight.lease is not None and lease in (None, flight.lease):
                return flight.ending()
        return None

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
            if flight.task is None:
                self._start(flight, after=None)
        elif current is None and not plan.uses_hot:
            flight = self._current[key] = Flight(key, plan, floor, lease, told, deadline)
            try:
                await asyncio.sleep(0)  # who asks in this same tick may join
            except asyncio.CancelledError:
                if flight.task is None:
                    self._left(flight)
                raise
            if flight.task is None:
                return await self._lead(flight)
        else:
            flight = Flight(key, plan, floor, lease, told, deadline)
            (self._current if current is None else self._waiting)[key] = flight
            self._start(flight, after=current)
        if flight.task is None:  # pragma: no cover - _start sets it
            raise RuntimeError("a flight without a task")
        try:
            async with asyncio.timeout(_seconds(deadline)):
                return await asyncio.shield(flight.task)
        except asyncio.CancelledError as error:
            if flight.task.cancelled() and not _is_cancelled():
                raise _closed() from error  # the flight was cancelled, not its caller
            raise

    async def _lead(self, flight: Flight[Result]) -> Result:
        """Fly it in the caller's own task."""
        flight.sent = True
        try:
            async with asyncio.timeout(_seconds(flight.deadline)) as flight.limit:
                if self._closed:
                    raise _closed()
                return await self._fly(flight)
        except Exception as error:
            if self._closed:
                raise _closed() from error
            raise
        finally:
            self._left(flight)

    def _left(self, flight: Flight[Result]) -> None:
        """A flight without a task is over."""
        if self._current.get(flight.key) is flight:
            del self._current[flight.key]
        if flight.landed is not None and not flight.landed.done():
            flight.landed.set_result(None)

    def _start(self, flight: Flight[Result], after: Flight[Result] | None) -> None:
        ending = after.ending() if after is not None else None
        task = asyncio.get_running_loop().create_task(self._run(flight, ending), name="thermocline read")
        flight.task = task
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, flight: Flight[Result], after: asyncio.Future[Any] | None) -> Result:
        key = flight.key
        if after is not None:
            await asyncio.wait([after])
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
        led = [flight for flight in self._current.values() if flight.limit is not None]
        endings = [*tasks, *(flight.ending() for flight in led)]
        if endings:
            await asyncio.wait(endings, timeout=patience)
        for flight in led:
            flight.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*endings, return_exceptions=True)


def _seconds(deadline: Deadline) -> float | None:
    return deadline.remaining() if deadline.at != float("inf") else None


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed while this read was under way; make a new one")


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
