"""Reads of one tick of the event loop travel together: each key is asked for once, all of them by one MGET, and every caller goes on from the answer.

A read that finds nothing under way goes out by itself, at once. While others are under way, or were a moment ago, a read joins the next *wave*, which
leaves at the end of the tick. Nobody is given the answer to a question that was sent before he asked (P3, P6), for only waves that have not left are
joined. A wave belongs to the client: a caller who is cancelled takes himself out of it and disturbs nobody (P10).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from datetime import timedelta
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.batch import CHUNK, Batches
from thermocline.client.cascade import UNASKED, Cascade, Peeked
from thermocline.client.engine import Engine
from thermocline.client.errands import Errands
from thermocline.client.guard import Guard
from thermocline.client.recovery import Recovery
from thermocline.client.result import Answer
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, ThermoclineError
from thermocline.model import Authority, Envelope, Header, Key, MemoryTier
from thermocline.policy import Plan

MOST: Final = 500  # keys of one wave: Redis answers nobody else meanwhile
TOGETHER: Final = 3  # missed keys from which on they go below by one call

_HOT: Final = str(MemoryTier.HOT)
_RECORDS: Final = Authority.HOT
_TIMES: Final = (int, float, timedelta)

Lifetime = timedelta | float | None
Turn = asyncio.Future["Envelope | Left"]
Row = tuple[Plan, list[Turn]]
Missed = tuple[Key, Plan, list[Turn]]
Peek = Callable[..., Awaitable[Sequence[Envelope | ThermoclineError | None]]]


class Left:
    """What a caller is told whom the wave's answer does not serve: to go on by himself from what was ``peeked``, or from the ``answer`` that the wave
    went and got for several callers."""

    __slots__ = ("answer", "peeked")

    def __init__(self, peeked: Peeked, answer: Answer | None = None) -> None:
        self.peeked = peeked
        self.answer = answer


ALONE: Final = Left(UNASKED)


class _Wave:
    """What leaves together: the callers by their keys."""

    __slots__ = ("deadline", "loop", "rows")

    def __init__(self, deadline: Deadline, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline = deadline
        self.loop = loop
        self.rows: dict[Key, Row] = {}


class Waves:
    """The waves of one client. ``under_way``: reads that are on their way by themselves, and waves. ``crowded``: the last wave had several callers, who
    will come back together; the first of them does not run ahead. Not thread-safe; of one event loop."""

    __slots__ = (
        "_batches",
        "_cascade",
        "_closed",
        "_engine",
        "_errands",
        "_guard",
        "_next",
        "_peek",
        "_read",
        "_recovery",
        "crowded",
        "under_way",
    )

    def __init__(self, engine: Engine, cascade: Cascade, batches: Batches, recovery: Recovery) -> None:
        self._engine = engine
        self._cascade = cascade
        self._batches = batches
        self._recovery = recovery
        self._next: dict[Lifetime, _Wave] = {}
        self._errands = Errands()
        self._closed = False
        self.under_way = 0
        self.crowded = False
        guard = engine.guards.get(MemoryTier.HOT)
        self._guard: Guard | None = guard
        self._peek: Peek | None = None if engine.hot is None else engine.hot.peek_many
        records = engine.authorities.get(Authority.HOT)
        self._read: Peek | None = None if records is None else records.read_many

    def join(self, key: Key, plan: Plan, timeout: Lifetime) -> Turn | None:
        """Take part in the next wave of those with this ``timeout``, which is the wave's. What comes is a live envelope, not a pointer; or `Left`.
        None: this read goes alone, for hot is not asked for it, or there is something wrong with the timeout."""
        if not (plan.uses_hot or plan.authority is _RECORDS) or self._recovery.blind(key):
            return None
        wave = self._next.get(timeout) if timeout is None or type(timeout) in _TIMES else None
        if wave is None:
            if timeout is not None and type(timeout) not in _TIMES:
                return None
            if self._closed:
                raise _closed()
            wave = self._next[timeout] = _Wave(self._engine.budget.call(timeout), asyncio.get_running_loop())
            wave.loop.call_soon(self._leave, timeout, context=_NO_CONTEXT)
        turn: Turn = asyncio.Future(loop=wave.loop)
        row = wave.rows.get(key)
        if row is None:
            wave.rows[key] = (plan, [turn])
        else:
            row[1].append(turn)
        return turn

    def _leave(self, timeout: Lifetime) -> None:
        """The tick is over: the wave goes out, hot's copies and hot's own records each by a call of their own."""
        wave = self._next.pop(timeout, None)
        if wave is None:
            return
        rows = wave.rows
        if len(rows) == 1:  # it would be alone: its caller goes by himself, and so could not be disturbed by others
            _, only = next(iter(rows.values()))
            if len(only) == 1:
                self.crowded = False
                _give(only, ALONE)
                return
        self.crowded = True
        copies = {key: row for key, row in rows.items() if row[0].uses_hot}
        records = {key: row for key, row in rows.items() if not row[0].uses_hot}
        for some, ask in ((copies, self._peek), (records, self._read)):
            keys, turns = list(some), list(some.values())
            for at in range(0, len(keys), MOST):
                assert ask is not None
                these = turns[at : at + MOST]
                self._start(self._ride(keys[at : at + MOST], these, ask, wave.deadline), [row[1] for row in these])

    def _start(self, work: Coroutine[Any, Any, None], waiting: list[list[Turn]]) -> None:
        def told() -> None:
            for turns in waiting:
                _fail(turns, _closed())

        self._errands.begin("wave", work, told)

    async def _ride(self, keys: list[Key], rows: list[Row], ask: Peek, deadline: Deadline) -> None:
        engine, guard = self._engine, self._guard
        assert guard is not None
        copied = ask is self._peek
        self.under_way += 1
        try:
            asking = guard.call("get", ask, keys, deadline=deadline, again=True)
            if engine.near is not None:
                asking = engine.near.through_many(keys, (plan for plan, _ in rows), asking)
            answers = await asking
        except ThermoclineError as error:
            answers = [error] * len(keys)
        except BaseException:
            for _, turns in rows:
                _fail(turns, _closed())
            raise
        finally:
            self.under_way -= 1
        now, seen = engine.now_ms(), engine.floors.seen
        callers = hits = 0
        missed: dict[int, list[Missed]] = {}
        for (plan, turns), key, found in zip(rows, keys, answers, strict=True):
            callers += len(turns)
            if type(found) is Envelope and _is_plain(found.header, plan, now) and seen(key, found.header.version):
                hits += len(turns)
                _give(turns, found)
            elif found is None and copied and self._batches.goes_below_together(plan):
                missed.setdefault(id(plan), []).append((key, plan, turns))
            else:
                self._go_on(key, plan, turns, found, deadline)
        # What is read of records by those who go on by themselves they count themselves.
        engine.stats.count(telemetry.READS, _HOT, callers if copied else hits)
        if hits:
            engine.stats.count(telemetry.HITS, _HOT, hits)
        for group in missed.values():
            for at in range(0, len(group), CHUNK):
                self._go_below(group[at : at + CHUNK], deadline)

    def _go_on(self, key: Key, plan: Plan, turns: list[Turn], found: Peeked, deadline: Deadline) -> None:
        """A key whose answer is not simply a value: its only caller goes on by himself; of several, one read of the client goes on for all."""
        waiting = [turn for turn in turns if not turn.done()]
        if len(waiting) == 1:
            waiting[0].set_result(Left(found))
        elif waiting:
            self._engine.stats.count(telemetry.FLIGHTS_SHARED, "client", len(waiting) - 1)
            self._start(self._together(key, plan, waiting, found, deadline), [waiting])

    def _go_below(self, group: list[Missed], deadline: Deadline) -> None:
        """Keys of one plan that hot does not have, where the authority answers for many by one call."""
        if len(group) < TOGETHER:
            for key, plan, turns in group:
                self._go_on(key, plan, turns, None, deadline)
        else:
            self._start(self._below(group, deadline), [turns for _, _, turns in group])

    async def _below(self, group: list[Missed], deadline: Deadline) -> None:
        engine, plan = self._engine, group[0][1]
        callers = sum(len(turns) for _, _, turns in group)
        engine.stats.count(telemetry.MISSES, _HOT, callers)
        engine.stats.count(telemetry.FLIGHTS_SHARED, "client", callers - len(group))
        try:
            found = await self._batches.below(plan, [key for key, _, _ in group], deadline)
        except ThermoclineError as error:
            for _, _, turns in group:
                _fail(turns, error)
            return
        except BaseException as error:
            for _, _, turns in group:
                _fail(turns, _closed() if isinstance(error, asyncio.CancelledError) else error)
            raise
        for key, _, turns in group:
            came = found[key]
            if isinstance(came, ThermoclineError):
                _fail(turns, came)
            else:
                version = 0 if came is None else came.version
                _give(turns, Left(UNASKED, Answer(came, plan.tier, version)))

    async def _together(self, key: Key, plan: Plan, turns: list[Turn], found: Peeked, deadline: Deadline) -> None:
        try:
            answer = await self._cascade.read(key, plan, deadline, peeked=found)
        except ThermoclineError as error:
            _fail(turns, error)
        except BaseException as error:
            _fail(turns, _closed() if isinstance(error, asyncio.CancelledError) else error)
            raise
        else:
            _give(turns, Left(UNASKED, answer))

    async def close(self) -> None:
        """Begin no more, and end those under way: their callers get `ClientClosed`. Idempotent."""
        self._closed = True
        waiting, self._next = self._next, {}
        for wave in waiting.values():
            for _, turns in wave.rows.values():
                _fail(turns, _closed())
        await self._errands.close()


_NO_CONTEXT: Final = Context()


def _is_plain(header: Header, plan: Plan, now_ms: int) -> bool:
    """Whether it is a value that may be served as it is (`serve` says so of all else): of this plan's authority, no pointer, not past its end."""
    return header.flags == 0 and header.authority is plan.authority and not 0 < header.expires_ms <= now_ms


def _give(turns: list[Turn], result: Envelope | Left) -> None:
    for turn in turns:
        if not turn.done():
            turn.set_result(result)


def _fail(turns: list[Turn], error: BaseException) -> None:
    for turn in turns:
        if not turn.done():
            turn.set_exception(error)
            turn.exception()  # seen: its caller may be cancelled in this very tick


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed while this read was under way; make a new one")
