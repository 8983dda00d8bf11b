"""The runs of factories in one client: of a key one at a time, shared by all who ask meanwhile; owned by the client, bounded, and ended with it."""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import Context
from itertools import count
from typing import Final

from thermocline import telemetry
from thermocline.client.engine import Engine
from thermocline.errors import ClientClosed, FactoryTimeout
from thermocline.model import Envelope, Key
from thermocline.resilience import in_background

log = logging.getLogger("thermocline.client")

AT_ONCE: Final = (
    64  # refreshes under way, and as many runs whose callers have all gone; beyond that none is begun, or left to go on
)
FIRST_REST: Final = 1.0  # seconds for which a refresh that failed is not tried again; doubled each time
LONGEST_REST: Final = 30.0
RESTING: Final = 10_000  # keys of which that is remembered


class Run:
    """One run. ``callers``: who waits for it now. ``at_work``: the factory was begun, so that something would be lost by ending it. ``refreshes``: there is
    a value, which is served meanwhile. ``read_at``: the `moment` before what it returns was read, where it was not made: who came later must not be given
    it, since it may have been deleted or overwritten before (P3, P4, P6)."""

    __slots__ = ("at_work", "callers", "key", "read_at", "refreshes", "task")

    def __init__(self, key: Key, *, refreshes: bool) -> None:
        self.key = key
        self.refreshes = refreshes
        self.at_work = False
        self.callers = 0
        self.read_at: int | None = None
        self.task: asyncio.Task[Envelope]

    def serves(self, came: int) -> bool:
        """Whether what it returned is for who came at that moment."""
        return self.read_at is None or self.read_at > came


Make = Callable[[Run], Awaitable[Envelope]]
_moments = count(1)


def moment() -> int:
    """Now, as a number that grows with each call."""
    return next(_moments)


class Runs:
    """Not thread-safe; of one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs: dict[Key, Run] = {}
        self._tasks: set[asyncio.Task[Envelope]] = set()
        self._left: set[Run] = set()  # at work, and nobody waits
        self._rests: OrderedDict[Key, tuple[float, float]] = OrderedDict()  # until when, and for how long
        self._closed = False

    def __len__(self) -> int:
        """Runs under way."""
        return len(self._runs)

    def missing(self, key: Key, make: Make) -> Run:
        """The run under way, or a new one, for a caller who has no value. It begins in that caller's context."""
        return self._under_way(key) or self._begin(key, make, refreshes=False)

    def _under_way(self, key: Key) -> Run | None:
        run = self._runs.get(key)
        return None if run is None or run.task.done() else run  # of one that is done only the end is still to be told

    def due(self, key: Key, make: Make) -> Run | None:
        """The run under way, or a new one, that refreshes a value; None: the last one failed a moment ago, or too many are under way."""
        found = self._under_way(key)
        if found is not None:
            return found
        rest = self._rests.get(key)
        if rest is not None and self._engine.clock.monotonic() < rest[0]:
            return None
        if sum(run.refreshes for run in self._runs.values()) >= AT_ONCE:
            self._engine.stats.count(telemetry.REFRESHES_DROPPED, telemetry.CLIENT)
            return None
        self._engine.stats.count(telemetry.REFRESHES, telemetry.CLIENT)
        return self._begin(key, make, refreshes=True)

    def _begin(self, key: Key, make: Make, *, refreshes: bool) -> Run:
        if self._closed:
            raise _closed()
        run = Run(key, refreshes=refreshes)
        context = Context() if refreshes else None
        run.task = asyncio.get_running_loop().create_task(
            self._run(run, make), name="thermocline factory", context=context
        )
        self._tasks.add(run.task)
        run.task.add_done_callback(lambda task: self._ended(run, task))
        self._runs[key] = run
        return run

    async def _run(self, run: Run, make: Make) -> Envelope:
        return await (in_background(make(run)) if run.refreshes else make(run))

    async def wait(self, run: Run, seconds: float) -> Envelope:
        """What the run makes. Raises what it raises, `FactoryTimeout` when the time is up (the run goes on), `ClientClosed`."""
        if run.callers or run.at_work:
            self._engine.stats.count(telemetry.FACTORY_SHARED, telemetry.CLIENT)
        run.callers += 1
        self._left.discard(run)
        limit = asyncio.timeout(None if seconds == math.inf else seconds)
        try:
            async with limit:
                return await asyncio.shield(run.task)
        except TimeoutError as error:
            if not limit.expired() or run.task.done():  # it is the factory's own
                raise
            raise FactoryTimeout(
                f"the factory has made no value within {round(seconds, 3):g} s; it goes on, and what it makes is stored"
            ) from error
        except asyncio.CancelledError as error:
            caller = asyncio.current_task()
            if run.task.cancelled() and caller is not None and not caller.cancelling():
                raise _closed() if self._closed else _crowded() from error
            raise
        finally:
            run.callers -= 1
            if not run.callers and not run.task.done():
                self._leave(run)

    def _leave(self, run: Run) -> None:
        """Its last caller has gone. What the factory has begun is worth its end; waiting for another process is not (a refresh gives that up by itself)."""
        if run.refreshes:
            return
        if not run.at_work or len(self._left) >= AT_ONCE:
            run.task.cancel()
            self._forget(run)
        else:
            self._left.add(run)

    def _forget(self, run: Run) -> None:
        """Nobody joins it any more."""
        if self._runs.get(run.key) is run:
            del self._runs[run.key]
        self._left.discard(run)

    def _ended(self, run: Run, task: asyncio.Task[Envelope]) -> None:
        self._forget(run)
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if run.refreshes:
                self._rest(run.key)
            if run.refreshes or not run.callers:  # nobody else is told
                log.warning("a factory of get_or_set failed: %s", type(error).__name__)
        elif not task.cancelled():
            self._rests.pop(run.key, None)

    def _rest(self, key: Key) -> None:
        """Leave the factory alone for a while, longer each time."""
        last = self._rests.pop(key, None)
        span = FIRST_REST if last is None else min(last[1] * 2, LONGEST_REST)
        self._rests[key] = (self._engine.clock.monotonic() + span, span)
        while len(self._rests) > RESTING:
            self._rests.popitem(last=False)

    async def close(self, patience: float = 1.0) -> None:
        """Begin none, wait ``patience`` seconds for those under way, and end the rest: their callers get `ClientClosed`. A plain function that runs in a
        thread cannot be ended; what it makes is dropped."""
        self._closed = True
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed while the factory was at work; make a new one")


def _crowded() -> FactoryTimeout:
    return FactoryTimeout("so many factories are at work for nobody that this run was ended; ask again")
