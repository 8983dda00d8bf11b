"""Waiting for who is on his way: a reader that finds another's lease does not ask the authority too, but waits for what the other brings.

One waits for all readers of a key in this client. It waits for the landing where the lease is this client's own flight's; else it looks again, after pauses
that grow, until there is a value, the lease is free (then this client's readers fly, under that lease) or a write is announced (then they ask the authority,
as ever). Nobody is given what was looked at before he came (P3, P6). A caller waits for half of what is left of his deadline at most, and then asks the
authority himself; and all of them ask it when two holders have gone and left no value, as of a key that is not there: a third would bring none either.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from thermocline import telemetry
from thermocline.client.engine import LEASE_MS, Engine
from thermocline.client.errands import Errands
from thermocline.client.leases import in_doubt
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, ThermoclineError, TierUnavailable
from thermocline.model import Key, MemoryTier
from thermocline.policy import Plan
from thermocline.protocols import Busy, Found, Leased, Look

FIRST_PAUSE: Final = 0.003  # seconds before hot is looked at again; doubled each time
LONGEST_PAUSE: Final = 0.05
SHARE: Final = 0.5  # of what is left of a call's deadline: the longest that it waits for another's lease
HOLDERS: Final = 2  # that are waited for, one after the other


def waits_for(plan: Plan) -> bool:
    """Whether readers of this plan wait for each other: where what one brings is for all, and the authority may be asked."""
    rules = plan.rules
    return rules.promote_on_read and rules.promote_after == 1 and rules.read_fallback


class Seen(NamedTuple):
    """What a look found, and the token that it bore: the lease's, if it is one."""

    found: Found | None
    token: str


Turn = asyncio.Future[Seen]
Landing = Callable[[Key, str | None], "asyncio.Future[Any] | None"]
"""The end of this client's own flight under that lease (None: under any), if there is one."""


Orphaned = Callable[[list[tuple[Key, str]]], None]


class _Watch:
    """Who waits for one key. ``turns``: those whom the next look is for."""

    __slots__ = ("floor", "turns")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.turns: list[Turn] = []


class Waits:
    """The looks of one client, and the waiting that follows from them."""

    def __init__(self, engine: Engine, landing: Landing, orphaned: Orphaned = lambda pairs: None) -> None:
        self._engine = engine
        self._orphaned = orphaned  # told of a look whose answer nobody has
        self._landing = landing
        self._watches: dict[Key, _Watch] = {}
        self._errands = Errands()
        self._closed = False

    def __len__(self) -> int:
        """Keys that are waited for."""
        return len(self._watches)

    async def look(self, key: Key, plan: Plan, deadline: Deadline) -> Seen:
        """What hot has for a reader who comes now: a value, the lease, or `Busy`, with which he has to ask the authority. Raises what the look raises."""
        patient = waits_for(plan)
        watch = self._watches.get(key) if patient else None
        if watch is None:
            seen = await self._look(key, deadline)
            found = seen.found
            if not patient or not isinstance(found, Busy) or not found.leased:
                return seen
            watch = self._watches.get(key)
            if watch is None:
                watch = self._begin(key, found)
        return await self._wait(watch, deadline)

    async def _look(self, key: Key, deadline: Deadline) -> Seen:
        engine, token = self._engine, self._engine.token()
        assert engine.hot is not None
        look = Look(key, token, LEASE_MS)
        try:
            found = await engine.guards[MemoryTier.HOT].call("look", engine.hot.operate, look, deadline=deadline)
        except (asyncio.CancelledError, TierUnavailable) as error:
            if not isinstance(error, TierUnavailable) or in_doubt(error):
                self._orphaned([(key, token)])
            raise
        return Seen(found, token)

    async def _wait(self, watch: _Watch, deadline: Deadline) -> Seen:
        self._engine.stats.count(telemetry.LEASES_AWAITED, MemoryTier.HOT)
        turn: Turn = asyncio.get_running_loop().create_future()
        watch.turns.append(turn)
        left = deadline.remaining()
        patience = asyncio.timeout(None if left == math.inf else left * SHARE)
        try:
            async with patience:
                return await turn
        except TimeoutError:
            if not patience.expired():  # it is hot's: the look had no answer
                raise
            return Seen(Busy(watch.floor), "")

    def _begin(self, key: Key, found: Busy) -> _Watch:
        if self._closed:
            raise _closed()
        watch = self._watches[key] = _Watch(found.floor)
        work = self._watch(key, watch, found.holder)  # for all who wait: not in the context of the one who came first

        def told() -> None:
            if self._watches.get(key) is watch:
                del self._watches[key]
            _tell_closed(watch.turns)

        self._errands.begin("wait", work, told)
        return watch

    async def _watch(self, key: Key, watch: _Watch, holder: str | None) -> None:
        holders, pause = 1, FIRST_PAUSE
        turns: list[Turn] = []
        try:
            while True:
                await self._pause(key, holder, pause)
                turns = [turn for turn in watch.turns if not turn.done()]
                if not turns:
                    return
                watch.turns = []
                seen = await self._seen(key, turns)
                found = seen.found if seen is not None else None
                if isinstance(found, Busy) and found.leased:
                    watch.floor = max(watch.floor, found.floor)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    if found.holder != holder:
                        holder, pause = found.holder, FIRST_PAUSE
                        holders += 1
                    if holders <= HOLDERS:
                        watch.turns[:0] = turns
                        continue
                if seen is not None:
                    if isinstance(found, Leased):  # those who came meanwhile can fly with the others, who have not left
                        turns, watch.turns = turns + watch.turns, []
                        if all(turn.done() for turn in turns):
                            self._orphaned([(key, seen.token)])
                    _give(turns, seen)
                if not watch.turns:
                    return
                holder, holders, pause = None, 0, 0.0  # whoever came during this look has seen nothing yet
        finally:
            self._watches.pop(key, None)
            _tell_closed([*turns, *watch.turns])

    async def _seen(self, key: Key, turns: list[Turn]) -> Seen | None:
        """A look for these; None: it failed, and they have been told."""
        try:
            return await self._look(key, self._engine.hot_deadline())
        except ThermoclineError as error:
            for turn in turns:
                if not turn.done():
                    turn.set_exception(error)
                    turn.exception()
            return None

    async def _pause(self, key: Key, holder: str | None, pause: float) -> None:
        """Until this client's own flight under that lease has landed; of another's, for a while."""
        landing = self._landing(key, holder)
        if landing is not None:
            await asyncio.wait([landing])
        elif pause:
            await asyncio.sleep(pause * (0.5 + self._engine.tokens.random()))

    async def close(self) -> None:
        """Who still waits gets `ClientClosed`."""
        self._closed = True
        await self._errands.close()


def _give(turns: list[Turn], seen: Seen) -> None:
    for turn in turns:
        if not turn.done():
            turn.set_result(seen)


def _tell_closed(turns: list[Turn]) -> None:
    for turn in turns:
        if not turn.done():
            turn.set_exception(_closed())
            turn.exception()  # seen: its caller may be cancelled in this very tick


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed while this read was under way; make a new one")
