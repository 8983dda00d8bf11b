"""Every name that users of the earlier system know is there, with its parameters, their order and their defaults; and the page for them names it."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import thermocline
from thermocline import AgentBuilder, MemoryBuilder, MemoryClient, MemoryConfig, MemoryRules, MemorySettings, MemoryTier
from thermocline.agents import memory

PAGE = Path(__file__).parents[2] / "docs" / "moving-from-holiday-peak-lib.md"

# What it was: parameters in their order, "*" before those by keyword alone. Further ones of ours may follow by keyword.
SIGNATURES: list[tuple[Any, str]] = [
    (
        memory.HotMemory,
        "url, *, max_connections=None, socket_timeout=None, socket_connect_timeout=None, health_check_interval=None, retry_on_timeout=None",
    ),
    (
        thermocline.HotMemory,
        "url, *, max_connections=None, socket_timeout=None, socket_connect_timeout=None, health_check_interval=None, retry_on_timeout=None",
    ),
    (memory.HotMemory.set, "self, key, value, ttl_seconds=900"),
    (thermocline.HotMemory.set, "self, key, value, ttl_seconds=900"),
    (memory.HotMemory.get, "self, key"),
    (memory.WarmMemory, "account_uri, database, container, *, connection_limit=None, client_kwargs=None"),
    (thermocline.WarmMemory, "account_uri, database, container, *, connection_limit=None, client_kwargs=None"),
    (memory.WarmMemory.upsert, "self, item"),
    (
        memory.ColdMemory,
        "account_url, container_name, *, connection_pool_size=None, connection_timeout=None, read_timeout=None",
    ),
    (
        thermocline.ColdMemory,
        "account_url, container_name, *, connection_pool_size=None, connection_timeout=None, read_timeout=None",
    ),
    (memory.ColdMemory.upload_text, "self, blob_name, data"),
    (memory.ColdMemory.download_text, "self, blob_name"),
    (
        MemoryRules,
        "read_fallback=True, promote_on_read=True, write_through=True, hot_ttl_seconds=300, warm_ttl_seconds=None, write_cold=False",
    ),
    (MemoryClient, "*, hot=None, warm=None, cold=None, rules=None"),
    (MemoryClient.get, "self, key, *, tier=None"),
    (MemoryClient.set, "self, key, value, *, tier=None, ttl=NOT_GIVEN"),
    (MemoryClient.delete, "self, key, *, tier=None"),
    (MemoryClient.exists, "self, key, *, tier=None"),
    (MemoryClient.mget, "self, keys, *, tier=None"),
    (MemoryClient.mset, "self, items, *, tier=None, ttl=NOT_GIVEN"),
    (MemoryBuilder, ""),
    (MemoryBuilder.with_hot, "self, tier=NOT_GIVEN, *, host=None, port=None, password=None, ssl=None"),
    (
        MemoryBuilder.with_warm,
        "self, tier=NOT_GIVEN, *, cosmos_endpoint=None, database='memory', container='state', credential=None, key=None",
    ),
    (MemoryBuilder.with_warm_plus, "self, account_url, table='memory', credential=None"),
    (
        MemoryBuilder.with_cold,
        "self, tier=NOT_GIVEN, *, blob_account_url=None, container='memory', credential=None",
    ),
    (MemoryBuilder.build, "self"),
    (AgentBuilder, ""),
    (AgentBuilder.with_agent, "self, agent_class"),
    (AgentBuilder.with_router, "self, router"),
    (AgentBuilder.with_memory, "self, hot=None, warm=None, cold=None"),
    (AgentBuilder.with_memory_builder, "self, memory_builder"),
    (AgentBuilder.with_mcp, "self, mcp_server"),
    (AgentBuilder.with_self_healing, "self, self_healing_kernel"),
    (AgentBuilder.with_evaluation, "self, evaluation"),
    (AgentBuilder.with_tool, "self, name, handler"),
    (AgentBuilder.with_tools, "self, tools"),
    (AgentBuilder.with_models, "self, *, slm=None, llm=None, complexity_threshold=0.5"),
    (AgentBuilder.build, "self"),
    (
        memory.resolve_namespace_context,
        "request, service_name, *, default_tenant_id='public', default_session_id='anonymous', session_fallback=None",
    ),
    (memory.build_canonical_memory_key, "context, logical_key"),
    (memory.read_hot_with_compatibility, "hot_memory, canonical_key, legacy_keys, *, ttl_seconds"),
    (memory.NamespaceContext, "service, tenant_id, session_id"),
]
SETTINGS = [
    "redis_url",
    "redis_host",
    "redis_password",
    "redis_password_secret_name",
    "key_vault_uri",
    "cosmos_account_uri",
    "cosmos_database",
    "cosmos_container",
    "blob_account_url",
    "blob_container",
]


def shown(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"


@pytest.mark.parametrize(("call", "expected"), SIGNATURES, ids=lambda part: getattr(part, "__qualname__", ""))
def test_parameters_are_as_they_were(call: Callable[..., Any], expected: str) -> None:
    parameters = inspect.signature(call).parameters.values()
    by_place = [shown(one) for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    by_name = {shown(one) for one in parameters if one.kind is one.KEYWORD_ONLY}
    place, _, names = expected.partition("*")

    wanted = [part.strip() for part in place.split(",") if part.strip()]
    assert by_place[: len(wanted)] == wanted
    assert {part.strip() for part in names.split(",") if part.strip()} <= by_name | set(by_place)
    assert all("=" in rest for rest in by_place[len(wanted) :]), "nothing new is needed"


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_have_their_fields(name: str) -> None:
    assert name in MemorySettings.model_fields


def test_settings_resolve_the_redis_url() -> None:
    settings = MemorySettings(env_file=None, redis_host="cache.example.com", redis_password="p w")

    assert settings.resolve_redis_url() == "redis://:p%20w@cache.example.com:6379"


def test_tiers_and_lifetimes_have_their_values() -> None:
    assert [tier.name for tier in MemoryTier] == ["HOT", "WARM", "WARM_PLUS", "COLD"]
    assert (MemoryConfig.SESSION_TTL, MemoryConfig.USER_PROFILE_TTL) == (300, 86400)
    assert (MemoryConfig.SEARCH_HISTORY_TTL, MemoryConfig.CATALOG_SNAPSHOT_TTL) == (2592000, None)


def test_rules_are_taken_by_position() -> None:
    assert MemoryRules(False, False, True, 60, 120, True) == MemoryRules(
        read_fallback=False,
        promote_on_read=False,
        write_through=True,
        hot_ttl_seconds=60,
        warm_ttl_seconds=120,
        write_cold=True,
    )


@pytest.mark.parametrize("name", ["client", "url"])
def test_the_hot_tiers_attributes_are_settable(name: str) -> None:
    hot: Any = memory.HotMemory("redis://localhost")
    value = "redis://elsewhere:7000" if name == "url" else object()

    assert hot.client is None
    setattr(hot, name, value)
    assert getattr(hot, name) in (value, "redis://elsewhere:7000/0")


def test_the_page_names_every_name() -> None:
    text = PAGE.read_text()
    names = {getattr(call, "__qualname__", "").rpartition(".")[2] for call, _ in SIGNATURES} | {
        *SETTINGS,
        *memory.__all__,
        "resolve_redis_url",
        "build_service_app",
        "MemoryTier",
        "MemoryConfig",
    }
    names |= {name for name in dir(thermocline.agents.BaseRetailAgent) if not name.startswith("_")}

    assert {name for name in names if re.search(rf"\b{name}\b", text) is None} == set()
