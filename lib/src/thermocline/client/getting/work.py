"""What one run does: take the key's hold, so that no other process is at the same work; let the factory make the value; store it unless another was faster."""

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.cascade import Cascade
from thermocline.client.engine import Engine
from thermocline.client.getting.options import Options
from thermocline.client.runs import Run, moment
from thermocline.client.writer import Writer
from thermocline.clock import Deadline
from thermocline.errors import (
    Conflict,
    CorruptRecord,
    FactoryTimeout,
    Forgotten,
    TierUnavailable,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.model import Authority, Envelope, Key, MemoryTier
from thermocline.policy import Plan, Serve, serve
from thermocline.protocols import Holds, Verb

log = logging.getLogger("thermocline.client")

HOLD_MS: Final = 5_000  # renewed while the factory is at work; so long the death of its process keeps others from it
RENEWED: Final = 1.5  # seconds between the renewals
LONGEST_RUN: Final = 300.0  # seconds after which a factory is ended
_FIRST_PAUSE: Final = 0.01  # seconds before a hold that another has is tried again; doubled each time
_LONGEST_PAUSE: Final = 0.25

Seal = Callable[..., Any]
Adopt = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is to make. ``read``: the value that is there, None: there is none."""

    key: Key
    plan: Plan
    factory: Callable[[], Any]
    options: Options
    read: Envelope | None


class Hold(Enum):
    """How a run came to its hold."""

    TAKEN = "taken"
    WAITED_FOR = "waited_for"  # another had it, and has it no more
    ELSEWHERE = "elsewhere"  # another has it, and nobody waits here
    UNKNOWN = "unknown"  # hot cannot be asked: only this client's callers are one run


class Workshop:
    """The work of one client's runs. ``seal`` and ``adopt`` are `MemoryClient.set`'s."""

    def __init__(self, engine: Engine, cascade: Cascade, writer: Writer, seal: Seal, adopt: Adopt) -> None:
        self._engine = engine
        self._cascade = cascade
        self._writer = writer
        self._seal = seal
        self._adopt = adopt

    async def make(self, run: Run, order: Order) -> Envelope:
        """The value, with its payload, as it is stored now. Raises what the factory raises, `FactoryTimeout`, and what `set` raises for a value that
        cannot be stored; one that could not be stored for an outage is returned all the same."""
        engine, key, plan = self._engine, order.key, order.plan
        if plan.legacy is not None:
            deadline = engine.budget.call(order.options.timeout)
            if await self._adopt(key, plan, deadline):
                run.read_at = moment()
                adopted = await self._read(order)
                if adopted is not None and order.read is None:
                    return adopted
                order = replace(order, read=adopted)
        async with AsyncExitStack() as stack:
            holds = self._holds(plan)
            if holds is not None:
                token = engine.token()
                try:
                    waited = await self._take(run, holds, token)
                except asyncio.CancelledError:  # it may have been taken just now: nobody is to wait for this run
                    await self._release(holds, key, token)
                    raise
                if waited is Hold.ELSEWHERE and order.read is not None:
                    run.read_at = 0
                    return order.read
                if waited is not Hold.UNKNOWN:
                    stack.push_async_callback(self._release, holds, key, token)
                    run.read_at = moment()
                    found = await (self._read(order) if waited is Hold.WAITED_FOR else self._glance(order))
                    if found is not None and (order.read is None or found.version > order.read.version):
                        return found  # another was at it meanwhile
                    if waited is Hold.WAITED_FOR:
                        order = replace(order, read=found)
                    await stack.enter_async_context(_Keeper(self, holds, key, token))
            run.at_work, run.read_at = True, None
            begun_ms = engine.now_ms()
            engine.stats.count(telemetry.FACTORY_RUNS, telemetry.CLIENT)
            try:
                value = await _made(order.factory)
            except BaseException:
                engine.stats.count(telemetry.FACTORY_FAILED, telemetry.CLIENT)
                raise
            return await self._store(run, order, value, begun_ms)

    # --- the hold ----------------------------------------------------------------------------------------------------

    def _holds(self, plan: Plan) -> Holds | None:
        hot: object = self._engine.hot
        used = plan.uses_hot or plan.authority is Authority.HOT
        return hot if used and isinstance(hot, Holds) else None

    async def _take(self, run: Run, holds: Holds, token: str) -> "Hold":
        """Take the hold, as soon as nobody else has it; a refresh that nobody waits for leaves it to who has it."""
        engine, took, pause = self._engine, Hold.TAKEN, _FIRST_PAUSE
        while True:
            try:
                if await self.hold(holds, run.key, token):
                    return took
            except TierUnavailable:
                return Hold.UNKNOWN
            if run.refreshes and not run.callers:
                return Hold.ELSEWHERE
            took = Hold.WAITED_FOR
            await asyncio.sleep(pause * (0.5 + engine.tokens.random()))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def hold(self, holds: Holds, key: Key, token: str) -> bool:
        """Take it, or renew one's own."""
        engine = self._engine
        guard, deadline = engine.guards[MemoryTier.HOT], engine.hot_deadline()
        return await guard.call("hold", holds.take_hold, key, token, HOLD_MS, deadline=deadline, again=True)

    async def _release(self, holds: Holds, key: Key, token: str) -> None:
        engine = self._engine
        guard, deadline = engine.guards[MemoryTier.HOT], engine.hot_deadline()
        try:
            await guard.call("hold", holds.release_hold, key, token, deadline=deadline, again=True)
        except TierUnavailable as error:
            log.debug("a hold could not be released, and runs out: %s", error)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, order: Order) -> Envelope | None:
        """What is there now, for which the authority is asked if it must be."""
        return await found_of(self._cascade, order.key, order.plan, self._engine.budget.call(order.options.timeout))

    async def _glance(self, order: Order) -> Envelope | None:
        """What hot has now: one command, for who was quicker than the hold."""
        engine, key, plan = self._engine, order.key, order.plan
        if not plan.uses_hot or engine.hot is None:
            return await self._read(order)
        deadline = engine.hot_deadline()
        try:
            found = await engine.guards[MemoryTier.HOT].call("get", engine.hot.peek, key, deadline=deadline, again=True)
        except (TierUnavailable, CorruptRecord, UnreadableRecord):
            return None
        if (
            found is None
            or serve(found, now_ms=engine.now_ms(), floor=engine.floors.get(key), plan=plan) is not Serve.VALUE
        ):
            return None
        return await self._cascade.resolve(found, plan, engine.budget.call(order.options.timeout))

    # --- storing -----------------------------------------------------------------------------------------------------

    async def _store(self, run: Run, order: Order, value: Any, begun_ms: int) -> Envelope:
        engine, key, plan, read = self._engine, order.key, order.plan, order.read
        sealed: Envelope = await self._seal(key, value, plan, order.options.ttl, order.options.tags)
        deadline = engine.budget.call(order.options.timeout)
        version = 0 if read is None else read.version
        try:
            intent = await self._writer.intent(
                Verb.PUT, sealed, plan, deadline, if_version=version or None, if_absent=not version
            )
            intent.begun_ms = begun_ms  # what the factory saw may be as old
            await self._writer.carry_out(intent, deadline)
        except Forgotten:
            raise
        except Conflict:
            read_at = moment()
            found = await self._read(order)  # another was faster: his value counts, and a deletion too
            if found is None:
                return sealed
            run.read_at = read_at
            return found
        except (TierUnavailable, UnknownOutcome) as error:
            engine.stats.count(telemetry.FACTORY_UNSAVED, telemetry.CLIENT)
            log.warning("a value that a factory has made could not be stored: %s", type(error).__name__)
            return sealed
        return intent.inline


