"""P10: cancelling a call at any await leaves no connection in a bad state and hands no reply to another caller."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest
from tests.promises.world import World, noise, roomy

from thermocline.client import MemoryClient
from thermocline.model import Hit, Key
from thermocline.policy import MemoryRules
from thermocline.testing.rig import RedisServer
from thermocline.testing.rig.resp import RespConnection

OLD = "old"


class CancelledAt:
    """Awaits a coroutine and cancels the running task when it has suspended itself for the n-th time. ``struck``: whether it came to that."""

    def __init__(self, work: Coroutine[Any, Any, Any], number: int) -> None:
        self._work = work
        self._number = number
        self.struck = False

    def __await__(self) -> Generator[Any, Any, Any]:
        suspended = 0
        error: BaseException | None = None
        while True:
            try:
                waiting = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as stop:
                return stop.value
            suspended += 1
            if suspended == self._number:
                self.struck = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            error = None
            try:
                yield waiting
            except BaseException as raised:  # noqa: BLE001 - handed on to where the coroutine waits
                error = raised


async def cancelled_at(work: Coroutine[Any, Any, Any], number: int) -> bool:
    """Run it in a task of its own; False if it ended before its n-th await."""
    at = CancelledAt(work, number)

    async def run() -> None:
        await at

    task = asyncio.create_task(run())
    await asyncio.gather(task, return_exceptions=True)
    if at.struck:
        assert task.cancelled() or task.exception() is None, task
    else:
        task.result()
    return at.struck


async def one_chunk() -> AsyncIterator[bytes]:
    yield noise(seed=b"new")


async def streamed(memory: MemoryClient, key: Key) -> bytes:
    return b"".join([chunk async for chunk in memory.stream(key)])


Verb = Callable[[MemoryClient, Key], Coroutine[Any, Any, Any]]

READS: dict[str, Verb] = {
    "get": lambda memory, key: memory.get(key),
    "lookup": lambda memory, key: memory.lookup(key),
    "ttl": lambda memory, key: memory.ttl(key),
    "get_many": lambda memory, key: memory.get_many([key, Key(key.tenant, key.scope, key.name + "?")]),
    "list": lambda memory, key: memory.list(scope=key.scope, tenant=key.tenant),
    "stream": streamed,
}
WRITES: dict[str, tuple[Verb, object]] = {
    "set": (lambda memory, key: memory.set(key, "new"), "new"),
    "set large": (lambda memory, key: memory.set(key, noise(seed=b"new")), noise(seed=b"new")),
    "set_stream": (lambda memory, key: memory.set_stream(key, one_chunk()), noise(seed=b"new")),
    "delete": (lambda memory, key: memory.delete(key), None),
    "touch": (lambda memory, key: memory.touch(key, ttl=3600), OLD),
    "update": (lambda memory, key: memory.update(key, lambda value: value + "er"), "older"),
    "set_many": (lambda memory, key: memory.set_many({key: "new"}), "new"),
    "delete_many": (lambda memory, key: memory.delete_many([key]), None),
}


class Bystanders:
    """Keys that nobody changes: their readers must get their own answers, whoever was cancelled on the connection before them."""

    def __init__(self, memory: MemoryClient, world: World) -> None:
        self._memory = memory
        self._keys = [world.key(f"bystander {number}", "others") for number in range(4)]
        self._large = world.key("large bystander", "others")

    async def prepare(self) -> None:
        await self._memory.set_many({key: key.name for key in self._keys})
        await self._memory.set(self._large, noise(seed=b"bystander"))

    async def look(self, world: World) -> None:
        """From hot, and from below."""
        memory, keys = self._memory, self._keys
        expected = [key.name for key in keys]
        assert await asyncio.gather(*(memory.get(key) for key in keys)) == expected
        await world.evict(keys[0], self._large)
        found = await asyncio.gather(memory.get(keys[0]), memory.get_many(keys), memory.get(self._large))
        assert found == [keys[0].name, {key: key.name for key in keys}, noise(seed=b"bystander")]


async def nothing_left_running(before: set[asyncio.Task[Any]]) -> None:
    """What a cancelled call began for others goes on, and ends."""
    while left := asyncio.all_tasks() - before:
        await asyncio.wait(left, timeout=20)
        assert any(task.done() for task in left), left


@pytest.fixture
async def memory(world: World) -> MemoryClient:
    return await world.open(cold=True, rules=MemoryRules(hot_max_bytes=1000), budget=roomy())


@pytest.mark.parametrize("verb", READS)
async def test_read_cancelled_at_each_await(world: World, memory: MemoryClient, verb: str) -> None:
    bystanders = Bystanders(memory, world)
    await bystanders.prepare()
    small, large = world.key("small"), world.key("large")
    values = {small: OLD, large: noise(seed=b"old")}
    await memory.set_many(values)
    before = asyncio.all_tasks()
    for key, value in values.items():
        for lost in (False, True):
            number = 0
            struck = True
            while struck:
                number += 1
                if lost:
                    await world.evict(key)
                struck = await cancelled_at(READS[verb](memory, key), number)
                assert await memory.get(key) == value
            assert number > 1  # at least one await was met
            await bystanders.look(world)
    await nothing_left_running(before)


@pytest.mark.parametrize("verb", WRITES)
async def test_write_cancelled_at_each_await_took_effect_once_or_not(
    world: World, memory: MemoryClient, verb: str
) -> None:
    """Everybody agrees on which, and the key can be written as before."""
    bystanders, other = Bystanders(memory, world), await world.open(cold=True)
    truth = await world.open(hot=None, cold=True)
    await bystanders.prepare()
    before = asyncio.all_tasks()
    work, new = WRITES[verb]
    number, struck, seen = 0, True, set()
    while struck:
        number += 1
        key = world.key(f"{number}")
        first = await memory.set(key, OLD)
        struck = await cancelled_at(work(memory, key), number)
        found = await truth.lookup(key)
        value = found.value if isinstance(found, Hit) else None
        assert value in (OLD, new)
        assert found.version - first.version in (0, 1)  # type: ignore[union-attr]  # Cosmos DB counts by one
        for client in (memory, other):
            assert await client.get(key) == value
        seen.add(found.version - first.version)  # type: ignore[union-attr]
        assert (await memory.set(key, "after")).version > first.version
        assert await other.get(key) == "after"
        if number % 4 == 0:
            await bystanders.look(world)
    assert number > 2
    assert seen == {0, 1}  # cancelled before it had its effect, and after
    await bystanders.look(world)
    assert await memory.settled()
    await nothing_left_running(before)


async def test_increments_cancelled_at_random_moments_are_counted_once(world: World) -> None:
    """Every acknowledged one is in the sum, and no cancelled one twice."""
    memory, truth = await world.open(), await world.open(hot=None)
    key = world.key()
    await memory.set(key, 0)
    acknowledged = 0
    for number in range(1, 40):
        acknowledged += not await cancelled_at(memory.increment(key), number % 13 + 1)
        now = await truth.get(key)
        assert acknowledged <= now <= number
    assert await memory.get(key) == await truth.get(key)
    assert acknowledged > 0


async def test_cancelled_callers_do_not_take_the_read_from_the_others(world: World) -> None:
    """All wait for one flight; it belongs to the client, so cancelling its first caller cancels nobody else."""
    memory, setup = await world.open(), await world.open(hot=None)
    keys = [world.key(f"{number}") for number in range(10)]
    await setup.set_many({key: key.name for key in keys})
    for victim in range(5):
        await world.evict(*keys)
        readers = [asyncio.create_task(memory.get(key)) for key in keys for _ in range(5)]
        for _ in range(victim):
            await asyncio.sleep(0)
        for task in readers[victim::5]:
            task.cancel()
        found = await asyncio.gather(*readers, return_exceptions=True)
        for number, answer in enumerate(found):
            if number % 5 == victim:
                assert isinstance(answer, asyncio.CancelledError | str)
            else:
                assert answer == keys[number // 5].name


def connected(redis: RespConnection) -> int:
    return int(redis.fields("INFO", "clients")["connected_clients"])


async def test_storm_of_cancelled_calls_leaves_no_connection_behind(world: World) -> None:
    """The replies of cancelled commands arrive late, or never; nobody is given one that is not his."""
    with RedisServer() as server, server.connection() as watch:
        memory = await world.open(hot=world.hot(server.url, max_connections=8))
        keys = [world.key(f"{number}") for number in range(40)]
        await memory.set_many({key: key.name for key in keys})
        before = asyncio.all_tasks()
        for turn in range(30):
            tasks = [asyncio.create_task(memory.get(key)) for key in keys]
            tasks += [asyncio.create_task(memory.get_many(keys[turn % 30 :][:10])) for _ in range(4)]
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            for task in tasks[turn % 3 :: 3]:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            for key, answer in zip(keys, found, strict=False):
                assert isinstance(answer, asyncio.CancelledError) or answer == key.name
            for answer in found[len(keys) :]:
                if not isinstance(answer, BaseException):
                    assert answer == {key: key.name for key in keys[turn % 30 :][:10]}
        await nothing_left_running(before)
        assert connected(watch) <= 8 + 1
        assert await memory.get_many(keys) == {key: key.name for key in keys}
        await memory.close()
        while connected(watch) > 1:  # Redis notices a closed connection when it next looks
            await asyncio.to_thread(watch.call, "PING")


async def test_cancelled_connect_and_close_leave_a_client_that_can_be_used(world: World) -> None:
    """And one that was abandoned half-way can be closed."""
    number, struck = 0, True
    while struck and number < 60:
        number += 1
        memory = MemoryClient(hot=world.hot(), warm=world.warm(), cold=world.cold(), budget=roomy())
        struck = await cancelled_at(memory.connect(), number)
        await memory.set(world.key(), number)
        assert await memory.get(world.key()) == number
        await memory.close()
    assert number > 1
    for number in range(1, 4):
        other = MemoryClient(hot=world.hot(), warm=world.warm(), cold=world.cold(), budget=roomy())
        await other.set(world.key(), number)
        await cancelled_at(other.close(), number)
        await other.close()
        del other
    gc.collect()  # what was left open warns here, and a warning is a failure


async def test_stream_that_is_left_early_lets_go_of_its_connection(world: World, memory: MemoryClient) -> None:
    key = world.key()
    value = noise(9_000_000)
    await memory.set_stream(key, _parts(value))
    before = asyncio.all_tasks()
    for _ in range(3):
        chunks = memory.stream(key)
        async for chunk in chunks:
            assert value.startswith(chunk)
            break
        await chunks.aclose()
    await nothing_left_running(before)
    assert b"".join([chunk async for chunk in memory.stream(key)]) == value


async def _parts(value: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(value), 1 << 20):
        yield value[at : at + (1 << 20)]


async def test_call_that_outlives_its_timeout_is_over(world: World) -> None:
    """A caller's own `asyncio.timeout` is a cancellation too."""
    memory = await world.open()
    keys = [world.key(f"{number}") for number in range(20)]
    await memory.set_many({key: key.name for key in keys})
    await world.evict(*keys)

    async def hurried(key: Key, seconds: float) -> str | None:
        try:
            async with asyncio.timeout(seconds):
                found: str = await memory.get(key)
                return found
        except TimeoutError:
            return None

    for turn in range(10):
        calls: list[Awaitable[str | None]] = [hurried(key, turn * 0.001) for key in keys]
        for key, answer in zip(keys, await asyncio.gather(*calls), strict=True):
            assert answer in (None, key.name)
        await world.evict(*keys)
    assert await memory.get_many(keys) == {key: key.name for key in keys}
