"""The formula against the server that charges: a mixed workload through the real client, priced by what the client counted."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import pytest

from thermocline.client import MemoryClient
from thermocline.cost.units import units_by_operation
from thermocline.cost.workload import added, counted
from thermocline.model import Key
from thermocline.resilience import Budget
from thermocline.testing.cosmos.process import CosmosProcess
from thermocline.testing.rig import Azurite, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory


class Memory(Protocol):
    def __call__(self, *, hot: bool) -> MemoryClient: ...


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

    def make(*, hot: bool) -> MemoryClient:
        spans: dict[str, Any] = {tier: timedelta(seconds=value) for tier, value in seconds.items()}
        client = MemoryClient(
            hot=HotMemory(redis_server.url) if hot else None,
            warm=WarmMemory(server.url, name, "memory", key=server.key, create=True),
            cold=ColdMemory(azurite.blob_url, name, credential=azurite.key, create=True),
            budget=Budget(**spans),
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.close()


async def reads(client: MemoryClient, tenant: str, *, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(rounds):
        number = chance.randrange(66)  # some are not there
        await client.get(Key(tenant, f"user/{number % 7}", f"note-{number}"), default=None)


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
            await client.set_many(
                {one: {"n": chance.random(), "pad": "x" * chance.randrange(3000)} for one in keys[:9]}
            )
        elif doing < 0.90:
            await client.get_many(chance.sample(keys, 12))
        elif doing < 0.95:
            await client.exists(key)
        else:
            await client.touch(key, ttl=timedelta(hours=2))


@pytest.mark.parametrize("seed", [6, 60])
async def test_the_formula_is_the_servers_sum(
    memory: Memory, server: CosmosProcess, unique_name: Callable[[str], str], seed: int
) -> None:
    """Within 5 %, by counts and sizes alone; and the measured path within 0.1 %."""
    tenant = unique_name("t")
    control = server.control
    first = memory(hot=True)
    await first.connect()
    control.reset("counters")
    begun = first.stats()
    await work(first, tenant, rounds=400, seed=seed)
    second = memory(hot=True)  # that knows no versions
    await second.connect()
    await work(second, tenant, rounds=150, seed=seed + 1)
    third = memory(hot=False)  # whose reads all go to warm
    await third.connect()
    await reads(third, tenant, rounds=600, seed=seed + 2)
    stats = [first.stats(), second.stats(), third.stats()]
    found = control.stats()

    month = added([counted(one) for one in stats])
    formula = month.units - counted(begun).units
    assert month.charged is not None
    by_operation = units_by_operation(month.warm)
    assert month.charged - begun["warm"]["request_units"] == pytest.approx(found.charge, rel=1e-3)
    assert formula == pytest.approx(found.charge, rel=0.05), (formula, found.charge, by_operation)
    assert {"read", "create", "patch", "missing", "refused", "query"} <= by_operation.keys()
    assert min(by_operation["read"], by_operation["create"]) > 0.05 * formula, "each weighs something"
    # The comparison bites: a patch taken for a creation, or sizes that are left out, are further off than that.
    created = [replace(one, operation="create") if one.operation == "patch" else one for one in month.warm]
    assert sum(units_by_operation(created).values()) < 0.9 * found.charge
    sizeless = [replace(one, column=1) for one in month.warm]
    assert sum(units_by_operation(sizeless).values()) < 0.9 * found.charge


async def test_what_blob_storage_bills_for_is_counted(memory: Memory, unique_name: Callable[[str], str]) -> None:
    key = Key(unique_name("t"), "scope", "large")
    client = memory(hot=False)
    await client.connect()
    begun = added([counted(client.stats())])
    value = random.Random(1).randbytes(300_000)
    await client.set(key, value)
    assert await client.get(key) == value
    done = added([counted(client.stats())])

    large = {one.operation: (one.count, one.size) for one in done.cold if one.column == 512}
    assert large.keys() == {"write", "read"}
    assert all(count == 1 and 300_000 <= size < 301_000 for count, size in large.values())
    assert not any(one.column == 512 for one in begun.cold)
