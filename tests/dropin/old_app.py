"""An application as people wrote them for holiday_peak_lib: a cart service with an agent. `test_old_app` runs it with nothing changed but the imports.

Only these import lines are new; where each name was is in docs/moving-from-holiday-peak-lib.md.
"""

# was: from holiday_peak_lib.agents import …, and the same paths below it
from typing import Any

from thermocline.agents import AgentBuilder, AgentDependencies, BaseRetailAgent, ModelTarget
from thermocline.agents.memory import ColdMemory, HotMemory, MemoryBuilder, MemoryClient, MemoryRules, WarmMemory
from thermocline.agents.memory.namespace import (
    build_canonical_memory_key,
    read_hot_with_compatibility,
    resolve_namespace_context,
)
from thermocline.agents.orchestration.router import RoutingStrategy
from thermocline.settings import MemorySettings  # was: from holiday_peak_lib.config import MemorySettings

SERVICE = "ecommerce-cart"


def price(sku: str) -> int:
    """A plain function as a tool."""
    return len(sku) * 100


async def small(**request: Any) -> dict[str, Any]:
    """A small model, which passes what it does not know on."""
    text = str(request["messages"])
    return {"content": "upgrade" if "socks" in text else f"{request['model']} says hello", "tools": request["tools"]}


async def large(**request: Any) -> dict[str, Any]:
    return {"content": f"{request['model']} knows socks at {request['temperature']}", "tools": request["tools"]}


class CartAgent(BaseRetailAgent):
    """Keeps carts: in hot for the session, in warm for good, an archive in cold."""

    def __init__(self, config: AgentDependencies, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.service_name = SERVICE

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.router is None or self.hot_memory is None or self.warm_memory is None or self.cold_memory is None:
            raise RuntimeError("not equipped")
        return dict(await self.router.route(request["intent"], request | {"agent": self}))


async def add_to_cart(request: dict[str, Any]) -> dict[str, Any]:
    agent: CartAgent = request["agent"]
    context = resolve_namespace_context(request, SERVICE)
    key = build_canonical_memory_key(context, "cart")
    cart = await read_hot_with_compatibility(agent.hot_memory, key, [f"cart:{context.session_id}"], ttl_seconds=900)
    items = [*(cart.split(",") if cart else []), request["sku"]]
    await agent.hot_memory.set(key=key, value=",".join(items), ttl_seconds=900)
    await agent.warm_memory.upsert({"id": key, "pk": key, "items": items, "total": sum(map(price, items))})
    await agent.cold_memory.upload_text(f"carts/{context.session_id}.txt", ",".join(items))
    agent.background_cache_write(f"last:{context.session_id}", request["sku"], ttl_seconds=60)
    return {"items": items, "key": key}


def show_cart(request: dict[str, Any]) -> dict[str, Any]:
    return {"unknown": request["session_id"]}


def memories(settings: MemorySettings, keys: dict[str, Any]) -> tuple[HotMemory, WarmMemory, ColdMemory]:
    """As the old ``main.py`` files made them. ``keys``: a test has no managed identity."""
    assert settings.redis_url is not None
    assert settings.cosmos_account_uri is not None
    assert settings.blob_account_url is not None
    return (
        HotMemory(settings.redis_url, max_connections=10, socket_timeout=5.0, retry_on_timeout=True),
        WarmMemory(
            settings.cosmos_account_uri,
            settings.cosmos_database,
            settings.cosmos_container,
            connection_limit=20,
            client_kwargs={"credential": keys["cosmos"]},
        ),
        ColdMemory(settings.blob_account_url, settings.blob_container, connection_pool_size=10, **keys["blob"]),
    )


def build_agent(hot: HotMemory, warm: WarmMemory, cold: ColdMemory) -> CartAgent:
    """Everything that the builder has."""
    router = RoutingStrategy(complexity_threshold=0.9)
    router.register("add", add_to_cart)
    router.register("show", show_cart)
    memory = MemoryBuilder().with_rules(hot_ttl_seconds=300, warm_ttl_seconds=3600, write_cold=False)
    return (
        AgentBuilder[CartAgent]()
        .with_agent(CartAgent)
        .with_router(router)
        .with_memory(hot, warm, cold)
        .with_memory_builder(memory)
        .with_mcp({"name": "mcp"})
        .with_self_healing({"name": "kernel"})
        .with_evaluation({"name": "judge"})
        .with_tool("price", price)
        .with_tool("price", price)
        .with_tools({"also": price})
        .with_models(
            slm=ModelTarget(name="fast", model="small-1", invoker=small),
            llm=ModelTarget(name="rich", model="large-1", invoker=large, temperature=0.7),
            complexity_threshold=0.8,
        )
        .build()
    )


async def profile(memory: MemoryClient, user: str) -> Any:
    """Cached reading, as the old services did it."""
    found = await memory.get(f"profile:{user}")
    if found is None:
        await memory.set(f"profile:{user}", {"user": user, "visits": 1})
        found = await memory.get(f"profile:{user}")
    return found


def client(hot: HotMemory, warm: WarmMemory, cold: ColdMemory) -> MemoryClient:
    """Rules by position."""
    return MemoryClient(hot=hot, warm=warm, cold=cold, rules=MemoryRules(True, True, True, 300, None, True))
