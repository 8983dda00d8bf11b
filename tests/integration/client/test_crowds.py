"""Ten thousand calls at once on one client: they wait their turn, on their own time; none fails and no breaker opens. (The soak has the default shares.)"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline.client import MemoryClient
from thermocline.client.gate import Gate
from thermocline.clock import Deadline
from thermocline.model import Key
from thermocline.resilience import Budget
from thermocline.resilience.rules import AT_ONCE
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.warm import WarmMemory

CROWD = 10_000
PATIENCE = 100.0  # seconds: how fast the machine is, is not what is tested


def starved() -> Budget:
    """The tiers' shares five to ten times as long as by default: servers that get no time on a busy machine are late by themselves. Without the gate
    calls that wait for each other are late all the same."""
    return Budget(hot=timedelta(milliseconds=500), warm=timedelta(seconds=2.5))


async def all_of(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*calls)


def keys_of(tenant: str, count: int) -> list[Key]:
    return [Key(tenant, f"scope {number % 50}", f"n{number}") for number in range(count)]


async def check(memory: MemoryClient, keys: Sequence[Key]) -> None:
    """Raises what any of the calls raises."""
    written = await all_of([memory.set(key, key.name, timeout=PATIENCE) for key in keys])
    assert len({result.key for result in written}) == len(keys)
    assert await all_of([memory.get(key, timeout=PATIENCE) for key in keys]) == [key.name for key in keys]


async def test_crowd_of_an_embedded_client(tmp_path: Path) -> None:
    memory = MemoryClient(
        hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "warm.sqlite3"), cold=FolderMemory(tmp_path / "cold")
    )
    async with memory:
        await check(memory, keys_of("crowd", CROWD))


async def test_crowd_at_redis_alone(redis_server: RedisServer, unique_name: Callable[[str], str]) -> None:
    async with MemoryClient(hot=HotMemory(redis_server.url), budget=starved()) as memory:
        await check(memory, keys_of(unique_name("crowd"), CROWD))


def _services(
    redis: RedisServer, cosmos: CosmosServer, azurite: Azurite, name: str, budget: Budget | None = None
) -> MemoryClient:
    return MemoryClient(
        hot=HotMemory(redis.url),
        warm=WarmMemory(cosmos.url, "crowds", name, key=cosmos.key, create=True),
        cold=ColdMemory(azurite.blob_url, name, credential=azurite.key, create=True),
        budget=budget,
    )


async def test_crowd_at_the_services(
    redis_server: RedisServer, cosmos_server: CosmosServer, azurite: Azurite, unique_name: Callable[[str], str]
) -> None:
    """Fewer writes, since the local Cosmos DB takes but some hundreds in a second; the soak has them all."""
    keys = keys_of(unique_name("crowd"), 600)
    async with _services(redis_server, cosmos_server, azurite, unique_name("crowd"), starved()) as memory:
        await check(memory, keys)
        many = [keys[number % len(keys)] for number in range(CROWD)]
        assert await all_of([memory.get(key, timeout=PATIENCE) for key in many]) == [key.name for key in many]


@pytest.mark.soak
async def test_full_crowd_at_the_services(
    redis_server: RedisServer, cosmos_server: CosmosServer, azurite: Azurite, unique_name: Callable[[str], str]
) -> None:
    async with _services(redis_server, cosmos_server, azurite, unique_name("crowd")) as memory:
        await check(memory, keys_of(unique_name("crowd"), CROWD))


async def test_gate_lets_so_many_in_and_in_their_order() -> None:
    gate, inside, most, order = Gate(), 0, 0, list[int]()

    async def call(number: int) -> None:
        nonlocal inside, most
        if not gate.try_enter():
            await gate.enter(Deadline.never())
        inside += 1
        most = max(most, inside)
        order.append(number)
        await asyncio.sleep(0)
        inside -= 1
        gate.leave()

    await all_of([call(number) for number in range(500)])
    assert order == list(range(500))
    assert 1 < most <= AT_ONCE


async def test_gate_loses_no_place_to_callers_that_are_cancelled() -> None:
    gate = Gate(1)
    assert gate.try_enter()
    waiting = [asyncio.create_task(gate.enter(Deadline.never())) for _ in range(20)]
    await asyncio.sleep(0)
    for task in waiting[::2]:
        task.cancel()
    gate.leave()  # the place goes to the second while the first is being cancelled
    waiting[1].cancel()
    done: list[int] = []
    for number, task in enumerate(waiting):
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        if result is None:
            done.append(number)
            gate.leave()
    assert done == list(range(3, 20, 2))
    assert gate.try_enter()


async def test_gate_ends_with_the_callers_deadline() -> None:
    gate = Gate(1)
    assert gate.try_enter()
    with pytest.raises(TimeoutError):
        await gate.enter(Deadline.after(0.01))
    gate.leave()
    await gate.enter(Deadline.after(10))


async def test_gate_gives_no_place_twice_where_a_caller_is_cancelled_as_his_deadline_comes() -> None:
    gate = Gate(1)
    assert gate.try_enter()
    late = asyncio.create_task(gate.enter(Deadline.after(0.01)))
    await asyncio.sleep(0)
    next(iter(gate._waiting)).add_done_callback(lambda _: late.cancel())
    with pytest.raises((asyncio.CancelledError, TimeoutError)):
        await late
    assert gate.waiting == 0
    assert not gate.try_enter()
    gate.leave()
    assert gate.try_enter()
