"""`BaseRetailAgent`: agents as code for holiday_peak_lib wrote them, made of one `AgentDependencies`. New agents are simpler as an `Agent`."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

from thermocline.agents.complexity import assess_complexity
from thermocline.agents.dependencies import AgentDependencies, ModelInvoker, ModelTarget
from thermocline.agents.orchestration.router import asks_for_more
from thermocline.errors import ConfigurationError

__all__ = ["AgentDependencies", "BaseRetailAgent", "ModelInvoker", "ModelTarget", "ServiceAgent"]

log = logging.getLogger("thermocline.agents")

MODEL_SECONDS: Final = 90.0  # that a model may take; the tool calls that it makes are its own


class Configured:
    """The parts of an `AgentDependencies` as attributes, to read and to set."""

    config: AgentDependencies

    def __getattr__(self, name: str) -> Any:
        if name in _PARTS:
            return getattr(self.config, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PARTS:
            setattr(self.config, name, value)
        else:
            object.__setattr__(self, name, value)


_PARTS: Final = frozenset(AgentDependencies.__dataclass_fields__)


class BaseRetailAgent(Configured, ABC):
    """An agent made of its ``config``, whose parts are its attributes (``hot_memory``, ``tools``, ``slm``, …). Subclasses implement `handle`.

    As an async context manager it connects its memory, and waits for background writes and closes the memory at its end; without that the memory connects
    on first use, and `close` ends it. Work in the background is kept, awaited by `close`, and an error in it is logged and raised there: none is swallowed.
    """

    def __init__(self, config: AgentDependencies, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config = config
        self._background: set[asyncio.Task[None]] = set()
        self._failed: list[Exception] = []
        self._owns_memory = True

    @abstractmethod
    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""

    # --- parts --------------------------------------------------------------------------------------------------------

    def attach_memory(self, hot: Any, warm: Any, cold: Any) -> None:
        """The tiers, to be asked directly; None for one that there is not."""
        self.hot_memory, self.warm_memory, self.cold_memory = hot, warm, cold

    def attach_mcp(self, mcp_server: Any) -> None:
        """The server that offers the agent's tools to others."""
        self.mcp_server = mcp_server

    def attach_self_healing(self, self_healing_kernel: Any) -> None:
        """What is to be told of incidents; thermocline itself does not call it."""
        self.self_healing_kernel = self_healing_kernel

    def memory_tool_definitions(self) -> dict[str, Callable[..., Any]]:
        """``memory_read(key)`` and ``memory_write(key, value)`` for a model, over the whole memory; empty without a memory.

        A read answers the value, None if there is none; a write ``"stored"``. For tools that reach one scope alone take `memory_tools`.
        """
        memory = self.config.memory_client
        if memory is None:
            return {}

        async def memory_read(key: str) -> Any:
            """Recall what is stored under a key."""
            return await memory.get(key)

        async def memory_write(key: str, value: Any) -> str:
            """Store a value under a key."""
            await memory.set(key, value)
            return "stored"

        return {"memory_read": memory_read, "memory_write": memory_write}

    # --- background ---------------------------------------------------------------------------------------------------

    def background_cache_write(self, cache_key: str | None, value: Any, *, ttl_seconds: float = 300) -> None:
        """Write a value to hot behind the caller's back; nothing happens without a hot tier, a key or a value. An error is raised by `close`."""
        hot = self.config.hot_memory
        if hot is not None and cache_key is not None and value is not None:
            self._schedule_background(hot.set(key=cache_key, value=value, ttl_seconds=ttl_seconds))

    def _schedule_background(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run(), name="thermocline agent's background")
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            log.error("a background write of %s failed: %s", type(self).__name__, type(error).__name__)
            self._failed.append(error)

    @staticmethod
    async def gather_adapters(*calls: Awaitable[Any]) -> tuple[Any, ...]:
        """The answers of several calls that run at the same time."""
        return tuple(await asyncio.gather(*calls))

    # --- models -------------------------------------------------------------------------------------------------------

    def _assess_complexity(self, request: dict[str, Any]) -> float:
        return assess_complexity(request)

    def _select_model(self, request: dict[str, Any]) -> ModelTarget:
        slm, llm = self.config.slm, self.config.llm
        if llm is not None and (slm is None or self._assess_complexity(request) >= self.config.complexity_threshold):
            return llm
        if slm is None:
            raise ConfigurationError("the agent has no model: give it one by AgentBuilder.with_models(slm=…, llm=…)")
        return slm

    async def invoke_model(self, request: dict[str, Any], messages: Any, **kwargs: Any) -> dict[str, Any]:
        """Ask the model that fits the request; the large one as well, if the small one answers ``upgrade``. ``kwargs`` go to its invoker; ``tools`` are the
        agent's unless given. The answer names the model in ``_target`` and ``_model``. Raises TimeoutError after 90 seconds, and what the invoker raises.
        """
        target = self._select_model(request)
        answer = await self._ask(target, messages, kwargs)
        llm = self.config.llm
        if llm is not None and target is not llm and asks_for_more(answer):
            answer = await self._ask(llm, messages, kwargs)
        return answer

    async def _ask(self, target: ModelTarget, messages: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        given = {"tools": self.config.tools or None, **kwargs}
        async with asyncio.timeout(MODEL_SECONDS):
            answer = await target.invoker(
                **given,
                messages=messages,
                model=target.model,
                temperature=target.temperature,
                top_p=target.top_p,
                stream=False,
            )
        if isinstance(answer, dict):
            answer.setdefault("_target", target.name)
            answer.setdefault("_model", target.model)
        return answer

    # --- life ---------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Wait for what runs in the background, and close the memory, unless it is shared. A tier that was used before the memory connected is left to whoever
        made it. Raises an ExceptionGroup of what failed in the background."""
        while self._background:
            await asyncio.wait(set(self._background))
        if self.config.memory_client is not None and self._owns_memory:
            await self.config.memory_client.close()
        failed, self._failed = self._failed, []
        if failed:
            raise ExceptionGroup("work in the background failed", failed)

    async def __aenter__(self) -> Self:
        if self.config.memory_client is not None:
            await self.config.memory_client.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class ServiceAgent(BaseRetailAgent):
    """Answers with what it was asked: to see that a service runs."""

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        return {
            "service": self.config.service_name if self.config.service_name is not None else "",
            "received": request,
        }
