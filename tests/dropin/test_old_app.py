"""The old application of `old_app` on real Redis, the Cosmos DB server and Azurite, by its changed imports alone."""

import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.dropin import old_app
from tests.dropin.world import DATABASE, NEW, Old

from thermocline import ConfigurationError, MemoryBuilder, MemorySettings, TierUnavailable
from thermocline.agents import AgentBuilder, AgentDependencies, ModelTarget, RoutingStrategy, ServiceAgent
from thermocline.agents.memory import ColdMemory, HotMemory, WarmMemory
from thermocline.errors import ClientClosed, NotFound


@pytest.fixture
def settings(old: Old, monkeypatch: pytest.MonkeyPatch) -> MemorySettings:
    variables = {
        "REDIS_URL": old.redis_url,
        "COSMOS_ACCOUNT_URI": old.cosmos.url,
        "COSMOS_DATABASE": DATABASE,
        "COSMOS_CONTAINER": NEW,
        "BLOB_ACCOUNT_URL": old.azurite.blob_url,
        "BLOB_CONTAINER": old.blobs.container_name,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return MemorySettings(env_file=None)


@pytest.fixture
async def tiers(old: Old, settings: MemorySettings) -> AsyncIterator[tuple[Any, Any, Any]]:
    await (await old.client()).get(old.name())  # the new container is there
    keys = {"cosmos": old.cosmos.key, "blob": {"credential": old.azurite.key}}
    made = old_app.memories(settings, keys)
    yield made
    for tier in made:
        await tier.close()


async def test_a_request_goes_through_all_tiers(old: Old, tiers: tuple[Any, Any, Any]) -> None:
    hot, warm, cold = tiers
    agent = old_app.build_agent(*tiers)
    session = f"session-{old.suffix}"
    await old.redis.set(f"cart:{session}", "hat")

    answer = await agent.handle({"intent": "add", "session_id": session, "tenant_id": "acme", "sku": "shoe"})
    again = await agent.handle({"intent": "add", "session_id": session, "tenant_id": "acme", "sku": "scarf"})

    key = f"v1|svc=ecommerce-cart|ten=acme|ses={session}|key=cart"
    assert answer == {"items": ["hat", "shoe"], "key": key}
    assert again["items"] == ["hat", "shoe", "scarf"]
    assert await old.redis.get(key) == b"hat,shoe,scarf"
    assert (await warm.read(key, key))["total"] == 1200
    assert await cold.download_text(f"carts/{session}.txt") == "hat,shoe,scarf"
    with pytest.raises(NotFound):
        await warm.read("nothing", "nothing")
    await agent.close()
    assert await old.redis.get(f"last:{session}") == b"scarf"
    assert await hot.get("nothing") is None


async def test_the_agents_parts_are_its_attributes(tiers: tuple[Any, Any, Any]) -> None:
    agent = old_app.build_agent(*tiers)

    assert (agent.hot_memory, agent.warm_memory, agent.cold_memory) == tiers
    assert (agent.memory_client.hot, agent.memory_client.rules.warm_ttl_seconds) == (tiers[0], 3600)
    assert (agent.mcp_server, agent.self_healing_kernel) == ({"name": "mcp"}, {"name": "kernel"})
    assert (agent.config.evaluation, agent.service_name) == ({"name": "judge"}, "ecommerce-cart")
    assert sorted(agent.tools) == ["also", "price"]
    assert agent.complexity_threshold == 0.8
    agent.attach_memory(None, None, None)
    agent.slm = None
    assert agent.config.hot_memory is None
    assert agent.config.slm is None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = agent.nothing
    with pytest.raises(KeyError, match="dance"):
        await agent.router.route("dance", {})


async def test_the_small_model_is_asked_first_and_may_pass_on(tiers: tuple[Any, Any, Any]) -> None:
    agent = old_app.build_agent(*tiers)

    simple = await agent.invoke_model({"query": "hello"}, "hello")
    assert (simple["content"], simple["_target"], simple["_model"]) == ("small-1 says hello", "fast", "small-1")
    assert simple["tools"] == agent.tools
    passed_on = await agent.invoke_model({"query": "socks"}, "socks")
    assert passed_on["content"] == "large-1 knows socks at 0.7"
    demanding = {"query": "compare these and those because? why " * 10, "requires_multi_tool": True}
    direct = await agent.invoke_model(demanding, "hello", tools=[])
    assert (direct["_target"], direct["tools"]) == ("rich", [])
    agent.slm = agent.llm = None
    with pytest.raises(ConfigurationError, match="with_models"):
        await agent.invoke_model({}, "hello")


async def test_the_memory_tools_reach_the_cascade(old: Old, tiers: tuple[Any, Any, Any]) -> None:
    async with old_app.build_agent(*tiers) as agent:
        tools = agent.memory_tool_definitions()
        assert await tools["memory_read"](old.name()) is None
        assert await tools["memory_write"](old.name(), {"plan": 1}) == "stored"
        assert await tools["memory_read"](old.name()) == {"plan": 1}
        assert await agent.gather_adapters(agent.memory_client.get(old.name())) == ({"plan": 1},)


async def test_the_client_alone_by_positional_rules(old: Old, tiers: tuple[Any, Any, Any]) -> None:
    async with old_app.client(*tiers) as memory:
        assert memory.rules.write_cold
        assert await old_app.profile(memory, old.suffix) == {"user": old.suffix, "visits": 1}
        assert await old_app.profile(memory, old.suffix) == {"user": old.suffix, "visits": 1}


async def test_an_agent_may_go_without_a_memory() -> None:
    agent = AgentBuilder[ServiceAgent]().with_agent(ServiceAgent).build()

    assert await agent.handle({"a": 1}) == {"service": "", "received": {"a": 1}}
    assert agent.memory_tool_definitions() == {}
    assert isinstance(agent.router, RoutingStrategy)
    agent.background_cache_write("key", "value")
    with pytest.raises(ValueError, match="at least one tier"):
        AgentBuilder[ServiceAgent]().with_agent(ServiceAgent).with_memory_builder(MemoryBuilder()).build()
    with pytest.raises(ValueError, match="with_agent"):
        AgentBuilder[ServiceAgent]().build()
    bad: Any = "much"
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        AgentBuilder[ServiceAgent]().with_models(complexity_threshold=bad)


async def test_what_fails_in_the_background_is_raised_by_close(old: Old, caplog: pytest.LogCaptureFixture) -> None:
    agent = ServiceAgent(AgentDependencies(hot_memory=HotMemory("redis://127.0.0.1:9")))
    agent.background_cache_write("key", "value")

    with pytest.raises(ExceptionGroup) as caught:
        await agent.close()
    told = [record.message for record in caplog.records if record.name == "thermocline.agents"]
    assert told == ["a background write of ServiceAgent failed: TierUnavailable"], "its class; a message may name a key"
    assert isinstance(caught.value.exceptions[0], TierUnavailable)
    await agent.close()  # told once
    await agent.hot_memory.close()


async def test_a_tier_connects_by_itself_until_it_is_closed(old: Old) -> None:
    hot = HotMemory(old.redis_url)
    assert hot.client is None
    await hot.mset({old.name(): "text"}, ttl_seconds=60)
    assert await hot.mget([old.name()]) == {old.name(): "text"}
    assert await hot.exists(old.name())
    await hot.close()
    with pytest.raises(ClientClosed):
        await hot.get(old.name())
    await hot.connect()
    assert await hot.delete(old.name()) == 1
    await hot.close()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("agents", "AgentBuilder AgentDependencies BaseRetailAgent ModelTarget"),
        ("agents.builder", "AgentBuilder"),
        ("agents.base_agent", "AgentDependencies BaseRetailAgent ModelTarget ModelInvoker"),
        ("agents.service_agent", "ServiceAgent"),
        ("agents.complexity", "assess_complexity"),
        ("agents.orchestration.router", "RoutingStrategy"),
        ("agents.memory", "HotMemory WarmMemory ColdMemory MemoryBuilder MemoryClient MemoryRules NamespaceContext"),
        ("agents.memory.hot", "HotMemory"),
        ("agents.memory.warm", "WarmMemory"),
        ("agents.memory.cold", "ColdMemory"),
        ("agents.memory.builder", "MemoryBuilder MemoryClient MemoryRules"),
        (
            "agents.memory.namespace",
            "NamespaceContext resolve_namespace_context build_canonical_memory_key read_hot_with_compatibility",
        ),
        ("settings", "MemorySettings"),
    ],
)
def test_names_are_where_earlier_code_looks_for_them(module: str, names: str) -> None:
    found = importlib.import_module(f"thermocline.{module}")

    for name in names.split():
        assert getattr(found, name) is not None
    with pytest.raises(AttributeError):
        _ = found.no_such_name


