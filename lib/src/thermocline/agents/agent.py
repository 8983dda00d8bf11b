"""The base class of agents: a memory, tools, and `handle`."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from thermocline.agents.dependencies import AgentDependencies
from thermocline.agents.tools import Tool
from thermocline.client import MemoryClient, ScopedMemory
from thermocline.errors import InvalidArgument


class Agent(ABC):
    """An agent that remembers. Subclasses implement `handle`; `AgentBuilder` makes and equips them.

    ``memory`` is the whole client, ``own`` the agent's scope of it (which the memory tools use). As an async context manager it connects the
    memory, and closes it if it is the agent's own (``owns_memory``); without that the memory connects on first use and its owner closes it.
    ``config`` holds what else the builder was given: router, models, servers.
    """

    def __init__(
        self,
        *,
        memory: MemoryClient,
        own: ScopedMemory,
        tools: Mapping[str, Tool] | None = None,
        owns_memory: bool = True,
    ) -> None:
        self._owns_memory = owns_memory
        self.config = AgentDependencies(memory_client=memory)
        self.memory = memory
        self.own = own
        self.tools: dict[str, Tool] = dict(tools or {})

    @abstractmethod
    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Call a tool by name, as a model asks for it. Raises `InvalidArgument`, in words that a model can read, for a name that it does not have and
        for arguments that the tool does not take."""
        tool = self.tools.get(name)
        if tool is None:
            raise InvalidArgument(f"there is no tool {name!r}; there are: {', '.join(sorted(self.tools))}")
        takes = inspect.signature(tool)
        try:
            takes.bind(**arguments)
        except TypeError as error:
            wanted = ", ".join(str(parameter) for parameter in takes.parameters.values())
            raise InvalidArgument(f"the tool {name} takes ({wanted}): {error}") from None
        return await tool(**arguments)

    async def __aenter__(self) -> Self:
        if self._owns_memory:
            await self.memory.__aenter__()  # which closes it if it cannot connect
        else:
            await self.memory.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owns_memory:
            await self.memory.close()
