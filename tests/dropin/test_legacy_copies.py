"""Copies that code before this library left: read until the first write takes them over, and never again (docs/adrs/0011-drop-in.md)."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from tests.dropin.world import Old, left, put_everywhere, roomy

from thermocline import ConfigurationError, Hit, Key, LegacySource, MemoryClient, Route, TierUnavailable
from thermocline.agents.memory import NamespaceContext, build_canonical_memory_key, canonical_name
from thermocline.testing.pytest_plugin import MakeProxy


@dataclass
class Plan:
    steps: int


async def test_each_kind_of_copy_is_read(old: Old) -> None:
    await old.redis.set(old.name("a"), "from redis", ex=900)
    await old.documents.upsert_item({"id": old.name("b"), "pk": old.name("b"), "value": {"from": "cosmos", "n": 1}})
    await old.blobs.upload_blob(old.name("c"), "from a blob")
    memory = await old.client(legacy=old.source())

    assert await memory.get(old.name("a")) == "from redis"
    assert await memory.get(old.name("b")) == {"from": "cosmos", "n": 1}
    assert await memory.get(old.name("c")) == "from a blob"
    assert await memory.exists(old.name("a"))
    found = await memory.lookup(old.name("b"))
    assert isinstance(found, Hit)
    assert found.version == 0
    batch = await memory.get_many([old.name(letter) for letter in "abcd"])
    assert dict(batch) == {
        old.name("a"): "from redis",
        old.name("b"): {"from": "cosmos", "n": 1},
        old.name("c"): "from a blob",
    }
    assert batch.missing == [old.name("d")]


async def test_without_a_legacy_route_they_are_not_there(old: Old) -> None:
    await put_everywhere(old, old.name(), "old")
    memory = await old.client()

    assert await memory.get(old.name()) is None


async def test_json_text_stays_text_unless_a_type_is_asked_for(old: Old) -> None:
    text = json.dumps({"steps": 3})
    await old.redis.set(old.name(), text)
    memory = await old.client(legacy=old.source())

    assert await memory.get(old.name()) == text
    assert await memory.get(old.name(), type=Plan) == Plan(3)
    assert await memory.get(old.name(), type=str) == text


async def test_a_document_without_a_value_is_the_value(old: Old) -> None:
    await old.documents.upsert_item({"id": old.name(), "pk": old.name(), "turns": ["hello"]})
    memory = await old.client(legacy=old.source())

    assert await memory.get(old.name()) == {"id": old.name(), "pk": old.name(), "turns": ["hello"]}


async def test_containers_by_service_are_read_whatever_the_service(old: Old) -> None:
    """The old templates partitioned by /service, and the old code wrote documents without one, or with."""
    await old.by_service.upsert_item({"id": old.name("without"), "pk": old.name("without"), "value": 1})
    await old.by_service.upsert_item({"id": old.name("with"), "service": "cart", "value": 2})
    legacy = old.source(hot=None, cold=None, warm=old.old_documents(old.by_service.id))
    memory = await old.client(legacy=legacy)

    assert await memory.get(old.name("without")) == 1
    assert await memory.get(old.name("with")) == 2
    await memory.set(old.name("without"), 3)
    await memory.delete(old.name("with"))
    rows = [row async for row in old.by_service.query_items("SELECT c.id FROM c")]
    assert rows == []
    assert await memory.get(old.name("without")) == 3
    assert await memory.get(old.name("with")) is None


async def test_the_record_and_the_tombstone_go_before_an_old_copy(old: Old) -> None:
    """Code before that still runs writes its copies again: they are older than whatever the cascade knows."""
    memory = await old.client(legacy=old.source())
    await memory.set(old.name(), "new")
    await put_everywhere(old, old.name(), "old")

    assert await memory.get(old.name()) == "new"
    await memory.delete(old.name())
    assert await left(old, old.name()) == []
    await put_everywhere(old, old.name(), "old")
    assert await memory.get(old.name()) is None
    fresh = await old.client(legacy=old.source())
    assert await fresh.get(old.name()) is None


async def test_an_old_copy_ends_when_it_would_have(old: Old) -> None:
    await old.redis.set(old.name("hot"), "old", px=600_000)
    await old.documents.upsert_item({"id": old.name("warm"), "pk": old.name("warm"), "value": "old", "ttl": 600})
    memory = await old.client(legacy=old.source())

    for kind in ("hot", "warm"):
        remaining = await memory.ttl(old.name(kind))
        assert remaining is not None
        assert 500 < remaining.total_seconds() <= 600
        await memory.update(old.name(kind), lambda value: value + "!")
        remaining = await memory.ttl(old.name(kind))
        assert remaining is not None
        assert 500 < remaining.total_seconds() <= 600


@pytest.mark.parametrize("source", ["hot", "warm"])
async def test_a_source_that_is_down_is_no_absence(old: Old, chaos_proxy: MakeProxy, source: str) -> None:
    """P1: what stands below it may be older, and nothing below it may be an absence."""
    await old.blobs.upload_blob(old.name(), "in a blob")
    proxy = await chaos_proxy(old.redis_url if source == "hot" else old.cosmos.url)
    parts: dict[str, Any] = (
        {"hot": old.hot(proxy.url)} if source == "hot" else {"warm": old.old_documents(url=proxy.url)}
    )
    source_parts = old.source(**parts)
    patient = await old.client(legacy=source_parts)
    assert await patient.get(old.name()) == "in a blob"
    memory = await old.client(legacy=source_parts, budget=roomy(warm=0.5))
    proxy.refuse()
    proxy.cut()

    with pytest.raises(TierUnavailable):
        await memory.get(old.name())
    with pytest.raises(TierUnavailable):
        await memory.set(old.name(), "new")
    with pytest.raises(TierUnavailable):
        await memory.delete(old.name())
    batch = await memory.get_many([old.name()])
    assert isinstance(batch.errors[old.name()], TierUnavailable)


async def test_a_key_of_a_tenant_never_reads_a_plain_string_s_copy(old: Old) -> None:
    """P9: old names had no tenants."""
    await old.redis.set(old.name(), "everyone's")
    memory = await old.client(legacy=old.source())

    assert await memory.get(old.name()) == "everyone's"
    assert await memory.get(Key("acme", "user/42", old.name())) is None
    await memory.set(Key("acme", "user/42", old.name()), "acme's")
    await memory.delete(Key("acme", "user/42", old.name()))
    assert await memory.get(old.name()) == "everyone's"


async def test_agents_that_went_over_to_keys_find_their_canonical_strings(old: Old) -> None:
    context = NamespaceContext("cart", f"tenant-{old.suffix}", "session-1")
    await old.redis.set(build_canonical_memory_key(context, "cart"), "3 pairs of socks")
    memory = await old.client(legacy=old.source(name=canonical_name))

    assert await memory.get(context.key("cart")) == "3 pairs of socks"
    assert await memory.get(NamespaceContext("cart", "another", "session-1").key("cart")) is None


async def test_what_cannot_be_a_source_is_refused(old: Old) -> None:
    given: Any = object()
    with pytest.raises(ConfigurationError, match="at least one"):
        LegacySource()
    with pytest.raises(ConfigurationError, match="LegacyDocuments"):
        LegacySource(hot=given)
    with pytest.raises(ConfigurationError, match="a LegacySource, not object"):
        Route("", legacy=given)
    with pytest.raises(ConfigurationError, match="no legacy container"):
        await old.client(legacy=old.source(warm=old.old_documents("missing")))


async def test_a_source_that_cannot_be_reached_stops_the_client_at_connect(old: Old) -> None:
    legacy = old.source(hot=old.hot("redis://127.0.0.1:9"))
    memory = MemoryClient(hot=old.hot(), warm=old.warm(), routes=[Route("", legacy=legacy)])

    with pytest.raises(TierUnavailable):
        await memory.connect()
    assert not any(source.connected for source in legacy.sources())  # type: ignore[attr-defined]
    await memory.close()


async def test_a_container_of_the_old_shape_is_no_authority(old: Old) -> None:
    memory = MemoryClient(warm=type(old.warm())(old.cosmos.url, "dropin", old.documents.id, key=old.cosmos.key))

    with pytest.raises(ConfigurationError, match=r"partitioned by /pk.*LegacySource"):
        await memory.connect()
    await memory.close()


async def test_what_is_read_alone_is_not_put_into_hot(old: Old) -> None:
    """An entry in hot would need a version, and the old code may still write its copy."""
    await old.redis.set(old.name(), "one")
    memory = await old.client(legacy=old.source())
    assert await memory.get(old.name()) == "one"
    await old.redis.set(old.name(), "two")

    assert await memory.get(old.name()) == "two"
    assert await left(old, old.name()) == ["hot"]
