"""The handlers that a service offers below ``/mcp``, each a POST of a JSON object."""

import inspect
from collections.abc import Callable
from typing import Any

from thermocline.errors import ConfigurationError


class McpRoutes:
    """What ``mcp_setup`` fills, and the agent's ``mcp_server``. The paths are those of earlier code; this is not the Model Context Protocol itself."""

    def __init__(self) -> None:
        self._handlers: dict[str, Callable[[dict[str, Any]], Any]] = {}

    def add_tool(self, path: str, handler: Callable[[dict[str, Any]], Any]) -> None:
        """Offer a plain or async function of a request at ``/mcp`` and this path. Raises `ConfigurationError` for a path that is taken."""
        name = path.strip("/")
        if not name or not callable(handler):
            raise ConfigurationError("add_tool takes a path, as /inventory/context, and a function of a request")
        if name in self._handlers:
            raise ConfigurationError(f"there is a tool at /mcp/{name} already")
        self._handlers[name] = handler

    def mount(self) -> None:
        """Nothing: tools are served as soon as they are added. Earlier code calls it."""

    @property
    def paths(self) -> list[str]:
        return sorted(self._handlers)

    def __contains__(self, path: str) -> bool:
        return path in self._handlers

    async def call(self, path: str, request: dict[str, Any]) -> Any:
        """What the handler at a path answers. Raises KeyError for none."""
        answer = self._handlers[path](request)
        return await answer if inspect.isawaitable(answer) else answer
