"""Reads of one tick travel together (client/waves.py): what that saves, counted at Redis, and that no promise pays for it (P1, P3, P6, P10)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio
from tests.promises.world import World, noise, roomy

from thermocline.client import MemoryClient
from thermocline.errors import ClientClosed, InvalidArgument, TierUnavailable
from thermocline.model import Key
from thermocline.policy import MemoryRules, Route
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory

Proxied = Callable[[str], Awaitable[ChaosProxy]]


class Watched:
    """The commands that a Redis of one's own gets, without what scripts call."""

    def __init__(self, monitor: Any, client: Any) -> None:
        self._monitor = monitor
        self._client = client

    async def of(self, calls: Awaitable[Any]) -> list[str]:
        """The words of each command, as they came, while this was awaited."""
        await self._until_now()
        await calls
        return await self._until_now()

    async def _until_now(self) -> list[str]:
        await self._client.echo("now")
        seen: list[str] = []
        while True:
            command = await self._monitor.next_command()
            name = command["command"].split()[0].upper()
            if name == "ECHO":
                return seen
            if command["client_type"] != "lua" and name not in ("HELLO", "CLIENT"):
                seen.append(command["command"])


@pytest.fixture
async def own(world: World) -> AsyncIterator[tuple[MemoryClient, Watched]]:
    """A client over a Redis that nobody else uses."""
    with RedisServer() as server:
        memory = await world.open(hot=world.hot(server.url))
        async with (
            redis.asyncio.Redis(port=server.port) as client,
            redis.asyncio.Redis(port=server.port).monitor() as monitor,
        ):
            yield memory, Watched(monitor, client)


def names(commands: list[str]) -> Counter[str]:
    return Counter(command.split()[0].upper() for command in commands)


async def test_a_thousand_reads_of_one_tick_are_two_questions(own: tuple[MemoryClient, Watched], world: World) -> None:
    memory, watched = own
    key = world.key()
    await memory.set(key, "v")
    found: list[Any] = []

    async def all_of() -> None:
        found.extend(await asyncio.gather(*[memory.get(key) for _ in range(1000)]))

    commands = await watched.of(all_of())
    assert found == ["v"] * 1000
    assert names(commands) == {"GET": 1, "MGET": 1}, "the first went out at once, the others together"
    assert len(commands[1].split()) == 2, "the same key once"


async def test_a_hundred_keys_of_one_tick_are_one_mget(own: tuple[MemoryClient, Watched], world: World) -> None:
    memory, watched = own
    keys = [world.key(f"n{number}") for number in range(100)]
    await memory.set_many({key: key.name for key in keys})
    found: list[Any] = []

    async def all_of() -> None:
        found.extend(await asyncio.gather(*[memory.get(key, timeout=30) for key in keys]))

    commands = await watched.of(all_of())
    assert found == [key.name for key in keys]
    assert names(commands) == {"GET": 1, "MGET": 1}
    assert len(commands[1].split()) == 100


async def test_a_read_with_nothing_under_way_goes_by_itself(own: tuple[MemoryClient, Watched], world: World) -> None:
    memory, watched = own
    key = world.key()
    await memory.set(key, 1)

    async def one_by_one() -> None:
        for _ in range(3):
            assert await memory.get(key) == 1

    assert names(await watched.of(one_by_one())) == {"GET": 3}


async def test_a_thousand_misses_of_one_tick_ask_the_authority_once(world: World, control: CosmosControl) -> None:
    memory = await world.open(hot=world.hot())
    other = await world.open(hot=None)
    key = world.key()
    await other.set(key, "below")
    control.reset("counters")
    assert await asyncio.gather(*[memory.get(key) for _ in range(1000)]) == ["below"] * 1000
    # the first went alone, and the others together behind it: who finds this client's own lease waits for what it brings
    assert control.stats().kinds["read"] == 1


async def test_a_later_read_is_never_given_an_older_questions_answer(world: World, chaos_proxy: Proxied) -> None:
    """P3 and P6: the answers to a wave are held back, the value is changed, and who asks after that gets the new one."""
    proxy = await chaos_proxy(world.redis_url)
    reader = await world.open(hot=HotMemory(proxy.url), budget=roomy())
    writer = await world.open(hot=world.hot())
    key = world.key()
    await writer.set(key, "old")
    assert await reader.get(key) == "old"
    passed = proxy.traffic.request_bytes
    proxy.hold(answers=True)
    early = [asyncio.create_task(reader.get(key)) for _ in range(5)]
    await proxy.until(lambda traffic: traffic.request_bytes > passed)
    await writer.set(key, "new")
    late = [asyncio.create_task(reader.get(key)) for _ in range(5)]
    await asyncio.sleep(0)
    proxy.restore()
    assert set(await asyncio.gather(*early)) <= {"old", "new"}
    assert await asyncio.gather(*late) == ["new"] * 5


