"""What each verb costs: commands to Redis and requests to Cosmos DB, counted at the servers (COHERENCE section 3)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio
from tests.promises.world import World

from thermocline.client import MemoryClient
from thermocline.errors import Conflict
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory


@dataclass
class Bill:
    """Of one call: commands by name, requests by kind."""

    hot: Counter[str]
    warm: dict[str, int]

    @property
    def sums(self) -> tuple[int, int]:
        return self.hot.total(), sum(self.warm.values())


class Meter:
    """Reads what a Redis and a Cosmos DB were asked that nobody else uses."""

    def __init__(self, monitor: Any, client: Any, control: CosmosControl) -> None:
        self._monitor = monitor
        self._client = client
        self._control = control

    async def of(self, call: Awaitable[Any]) -> Bill:
        await self._until_now()
        self._control.reset("counters")
        await call
        return Bill(await self._until_now(), dict(self._control.stats().kinds))

    async def _until_now(self) -> Counter[str]:
        """The commands since the last time, but for a new connection's greeting. What a script calls is no command of ours."""
        await self._client.echo("now")
        seen: Counter[str] = Counter()
        while True:
            command = await self._monitor.next_command()
            name = command["command"].split()[0].upper()
            if name == "ECHO":
                return seen
            if command["client_type"] != "lua" and name not in ("HELLO", "CLIENT"):
                seen[name] += 1


Metered = tuple[MemoryClient, Meter]


@pytest.fixture
async def metered(world: World, control: CosmosControl) -> AsyncIterator[Metered]:
    with RedisServer() as server:
        memory = await world.open(hot=world.hot(server.url))
        warming = world.key("warming up")
        for turn in range(2):  # scripts are loaded, and the SDK has read the container and its ranges
            await memory.set(warming, turn)
            await memory.get(warming)
            await memory.get(world.key("nothing"))
        await memory.get_many([warming, world.key("nothing", "1"), world.key("more", "1")])
        await memory.delete(warming)
        async with redis.asyncio.from_url(server.url) as client, client.monitor() as monitor:
            yield memory, Meter(monitor, client, control)
        await memory.close()


async def test_hit_is_one_plain_get(world: World, metered: Metered) -> None:
    memory, meter = metered
    key = world.key()
    await memory.set(key, "kept", ttl=60)
    for verb in (memory.get(key), memory.lookup(key), memory.exists(key), memory.ttl(key)):
        bill = await meter.of(verb)
        assert (bill.hot, bill.warm) == (Counter(GET=1), {})


async def test_hit_on_a_tombstone_is_one_too(world: World, metered: Metered) -> None:
    memory, meter = metered
    key = world.key()
    await memory.set(key, "old")
    await memory.delete(key)
    bill = await meter.of(memory.get(key))
    assert (bill.hot, bill.warm) == (Counter(GET=1), {})


async def test_miss_is_three_commands_and_one_read(world: World, metered: Metered) -> None:
    memory, meter = metered
    key = world.key()
    below = await world.open(hot=None)
    await below.set(key, "kept")
    bill = await meter.of(memory.get(key))
    assert bill.sums[0] <= 3
    assert bill.warm == {"read": 1}
    bill = await meter.of(memory.get(key))  # and it was promoted
    assert (bill.hot, bill.warm) == (Counter(GET=1), {})


async def test_read_of_what_never_was_is_three_commands_and_one_read(world: World, metered: Metered) -> None:
    memory, meter = metered
    bill = await meter.of(memory.get(world.key()))
    assert bill.sums[0] <= 3
    assert bill.warm == {"read": 1}


async def test_write_of_a_known_key_is_two_commands_and_one_patch(world: World, metered: Metered) -> None:
    memory, meter = metered
    key = world.key()
    await memory.set(key, 1)
    for verb in (
        memory.set(key, 2),
        memory.touch(key, ttl=60),
        memory.set(key, 3),
        memory.delete(key),
        memory.set(key, 4),
    ):
        bill = await meter.of(verb)
        assert bill.hot.total() == 2, bill
        assert bill.warm == {"patch": 1}


async def test_write_of_a_key_that_hot_knows_is_one_patch_for_another_client_too(
    world: World, metered: Metered, control: CosmosControl
) -> None:
    """The announcement's answer tells it the version."""
    memory, meter = metered
    key = world.key()
    hot = memory._engine.hot
    assert isinstance(hot, HotMemory)
    other = await world.open(hot=world.hot(hot.url))
    await other.get(world.key("nothing"))
    await memory.set(key, 1)
    bill = await meter.of(other.set(key, 2))
    assert bill.warm == {"patch": 1}
    await other.close()


