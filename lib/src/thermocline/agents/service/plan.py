"""What a service is made of, checked. No I/O, and no FastAPI."""

from collections.abc import Callable, Mapping
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
from thermocline.configured import duration, function, part, seconds_of, switch, text, whole
from thermocline.errors import ConfigurationError
from thermocline.protocols import Entries, Payloads, Versions
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
        if self.settings is not None:
            part(self.settings, "build_service_app: memory_settings", MemorySettings)
        if self.client is not None:
            part(self.client, "build_service_app: memory_client", MemoryClient)
        if not isinstance(self.builder, MemoryBuilder):
            function(self.builder, "build_service_app: memory_builder (where it is no MemoryBuilder)")
        kinds = Entries, Versions, Payloads | Versions
        for name, tier, kind in zip(("hot_memory", "warm_memory", "cold_memory"), self.tiers, kinds, strict=True):
            if tier is not None and not isinstance(tier, kind):
                raise ConfigurationError(
                    f"build_service_app: {name} is a tier, and {type(tier).__name__} is none of its kind"
                )
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
    options: Mapping[str, Any] | None
    slm: ModelTarget | None
    llm: ModelTarget | None
    setup: Callable[[AgentBuilder[Any]], object] | None
    mcp_setup: Callable[[Any, Any], object] | None

    def __post_init__(self) -> None:
        AgentBuilder[Any]().with_agent(self.kind)  # which says what it must be
        if self.options is not None:
            part(self.options, "build_service_app: agent_options", Mapping)  # type: ignore[type-abstract]
        function(self.setup, "build_service_app: agent_setup")
        function(self.mcp_setup, "build_service_app: mcp_setup")
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
    request_timeout: timedelta | float
    ready_timeout: timedelta | float

    def __post_init__(self) -> None:
        whole(self.body_bytes, "build_service_app: max_body_bytes", least=1, unit="bytes")
        for name in ("request_timeout", "ready_timeout"):
            duration(getattr(self, name), f"build_service_app: {name}", most=timedelta(days=1))

    @property
    def seconds(self) -> float:
        return seconds_of(self.request_timeout)

    @property
    def ready_seconds(self) -> float:
        return seconds_of(self.ready_timeout)


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
        text(self.service_name, "build_service_app: service_name (a service's name)")
        if self.memory_api is not None:
            part(self.memory_api, "build_service_app: memory_api", MemoryApi)
        for name in ("lifespan", "caller"):
            function(getattr(self, name), f"build_service_app: {name}")
        for name in ("trust_body", "ready_reasons"):
            switch(getattr(self, name), f"build_service_app: {name}")

    def agent(self, memory: MemoryClient, mcp: McpRoutes) -> Any:
        """The agent over that client, which it does not own. Raises `ConfigurationError`."""
        made = self.makings
        assert made is not None
        builder = _ServiceBuilder() if self.caller is not None or self.trust_body else AgentBuilder[Any]()
        builder.with_agent(made.kind, **(made.options or {})).with_memory(client=memory)
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
