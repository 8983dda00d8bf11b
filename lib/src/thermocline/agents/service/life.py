"""The life of a service: its memory and its agent, from the app's start to its end."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI

from thermocline import telemetry
from thermocline.agents.service.mcp import McpRoutes
from thermocline.agents.service.memory.routes import MemoryRoutes
from thermocline.agents.service.plan import Plan
from thermocline.client import Health, MemoryClient, Verdict
from thermocline.errors import ClientClosed, ConfigurationError, TierUnavailable

log = logging.getLogger("thermocline.agents")

_AGAIN: Final = 1.0  # seconds between two attempts to start an agent whose memory cannot be reached
_FRESH: Final = 1.0  # seconds that a look at the memory's health is good for, however many probes ask


class Life:
    """What is made at the start. Nothing, before it and after the end."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.mcp = McpRoutes()
        self.routes = None if plan.memory_api is None else MemoryRoutes(plan.memory_api, plan.limits)
        self._memory: MemoryClient | None = None
        self._agent: Any = None
        self._started = False
        self._look: asyncio.Task[Health] | None = None
        self._looked = 0.0

    def agent(self) -> Any:
        """The agent. Raises `ClientClosed` while there is none, and `TierUnavailable` while its memory could not be reached yet."""
        if self._agent is None:
            raise ClientClosed(
                "the service does not run: its lifespan has not begun, or is over (a mounted app's lifespan is not run)"
            )
        if not self._started:
            raise TierUnavailable(
                "the agent has not started, as its memory cannot be reached", tier="lower", sent=False
            )
        return self._agent

    @asynccontextmanager
    async def run(self, app: FastAPI) -> AsyncIterator[Any]:
        """Make all, enter the lifespan that was given, and at the end close all in the opposite order, whatever fails."""
        self.mcp = McpRoutes()
        async with AsyncExitStack() as stack:
            memory = self._memory = self.plan.source.made()
            stack.push_async_callback(self._forget, memory)
            app.state.memory = memory
            if self.routes is not None:
                stack.push_async_callback(self.routes.end)
                app.state.jobs = self.routes.begin(memory)
            if self.plan.makings is None:
                self._started = True
            else:
                self._agent = app.state.agent = self.plan.agent(memory, self.mcp)
                await stack.enter_async_context(self._live(self._agent))
            given = self.plan.lifespan
            if given is None:
                yield None
                return
            around = asynccontextmanager(given) if inspect.isasyncgenfunction(given) else given
            yield await stack.enter_async_context(around(app))

    async def _forget(self, memory: MemoryClient) -> None:
        self._memory = self._agent = None
        self._started = False
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
            self._look = None
        if self.plan.source.client is None:
            await memory.close()

    @asynccontextmanager
    async def _live(self, agent: Any) -> AsyncIterator[None]:
        """The agent, entered and left in one task. With an authority that is down the service starts all the same, says so in ``/ready``, and goes on
        trying."""
        tried, end = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(self._keep(agent, tried, end), name="thermocline agent's life")
        first = asyncio.create_task(tried.wait())
        try:
            await asyncio.wait([task, first], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            yield
        finally:
            first.cancel()
            end.set()
            if not self._started:
                task.cancel()
            self._started = False
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def _keep(self, agent: Any, tried: asyncio.Event, end: asyncio.Event) -> None:
        while True:
            stack = AsyncExitStack()
            try:
                await stack.enter_async_context(agent)
                break
            except (TierUnavailable, TimeoutError) as error:
                if not tried.is_set():
                    why = telemetry.without_secrets(str(error))[:300]
                    log.warning("the agent's memory cannot be reached; the service waits for it: %s", why)
                tried.set()
                await asyncio.sleep(_AGAIN)
            except Exception as error:
                if tried.is_set():  # the service runs without: nobody hears of this before its end
                    log.error("the agent could not start: %s", type(error).__name__, exc_info=error)
                raise
        async with stack:
            self._started = True
            tried.set()
            await end.wait()

    async def health(self) -> tuple[Health, bool]:
        """The memory's, at most a second old, asked once for all who ask at the same time; and whether the agent has started."""
        memory = self._memory
        if memory is None:
            return Health(Verdict.DOWN, ("the service is starting or ending",)), False
        loop = asyncio.get_running_loop()
        if self._look is None or (self._look.done() and loop.time() - self._looked > _FRESH):
            self._look = loop.create_task(self._ask(memory), name="thermocline readiness")
        return await asyncio.shield(self._look), self._started

    async def _ask(self, memory: MemoryClient) -> Health:
        try:
            return await memory.health(timeout=self.plan.limits.ready_seconds)
        except (ClientClosed, ConfigurationError) as error:
            return Health(Verdict.DOWN, (telemetry.without_secrets(str(error))[:300],))
        finally:
            self._looked = asyncio.get_running_loop().time()
