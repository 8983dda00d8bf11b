"""The lanes to one server: one for what is small, and one for what is large and would hold it up. They are opened when they are first used, and again when
they are lost."""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.resilience.timers import Timers
from thermocline.tiers.hot.lane import APART, Lane, Said
from thermocline.tiers.hot.signing import SignIn
from thermocline.tiers.hot.wire import Command, hang_up, packed, seconds_left

CALLS: Final = 5_000  # under way at a time; further ones wait for a place
LARGE: Final = 64  # of these over the lane for what is large
MANY: Final = 128  # commands, or
WORDS: Final = 512  # words of one, from which on a call is large: an MGET's answer is not known before
OPENING: Final = 5.0  # seconds for one attempt to connect and sign in
SILENCE: Final = 1.0  # seconds without a byte after which a call that is cancelled speaks against its lane, as one that times out does at once
LEAVING: Final = 3  # lanes at most that are left behind, and still have calls to answer
KNOWN: Final = 1_024  # keys that are remembered as large


@dataclass(frozen=True, slots=True)
class Dial:
    """How a server is reached. ``make``: a connection of the SDK, not opened yet; ``lane``: what takes it over when it is; ``caught``: what these raise."""

    make: Callable[[], Any]
    lane: Callable[[Any], Lane]
    encoder: Any
    caught: tuple[type[Exception], ...]
    refusal: Callable[[BaseException], bool]
    sign_in: SignIn | None = None
    reply_timeout: float | None = None  # seconds, where a call's own deadline is later
    idle_at_most: float = 0.0  # seconds after which a connection is not trusted any more; 0: it is for ever


