"""`build_service_app`: an agent as an HTTP service. docs/service.md has its routes, limits and errors. Needs the extra ``service``."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from thermocline.agents.agent import Agent
from thermocline.agents.base_agent import BaseRetailAgent
from thermocline.agents.builder import AgentBuilder
from thermocline.agents.dependencies import ModelTarget
from thermocline.agents.service.caller import Caller, current_caller
from thermocline.agents.service.memory_api import MemoryApi, Tokens
from thermocline.agents.service.plan import Limits, Makings, MemorySource, Plan
from thermocline.client import MemoryClient
from thermocline.errors import ConfigurationError
from thermocline.protocols import Entries, Payloads, Versions
from thermocline.settings import MemorySettings
from thermocline.wiring import MemoryBuilder

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Caller", "MemoryApi", "bearer_caller", "build_service_app", "current_caller"]

BODY_BYTES: Final = 2**20
REQUEST_SECONDS: Final = 120.0
READY_SECONDS: Final = 2.0


def build_service_app(
    service_name: str,
    agent_class: type[Agent | BaseRetailAgent] | None = None,
    *,
    memory_api: MemoryApi | None = None,
    hot_memory: Entries | None = None,
    warm_memory: Versions | None = None,
    cold_memory: Payloads | Versions | None = None,
    memory_settings: MemorySettings | None = None,
    memory_builder: MemoryBuilder | Callable[[], MemoryBuilder] | None = None,
    memory_client: MemoryClient | None = None,
    slm_config: ModelTarget | None = None,
    llm_config: ModelTarget | None = None,
    mcp_setup: Callable[[Any, Any], object] | None = None,
    agent_setup: Callable[[AgentBuilder[Any]], object] | None = None,
    agent_options: Mapping[str, Any] | None = None,
    lifespan: Callable[[Any], Any] | None = None,
    caller: Callable[..., Any] | None = None,
    trust_body: bool = False,
    max_body_bytes: int = BODY_BYTES,
    request_timeout: timedelta | float = REQUEST_SECONDS,
    ready_timeout: timedelta | float = READY_SECONDS,
    ready_reasons: bool = True,
) -> "FastAPI":
    """A FastAPI app with ``/health``, ``/ready``, ``/invoke``, ``/invoke/stream`` and ``/mcp/…`` around one agent, which has one memory.

    The memory is made when the app starts and closed when it ends, in each process once: of the tiers that are given, or of ``memory_builder`` (or what it
    answers), else by ``memory_settings``, else by the environment's; a ``memory_client`` is shared, and its owner closes it. Beside tiers the settings only
    say how long calls take and how values are compressed.
    ``app.state.agent`` and ``app.state.memory`` are there before ``lifespan(app)`` begins, and are closed after it ended, and if it fails.

    ``caller`` is a FastAPI dependency that answers with a `Caller`, whose tenant and scope an `Agent`'s ``own`` memory and tools are then bound to. A request
    that names another tenant in its body is refused (403). ``trust_body`` takes tenant and session from the body instead: only where the callers are trusted.

    ``slm_config`` and ``llm_config``: models. ``agent_options``: what the agent's constructor takes besides. ``agent_setup(builder)``: whatever else
    `AgentBuilder` can do. ``mcp_setup(mcp, agent)``: ``mcp.add_tool(path, handler)`` offers a handler at ``/mcp/path``. Times are seconds or timedeltas:
    ``request_timeout`` for a request's body, and again for its answer, ``ready_timeout`` for ``/ready``, which leaves out why if ``ready_reasons`` is False.

    ``memory_api``: the memory itself over HTTP below ``/v1``, for callers with Entra tokens (docs/memory-api.md); then ``agent_class`` may be left out.

    Raises `ConfigurationError` for what cannot work, and if FastAPI is not installed.
    """
    if caller is not None and trust_body:
        raise ConfigurationError("build_service_app takes caller=…, or trust_body=True, not both")
    source = MemorySource((hot_memory, warm_memory, cold_memory), memory_settings, memory_builder, memory_client)
    of_agent = agent_options, slm_config, llm_config, agent_setup, mcp_setup
    makings = None if agent_class is None else Makings(agent_class, *of_agent)
    if makings is None and (trust_body or any(given is not None for given in (*of_agent, caller))):
        raise ConfigurationError("agent_class is missing, whom models, options, setups, caller and trust_body are for")
    limits = Limits(max_body_bytes, request_timeout, ready_timeout)
    plan = Plan(service_name, source, makings, limits, lifespan, caller, trust_body, ready_reasons, memory_api)
    try:
        from thermocline.agents.service.app import made_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "starlette"):
            raise
        raise ConfigurationError('build_service_app needs FastAPI: pip install "thermocline[service]"') from error
    return made_app(plan)


def bearer_caller(tokens: Tokens | None, *, roles: tuple[str, ...] = (), missing: str = "") -> Callable[..., Any]:
    """A ``caller`` for `build_service_app`, by Entra tokens (`EntraTokens`): the token's tenant, and for each user or application the scope
    ``user/<object id>``.

    ``roles``: of which the token needs one; none: any token that counts will do. With tokens None every request is answered 503, with ``missing``. Raises
    `ConfigurationError`, also if FastAPI is not installed.
    """
    if tokens is None and not missing:
        raise ConfigurationError("bearer_caller needs tokens, as EntraTokens(audience, tenants), or missing='why not'")
    try:
        from thermocline.agents.service.memory.who import caller_of
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "starlette"):
            raise
        raise ConfigurationError('bearer_caller needs FastAPI: pip install "thermocline[service]"') from error
    return caller_of(tokens, roles, missing)
