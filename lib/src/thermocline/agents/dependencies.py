"""What an agent is given besides its memory: a router, tools, models, servers. Plain holders; nothing here does anything with them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

ModelInvoker = Callable[..., Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class ModelTarget:
    """A model that an agent can ask. ``invoker`` is an async callable that takes ``messages``, ``model``, ``temperature``, ``top_p``, ``stream`` and
    ``tools`` by keyword, and whatever else the caller of `BaseRetailAgent.invoke_model` gave; it answers with a dictionary."""

    name: str
    model: str
    invoker: ModelInvoker
    temperature: float = 0.2
    top_p: float = 0.9
    stream: bool = False
    provider: str | None = None


@dataclass(slots=True)
class AgentDependencies:
    """What `AgentBuilder` hands to an agent. ``slm`` is the small, fast model and ``llm`` the large one; requests of at least ``complexity_threshold``
    (0 to 1) go to the large one."""

    router: Any = None
    tools: dict[str, Callable[..., Any]] = field(default_factory=dict)
    service_name: str | None = None
    memory_client: Any = None
    hot_memory: Any = None
    warm_memory: Any = None
    cold_memory: Any = None
    mcp_server: Any = None
    self_healing_kernel: Any = None
    evaluation: Any = None
    slm: ModelTarget | None = None
    llm: ModelTarget | None = None
    complexity_threshold: float = 0.5
    enforce_foundry_prompt_governance: bool = True
