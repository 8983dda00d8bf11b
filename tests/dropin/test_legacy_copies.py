"""Copies that code before this library left: read until the first write takes them over, and never again (docs/adrs/0011-drop-in.md)."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from tests.dropin.world import Old, roomy

from thermocline import (
    Codec,
    ConfigurationError,
    Hit,
    Key,
    LegacySource,
    MemoryClient,
    MemoryRules,
    Route,
    TierUnavailable,
)
from thermocline.agents.memory import NamespaceContext, build_canonical_memory_key, canonical_name
from thermocline.client.legacy import CLAIM
from thermocline.client.takeover import TakeOver
from thermocline.clock import Deadline
from thermocline.errors import Conflict
from thermocline.protocols import PlainCopy
from thermocline.testing.pytest_plugin import MakeProxy
from thermocline.tiers.hot import HotMemory


async def put_everywhere(old: Old, name: str, value: str) -> None:
    await old.redis.set(name, value, ex=900)
    await old.documents.upsert_item({"id": name, "pk": name, "value": value})
    await old.blobs.upload_blob(name, value)


async def left(old: Old, name: str) -> list[str]:
    """Where the old code's copies of a name still are."""
    found = ["hot"] if await old.redis.exists(name) else []
    try:
        await old.documents.read_item(name, name)
        found.append("warm")
    except ResourceNotFoundError:
        pass
    if await old.blobs.get_blob_client(name).exists():
        found.append("cold")
    return found


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


@pytest.mark.parametrize(
    "verb", ["set", "set_many", "update", "touch", "delete", "delete_many", "set_stream", "append"]
)
async def test_the_first_write_takes_over_and_leaves_no_copy(old: Old, verb: str) -> None:
    name = old.name()
    await put_everywhere(old, name, "old") if verb != "append" else await old.documents.upsert_item(
        {"id": name, "pk": name, "value": ["old"]}
    )
    memory = await old.client(legacy=old.source())

    async def chunks() -> Any:
        yield b"new"

    writes: dict[str, Any] = {
        "set": lambda: memory.set(name, "new"),
        "set_many": lambda: memory.set_many({name: "new"}),
        "update": lambda: memory.update(name, lambda value: f"{value} and new"),
        "touch": lambda: memory.touch(name, ttl=600),
        "delete": lambda: memory.delete(name),
        "delete_many": lambda: memory.delete_many([name]),
        "set_stream": lambda: memory.set_stream(name, chunks()),
        "append": lambda: memory.append(name, "new"),
    }
    result = await writes[verb]()

    expected = {
        "update": "old and new",
        "touch": "old",
        "delete": None,
        "delete_many": None,
        "set_stream": b"new",
        "append": ["old", "new"],
    }
    assert await memory.get(name) == expected.get(verb, "new")
    assert await left(old, name) == []
    if verb in ("touch", "delete"):
        assert result.found
    other = await old.client()  # the cascade's own record, without any route
    assert await other.get(name) == expected.get(verb, "new")


async def test_a_condition_is_judged_by_the_old_value(old: Old) -> None:
    await old.redis.set(old.name(), "old")
    memory = await old.client(legacy=old.source())

    with pytest.raises(Conflict):
        await memory.set(old.name(), "new", if_absent=True)
    assert await memory.get(old.name()) == "old"


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


async def test_a_claim_that_was_cut_off_hides_nothing(old: Old) -> None:
    """A process that dies after its claim leaves the old copy where it was, for readers and for the next writer."""
    await old.redis.set(old.name(), "old")
    memory = await old.client(legacy=old.source())
    key = Key.of(old.name())
    plan = memory._engine.routes.route(key)
    takeover: TakeOver = memory._takeover
    await takeover._put(takeover._claim(key), plan, memory._engine.budget.call(), None)

    other = await old.client(legacy=old.source())
    found = await other._engine.authority(plan.authority).read(key, deadline=memory._engine.budget.call())
    assert found is not None
    assert found.media_type == CLAIM
    assert await other.get(old.name()) == "old"
    assert await (await old.client()).get(old.name()) is None  # without the route it is dead
    assert await other.update(old.name(), lambda value: value + "er") == "older"
    assert await left(old, old.name()) == []


async def test_a_deletion_between_claim_and_value_wins(old: Old) -> None:
    """P4: whoever takes over a value that is deleted meanwhile does not bring it back."""
    await old.redis.set(old.name(), "old")
    slow, quick = await old.client(legacy=old.source()), await old.client(legacy=old.source())
    key, budget = Key.of(old.name()), slow._engine.budget
    plan = slow._engine.routes.route(key)
    await slow._takeover._put(slow._takeover._claim(key), plan, budget.call(), None)
    claim = await slow._cascade.ask(key, plan, 0, budget.call())
    assert plan.legacy is not None
    assert claim is not None
    copy = await slow._cascade.legacy.read(key, plan.legacy, budget.call())
    assert copy is not None

    await quick.delete(key)
    with pytest.raises(Conflict):
        await slow._takeover._put(copy, plan, budget.call(), claim.version)
    for client in (slow, quick, await old.client(legacy=old.source())):
        assert await client.get(key) is None