async def test_write_of_a_new_key_is_two_commands_and_at_most_two_requests(world: World, metered: Metered) -> None:
    memory, meter = metered
    for call in (memory.set(world.key("1"), 1), memory.set(world.key("2"), 1, if_absent=True)):
        bill = await meter.of(call)
        assert bill.sums[0] == 2
        assert bill.warm == {"create": 1}
    bill = await meter.of(memory.increment(world.key("3")))  # a miss, and a write
    assert bill.sums[0] <= 5
    assert bill.sums[1] <= 3


async def test_delete_of_what_never_was_is_at_most_two_requests(world: World, metered: Metered) -> None:
    memory, meter = metered
    bill = await meter.of(memory.delete(world.key()))
    assert bill.sums[0] == 2
    assert bill.sums[1] <= 2


async def test_refused_condition_is_two_commands_and_at_most_two_requests(world: World, metered: Metered) -> None:
    memory, meter = metered
    key = world.key()
    version = (await memory.set(key, 1)).version
    await memory.set(key, 2)

    async def refused(**condition: Any) -> None:
        with pytest.raises(Conflict):
            await memory.set(key, 3, **condition)

    for condition in ({"if_version": version}, {"if_absent": True}):
        bill = await meter.of(refused(**condition))
        assert bill.sums[0] == 2
        assert bill.sums[1] <= 2


async def test_update_of_a_key_in_hot_is_a_hit_and_a_write(world: World, metered: Metered) -> None:
    memory, meter = metered
    key = world.key()
    await memory.set(key, 1)
    bill = await meter.of(memory.increment(key))
    assert bill.sums == (3, 1)


async def test_batch_of_hits_is_one_mget(world: World, metered: Metered) -> None:
    memory, meter = metered
    keys = [world.key(f"{number}") for number in range(50)]
    await memory.set_many(dict.fromkeys(keys, "kept"))
    bill = await meter.of(memory.get_many(keys))
    assert (bill.hot, bill.warm) == (Counter(MGET=1), {})


async def test_batch_of_misses_in_one_scope_is_one_query(world: World, metered: Metered) -> None:
    memory, meter = metered
    keys = [world.key(f"{number}") for number in range(50)]
    below = await world.open(hot=None)
    await below.set_many(dict.fromkeys(keys, "kept"))
    bill = await meter.of(memory.get_many(keys))
    assert bill.hot["MGET"] == 1
    assert bill.hot.total() <= 1 + 2 * len(keys)  # two pipelines: leases, and what was read
    assert bill.warm["query"] == 1
    assert bill.sums[1] <= 2  # besides it, at most the plan


async def test_get_or_set_of_what_is_there_is_one_plain_get(world: World, metered: Metered) -> None:
    memory, meter = metered
    key = world.key()
    await memory.set(key, "kept", ttl=60)
    every: list[dict[str, Any]] = [{}, {"fresh_for": 50}, {"refresh_ahead": 1}]
    for options in every:
        bill = await meter.of(memory.get_or_set(key, _made, **options))
        assert (bill.hot, bill.warm) == (Counter(GET=1), {})


async def test_get_or_set_of_what_is_not_there(world: World, metered: Metered) -> None:
    """A miss (3 and 1), the hold, a look whether another was quicker, the write (2 and at most 2), and the hold given back."""
    memory, meter = metered
    await memory.get_or_set(world.key("warming up"), _made)
    await memory.get_or_set(world.key("and once more"), _made)
    bill = await meter.of(memory.get_or_set(world.key(), _made))
    assert bill.hot.total() <= 3 + 2 + 2 + 1
    assert bill.sums[1] <= 1 + 2


async def _made() -> str:
    return "made"


async def test_callers_who_miss_together_cost_one_read(world: World, metered: Metered) -> None:
    memory, meter = metered
    key = world.key()
    below = await world.open(hot=None)
    await below.set(key, "kept")

    async def together() -> None:
        assert await asyncio.gather(*(memory.get(key) for _ in range(20))) == ["kept"] * 20

    bill = await meter.of(together())
    assert bill.warm == {"read": 1}