class Places:
    """So many calls at a time; who comes later waits, first come first served. (asyncio's semaphore does the same at several times the cost.)"""

    __slots__ = ("_free", "_waiting")

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_enter(self) -> bool:
        """Take a place, if there is one that nobody waits for."""
        if self._free == 0 or self._waiting:
            return False
        self._free -= 1
        return True

    async def enter(self) -> None:
        """Wait for a place, and take it."""
        if self.try_enter():
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self.leave()  # it had been given a place already
            elif mine in self._waiting:
                self._waiting.remove(mine)
            raise

    def leave(self) -> None:
        """Give a place to the first who waits and has not gone, or back."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._free += 1


class Lanes:
    """Calls to one server. All of it belongs to one event loop."""

    def __init__(self, dial: Dial, calls: int = CALLS) -> None:
        self._dial = dial
        self._caught: tuple[type[Exception], ...] = (*dial.caught, ThermoclineError)
        self._loop = asyncio.get_running_loop()
        self._open: list[Lane | None] = [None, None]  # for what is small, and for what is large
        self._opening: list[asyncio.Task[Lane | None] | None] = [None, None]
        self._leaving: list[Lane] = []
        self._there: set[Lane] = set()  # all that are not closed yet
        self._places = (Places(calls), Places(min(LARGE, calls)))
        self._timers = Timers(self._loop)
        self._large: OrderedDict[bytes, None] = OrderedDict()
        self._used = [0.0, 0.0]
        self._ended = False
        self.calls = 0  # under way, or waiting for a place

    async def carry(self, commands: Sequence[Command], deadline: Deadline) -> Said:
        """Say these commands, in this order and with no other between them, and wait for all replies. An error that the server answers is a reply; what else
        goes wrong is left in ``error``. Raises nothing but cancellation. Where the server has forgotten who we are, it has done nothing from there on,
        and that part is said once more over a new lane."""
        said = self._said(commands)
        self.calls += 1
        try:
            seconds = seconds_left(deadline)
            if self._dial.reply_timeout is not None:
                seconds = min(seconds or self._dial.reply_timeout, self._dial.reply_timeout)
            due = None if seconds is None else self._loop.time() + seconds
            lane = await self._through(said, commands, due)
            if lane.forgot:
                await self._once_more(said, commands, lane, due)
        except self._caught as error:
            said.error = error
        finally:
            self.calls -= 1
        return said

    def adopt(self, connection: Any) -> None:
        """Take over a connection that is open and signed in, as the first lane."""
        self._begin(self._dial.lane(connection), 0)

    async def close(self) -> None:
        """Close all lanes, for good; calls that wait are told, those that wait for a place as soon as they have one."""
        self._ended = True
        tasks = [task for task in self._opening if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._open, self._leaving = [None, None], []
        self._timers.close()
        lanes = list(self._there)
        for lane in lanes:
            lane.close()
        if lanes:
            await asyncio.wait([lane.gone for lane in lanes])

    # --- one call ----------------------------------------------------------------------------------------------------

    def _said(self, commands: Sequence[Command]) -> Said:
        if len(commands) == 1:
            command = commands[0]
            if command[0] == "GET" and type(name := command[1]) is bytes and len(command) == 2:
                return Said([b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)], 1, name)
        return Said(packed(self._dial.encoder, commands), len(commands))

    def _which(self, said: Said, commands: Sequence[Command]) -> int:
        """The lane: 1 for what is large."""
        if said.name is not None:
            return 1 if self._large and said.name in self._large else 0
        if len(commands) > MANY or len(said.data) > 1 or len(said.data[0]) > APART:
            return 1
        return 1 if len(commands[0]) > WORDS else 0

    async def _through(self, said: Said, commands: Sequence[Command], due: float | None) -> Lane:
        """Say it over its lane, and wait. Raises TimeoutError, and what ended the lane or kept it from being opened."""
        which = self._which(said, commands)
        places = self._places[which]
        if not places.try_enter():
            async with asyncio.timeout_at(due):
                await places.enter()
        timer: set[asyncio.Future[Any]] | None = None
        lane: Lane | None = None
        began = self._loop.time()
        try:
            ready = self._open[which]
            if ready is None or ready.over() or not self._fit(ready, which):
                ready = await self._fresh(which, due)
            lane = ready
            lane.live += 1
            future = lane.put(said)
            if due is not None:
                left = due - self._loop.time()  # less than when it began: the lane may have been opened meanwhile
                timer = self._timers.add(left, future)
            await future
        except TimeoutError:
            # Not a word since: nobody shall wait for this lane any more.
            if lane is not None and lane.heard == said.heard:
                self._leave(lane)
            raise
        except asyncio.CancelledError:
            if lane is not None and lane.heard == said.heard and self._loop.time() - began > SILENCE:
                self._leave(lane)
            raise
        finally:
            places.leave()
            if timer is not None and said.future is not None:
                timer.discard(said.future)
            if lane is not None:
                lane.live -= 1
                if lane.leaving and lane.live == 0:
                    self._left(lane)
        if said.name is not None:
            self._remember(said.name, said.replies[0])
        return lane

    async def _once_more(self, said: Said, commands: Sequence[Command], lane: Lane, due: float | None) -> None:
        """The server has told somebody of this lane that it does not know us."""
        at = next((i for i, reply in enumerate(said.replies) if self._dial.refusal(reply)), None)
        self._leave(lane)
        if at is None or self._dial.sign_in is None:
            return
        rest = commands[at:]
        again = self._said(rest)
        try:
            lane = await self._through(again, rest, due)
            if lane.forgot:
                self._leave(lane)
        finally:
            said.replies[at:] = again.replies
            said.sent = said.sent or again.sent

    def _remember(self, name: bytes, reply: Any) -> None:
        if type(reply) is bytes and len(reply) > APART:
            self._large[name] = None
            self._large.move_to_end(name)
            if len(self._large) > KNOWN:
                self._large.popitem(last=False)
        elif self._large:
            self._large.pop(name, None)

    # --- lanes -------------------------------------------------------------------------------------------------------

    def _fit(self, lane: Lane, which: int) -> bool:
        """Whether it is signed in with the newest login, and was not idle for too long."""
        dial = self._dial
        if dial.idle_at_most:
            now = self._loop.time()
            idle, self._used[which] = now - self._used[which], now
            if lane.live == 0 and idle > dial.idle_at_most:
                self._leave(lane)
                return False
        return dial.sign_in is None or dial.sign_in.is_newest(lane.connection)

    async def _fresh(self, which: int, due: float | None) -> Lane:
        """A lane that is open, alive, and signed in with the newest login. Raises TimeoutError, and what `Dial` raises."""
        sign_in = self._dial.sign_in
        former = self._opening[which]
        while True:
            lane = self._open[which]
            if lane is None or lane.over():
                lane = await self._opened(which, due, former)
                if lane is None:
                    continue
            if sign_in is not None and not sign_in.is_newest(lane.connection):
                async with asyncio.timeout_at(due):
                    login, generation = await sign_in.newest()
                if lane.over() or lane.leaving:
                    continue
                if not sign_in.is_newest(lane.connection):  # others may have come first
                    self._sign_in_again(lane, sign_in, login, generation)
            return lane

    def _sign_in_again(self, lane: Lane, sign_in: SignIn, login: tuple[str, ...], generation: int) -> None:
        """In the order of replies it stands before whatever is said next, so it need not be waited for."""
        sign_in.note(lane.connection, generation)
        said = Said(packed(self._dial.encoder, [("AUTH", *login)]), 1)
        lane.put(said)
        assert said.future is not None

        def told(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and future.exception() is None and self._dial.refusal(said.replies[0]):
                sign_in.refused(generation)

        said.future.add_done_callback(told)

    async def _opened(self, which: int, due: float | None, former: "asyncio.Task[Lane | None] | None") -> Lane | None:
        """One attempt, which all callers wait for and none of them ends. None where there is to be another: it took too long, or it is the ``former``,
        which was under way when the caller came, and has failed: what that says may be over."""
        if self._ended:  # it waited for a place meanwhile: nobody would close what is opened now
            raise ConnectionResetError("the connection was closed")
        task = self._opening[which]
        if task is None:
            task = self._loop.create_task(self._attempt(which), name="thermocline redis lane", context=Context())
            task.add_done_callback(_looked_at)
            self._opening[which] = task
        await asyncio.wait([task], timeout=None if due is None else max(0.0, due - self._loop.time()))
        if not task.done():
            raise TimeoutError
        if task.cancelled():
            raise ConnectionResetError("the connection was closed")
        return None if task is former and task.exception() is not None else task.result()

    async def _attempt(self, which: int) -> Lane | None:
        dial = self._dial
        connection = dial.make()
        limit = asyncio.timeout(OPENING)
        try:
            async with limit:
                await (connection.connect() if dial.sign_in is None else dial.sign_in.ready(connection))
            lane = dial.lane(connection)
        except BaseException as error:
            await hang_up(connection)
            if isinstance(error, TimeoutError) and limit.expired():
                return None
            raise
        finally:
            self._opening[which] = None
        self._begin(lane, which)
        return lane

    def _begin(self, lane: Lane, which: int) -> None:
        self._there.add(lane)
        lane.gone.add_done_callback(lambda _: self._there.discard(lane))
        self._open[which] = lane
        self._used[which] = self._loop.time()

    def _leave(self, lane: Lane) -> None:
        """Say nothing more over it. Calls that wait there go on waiting; with the last of them it is closed."""
        if lane.leaving:
            return
        lane.leaving = True
        self._open = [None if one is lane else one for one in self._open]
        if lane.live == 0:
            lane.close()
            return
        self._leaving.append(lane)
        if len(self._leaving) > LEAVING:
            self._leaving.pop(0).close()

    def _left(self, lane: Lane) -> None:
        lane.close()
        with contextlib.suppress(ValueError):
            self._leaving.remove(lane)


def _looked_at(task: "asyncio.Task[Lane | None]") -> None:
    """Who began it may have gone: that nobody asks for its error any more is no fault."""
    if not task.cancelled():
        task.exception()
