"""Calls that share a connection to Redis: what travels together, what is told apart, and that no reply is ever another's (P10)."""

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline.clock import Deadline
from thermocline.errors import TierTimeout, TierUnavailable
from thermocline.model import Envelope, Header, Key
from thermocline.protocols import Verb, Write, Written
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.testing.rig.certificates import make_certificates
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.lanes import Lanes, Places, Timers


def soon(seconds: float = 10) -> Deadline:
    return Deadline.after(seconds)


async def ask(tier: HotMemory, *words: bytes | str | int, seconds: float = 10) -> Any:
    return await tier._call(words, soon(seconds))


def lanes_of(tier: HotMemory) -> Lanes:
    return tier._link._lanes[""]


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


async def test_a_reply_that_comes_in_pieces_keeps_its_lane_though_its_caller_is_gone() -> None:
    """The lane is slow, not silent; and what is left of that reply reaches nobody."""

    def behaviour(_: int, verb: bytes) -> bytes:
        return {b"PING": b"$8\r\nhalf", b"ECHO": b"more\r\n+mine\r\n"}.get(verb, b"+OK\r\n")

    async with answering(behaviour) as url, HotMemory(url, cluster=False) as tier:
        await ask(tier, "DBSIZE")
        lane = lanes_of(tier)._open[0]
        assert lane is not None
        heard = lane.heard
        with pytest.raises(TierTimeout) as caught:
            await ask(tier, "PING", seconds=1)
        assert caught.value.sent
        assert lane.heard > heard
        assert await ask(tier, "ECHO") == b"mine"
        assert lanes_of(tier)._open[0] is lane


# --- what a server should not do -------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(behaviour: Callable[[int, bytes], bytes]) -> AsyncIterator[str]:
    """A server that answers each command, of the connection with that number, as it is told."""
    number, writers = 0, []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        mine = number
        writers.append(writer)
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            writer.write(behaviour(mine, words[0]))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("nonsense", [b"what?\r\n", b"+PONG\r\n+and more\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_nonsense_ends_the_connection_and_reaches_nobody(nonsense: bytes) -> None:
    def behaviour(number: int, verb: bytes) -> bytes:
        if verb == b"PING":
            return nonsense if number == 1 else b"+PONG\r\n"
        return b"+OK\r\n"

    async with answering(behaviour) as url, HotMemory(url, cluster=False) as tier:
        if nonsense.startswith(b"+PONG"):
            assert await ask(tier, "PING") == b"PONG"  # its own reply; what came behind it is nobody's
        else:
            with pytest.raises(TierUnavailable):
                await ask(tier, "PING")
        assert await ask(tier, "PING") == b"PONG"
        assert not lanes_of(tier)._leaving


# --- TLS -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def behind_tls(server: RedisServer, directory: Path) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """The server's URL over TLS, and what resets all connections."""
    files = make_certificates(directory)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert_file, files.key_file)
    writers: list[asyncio.StreamWriter] = []
    serving: set[asyncio.Task[None]] = set()

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", server.port)
        writers.append(writer)
        await asyncio.gather(pass_on(reader, requests), pass_on(answers, writer))

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    def reset() -> None:
        for writer in writers:
            writer.transport.abort()

    listening = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"rediss://127.0.0.1:{port}?ssl_ca_certs={files.ca_file}", reset
    finally:
        reset()
        listening.close()
        await asyncio.gather(*serving, return_exceptions=True)


async def test_over_tls(redis_server: RedisServer, tmp_path: Path, fresh_prefix: str) -> None:
    """Many callers, values that fill the transport's buffer, calls that are gone, and a connection that is lost."""
    async with behind_tls(redis_server, tmp_path) as (url, reset), HotMemory(url) as tier:
        values = {f"{fresh_prefix}{n}": b"%d" % n + b"\xff" * (700_000 if n % 10 == 0 else 10) for n in range(40)}
        await asyncio.gather(*(tier.set(name, value) for name, value in values.items()))
        doomed = [asyncio.create_task(tier.get(name)) for name in values]
        await asyncio.sleep(0)
        for call in doomed[::2]:
            call.cancel()
        assert await asyncio.gather(*(tier.get(name) for name in values)) == list(values.values())
        assert (await asyncio.gather(*doomed, return_exceptions=True))[1::2] == list(values.values())[1::2]
        reset()
        for _ in range(3):  # what was reset may be noticed only when it is used
            with contextlib.suppress(TierUnavailable):
                await tier.get("name")
        assert await tier.mget(list(values)) == values


# --- options ---------------------------------------------------------------------------------------------------------


async def test_a_socket_timeout_ends_a_call_before_its_deadline(redis_server: RedisServer) -> None:
    async with ChaosProxy(redis_server.url) as proxy, HotMemory(proxy.url, socket_timeout=0.05) as tier:
        proxy.hold(answers=True)
        with pytest.raises(TierTimeout):
            await ask(tier, "PING", seconds=60)


async def test_a_connection_that_was_idle_for_too_long_is_not_used(redis_server: RedisServer) -> None:
    async with HotMemory(redis_server.url, health_check_interval=30) as tier:
        await ask(tier, "PING")
        first = lanes_of(tier)._open[0]
        await ask(tier, "PING")
        assert lanes_of(tier)._open[0] is first
        lanes_of(tier)._used[0] -= 31
        await ask(tier, "PING")
        assert lanes_of(tier)._open[0] is not first


async def test_without_hiredis_each_call_has_a_connection(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, fresh_prefix: str
) -> None:
    monkeypatch.setattr("thermocline.tiers.hot.link.THERE", False)
    async with HotMemory(redis_server.url, max_connections=3) as tier:
        names = {f"{fresh_prefix}{n}": n for n in range(20)}
        await asyncio.gather(*(tier.set(name, value) for name, value in names.items()))
        assert await tier.mget(list(names)) == names
        assert tier.pool() is None
        assert not tier._link._lanes


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


async def test_timers_end_what_is_due_and_nothing_that_was_taken_out() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop, 0.002)
    due, other = loop.create_future(), loop.create_future()
    timers.add(loop.time(), due)
    timers.add(loop.time(), other).discard(other)
    with pytest.raises(TimeoutError):
        await due
    assert not other.done()
    timers.add(loop.time() + 60, other)
    timers.close()
    assert not timers._due


async def test_a_clusters_nodes_have_lanes_of_their_own(redis_cluster: RedisCluster, fresh_prefix: str) -> None:
    async with HotMemory(redis_cluster.url) as tier:
        names = {f"{fresh_prefix}{n}": n for n in range(60)}
        await tier.mset(names)
        assert await tier.mget(list(names)) == names
        assert set(tier._link._lanes) == {node.name for node in tier.client.get_primaries()}
    assert not tier._link._lanes
