"""An event loop whose order of steps and clock a seed decides: the same seed, the same schedule; another seed, another one.

    loop = SeededLoop(seed=7)
    try:
        loop.run_until_complete(main(loop.clock))
    finally:
        loop.close()

It does no I/O and never sleeps, so that thousands of schedules a second can be tried, and a failure is replayed by its seed.
"""

import asyncio
import heapq
import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

T = TypeVar("T")

MOST_STEPS: Final = 1_000_000
EPOCH_MS: Final = 1_800_000_000_000  # what the wall clock of a new loop shows: 2027-01-15 08:00 UTC
_BEHIND = float("inf")


class ScheduleStuckError(RuntimeError):
    """The schedule cannot end: every task waits for another and no timer is set, or it takes more steps than were allowed."""


class LoopClock:
    """The virtual time of a loop as a `thermocline.clock.Clock`: both clocks move with ``loop.time()``, and with nothing else."""

    __slots__ = ("_loop", "_wall_ms")

    def __init__(self, loop: asyncio.AbstractEventLoop, wall_ms: int = EPOCH_MS) -> None:
        self._loop = loop
        self._wall_ms = wall_ms

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return self._wall_ms + int(self._loop.time() * 1000)

    def monotonic(self) -> float:
        """Seconds since the loop was made."""
        return self._loop.time()


class SeededLoop(asyncio.BaseEventLoop):
    """``seed`` decides which of the tasks that could go on does so next, one step at a time.

    - Time is virtual: it stands still while anything can be done, and then jumps to the next timer.
    - Only the order *between tasks* is chosen. Callbacks that are no task's step keep their order among themselves, as asyncio promises it to
      those who call ``call_soon``.
    - ``run_in_executor`` runs the function in this thread, whichever executor is named, as a step of its own: at any moment between the call and
      its answer. If the caller is cancelled before, it is not run.
    - No thread, no socket, no signal: ``call_soon_threadsafe`` from another thread raises RuntimeError.

    Nothing depends on addresses or on PYTHONHASHSEED, as long as the program does not: tasks are told apart by the order in which they were made.
    ``digest`` is a number over all choices so far, equal for equal schedules; ``steps`` counts them; ``journal`` lists them in words
    if ``journal=True``. What reaches the loop's exception handler is collected in ``errors``.

    Raises `ScheduleStuckError` from `run_until_complete` when nothing can go on, or after ``most_steps``.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, seed: int, *, most_steps: int = MOST_STEPS, journal: bool = False) -> None:
        super().__init__()
        self.seed: Final = seed
        self.clock: Final = LoopClock(self)
        self.steps = 0
        self.digest = seed
        self.journal: list[str] | None = [] if journal else None
        self.errors: list[dict[str, Any]] = []
        self._most_steps = most_steps
        self._random: Final = random.Random(seed)
        self._now = 0.0
        self._made = 0
        self._home = threading.get_ident()
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """As every loop's; the task gets the next number."""
        task = _NumberedTask(coro, loop=self, **options)
        self._made += 1
        task.number = self._made
        return task

    def run_in_executor(  # type: ignore[override]  # typeshed binds the answer's type to the arguments'
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run ``func`` as a step of its own in this thread, and answer with a future of its result."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_Job(future, func, args))
        return future

    def call_soon_threadsafe(  # type: ignore[override]  # typeshed binds the arguments to the callback
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """As ``call_soon``; from another thread it raises RuntimeError, since no seed could replay that."""
        if threading.get_ident() != self._home:
            raise RuntimeError("a seeded loop has one thread: pass what blocks to its run_in_executor")
        return self.call_soon(callback, *args, context=context)

    # --- the schedule ------------------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        """One step. `BaseEventLoop.run_forever` calls this until it is stopped."""
        ready, timers = self._ready, self._scheduled
        if not ready:
            self._wait()
        if timers and timers[0].when() <= self._now:
            self._collect_due()
        if not ready:
            return
        handle = ready.popleft() if len(ready) == 1 else self._choose()
        if handle.cancelled():
            return
        self.steps += 1
        if self.steps > self._most_steps:
            raise ScheduleStuckError(f"seed {self.seed}: no end after {self._most_steps} steps")
        if self.journal is not None:
            self.journal.append(f"{self._now:.6f} {_describe(handle)}")
        handle._run()  # noqa: SLF001 - a loop runs its handles

    def _wait(self) -> None:
        """Nothing can be done now: the time of the next timer comes."""
        timers = self._scheduled
        while timers and timers[0].cancelled():
            self._drop(heapq.heappop(timers))
        if timers:
            self._now = max(self._now, timers[0].when())
        elif not self._stopping:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
            raise ScheduleStuckError(f"seed {self.seed}: nothing can go on, and these tasks wait: {waiting}")

    def _collect_due(self) -> None:
        timers, now = self._scheduled, self._now
        while timers and timers[0].when() <= now:
            timer = heapq.heappop(timers)
            self._drop(timer)
            if not timer.cancelled():
                self._ready.append(timer)

    @staticmethod
    def _drop(timer: asyncio.TimerHandle) -> None:
        timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - else cancelling it later counts it as one of the heap's

    def _choose(self) -> asyncio.Handle:
        """Take one handle out of ``_ready``: any task's step, any job, or the first of the other callbacks."""
        ready = self._ready
        options: list[tuple[float, int]] = []  # (who, where); those who are no tasks have their place behind all tasks
        others = False
        for at, handle in enumerate(ready):
            callback = handle._callback  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio too tells by it whose a handle is
            owner = getattr(callback, "__self__", None)
            if isinstance(owner, _NumberedTask):
                options.append((owner.number, at))
            elif isinstance(callback, _Job):
                options.append((_BEHIND, at))
            elif not others:
                others = True
                options.append((_BEHIND, at))
        at = 0
        if len(options) > 1:
            options.sort()
            chosen = int(self._random.random() * len(options))
            at = options[chosen][1]
            self.digest = hash((self.digest, chosen, len(options), self._now))
        handle = ready[at]
        del ready[at]
        return handle


class _NumberedTask(asyncio.Task[Any]):
    """A task that knows as the how manieth of its loop it was made: no set's order, and no address, can then decide who goes on."""

    number: int


class _Job:
    """A function that somebody passed to an executor. Its result, or its error, goes to the future."""

    __slots__ = ("_args", "_func", "_future")

    def __init__(self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._future = future
        self._func = func
        self._args = args

    def __call__(self) -> None:
        future = self._future
        if future.cancelled():
            return
        try:
            result = self._func(*self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller, as with any executor
            future.set_exception(error)
        else:
            future.set_result(result)


def _describe(handle: asyncio.Handle) -> str:
    callback = getattr(handle, "_callback", None)
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"task {owner.get_name()}"
    name: str = getattr(callback, "__qualname__", type(callback).__name__)
    return f"callback {name}"
