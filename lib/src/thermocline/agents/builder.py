"""`AgentBuilder`: an agent from its class, its memory, its tools and its models."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

from thermocline.agents.agent import Agent
from thermocline.agents.base_agent import BaseRetailAgent
from thermocline.agents.dependencies import AgentDependencies, ModelTarget
from thermocline.agents.orchestration.router import RoutingStrategy
from thermocline.agents.tools import memory_tools
from thermocline.client import MemoryClient, ScopedMemory
from thermocline.client.fitting import check_tier
from thermocline.configured import part
from thermocline.errors import ConfigurationError
from thermocline.model import DEFAULT_TENANT, Key, MemoryTier
from thermocline.protocols import Entries, Payloads, Tier, Versions
from thermocline.wiring import MemoryBuilder

A = TypeVar("A", bound=Agent | BaseRetailAgent)


class AgentBuilder(Generic[A]):
    """Gathers an agent's parts; `build` puts them together. Each method returns the builder.

    The memory comes from tiers, from a `MemoryBuilder`, or from a client that is shared. An `Agent` must have one; a `BaseRetailAgent` may go without.
    """

    def __init__(self) -> None:
        self._agent: type[A] | None = None
        self._options: dict[str, Any] = {}
        self._tiers: dict[MemoryTier, Tier] | None = None
        self._builder: MemoryBuilder | None = None
        self._client: MemoryClient | None = None
        self._tools: dict[str, Callable[..., Any]] = {}
        self._twice: list[str] = []
        self._parts = AgentDependencies()
        self._tenant: str | None = None
        self._scope: str | None = None

    def with_agent(self, agent_class: type[A], **options: Any) -> Self:
        """The agent's class, and what its constructor takes besides the parts that this builder gives it."""
        given: Any = agent_class
        if not inspect.isclass(given) or not issubclass(given, Agent | BaseRetailAgent):
            raise ConfigurationError(
                f"agent_class is a subclass of thermocline.agents.Agent (or BaseRetailAgent), not {agent_class!r:.200}"
            )
        self._agent = agent_class
        self._options = options
        return self

    def with_router(self, router: Any) -> Self:
        """What finds the handler of a request; the agent's ``router``. Left out: an empty `RoutingStrategy`."""
        self._parts.router = router
        return self

    def with_memory(
        self,
        hot: Entries | None = None,
        warm: Versions | None = None,
        cold: Payloads | Versions | None = None,
        *,
        client: MemoryClient | None = None,
    ) -> Self:
        """The tiers of the agent's memory, which go before those of `with_memory_builder`; or a ``client`` that exists already and is shared.
        Raises `ConfigurationError`."""
        if client is not None:
            if hot is not None or warm is not None or cold is not None:
                raise ConfigurationError("with_memory takes tiers or a client, not both")
            self._client, self._builder, self._tiers = part(client, "with_memory: client", MemoryClient), None, None
            return self
        given = {MemoryTier.HOT: hot, MemoryTier.WARM: warm, MemoryTier.COLD: cold}
        for place, tier in given.items():
            check_tier(tier, place, f"with_memory: {place}")
        self._tiers = {name: tier for name, tier in given.items() if tier is not None}
        self._client = None
        return self

    def with_memory_builder(self, memory_builder: MemoryBuilder) -> Self:
        """A builder with tiers and rules; `build` calls it."""
        self._builder, self._client = part(memory_builder, "memory_builder", MemoryBuilder), None
        return self

    def with_scope(self, scope: str, *, tenant: str | None = None) -> Self:
        """Where an `Agent`'s own memories and its memory tools live; ``agent/<class name>`` of the default tenant if left out. Raises
        `InvalidKey`."""
        Key(DEFAULT_TENANT if tenant is None else tenant, scope, "*")
        self._scope, self._tenant = scope, tenant
        return self

    def with_mcp(self, mcp_server: Any) -> Self:
        """The server that offers the agent's tools to others; the agent's ``mcp_server``."""
        self._parts.mcp_server = mcp_server
        return self

    def with_self_healing(self, self_healing_kernel: Any) -> Self:
        """What is to be told of incidents; the agent's ``self_healing_kernel``. thermocline itself does not call it."""
        self._parts.self_healing_kernel = self_healing_kernel
        return self

    def with_evaluation(self, evaluation: Any) -> Self:
        """What judges the agent's answers; the agent's ``evaluation``. thermocline itself does not call it."""
        self._parts.evaluation = evaluation
        return self

    def with_tool(self, name: str, handler: Callable[..., Any]) -> Self:
        """A tool by name. An `Agent`'s are async callables, and `build` refuses a name that was given twice, or is one of the memory tools'; a
        `BaseRetailAgent` takes any callable, and the last one of a name."""
        given: Any = name
        if not isinstance(given, str) or not name or not callable(handler):
            raise ConfigurationError(
                f"with_tool takes a name and an async callable as its handler, not {name!r:.80} and {handler!r:.80}"
            )
        if name in self._tools:
            self._twice.append(name)
        self._tools[name] = handler
        return self

    def with_tools(self, tools: Mapping[str, Callable[..., Any]]) -> Self:
        """Several tools."""
        part(tools, "tools", Mapping)  # type: ignore[type-abstract]
        for name, handler in tools.items():
            self.with_tool(name, handler)
        return self

    def with_models(
        self, *, slm: ModelTarget | None = None, llm: ModelTarget | None = None, complexity_threshold: float = 0.5
    ) -> Self:
        """The small and the large model; requests of at least ``complexity_threshold`` (0 to 1) go to the large one. Raises `ConfigurationError`."""
        for name, model in (("slm", slm), ("llm", llm)):
            if model is not None and not callable(part(model, f"with_models: {name}", ModelTarget).invoker):
                raise ConfigurationError(
                    f"with_models: {name}'s invoker is an async callable, not {model.invoker!r:.80}"
                )
        given: Any = complexity_threshold
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
            raise ConfigurationError(f"complexity_threshold is a number from 0 to 1, not {complexity_threshold!r}")
        self._parts.slm, self._parts.llm, self._parts.complexity_threshold = slm, llm, complexity_threshold
        return self

    def build(self) -> A:
        """The agent. Raises `ConfigurationError` (a ValueError) for a missing class, an `Agent` without a memory, a builder without any tier, and an `Agent`'s
        tool that is not async, was given twice or is named as one for the memory. It connects on first use, or by ``async with``."""
        if self._agent is None:
            raise ConfigurationError("an agent needs its class: call with_agent(YourAgent)")
        if issubclass(self._agent, BaseRetailAgent):
            return self._retail(self._agent)
        self._check_tools()
        if self._client is None and self._builder is None and self._tiers is None:
            raise ConfigurationError(
                "an agent needs a memory: call with_memory(hot, warm, cold) or with_memory_builder(builder)"
            )
        kind: Any = self._agent
        memory = self._memory()
        scope = self._scope if self._scope is not None else f"agent/{kind.__name__}"
        own = self._own(memory, scope, self._tenant)
        tools = memory_tools(own)
        if taken := sorted(tools.keys() & self._tools.keys()):
            raise ConfigurationError(f"every agent has a tool {taken[0]!r} for its memory; give yours another name")
        tools |= self._tools
        agent: A = kind(memory=memory, own=own, tools=tools, owns_memory=self._client is None, **self._options)
        agent.config = self._config(memory)
        return agent

    def _own(self, memory: MemoryClient, scope: str, tenant: str | None) -> ScopedMemory:
        return memory.scoped(tenant=tenant, scope=scope)

    def _retail(self, kind: Any) -> A:
        tiers = self._tiers
        without = self._client is None and self._builder is None and (tiers is None or not tiers)
        memory = None if without else self._memory()
        config = self._config(memory)
        agent: A = kind(config=config, **self._options)
        agent.__dict__["_owns_memory"] = self._client is None
        return agent

    def _config(self, memory: MemoryClient | None) -> AgentDependencies:
        parts = self._parts
        return replace(
            parts,
            router=parts.router if parts.router is not None else RoutingStrategy(parts.complexity_threshold),
            tools=dict(self._tools),
            memory_client=memory,
            hot_memory=None if memory is None else memory.hot,
            warm_memory=None if memory is None else memory.warm,
            cold_memory=None if memory is None else memory.cold,
        )

    def _memory(self) -> MemoryClient:
        if self._client is not None:
            return self._client
        builder = self._builder if self._builder is not None else MemoryBuilder()
        tiers: dict[Any, Any] = dict(self._tiers) if self._tiers is not None else {}
        for name, add in (
            (MemoryTier.HOT, builder.with_hot),
            (MemoryTier.WARM, builder.with_warm),
            (MemoryTier.COLD, builder.with_cold),
        ):
            if name in tiers:
                add(tiers[name])
        return builder.build()

    def _check_tools(self) -> None:
        for name, handler in self._tools.items():
            if not inspect.iscoroutinefunction(handler) and not inspect.iscoroutinefunction(
                getattr(handler, "__call__", None)  # noqa: B004 - an object whose __call__ is async is a tool too
            ):
                raise ConfigurationError(f"the tool {name!r} must be async: declare it with `async def`")
        if self._twice:
            raise ConfigurationError(
                f"there is a tool {self._twice[0]!r} already; give the second one of that name another"
            )
