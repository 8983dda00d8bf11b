"""Stampedes on real services: client processes with a thousand callers of one key each; what they cost is counted at the Cosmos server."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.promises.nursery import Ended, Nursery
from tests.promises.world import World

from thermocline.client.engine import LEASE_MS
from thermocline.keys import cosmos_id
from thermocline.model import Key
from thermocline.testing.cosmos.control import CosmosControl

PROCESSES = 3
CALLERS = 1000
HEAD_START = 2.0  # seconds that processes have to connect in, so that their callers come at the same time; who comes later only finds more done


def job(world: World, key: Key) -> dict[str, Any]:
    return {
        "job": "read",
        "redis": world.redis_url,
        "cosmos": world.cosmos.url,
        "cosmos_key": world.cosmos.key,
        "name": world.name,
        "key": [key.tenant, key.scope, key.name],
        "callers": CALLERS,
    }


@pytest.fixture(scope="module")
def nurseries() -> Iterator[list[Nursery]]:
    """One for each process, since a nursery has one child at a time."""
    with ExitStack() as stack:
        yield [stack.enter_context(Nursery()) for _ in range(PROCESSES)]


async def stampede(nurseries: list[Nursery], job: dict[str, Any], **options: Any) -> list[Ended]:
    at = time.time() + HEAD_START
    return list(await asyncio.gather(*(nursery.run(**job | options, at=at) for nursery in nurseries)))


class Counted:
    """Reads of one item that came to the Cosmos server, each answered after so many seconds."""

    def __init__(self, control: CosmosControl, key: Key, seconds: float = 0.0) -> None:
        self._control = control
        self._number = control.delay(seconds * 1000, kinds=("read",), item=cosmos_id(key))

    def reads(self) -> int:
        return next(int(rule["hits"]) for rule in self._control.faults() if rule["number"] == self._number)


async def test_a_thousand_callers_of_each_process_cost_one_read_that_is_slower_than_a_lease(
    world: World, control: CosmosControl, nurseries: list[Nursery]
) -> None:
    seconds = 1.3 * LEASE_MS / 1000
    memory, key = await world.open(), world.key()
    await memory.set(key, "kept")
    await world.evict(key)
    counted = Counted(control, key, seconds)

    ended = await stampede(nurseries, job(world, key), over=seconds / 2)

    assert [one.steps for one in ended] == [["'kept'"]] * PROCESSES
    assert counted.reads() == 1


async def test_a_holder_that_is_killed_is_followed_by_one_other(
    world: World, control: CosmosControl, nursery: Nursery
) -> None:
    memory, key = await world.open(), world.key()
    await memory.set(key, "kept")
    await world.evict(key)
    counted = Counted(control, key)

    ended = await nursery.run(**job(world, key) | {"callers": 1}, dies=True)
    assert ended.killed
    others = [memory, await world.open()]
    answers = await asyncio.gather(*(other.get(key) for other in others for _ in range(100)))

    assert answers == ["kept"] * 200
    assert counted.reads() == 1


async def test_a_write_during_the_waiting_is_seen_by_who_begins_after_it(world: World, control: CosmosControl) -> None:
    """P3 and P6 while many wait: nobody who begins after the write was acknowledged is answered the old value."""
    reader, writer, key = await world.open(), await world.open(), world.key()
    await writer.set(key, "old")
    await world.evict(key)
    Counted(control, key, 0.5)
    waiting = [asyncio.create_task(one.get(key)) for one in (reader, writer) for _ in range(100)]
    await asyncio.sleep(0)
    await writer.set(key, "new")

    after = await asyncio.gather(*(one.get(key) for one in (reader, writer) for _ in range(100)))
    before = await asyncio.gather(*waiting)

    assert after == ["new"] * 200
    assert set(before) <= {"old", "new"}
    assert await reader.get(key) == "new"


async def test_a_factory_runs_once_for_all_processes(world: World, nurseries: list[Nursery]) -> None:
    await world.open()
    key = world.key()

    ended = await stampede(nurseries, job(world, key), make="made", callers=100)

    assert [one.steps for one in ended] == [["'made'"]] * PROCESSES
    assert sum(one.acknowledged or 0 for one in ended) == 1
    assert await (await world.open()).get(key) == "made"