async def test_many_updates_at_once_lose_none(old: Old) -> None:
    await old.documents.upsert_item({"id": old.name(), "pk": old.name(), "value": 100})
    clients = [await old.client(legacy=old.source()) for _ in range(3)]

    await asyncio.gather(*(client.increment(old.name()) for client in clients for _ in range(4)))

    assert await clients[0].get(old.name()) == 112
    assert await left(old, old.name()) == []


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


@pytest.mark.parametrize("authority", ["hot", "cold"])
async def test_every_authority_takes_over(old: Old, authority: str) -> None:
    await old.documents.upsert_item({"id": old.name(), "pk": old.name(), "value": {"n": 1}})
    rules = MemoryRules(write_through=authority == "cold")
    given: dict[str, Any] = {"warm": None} if authority == "cold" else {}
    memory = await old.client(routes=[Route("", rules=rules, legacy=old.source(hot=None, cold=None))], **given)

    assert await memory.get(old.name()) == {"n": 1}
    assert await memory.update(old.name(), lambda value: value | {"m": 2}) == {"n": 1, "m": 2}
    assert await left(old, old.name()) == []
    assert await memory.get(old.name()) == {"n": 1, "m": 2}
    await memory.delete(old.name())
    assert await memory.get(old.name()) is None


async def test_what_is_read_alone_is_not_put_into_hot(old: Old) -> None:
    """An entry in hot would need a version, and the old code may still write its copy."""
    await old.redis.set(old.name(), "one")
    memory = await old.client(legacy=old.source())
    assert await memory.get(old.name()) == "one"
    await old.redis.set(old.name(), "two")

    assert await memory.get(old.name()) == "two"
    assert await left(old, old.name()) == ["hot"]


async def test_a_large_copy_goes_to_cold_as_any_value(old: Old) -> None:
    text = "".join(chr(33 + number * number % 90) for number in range(600_000))
    await old.redis.set(old.name(), text)
    memory = await old.client(legacy=old.source(), codec=Codec(compression=None))

    assert await memory.update(old.name(), lambda value: value + "!") == text + "!"
    assert await memory.get(old.name()) == text + "!"
    assert await left(old, old.name()) == []


async def test_a_crash_before_the_copies_are_removed_loses_and_revives_nothing(old: Old) -> None:
    """The value has been taken over, and its writer is gone: the record counts, and the next write clears up."""
    await put_everywhere(old, old.name(), "old")
    first = await old.client(legacy=old.source())
    await first.update(old.name(), lambda value: value)
    await put_everywhere(old, old.name(), "old")  # as if none had been removed

    second = await old.client(legacy=old.source())
    assert await second.update(old.name(), lambda value: value + "er") == "older"
    assert await left(old, old.name()) == []
    await put_everywhere(old, old.name(), "old")
    await second.delete(old.name())
    assert await left(old, old.name()) == []


async def test_updates_beside_a_delete_never_bring_the_old_value_back(old: Old) -> None:
    """P4, whatever the order: an update before the delete is deleted with it, one after it begins with nothing."""
    clients = [await old.client(legacy=old.source(warm=None, cold=None)) for _ in range(4)]

    async def race(name: str, waits: int) -> None:
        await old.redis.set(name, "old")

        async def delete() -> None:
            for _ in range(waits):  # begins at another moment each time
                await asyncio.sleep(0)
            await clients[0].delete(name)

        updates = (client.update(name, lambda value: value + "+", default="") for client in clients[1:])
        await asyncio.gather(delete(), *updates)
        found = await clients[1].get(name)
        assert found is None or "old" not in found
        assert not await old.redis.exists(name)

    for waits in range(0, 60, 3):
        await race(old.name(str(waits)), waits)


class Paused(HotMemory):
    """Old copies in Redis, of which one reading is held back on its way to the reader."""

    def __init__(self, url: str, held: int) -> None:
        super().__init__(url)
        self._left = held
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        found = await super().plain_get(name, deadline=deadline)
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await self.go.wait()
        return found


@pytest.mark.parametrize("held", [1, 2], ids=["before the claim", "after the claim"])
@pytest.mark.parametrize("fate", ["deleted", "written"])
async def test_a_slow_taking_over_brings_nothing_back(old: Old, held: int, fate: str) -> None:
    """P4 and P3: what was deleted or written while it had the old copy in its hand stays so."""
    await old.redis.set(old.name(), "old")
    paused = Paused(old.redis_url, held)
    slow = await old.client(legacy=old.source(hot=paused, warm=None, cold=None))
    quick = await old.client(legacy=old.source(warm=None, cold=None))
    update = asyncio.create_task(slow.update(old.name(), lambda value: f"{value}+", default="nothing"))
    await paused.reached.wait()

    await (quick.delete(old.name()) if fate == "deleted" else quick.set(old.name(), "new"))
    assert await quick.get(old.name()) == (None if fate == "deleted" else "new")
    paused.go.set()

    assert await update == ("nothing+" if fate == "deleted" else "new+")
    assert await quick.get(old.name()) == ("nothing+" if fate == "deleted" else "new+")
    assert await left(old, old.name()) == []
