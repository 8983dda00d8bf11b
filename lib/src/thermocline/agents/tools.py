"""The tools that an agent gets for its memory. Their tenant and scope are the agent's, never a model's argument (P9)."""

from collections.abc import Awaitable, Callable
from typing import Any

from thermocline.client import ScopedMemory
from thermocline.errors import InvalidArgument

Tool = Callable[..., Awaitable[Any]]


def memory_tools(memory: ScopedMemory) -> dict[str, Tool]:
    """``memory_read(key)`` and ``memory_write(key, value, ttl_seconds=None)`` over the names of one scope, as plain dictionaries for a model.

    Read answers ``{"found": True, "key": …, "value": …}`` or ``{"found": False, "key": …}``, write ``{"key": …, "version": …, "durable": …}``.
    An outage raises `TierUnavailable`, an argument that cannot be used `InvalidArgument`.
    """

    async def memory_read(key: str) -> dict[str, Any]:
        """Recall what is stored under a name."""
        missing = object()
        value = await memory.get(_name(key), default=missing)
        return {"found": False, "key": key} if value is missing else {"found": True, "key": key, "value": value}

    async def memory_write(key: str, value: Any, ttl_seconds: float | None = None) -> dict[str, Any]:
        """Store a value under a name, for good or for so many seconds."""
        written = await memory.set(_name(key), value, ttl=ttl_seconds)
        return {"key": key, "version": written.version, "durable": written.durable}

    return {"memory_read": memory_read, "memory_write": memory_write}


def _name(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise InvalidArgument(f"the memory tools take a name, a string that is not empty, not {key!r:.80}")
    return key
