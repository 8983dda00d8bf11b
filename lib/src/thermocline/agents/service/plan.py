"""What a service is made of, checked. No I/O, and no FastAPI."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from thermocline import wiring
from thermocline.agents.builder import AgentBuilder
from thermocline.agents.dependencies import ModelTarget
from thermocline.agents.orchestration.router import RoutingStrategy
from thermocline.agents.service.caller import CallersMemory
from thermocline.agents.service.mcp import McpRoutes
from thermocline.agents.service.memory_api import MemoryApi
from thermocline.client import MemoryClient, ScopedMemory
from thermocline.errors import ConfigurationError
from thermocline.settings import MemorySettings
from thermocline.wiring import MemoryBuilder


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Where the memory comes from."""

    tiers: tuple[Any, Any, Any]
    settings: MemorySettings | None
    builder: MemoryBuilder | Callable[[], MemoryBuilder] | None
    client: MemoryClient | None = None  # whose it is, closes it

    def __post_init__(self) -> None:
        if self.client is not None and (self.builder is not None or self.settings is not None or self._tiers_given()):
            raise ConfigurationError("build_service_app takes a memory_client, or what makes one, not both")
        if self.builder is not None and (self.settings is not None or self._tiers_given()):
            raise ConfigurationError("build_service_app takes a memory_builder, or tiers and settings, not both")

    def _tiers_given(self) -> bool:
        return any(tier is not None for tier in self.tiers)

    def made(self) -> MemoryClient:
        """A client, not yet connected; or the one that is given. Raises `ConfigurationError`."""
        if self.client is not None:
            return self.client
        if self.builder is not None:
            built: object = self.builder if isinstance(self.builder, MemoryBuilder) else self.builder()
            if not isinstance(built, MemoryBuilder):
                raise ConfigurationError(
                    f"memory_builder is to answer with a MemoryBuilder, not {type(built).__name__}"
                )
            return built.build()
        if not self._tiers_given():
            return wiring.builder(self.settings).build()
        hot, warm, cold = self.tiers
        builder = MemoryBuilder().with_hot(hot).with_warm(warm).with_cold(cold)
        return (builder if self.settings is None else wiring.tuned(builder, self.settings)).build()


@dataclass(frozen=True, slots=True)
class Makings:
    """What the agent is made of."""

    kind: Any
    options: dict[str, Any]
    slm: ModelTarget | None
    llm: ModelTarget | None
    setup: Callable[[AgentBuilder[Any]], object] | None
    mcp_setup: Callable[[Any, Any], object] | None

    def __post_init__(self) -> None:
        AgentBuilder[Any]().with_agent(self.kind)  # which says what it must be
        for name, model in (("slm_config", self.slm), ("llm_config", self.llm)):
            given: object = model
            if given is not None and not isinstance(given, ModelTarget):
                raise ConfigurationError(
                    f"{name} is a thermocline.agents.ModelTarget, whose invoker calls your model, not {type(given).__name__}"
                )


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a request: bytes and seconds."""

    body_bytes: int
    seconds: float
    ready_seconds: float

    def __post_init__(self) -> None:
        size: object = self.body_bytes
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigurationError(f"max_body_bytes is a number of bytes, at least 1, not {size!r}")


def seconds_of(value: object) -> float:
    """A time as seconds. Raises `ConfigurationError`."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 86_400:
        raise ConfigurationError(
            f"a service's timeout is above 0 and at most a day, in seconds or as a timedelta, not {value!r}"
        )
    return float(seconds)


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments of `build_service_app`, checked; it says what they mean."""

    service_name: str
    source: MemorySource
    makings: Makings | None
    limits: Limits
    lifespan: Callable[[Any], Any] | None
    caller: Callable[..., Any] | None
    trust_body: bool
    ready_reasons: bool
    memory_api: MemoryApi | None = None

    def __post_init__(self) -> None:
        if self.makings is None and self.memory_api is None:
            raise ConfigurationError("build_service_app takes the class of an agent, or memory_api=…, or both")
        name: object = self.service_name
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a service's name is a string that is not empty, not {name!r}")

    def agent(self, memory: MemoryClient, mcp: McpRoutes) -> Any:
        """The agent over that client, which it does not own. Raises `ConfigurationError`."""
        made = self.makings
        assert made is not None
        builder = _ServiceBuilder() if self.caller is not None or self.trust_body else AgentBuilder[Any]()
        builder.with_agent(made.kind, **made.options).with_memory(client=memory)
        builder.with_router(RoutingStrategy()).with_mcp(mcp).with_models(slm=made.slm, llm=made.llm)
        if made.setup is not None:
            made.setup(builder)
        agent = builder.build()
        agent.config.service_name = self.service_name
        if made.mcp_setup is not None:
            made.mcp_setup(mcp, agent)
        return agent


class _ServiceBuilder(AgentBuilder[Any]):
    """Gives an agent the memory of whoever asks."""

    def _own(self, memory: MemoryClient, scope: str, tenant: str | None) -> ScopedMemory:
        return CallersMemory(memory, scope=scope)
