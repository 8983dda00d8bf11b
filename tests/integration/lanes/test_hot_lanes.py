"""Calls that share a connection to Redis: what travels together, what is told apart, and that no reply is ever another's (P10)."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.lanes.calls import ask, lanes_of, soon

from thermocline.errors import TierTimeout, TierUnavailable
from thermocline.model import Envelope, Header, Key
from thermocline.protocols import Verb, Write, Written
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.lanes import Places


def counted(server: RedisServer, section: str, name: str) -> int:
    with server.connection() as connection:
        found = connection.fields("INFO", section).get(name, "calls=0")
    return int(found.partition("calls=")[2].partition(",")[0] if "calls=" in found else found)


@pytest.fixture
async def alone() -> AsyncIterator[RedisServer]:
    """A server whose counters only this test moves."""
    with RedisServer() as server:
        yield server


# --- together --------------------------------------------------------------------------------------------------------


async def test_what_is_said_in_one_tick_goes_in_few_writes_over_one_connection(alone: RedisServer) -> None:
    async with HotMemory(alone.url) as tier:
        await asyncio.gather(*(ask(tier, "SET", f"k{n}", n) for n in range(100)))
        before = counted(alone, "stats", "total_reads_processed")
        found = await asyncio.gather(*(ask(tier, "GET", f"k{n}") for n in range(100)))
        assert found == [b"%d" % n for n in range(100)]
        assert counted(alone, "stats", "total_reads_processed") - before <= 2 + 6  # 6: the rig's own connection
        assert counted(alone, "clients", "connected_clients") == 2  # with the rig's


async def test_the_same_get_twice_in_a_tick_is_asked_once(alone: RedisServer) -> None:
    async with HotMemory(alone.url) as tier:
        await ask(tier, "SET", "k", "v")
        before = counted(alone, "commandstats", "cmdstat_get")
        calls = [asyncio.create_task(ask(tier, "GET", b"k")) for _ in range(10)]
        await asyncio.sleep(0)
        calls[1].cancel()  # the first of those that share
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [one for one in found if one != b"v"] == [found[1]]
        assert isinstance(found[1], asyncio.CancelledError)
        assert counted(alone, "commandstats", "cmdstat_get") - before == 2  # the one that went at once, and the others


async def test_a_read_that_was_sent_is_not_shared(alone: RedisServer) -> None:
    """Who asks later must see what was written before it asked (P6)."""
    async with ChaosProxy(alone.url) as proxy, HotMemory(proxy.url) as tier:
        await ask(tier, "SET", "k", "old")
        proxy.hold(answers=True)
        first = asyncio.create_task(ask(tier, "GET", b"k"))
        while counted(alone, "commandstats", "cmdstat_get") == 0:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        sent = proxy.traffic.request_bytes
        with alone.connection() as connection:
            connection.call("SET", "k", "new")
        second = asyncio.create_task(ask(tier, "GET", b"k"))
        await proxy.until(lambda traffic: traffic.request_bytes > sent)
        proxy.restore()
        assert await first == b"old"
        assert await second == b"new"


async def test_what_was_given_up_before_it_was_sent_is_not_sent(alone: RedisServer) -> None:
    async with HotMemory(alone.url) as tier:
        first = asyncio.create_task(ask(tier, "PING"))
        doomed = asyncio.create_task(ask(tier, "INCR", "n"))
        await asyncio.sleep(0)
        doomed.cancel()
        await first
        with pytest.raises(asyncio.CancelledError):
            await doomed
        assert await ask(tier, "GET", b"n") is None


async def test_large_answers_do_not_hold_up_small_ones(alone: RedisServer) -> None:
    async with HotMemory(alone.url) as tier:
        await ask(tier, "SET", b"large", b"x" * 200_000)
        assert counted(alone, "clients", "connected_clients") == 3  # it went over the lane for what is large
        for _ in range(3):
            assert len(await ask(tier, "GET", b"large")) == 200_000  # and is read over it, as soon as it is known
        assert b"large" in lanes_of(tier)._large
        await ask(tier, "SET", b"large", b"x")
        assert await ask(tier, "GET", b"large") == b"x"
        assert b"large" not in lanes_of(tier)._large


async def test_messages_that_the_server_pushes_are_nobodys_reply(alone: RedisServer) -> None:
    async with HotMemory(alone.url) as tier:
        await ask(tier, "HELLO", 3)
        await ask(tier, "CLIENT", "TRACKING", "ON", "BCAST")
        found: list[Any] = []
        for number in range(20):
            found += await asyncio.gather(ask(tier, "SET", "k", number), ask(tier, "GET", b"k"))
        assert found == [one for number in range(20) for one in (b"OK", b"%d" % number)]


# --- told apart ------------------------------------------------------------------------------------------------------


async def one_call(tier: HotMemory, rng: random.Random, number: int) -> None:
    """Whose answer can be told from every other's, and is of any size and kind; or it fails as an outage."""
    text = b"%d:" % number + b"x" * rng.choice((0, 10, 1000, 1000, 100_000))
    deadline = soon(rng.choice((0.001, 0.005, 0.02, 10)))
    try:
        if rng.random() < 0.7:
            assert await tier._call(("ECHO", text), deadline) == text
        else:
            many = [(b"", ("ECHO", b"%d/%d" % (number, i))) for i in range(rng.choice((2, 5, 100)))]
            for (_, words), answer in zip(many, await tier._call_many(many, deadline), strict=True):
                assert isinstance(answer, TierUnavailable) or answer == words[1]
    except TierUnavailable:
        return


