"""`AgentBuilder`: an agent from its class, its memory and its tools."""

import inspect
from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

from thermocline.agents.agent import Agent
from thermocline.agents.tools import Tool, memory_tools
from thermocline.client import MemoryClient
from thermocline.errors import ConfigurationError
from thermocline.protocols import Entries, Payloads, Versions
from thermocline.wiring import MemoryBuilder

A = TypeVar("A", bound=Agent)


class AgentBuilder(Generic[A]):
    """Gathers an agent's parts; `build` puts them together. Each method returns the builder.

    The memory comes from tiers, from a `MemoryBuilder`, or from a client that is shared; it must come from one of them.
    """

    def __init__(self) -> None:
        self._agent: type[A] | None = None
        self._options: dict[str, Any] = {}
        self._builder: MemoryBuilder | None = None
        self._client: MemoryClient | None = None
        self._tools: dict[str, Tool] = {}
        self._tenant: str | None = None
        self._scope: str | None = None

    def with_agent(self, agent: type[A], **options: Any) -> Self:
        """The agent's class, and what its constructor takes besides the memory and the tools."""
        given: Any = agent
        if not inspect.isclass(given) or not issubclass(given, Agent):
            raise ConfigurationError(f"with_agent takes a subclass of thermocline.agents.Agent, not {agent!r}")
        self._agent = agent
        self._options = options
        return self

    def with_memory(
        self,
        hot: Entries | None = None,
        warm: Versions | None = None,
        cold: Payloads | Versions | None = None,
        *,
        client: MemoryClient | None = None,
    ) -> Self:
        """The tiers of the agent's memory, or a ``client`` that exists already and is shared."""
        if client is not None:
            if hot is not None or warm is not None or cold is not None:
                raise ConfigurationError("with_memory takes tiers or a client, not both")
            self._client, self._builder = client, None
            return self
        builder = MemoryBuilder()
        if hot is not None:
            builder.with_hot(hot)
        if warm is not None:
            builder.with_warm(warm)
        if cold is not None:
            builder.with_cold(cold)
        return self.with_memory_builder(builder)

    def with_memory_builder(self, builder: MemoryBuilder) -> Self:
        """A builder with tiers and rules; `build` calls it."""
        self._builder, self._client = builder, None
        return self

    def with_scope(self, scope: str, *, tenant: str | None = None) -> Self:
        """Where the agent's own memories and its memory tools live; ``agent/<class name>`` of the default tenant if left out."""
        self._scope, self._tenant = scope, tenant
        return self

    def with_tool(self, name: str, handler: Tool) -> Self:
        """A tool by name: an async callable. A name that is given twice is refused; so are, by `build`, the names of the memory tools."""
        if not name or not callable(handler):
            raise ConfigurationError("with_tool takes a name and an async callable")
        if name in self._tools:
            raise ConfigurationError(f"there is a tool {name!r} already; give this one another name")
        if not inspect.iscoroutinefunction(handler) and not inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - an object whose __call__ is async is a tool too
        ):
            raise ConfigurationError(f"the tool {name!r} must be async: declare it with `async def`")
        self._tools[name] = handler
        return self

    def with_tools(self, tools: Mapping[str, Tool]) -> Self:
        """Several tools."""
        for name, handler in tools.items():
            self.with_tool(name, handler)
        return self

    def build(self) -> A:
        """The agent. Raises `ConfigurationError` for a missing class or memory, and for a tool named as one for the memory. It connects on first use, or
        by ``async with``."""
        if self._agent is None:
            raise ConfigurationError("an agent needs its class: call with_agent(YourAgent)")
        if self._client is None and self._builder is None:
            raise ConfigurationError(
                "an agent needs a memory: call with_memory(hot, warm, cold) or with_memory_builder(builder)"
            )
        memory = self._client if self._client is not None else self._memory()
        own = memory.scoped(tenant=self._tenant, scope=self._scope or f"agent/{self._agent.__name__}")
        tools = memory_tools(own)
        if taken := sorted(tools.keys() & self._tools.keys()):
            raise ConfigurationError(f"every agent has a tool {taken[0]!r} for its memory; give yours another name")
        tools |= self._tools
        return self._agent(memory=memory, own=own, tools=tools, owns_memory=self._client is None, **self._options)

    def _memory(self) -> MemoryClient:
        if self._builder is None:
            raise ConfigurationError("an agent needs a memory: call with_memory(hot, warm, cold)")
        return self._builder.build()
