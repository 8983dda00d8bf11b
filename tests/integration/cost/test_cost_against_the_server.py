"""The formula against the server that charges: a mixed workload through the real client, priced by what the client counted."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from thermocline.client import MemoryClient
from thermocline.cost.units import units_by_operation
from thermocline.cost.workload import MONTH, counted
from thermocline.model import Key
from thermocline.resilience import Budget
from thermocline.testing.cosmos.process import CosmosProcess
from thermocline.testing.rig import Azurite, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

Memory = Callable[[], MemoryClient]


@pytest.fixture(scope="module")
def server() -> Iterator[CosmosProcess]:
    """One of its own: its counters are nobody else's."""
    with CosmosProcess.start() as running:
        yield running


@pytest.fixture
async def memory(
    server: CosmosProcess, redis_server: RedisServer, azurite: Azurite, unique_name: Callable[[str], str]
) -> AsyncIterator[Memory]:
    name = unique_name("cost")
    seconds = {"call": 60.0, "connect": 60.0, "hot": 10.0, "warm": 15.0, "cold": 30.0}
    opened: list[MemoryClient] = []

    def make() -> MemoryClient:
        spans: dict[str, Any] = {tier: timedelta(seconds=value) for tier, value in seconds.items()}
        client = MemoryClient(
            hot=HotMemory(redis_server.url),
            warm=WarmMemory(server.url, name, "memory", key=server.key, create=True),
            cold=ColdMemory(azurite.blob_url, name, credential=azurite.key, create=True),
            budget=Budget(**spans),
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.close()


async def work(client: MemoryClient, tenant: str, *, rounds: int, seed: int) -> None:
    """Reads, writes of old and new keys in many sizes, deletes, batches, conditions that fail, values in cold, a listing."""
    chance = random.Random(seed)
    keys = [Key(tenant, f"user/{number % 7}", f"note-{number}") for number in range(60)]
    for _ in range(rounds):
        key, doing = chance.choice(keys), chance.random()
        value = {"text": "".join(chance.choices("abcdefgh ", k=int(2 ** chance.uniform(5, 15.5))))}
        if doing < 0.35:
            await client.get(key, default=None)
        elif doing < 0.70:
            await client.set(key, value, ttl=timedelta(hours=1) if doing < 0.5 else None)
        elif doing < 0.76:
            await client.delete(key)
        elif doing < 0.80:
            await client.set(key, chance.randbytes(300_000))
        elif doing < 0.84:
            await client.set_many({one: {"n": chance.random(), "pad": "x" * chance.randrange(3000)} for one in keys[:9]})
        elif doing < 0.90:
            await client.get_many(chance.sample(keys, 12))
        elif doing < 0.95:
            await client.exists(key)
        else:
            await client.touch(key, ttl=timedelta(hours=2))


async def test_the_formula_is_the_servers_sum(
    memory: Memory, server: CosmosProcess, unique_name: Callable[[str], str]
) -> None:
    """Within 5 %, by counts and sizes alone; and the measured path to the last digit."""
    tenant = unique_name("t")
    control = server.control
    first = memory()
    await first.connect()
    control.reset("counters")
    before = first.stats()["warm"]["request_units"]
    connecting = counted(first.stats()).units
    await work(first, tenant, rounds=400, seed=6)
    second = memory()  # that knows no versions
    await second.connect()
    await work(second, tenant, rounds=200, seed=7)
    stats = [first.stats(), second.stats()]
    charged = control.stats().charge

    formula = sum(counted(one).units for one in stats) - connecting
    measured = sum(one["warm"]["request_units"] for one in stats) - before
    by_operation = [units_by_operation(counted(one).warm) for one in stats]
    assert control.stats().statuses.get("429/3200") is None
    assert measured == pytest.approx(charged, rel=1e-3)
    assert formula == pytest.approx(charged, rel=0.05), (formula, charged, by_operation)
    assert {"read", "create", "patch", "missing", "refused"} <= by_operation[0].keys() | by_operation[1].keys()
