"""The memory, under the names and paths that code for holiday_peak_lib imports. docs/moving-from-holiday-peak-lib.md has them all.

The tiers here are those of `thermocline`, but for two habits of that code: they connect on the first use of a direct method, and sign in with the default
Azure credential where none is given. Each name is loaded when it is first asked for, so that none needs another's extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermocline.agents.memory.builder import MemoryBuilder, MemoryClient, MemoryRules
    from thermocline.agents.memory.cold import ColdMemory
    from thermocline.agents.memory.hot import HotMemory
    from thermocline.agents.memory.namespace import (
        NamespaceContext,
        build_canonical_memory_key,
        canonical_name,
        parse_canonical_memory_key,
        read_hot_with_compatibility,
        resolve_namespace_context,
    )
    from thermocline.agents.memory.warm import WarmMemory

_HOMES = {
    "builder": ("MemoryBuilder", "MemoryClient", "MemoryRules"),
    "cold": ("ColdMemory",),
    "hot": ("HotMemory",),
    "namespace": (
        "NamespaceContext",
        "build_canonical_memory_key",
        "canonical_name",
        "parse_canonical_memory_key",
        "read_hot_with_compatibility",
        "resolve_namespace_context",
    ),
    "warm": ("WarmMemory",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ColdMemory",
    "HotMemory",
    "MemoryBuilder",
    "MemoryClient",
    "MemoryRules",
    "NamespaceContext",
    "WarmMemory",
    "build_canonical_memory_key",
    "canonical_name",
    "parse_canonical_memory_key",
    "read_hot_with_compatibility",
    "resolve_namespace_context",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'thermocline.agents.memory' has no attribute {name!r}")
    found = getattr(import_module(f"thermocline.agents.memory.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
