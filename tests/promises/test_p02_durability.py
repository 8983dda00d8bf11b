"""P2: a write that was acknowledged as durable survives the crash of any client and the loss of Redis."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from tests.promises.nursery import Ended, Nursery
from tests.promises.world import DATABASE, LARGE, World, brisk

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError, UnknownOutcome
from thermocline.model import Hit, Key, Miss
from thermocline.protocols import Write, Written
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import RedisServer
from thermocline.tiers.warm import WarmMemory


async def born(nursery: Nursery, world: World, key: Key, redis_url: str | None = None, **job: Any) -> Ended:
    """One client process that makes one write."""
    return await nursery.run(
        redis=redis_url or world.redis_url,
        cosmos=world.cosmos.url,
        cosmos_key=world.cosmos.key,
        blob=world.azurite.blob_url,
        blob_key=world.azurite.key,
        name=world.name,
        key=[key.tenant, key.scope, key.name],
        **job,
    )


@pytest.mark.parametrize("size", ["small", "large"])
async def test_acknowledged_write_survives_kill_of_its_client_and_loss_of_redis(
    world: World, nursery: Nursery, size: str
) -> None:
    key = world.key()
    noise = LARGE if size == "large" else 100
    with RedisServer() as server:
        ended = await born(nursery, world, key, server.url, noise=noise, die_at="acknowledged")
        assert ended.killed
        assert ended.acknowledged is not None
        await asyncio.to_thread(server.restart, keep_data=False)
        memory = await world.open(hot=world.hot(server.url), cold=True)
        found = await memory.lookup(key)
        assert isinstance(found, Hit)
        assert found.value == random.Random(noise).randbytes(noise)
        assert found.version == ended.acknowledged
        await memory.close()


async def test_acknowledged_delete_survives_them_too(world: World, nursery: Nursery) -> None:
    key = world.key()
    with RedisServer() as server:
        memory = await world.open(hot=world.hot(server.url), cold=True)
        await memory.set(key, "old")
        await asyncio.to_thread(server.snapshot)  # Redis comes back with what it held before the delete
        ended = await born(nursery, world, key, server.url, verb="delete", die_at="acknowledged")
        assert ended.killed
        assert ended.acknowledged is not None
        await asyncio.to_thread(server.restart, keep_data=False)
        for client in (memory, await world.open(hot=world.hot(server.url), cold=True)):
            found = await client.lookup(key)
            assert isinstance(found, Miss)
            assert found.version == ended.acknowledged
            await client.close()


class Telling(WarmMemory):
    asked: asyncio.Event

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        self.asked.set()
        return await super().write_many(writes, deadline=deadline)


async def test_every_write_of_a_batch_that_is_durable_says_so_and_is(world: World) -> None:
    """Redis dies during the batch: what the results say is there, is there."""
    with RedisServer() as server:
        keys = [world.key(f"{number}", f"scope {number % 7}") for number in range(150)]
        warm = Telling(world.cosmos.url, DATABASE, world.name, key=world.cosmos.key, create=True)
        warm.asked = asyncio.Event()
        memory = await world.open(hot=world.hot(server.url), warm=warm, cold=True)
        writing = asyncio.create_task(memory.set_many({key: key.name for key in keys}))
        await warm.asked.wait()
        server.kill()
        written = await writing
        assert len(written) == 150
        assert all(result.durable for result in written.values())
        reader = await world.open(hot=None, cold=True)
        found = await reader.get_many(keys)
        assert found == {key: key.name for key in keys}
        await memory.close()


async def test_hot_alone_does_not_claim_to_be_durable(world: World) -> None:
    memory = await world.open(warm=None)
    assert not (await memory.set(world.key(), 1)).durable
    above = await world.open()
    assert (await above.set(world.key("durable"), 1)).durable


WRITES: dict[str, Callable[[MemoryClient, Key], Awaitable[Any]]] = {
    "set": lambda memory, key: memory.set(key, 2),
    "delete": lambda memory, key: memory.delete(key),
    "increment": lambda memory, key: memory.increment(key),
}


@pytest.mark.parametrize("verb", WRITES)
async def test_write_of_unknown_outcome_took_effect_once_or_not_at_all(
    world: World, control: CosmosControl, verb: str
) -> None:
    """Its answers are lost until the deadline: it is neither acknowledged nor said to have failed."""
    key = world.key()
    setup = await world.open(hot=None)
    await setup.set(key, 1)
    assert await (await world.open()).get(key) == 1  # hot has it
    memory = await world.open(budget=brisk(hot=10, warm=1))
    assert await memory.get(key) == 1
    control.drop(after=True)  # each request takes effect, and nothing comes back
    with pytest.raises(UnknownOutcome):
        await WRITES[verb](memory, key)
    control.clear()
    found = await setup.lookup(key)
    if verb == "delete":
        assert isinstance(found, Miss)
    else:
        assert isinstance(found, Hit)
        assert found.value == 2
    reader = await world.open()
    again = await reader.lookup(key)
    assert again == found or (isinstance(again, Hit) and isinstance(found, Hit) and again.record == found.record)