def fault(proxy: ChaosProxy, rng: random.Random) -> None:
    kind = rng.randrange(6)
    if kind == 0:
        proxy.cut()
    elif kind == 1:
        proxy.cut_after(answers=rng.randrange(3000))  # in the middle of a reply
    elif kind == 2:
        proxy.delay(answers=timedelta(milliseconds=rng.random() * 10))
    elif kind == 3:
        proxy.hold(answers=True)
    elif kind == 4:
        proxy.blackhole(answers=True)
    else:
        proxy.lose_next_request()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_breaks_nobody_gets_anothers_reply(redis_server: RedisServer, seed: int) -> None:
    rng = random.Random(seed)
    async with ChaosProxy(redis_server.url) as proxy, HotMemory(proxy.url) as tier:
        number = 0
        for _ in range(15):
            calls = []
            for _ in range(20):
                number += 1
                calls.append(asyncio.create_task(one_call(tier, rng, number)))
            fault(proxy, rng)
            for call in calls:
                if rng.random() < 0.3:
                    asyncio.get_running_loop().call_later(rng.random() * 0.01, call.cancel)
            await asyncio.wait(calls, timeout=rng.random() * 0.03)
            proxy.restore()
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError), repr(outcome)
        found = await asyncio.gather(*(ask(tier, "ECHO", b"%d" % n) for n in range(50)))
        assert found == [b"%d" % n for n in range(50)]
        assert tier.pool() == (0, 5_000)
        assert len(lanes_of(tier)._leaving) == 0
        await proxy.until(lambda traffic: traffic.open <= 2)  # those that were left behind are closed


async def test_a_lane_that_is_silent_is_left_and_who_waits_there_goes_on_waiting(redis_server: RedisServer) -> None:
    async with ChaosProxy(redis_server.url) as proxy, HotMemory(proxy.url) as tier:
        await ask(tier, "PING")
        opened = proxy.traffic.opened
        proxy.hold(answers=True)
        patient = asyncio.create_task(ask(tier, "ECHO", b"patient"))
        with pytest.raises(TierTimeout) as caught:
            await ask(tier, "PING", seconds=0.02)
        assert caught.value.sent
        following = asyncio.create_task(ask(tier, "ECHO", b"following"))
        await proxy.until(lambda traffic: traffic.opened == opened + 1)
        proxy.restore()
        assert list(await asyncio.gather(patient, following)) == [b"patient", b"following"]
        await proxy.until(lambda traffic: traffic.open == 1)


# --- writes ----------------------------------------------------------------------------------------------------------


async def test_a_put_that_is_sent_again_is_in_the_index(redis_server: RedisServer, fresh_prefix: str) -> None:
    keys = [Key("tenant", fresh_prefix, f"n{number}") for number in range(4)]
    header = Header(serialiser=1, raw_length=5)
    async with ChaosProxy(redis_server.url) as proxy, HotMemory(proxy.url) as tier:
        lost = proxy.lose_next_request()
        writes = [Write(Verb.PUT, f"id{key.name}", Envelope(key, header, b"value")) for key in keys]
        done = await tier.write_many(writes, deadline=soon())
        assert lost.is_set()
        assert all(isinstance(one, Written) for one in done)
        page = await tier.scan("tenant", fresh_prefix, "", limit=9, cursor=None, deadline=soon())
        assert [item.key for item in page.items] == keys


# --- parts -----------------------------------------------------------------------------------------------------------


async def test_places_are_given_in_the_order_of_coming_and_none_is_lost() -> None:
    places = Places(2)
    assert places.try_enter()
    assert places.try_enter()
    came: list[int] = []

    async def come(number: int) -> None:
        await places.enter()
        came.append(number)

    tasks = [asyncio.create_task(come(number)) for number in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    places.leave()
    tasks[2].cancel()
    await asyncio.sleep(0)
    assert came == [0]
    places.leave()  # to the fourth, who goes in the same moment
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert came == [0, 4]
    assert not places.try_enter()
    places.leave()
    assert places.try_enter()


async def test_the_time_that_a_lane_took_to_open_is_part_of_a_calls_deadline(alone: RedisServer) -> None:
    async with ChaosProxy(alone.url) as proxy, HotMemory(proxy.url) as tier:
        await ask(tier, "PING")
        lanes, loop = lanes_of(tier), asyncio.get_running_loop()
        proxy.hold(answers=True)
        began = loop.time()
        waiting = asyncio.create_task(ask(tier, "BLPOP", *(f"k{n}" for n in range(600)), 0, seconds=5.0))
        while loop.time() < began + 0.4:  # noqa: ASYNC110 - the other lane is being opened meanwhile
            await asyncio.sleep(0.01)
        proxy.restore()
        await proxy.until(lambda _: any(said for said, _ in lanes._timers._due.values()))
        ends = [handle.when() for said, handle in lanes._timers._due.values() if said]
        assert ends <= [began + 5.0 + 0.2]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_clusters_nodes_have_lanes_of_their_own(redis_cluster: RedisCluster, fresh_prefix: str) -> None:
    async with HotMemory(redis_cluster.url) as tier:
        names = {f"{fresh_prefix}{n}": n for n in range(60)}
        await tier.mset(names)
        assert await tier.mget(list(names)) == names
        assert set(tier._link._lanes) == {node.name for node in tier.client.get_primaries()}
    assert not tier._link._lanes
