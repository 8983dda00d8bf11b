"""Calls that arrive while one of their kind is under way in the executor go there together, in one job (group commit, for writes).

Nobody waits for company: where nothing is under way, a call goes at the end of the event loop's turn, with whatever else came in that turn. A job's
answers are per call, so callers may leave at any time and disturb nobody.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from thermocline.clock import Deadline
from thermocline.resilience.timers import Timers

Call = TypeVar("Call")
Answer = TypeVar("Answer")


class Gathering(Generic[Call, Answer]):
    """One line of calls, of one event loop.

    ``submit`` puts a job into the executor; should it raise, the job's callers are told. ``work`` carries out some calls in order, in the executor,
    and answers each; it raises nothing but bugs. ``most`` calls go together, or as many as are ``full`` together by ``size``.
    """

    def __init__(
        self,
        submit: Callable[[Callable[[], list[Answer]]], "asyncio.Future[list[Answer]]"],
        work: Callable[[Sequence[Call]], list[Answer]],
        *,
        most: int,
        size: Callable[[Call], int],
        full: int,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._submit, self._work = submit, work
        self._most, self._size, self._full = most, size, full
        self._timers = Timers(self.loop)
        self._waiting: list[tuple[Call, asyncio.Future[Answer]]] = []
        self._under_way = 0
        self._due = False

    async def join(self, call: Call, deadline: Deadline) -> Answer:
        """The answer. Who is cancelled, or leaves with a bare TimeoutError when the deadline passes, is out of the line where his job has not begun."""
        answer: asyncio.Future[Answer] = self.loop.create_future()
        timer = None if deadline.at == math.inf else self._timers.add(deadline.remaining(), answer)
        self._waiting.append((call, answer))
        if not self._due and not self._under_way:
            self._due = True
            self.loop.call_soon(self._next)
        try:
            return await answer
        finally:
            if timer is not None:
                timer.discard(answer)

    def flush(self) -> None:
        """Put all that waits into the executor now, behind what is under way."""
        while self._waiting:
            self._go()

    def _next(self) -> None:
        self._due = False
        while (
            self._waiting and not self._under_way
        ):  # again where all who were taken had left, or the executor refused them
            self._go()

    def _go(self) -> None:
        taken: list[tuple[Call, asyncio.Future[Answer]]] = []
        weight = 0
        for pair in self._waiting:
            weight += self._size(pair[0])
            if taken and (len(taken) >= self._most or weight > self._full):
                break
            taken.append(pair)
        del self._waiting[: len(taken)]
        taken = [pair for pair in taken if not pair[1].done()]
        if not taken:
            return
        calls = [call for call, _ in taken]
        try:
            job = self._submit(lambda: self._work(calls))
        except Exception as error:  # noqa: BLE001 - the callers get it, whatever it is
            for _, answer in taken:
                answer.set_exception(error)
            return
        self._under_way += 1

        def done(job: "asyncio.Future[list[Answer]]") -> None:
            self._under_way -= 1
            failure = asyncio.CancelledError() if job.cancelled() else job.exception()
            answers = [] if failure is not None else job.result()
            for place, (_, answer) in enumerate(taken):
                if answer.done():
                    continue
                if failure is not None:
                    answer.set_exception(failure)
                else:
                    answer.set_result(answers[place])
            self._next()

        job.add_done_callback(done)
