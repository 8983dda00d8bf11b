"""`get_or_set` over every subset of the tiers, embedded and on real services."""

import asyncio
from typing import Any

import pytest
from tests.integration.client.grounds import Grounds, noise

from thermocline.errors import FactoryTimeout, TypeMismatch
from thermocline.model import Hit
from thermocline.policy import MemoryRules


class Factory:
    """Makes its values one after the other; waits until it may."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)
        self.runs = 0
        self.begun = asyncio.Event()
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self) -> Any:
        self.runs += 1
        self.begun.set()
        value = self.values[min(self.runs, len(self.values)) - 1]
        await self.may.wait()
        return value


async def test_what_is_not_there_is_made_once_and_stored(grounds: Grounds) -> None:
    memory, key = await grounds.open(), grounds.key()
    factory = Factory({"n": 1})

    answers = await asyncio.gather(*(memory.get_or_set(key, factory, ttl=600, tags={"a": "b"}) for _ in range(50)))

    assert answers == [{"n": 1}] * 50
    assert factory.runs == 1
    found = await memory.lookup(key)
    assert isinstance(found, Hit)
    assert found.record.value == {"n": 1}
    assert found.record.tags == {"a": "b"}
    assert found.record.expires is not None
    with pytest.raises(TypeMismatch):
        await memory.get_or_set(key, factory, type=list[str])


async def test_several_clients_over_one_hot_tier_run_it_once(grounds: Grounds) -> None:
    clients, key = [await grounds.open() for _ in range(3)], grounds.key()
    factory = Factory("first", "second", "third")
    factory.may.clear()
    asking = [asyncio.create_task(client.get_or_set(key, factory)) for client in clients for _ in range(20)]
    await factory.begun.wait()
    await asyncio.sleep(0.05)  # so that others may try as well, and would be seen
    factory.may.set()
    answers = await asyncio.gather(*asking)

    stored = await clients[0].get(key)
    assert answers == [stored] * 60  # without hot, too: the first that was stored counts
    assert factory.runs == 1 if "hot" in grounds.tiers else 1 <= factory.runs <= 3


async def test_a_deleted_key_is_made_anew_and_a_large_value_too(grounds: Grounds) -> None:
    memory, key = await grounds.open(), grounds.key()
    large = noise(300_000)
    assert await memory.get_or_set(key, Factory("small")) == "small"
    await memory.delete(key)
    assert await memory.get_or_set(key, Factory(large)) == large
    assert await memory.get_or_set(key, Factory("never asked for")) == large


async def test_a_refresh_writes_over_what_was_read_and_over_nothing_else(grounds: Grounds) -> None:
    memory, other, key = await grounds.open(), await grounds.open(), grounds.key()
    await memory.set(key, "old")
    await asyncio.sleep(0.01)
    assert await memory.get_or_set(key, Factory("new"), fresh_for=0.001, soft_timeout=30) == "new"
    await asyncio.sleep(0.01)
    factory = Factory("newer")
    factory.may.clear()
    assert await memory.get_or_set(key, factory, fresh_for=0.001, soft_timeout=0) == "new"
    await factory.begun.wait()
    await other.set(key, "written meanwhile")
    factory.may.set()
    await memory._runs.close(patience=30)

    assert await other.get(key) == "written meanwhile"


async def test_a_route_that_keeps_hot_out_runs_it_once_as_well(above: Grounds) -> None:
    rules = MemoryRules(promote_on_read=False, write_around=True)
    clients, key = [await above.open(rules=rules) for _ in range(2)], above.key()
    factory = Factory("made", "made again")

    answers = await asyncio.gather(*(client.get_or_set(key, factory) for client in clients for _ in range(5)))

    assert set(answers) == {await clients[0].get(key)}


async def test_who_waits_too_long_is_told_and_finds_it_later(some: Grounds) -> None:
    memory, key = await some.open(), some.key()
    factory = Factory("late")
    factory.may.clear()
    with pytest.raises(FactoryTimeout):
        await memory.get_or_set(key, factory, hard_timeout=0.05)
    joining = asyncio.create_task(memory.get_or_set(key, factory))
    await asyncio.sleep(0)
    factory.may.set()

    assert await joining == "late"
    assert factory.runs == 1
