"""What was wrong in the code that this library replaces, each with a small stand-in of how it behaved, and how it behaves now."""

import asyncio
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.cosmos.aio import ContainerProxy
from redis.exceptions import DataError
from tests.dropin.world import NEW, Old

from thermocline import ConfigurationError, HotMemory, Key, MemoryClient, TierUnavailable, WarmMemory
from thermocline.agents import AgentDependencies, ServiceAgent
from thermocline.clock import Deadline
from thermocline.tiers.cold import ColdMemory

# --- 1. hot and warm were asked together, and a warm 404 raised even when hot had the value ---------------------------


async def both_at_once(old: Old, container: ContainerProxy, name: str) -> Any:
    """How it read: both, and the first error of either."""
    hot, document = await asyncio.gather(old.redis.get(name), container.read_item(name, partition_key=name))
    return hot if hot is not None else document["value"]


async def test_a_value_in_hot_needs_nothing_of_warm(old: Old) -> None:
    name = old.name()
    await old.redis.set(name, "in hot")
    with pytest.raises(ResourceNotFoundError):
        await both_at_once(old, old.documents, name)

    memory = await old.client()
    await memory.set(name, "in hot", tier="hot")
    assert await memory.get(name, tier="hot") == "in hot"
    assert await memory.get(name) is None, "an absence is an answer, not an error"


async def test_a_hot_hit_costs_no_cosmos_read(old: Old) -> None:
    memory = await old.client()
    await memory.set(old.name(), {"a": 1})
    before = memory.stats()["warm"]["requests"]

    for _ in range(20):
        assert await memory.get(old.name()) == {"a": 1}

    assert memory.stats()["warm"]["requests"] == before


# --- 2. a dictionary in hot raised inside redis-py, and a background writer swallowed it ------------------------------


async def test_hot_takes_what_is_no_text(old: Old) -> None:
    with pytest.raises(DataError):
        await old.redis.set(old.name(), {"a": 1})  # type: ignore[arg-type]

    hot = HotMemory(old.redis_url)
    await hot.connect()
    for value in ({"a": 1}, [1, 2], None, 7, b"\xff", "text"):
        await hot.set(old.name(), value, ttl_seconds=60)
        assert await hot.get(old.name()) == value
    await hot.close()


async def test_no_background_write_fails_in_silence(old: Old) -> None:
    swallowed: set[asyncio.Task[None]] = set()
    down = HotMemory("redis://127.0.0.1:9")

    async def old_way() -> None:
        await old.redis.set(old.name(), {"a": 1})  # type: ignore[arg-type]

    task = asyncio.ensure_future(old_way())
    swallowed.add(task)
    task.add_done_callback(swallowed.discard)
    await asyncio.wait([task])
    assert not swallowed, "the old set of tasks forgot it"
    assert isinstance(task.exception(), DataError), "nobody asked"

    agent = ServiceAgent(AgentDependencies(hot_memory=down))
    with pytest.raises(TierUnavailable):
        await down.connect()
    agent.background_cache_write(old.name(), {"a": 1})
    with pytest.raises(ExceptionGroup) as caught:
        await agent.close()
    assert isinstance(caught.value.exceptions[0], TierUnavailable)
    await down.close()


# --- 3. the container was partitioned by /service, and code read and wrote by /pk -------------------------------------


async def test_a_container_by_another_path_is_found_out_at_connect(old: Old) -> None:
    name = old.name()
    await old.by_service.upsert_item({"id": name, "pk": name, "value": 1})
    with pytest.raises(ResourceNotFoundError):
        await old.by_service.read_item(name, partition_key=name)  # what it had just written

    memory = MemoryClient(warm=WarmMemory(old.cosmos.url, "dropin", old.by_service.id, key=old.cosmos.key))
    with pytest.raises(ConfigurationError, match="partitioned by /service"):
        await memory.connect()
    await memory.close()
    reader = await old.client(legacy=old.source(hot=None, cold=None, warm=old.old_documents(old.by_service.id)))
    assert await reader.get(name) == 1


# --- 4. no delete, no close, no batch; a synchronous credential blocked the event loop --------------------------------


async def test_there_is_delete_close_and_batch(old: Old) -> None:
    memory = await old.client()
    names = [old.name(str(number)) for number in range(3)]
    await memory.set_many(dict.fromkeys(names, 1))
    assert set(await memory.get_many(names)) == set(names)
    assert (await memory.delete(names[0])).found
    assert await memory.get(names[0]) is None

    warm = old.warm()
    await warm.connect()
    await warm.upsert({"id": names[1], "pk": names[1], "value": 1})
    assert await warm.delete(names[1], names[1])
    await warm.close()
    assert not warm.connected
    assert await old.database.get_container_client(NEW).read() is not None


class SynchronousCredential:
    """As azure.identity.DefaultAzureCredential: each token is a blocking call."""

    def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError("it was asked on the event loop")


def test_a_synchronous_credential_is_refused() -> None:
    given: Any = SynchronousCredential()

    with pytest.raises(ConfigurationError, match="synchronous"):
        WarmMemory("https://localhost", "d", "c", credential=given)
    with pytest.raises(ConfigurationError, match="synchronous"):
        ColdMemory("https://localhost", "c", credential=given)


async def test_the_cascade_and_the_plain_name_are_two_things(old: Old) -> None:
    """The old code's copies could be of any age: nothing told one tier of another's write. Now there is one record, and its copies heed it."""
    memory, other = await old.client(), await old.client()
    await memory.set(old.name(), 1)
    await other.get(old.name())
    await memory.set(old.name(), 2)

    assert await other.get(old.name()) == 2
    key = Key.of(old.name())
    assert memory.hot is not None
    copy = await memory._engine.hot.peek(key, deadline=Deadline.after(10))  # type: ignore[union-attr]
    assert copy is not None
    assert memory._engine.codec.decode(copy) == 2