async def test_cancelling_some_disturbs_nobody(world: World, chaos_proxy: Proxied) -> None:
    proxy = await chaos_proxy(world.redis_url)
    memory = await world.open(hot=HotMemory(proxy.url), budget=roomy())
    keys = [world.key(f"n{number}") for number in range(20)]
    await memory.set_many({key: key.name for key in keys})
    proxy.hold(answers=True)
    reads = [asyncio.create_task(memory.get(key)) for key in keys for _ in range(3)]
    await asyncio.sleep(0)
    for at in range(0, len(reads), 2):
        reads[at].cancel()
    proxy.restore()
    came = await asyncio.gather(*reads, return_exceptions=True)
    for at, found in enumerate(came):
        assert isinstance(found, asyncio.CancelledError) if at % 2 == 0 else found == keys[at // 3].name
    assert await memory.get(keys[0]) == "n0"


async def test_when_hot_does_not_answer_each_goes_below_without_asking_it_again(
    world: World, chaos_proxy: Proxied
) -> None:
    proxy = await chaos_proxy(world.redis_url)
    memory = await world.open(hot=HotMemory(proxy.url), budget=roomy(hot=0.2))
    keys = [world.key(f"n{number}") for number in range(10)]
    await memory.set_many({key: key.name for key in keys})
    await memory.get(keys[0])
    proxy.blackhole(requests=True)
    before = memory.stats()["hot"]["latency"].get("look", {"count": 0})["count"]
    assert await asyncio.gather(*[memory.get(key) for key in keys]) == [key.name for key in keys]
    assert memory.stats()["hot"]["latency"].get("look", {"count": 0})["count"] == before


async def test_what_hot_alone_cannot_say_is_an_outage_for_every_caller(
    redis_server: RedisServer, chaos_proxy: Proxied, unique_name: Callable[[str], str]
) -> None:
    """P1, of records that live in hot alone."""
    proxy = await chaos_proxy(redis_server.url)
    tenant = unique_name("t")
    async with MemoryClient(hot=HotMemory(proxy.url), budget=roomy(hot=1, call=3)) as memory:
        await memory.set(Key(tenant, "s", "there"), 1)
        wanted = [Key(tenant, "s", name) for name in ("there", "not there", "there")]
        assert await asyncio.gather(*[memory.get(key) for key in wanted]) == [1, None, 1]
        proxy.blackhole(requests=True)
        came = await asyncio.gather(*[memory.get(key) for key in wanted], return_exceptions=True)
        assert [isinstance(one, TierUnavailable) for one in came] == [True] * 3


async def test_every_kind_of_answer_in_one_wave(world: World) -> None:
    """A value, an absence, a deleted and an expired key, a payload in cold, a key of another route, and a marker."""
    routes = [Route("hot only/", rules=MemoryRules(write_through=False))]
    memory = await world.open(hot=world.hot(), cold=world.cold(), routes=routes)
    large = noise(300_000)
    await memory.set(world.key("value"), {"a": 1})
    await memory.set(world.key("large"), large)
    await memory.set(world.key("gone"), 1)
    await memory.delete(world.key("gone"))
    await memory.set(world.key("hot only/1"), [1])
    await memory.set(world.key("short"), 1, ttl=timedelta(milliseconds=1))
    await memory.touch(world.key("value"), ttl=3600)
    wanted = ["value", "large", "gone", "nothing", "hot only/1", "hot only/2", "short", "value"]
    came = await asyncio.gather(*[memory.get(world.key(name)) for name in wanted])
    assert came == [{"a": 1}, large, None, None, [1], None, None, {"a": 1}]
    assert came[0] is not came[-1], "each caller has a value of his own"


async def test_who_asks_while_the_client_closes_is_told(world: World, chaos_proxy: Proxied) -> None:
    proxy = await chaos_proxy(world.redis_url)
    memory = await world.open(hot=HotMemory(proxy.url), budget=roomy())
    keys = [world.key(f"n{number}") for number in range(5)]
    await memory.set_many(dict.fromkeys(keys, 1))
    proxy.hold(answers=True)
    reads = [asyncio.create_task(memory.get(key)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    closing = asyncio.create_task(memory.close())
    came = await asyncio.gather(*reads[1:], return_exceptions=True)
    assert all(isinstance(one, ClientClosed) for one in came), came
    reads[0].cancel()
    proxy.restore()
    await closing
    await asyncio.gather(reads[0], return_exceptions=True)


async def test_a_timeout_that_is_none_is_refused_in_a_crowd_too(world: World) -> None:
    memory = await world.open(hot=world.hot())
    key = world.key()
    await memory.set(key, 1)
    timeouts: list[Any] = [None, 0, -1, "soon", True, 5, timedelta(seconds=5)]
    came = await asyncio.gather(*[memory.get(key, timeout=timeout) for timeout in timeouts], return_exceptions=True)
    assert [type(one) for one in came] == [int, *[InvalidArgument] * 4, int, int]


async def test_a_wave_serves_nothing_below_what_this_client_has_seen(world: World) -> None:
    """P6: hot has missed the newest version, and this client knows of it."""
    memory = await world.open(hot=world.hot())
    below = await world.open(hot=None)
    key = world.key()
    await memory.set(key, "old")
    newest = await below.set(key, "new")
    assert await memory.get(key) == "old", "hot was not told"
    memory._engine.floors.note(key, newest.version)
    assert await asyncio.gather(*[memory.get(key) for _ in range(5)]) == ["new"] * 5