def test_a_router_takes_plain_and_async_handlers_and_models() -> None:
    target = ModelTarget("a", "b", old_app.small)

    assert (target.temperature, target.top_p, target.stream, target.provider) == (0.2, 0.9, False, None)


async def test_a_routers_large_handler_answers_what_is_complex_or_passed_on() -> None:
    router = RoutingStrategy()

    async def slm(payload: dict[str, Any]) -> dict[str, Any]:
        return {"response": payload.get("say", "small")}

    router.register_model_handlers("ask", slm_handler=slm, llm_handler=lambda payload: "large")

    assert await router.route("ask", {"query": "hi"}) == {"response": "small"}
    assert await router.route("ask", {"query": "hi", "say": " Upgrade "}) == "large"
    assert await router.route("ask", {"query": "word " * 40}) == "large"
    router.register_model_handlers("ask", slm_handler=slm)
    assert await router.route("ask", {"query": "hi", "say": "upgrade"}) == {"response": "upgrade"}


@pytest.mark.parametrize("kind", ["warm", "cold"])
async def test_without_a_credential_it_signs_in_with_the_default_one(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody is signed in; what was made for the attempt is closed again, and the next one makes it anew."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))  # nobody is signed in there
    tier: Any = (
        WarmMemory("https://127.0.0.1:9", "d", "c") if kind == "warm" else ColdMemory("https://127.0.0.1:9", "c")
    )

    for _ in range(2):
        with pytest.raises(TierUnavailable):
            await tier.connect()
        assert tier._own is None
    await tier.close()