class _Keeper:
    """Renews a hold while the factory is at work; one that hot has lost is taken again."""

    __slots__ = ("_given", "_shop", "_task")

    def __init__(self, shop: Workshop, holds: Holds, key: Key, token: str) -> None:
        self._shop = shop
        self._given = (holds, key, token)

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._keep(), name="thermocline hold", context=Context())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEWED)
            try:
                await self._shop.hold(*self._given)
            except TierUnavailable as error:
                log.debug("a hold could not be renewed: %s", error)

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def found_of(cascade: Cascade, key: Key, plan: Plan, deadline: Deadline) -> Envelope | None:
    """The value that is there, with its payload; the authority has the last word, also where a route's reads do not ask it."""
    if not plan.rules.read_fallback:
        plan = replace(plan, rules=replace(plan.rules, read_fallback=True))
    found = (await cascade.read(key, plan, deadline)).envelope
    return found if found is None or not found.pointer else await cascade.resolve(found, plan, deadline)


async def _made(factory: Callable[[], Any]) -> Any:
    """What the factory returns; a plain function runs in a thread. Raises what it raises, and `FactoryTimeout` after five minutes or if it cancels itself."""
    limit = asyncio.timeout(LONGEST_RUN)
    try:
        async with limit:
            made = factory() if _is_async(factory) else await asyncio.to_thread(_called, factory)
            return await made if inspect.isawaitable(made) else made
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise FactoryTimeout(f"the factory has made no value within {LONGEST_RUN:g} s, and was ended") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise FactoryTimeout("the factory was cancelled from within and has made no value; ask again") from error


def _called(factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except (
        StopIteration
    ) as error:  # no future takes one: its waiter would wait for ever; a coroutine's becomes the same
        raise RuntimeError("the factory raised StopIteration") from error


def _is_async(factory: Any) -> bool:
    return inspect.iscoroutinefunction(factory) or inspect.iscoroutinefunction(getattr(factory, "__call__", None))  # noqa: B004
