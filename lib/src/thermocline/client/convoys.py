"""What is told to hot in one tick of the event loop goes there together: announcements, what ends them, settles, and writes of records that live in hot alone.

Nearly the same rule as of reads (waves.py): who finds nothing of his kind under way goes at once and by himself; else he joins the convoy that leaves at the
end of the tick, as one pipelined call in which each operation is atomic and answers for itself (P8). A caller who is cancelled disturbs nobody; his operation
may take effect all the same, as it may when it is on its way alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Final, Generic, TypeVar

from thermocline import telemetry
from thermocline.client.errands import Errands
from thermocline.client.guard import Guard
from thermocline.clock import Clock, Deadline
from thermocline.errors import ClientClosed, ThermoclineError
from thermocline.protocols import Entries, EntryOperation, Found, Versions, Write, Written

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST: Final = 100  # operations of one convoy: Redis answers nobody else meanwhile
ALIKE: Final = 0.1  # of the time that is left: by how much the deadlines of one convoy may differ
_NO_CONTEXT: Final = Context()


class _Alone:
    """The convoy would have had one member: he goes by himself."""


_ALONE: Final = _Alone()


class Convoy(Generic[Item, Answer]):
    """Calls of one kind. ``many`` answers each item by its answer or its error, in their order. Not thread-safe; of one event loop."""

    __slots__ = (
        "_clock",
        "_closed",
        "_deadline",
        "_errands",
        "_guard",
        "_many",
        "_one",
        "_paced",
        "_times",
        "_turns",
        "_under_way",
        "_verb",
    )

    def __init__(
        self,
        guard: Guard,
        clock: Clock,
        verb: str,
        one: Callable[..., Awaitable[Answer]],
        many: Callable[..., Awaitable[Sequence[Answer | ThermoclineError]]],
        *,
        times: float = 1.0,
        paced: bool = False,
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._verb = verb
        self._one = one
        self._many = many
        self._times = times
        self._paced = paced
        self._turns: list[tuple[Item, asyncio.Future[Any]]] = []
        self._deadline: Deadline | None = None  # of those who wait to leave: the earliest
        self._errands = Errands()
        self._under_way = 0
        self._closed = False

    async def call(self, item: Item, deadline: Deadline) -> Answer:
        """What the tier answers for this item; raises its error. One who has much less time than the others, or much more, goes by himself."""
        if self._under_way and self._fits(deadline):
            turn, trail = self._join(item, deadline), telemetry.trail()
            came = await (turn if trail is None else trail.follow(self._guard.name, self._verb, turn))
            if isinstance(came, ThermoclineError):
                raise came
            if not isinstance(came, _Alone):
                answer: Answer = came
                return answer
        self._under_way += 1
        try:
            return await self._guard.call(
                self._verb, self._one, item, deadline=deadline, times=self._times, paced=self._forced(), again=True
            )
        finally:
            self._under_way -= 1

    def _forced(self) -> bool:
        """Whether it goes out though the breaker is open: also where hot is left alone only for slowness, since others may be reading it."""
        return self._paced or self._guard.answers_slowly

    def _fits(self, deadline: Deadline) -> bool:
        if self._deadline is None:
            return True
        now = self._clock.monotonic()
        share = self._guard.share * self._times
        mine, theirs = min(deadline.at - now, share), min(self._deadline.at - now, share)
        return abs(mine - theirs) <= ALIKE * theirs

    def _join(self, item: Item, deadline: Deadline) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Any] = loop.create_future()
        if self._closed:
            raise _closed()
        if not self._turns:
            loop.call_soon(self._leave, context=_NO_CONTEXT)
        self._turns.append((item, turn))
        if self._deadline is None or deadline.at < self._deadline.at:
            self._deadline = deadline
        return turn

    def _leave(self) -> None:
        turns = [turn for turn in self._turns if not turn[1].done()]  # what was cancelled meanwhile is not sent
        self._turns = []
        deadline, self._deadline = self._deadline, None
        if deadline is None or not turns:
            return
        if len(turns) == 1:
            _answer(turns[0][1], _ALONE)
            return
        for at in range(0, len(turns), MOST):
            some = turns[at : at + MOST]
            self._errands.begin(self._verb, self._ride(some, deadline), partial(_tell_closed, some))

    async def _ride(self, turns: list[tuple[Item, "asyncio.Future[Any]"]], deadline: Deadline) -> None:
        self._under_way += 1
        answers: Sequence[Any]
        try:
            answers = await self._guard.call(
                self._verb,
                self._many,
                [item for item, _ in turns],
                deadline=deadline,
                times=self._times,
                paced=self._forced(),
                again=True,
            )
        except ThermoclineError as error:
            answers = [error] * len(turns)
        except BaseException:
            _tell_closed(turns)
            raise
        finally:
            self._under_way -= 1
        for (_, turn), answer in zip(turns, answers, strict=True):
            _answer(turn, answer)

    async def close(self) -> None:
        """Let nobody join any more, and end what is under way: its callers get `ClientClosed`. Idempotent."""
        self._closed = True
        turns, self._turns = self._turns, []
        self._deadline = None
        _tell_closed(turns)
        await self._errands.close()


class Convoys:
    """Those of one client. ``announce``, ``publish`` (a withdrawal too; it is tried though hot's breaker is open) and ``settle`` are for entries above an
    authority, ``write`` for records whose authority hot is, None where it is not."""

    def __init__(self, hot: Entries, records: Versions | None, guard: Guard, clock: Clock, *, shares: float) -> None:
        def of(verb: str, *, paced: bool = False) -> Convoy[EntryOperation, Found | None]:
            return Convoy(guard, clock, verb, hot.operate, hot.operate_many, paced=paced)

        self.announce = of("announce")
        self.publish = of("publish", paced=True)
        self.settle = of("settle")
        self.write: Convoy[Write, Written] | None = None
        if records is not None:
            self.write = Convoy(guard, clock, "write", records.write, records.write_many, times=shares)

    async def close(self) -> None:
        convoys: list[Convoy[Any, Any] | None] = [self.announce, self.publish, self.settle, self.write]
        for convoy in convoys:
            if convoy is not None:
                await convoy.close()


def _answer(turn: "asyncio.Future[Any]", answer: object) -> None:
    if not turn.done():
        turn.set_result(answer)


def _tell_closed(turns: Sequence[tuple[Any, "asyncio.Future[Any]"]]) -> None:
    for _, turn in turns:
        _answer(turn, _closed())


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed while this call was under way; make a new one")
