"""The hot tier's error door: what Redis, the network and redis-py say, in the words of `thermocline.errors`."""

import asyncio
import inspect
import socket
import ssl

import pytest
import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis

from thermocline.clock import Deadline
from thermocline.errors import (
    AccessDenied,
    ClientClosed,
    ConfigurationError,
    TierDamaged,
    TierFull,
    TierTimeout,
    TierUnavailable,
)
from thermocline.model import Authority, Envelope, Header, Key
from thermocline.protocols import Announce, Busy, Look, Publish, Settle, Verb, Write
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.link import Link
from thermocline.tiers.hot.sdk import CAUGHT, MEANINGS

KEY = Key("tenant", "scope", "errors")


def soon() -> Deadline:
    return Deadline.after(5)


def envelope(payload: bytes, *, key: Key = KEY, version: int = 5) -> Envelope:
    return Envelope(
        key, Header(authority=Authority.WARM, version=version, raw_length=len(payload), serialiser=1), payload
    )


# --- the table -------------------------------------------------------------------------------------------------------


def sdk_exceptions() -> set[type[BaseException]]:
    """Every exception class of redis-py, wherever it is defined."""
    found: set[type[BaseException]] = set()
    todo: list[type[BaseException]] = [redis.exceptions.RedisError, redis.exceptions.RedisClusterException]
    todo += [c for _, c in inspect.getmembers(redis.exceptions, inspect.isclass) if issubclass(c, BaseException)]
    while todo:
        kind = todo.pop()
        if kind.__module__.partition(".")[0] == "redis" and kind not in found:
            found.add(kind)
            todo += kind.__subclasses__()
    return found


def test_every_exception_of_the_sdk_has_its_meaning() -> None:
    unmapped = {kind.__name__ for kind in sdk_exceptions() - MEANINGS.keys()}
    assert not unmapped, f"redis-py has grown {unmapped}: say in tiers/hot/sdk.py what they mean"
    assert all(issubclass(kind, CAUGHT) for kind in MEANINGS)


R = redis.exceptions


@pytest.mark.parametrize(
    ("error", "kind", "words", "may_have_been_sent"),
    [
        (R.AuthenticationError("Authentication required."), AccessDenied, "credential", False),
        (R.AuthenticationError("invalid username-password pair"), AccessDenied, "credential", False),
        (R.NoPermissionError("this user has no permissions"), AccessDenied, "permission", False),
        (R.OutOfMemoryError("command not allowed"), TierFull, "maxmemory", False),
        (R.BusyLoadingError("Redis is loading"), TierUnavailable, "loading", False),
        (R.ReadOnlyError("You can't write"), TierUnavailable, "replica", False),
        (R.ClusterDownError("The cluster is down"), TierUnavailable, "cluster", False),
        (R.MovedError("1 127.0.0.1:7000"), TierUnavailable, "cluster=True", False),
        (R.ResponseError("MISCONF Redis is configured to save"), TierUnavailable, "disk", False),
        (R.ResponseError("BUSY Redis is busy"), TierUnavailable, "script", False),
        (R.ResponseError("WRONGTYPE Operation against a key"), TierDamaged, "something else", False),
        (R.ResponseError("Error compiling script (new function)"), TierUnavailable, "7.0", False),
        (R.ResponseError("what is this"), TierUnavailable, "what is this", False),
        (R.ConnectionError("Connection closed by server."), TierUnavailable, "broke", True),
        (R.TimeoutError("Timeout reading"), TierTimeout, "in time", True),
        (TimeoutError(), TierTimeout, "in time", True),
        (R.MaxConnectionsError("Too many connections"), TierUnavailable, "max_connections", False),
        (socket.gaierror(-2, "Name or service not known"), TierUnavailable, "resolved", False),
        (ConnectionRefusedError(111, "refused"), TierUnavailable, "listens", False),
        (ssl.SSLError(1, "wrong version number"), TierUnavailable, "rediss", False),
        (R.InvalidResponse("Protocol Error"), TierUnavailable, "address", True),
    ],
)
def test_each_error_in_plain_words(
    error: Exception, kind: type[TierUnavailable], words: str, may_have_been_sent: bool
) -> None:
    explained = Link("redis://:secret@example.test:6379/0").explain(error, sent=True)
    assert type(explained) is kind
    assert words in str(explained)
    assert "example.test:6379" in str(explained)
    assert "secret" not in str(explained)
    assert explained.tier == "hot"
    assert explained.sent is may_have_been_sent


# --- real servers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://example.test", "example.test:6379", "", "redis://example.test:port"])
def test_what_is_no_redis_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis://"):
        HotMemory(url)


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        tier = HotMemory(f"redis://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(TierUnavailable, match="listens") as caught:
            await tier.connect()
        assert not caught.value.sent
        with pytest.raises(TierUnavailable, match="listens"):
            await tier.peek(KEY, deadline=soon())
        await tier.close()


async def test_the_host_is_unknown() -> None:
    tier = HotMemory("redis://no-such-host.invalid:6379")
    with pytest.raises(TierUnavailable, match="resolved"):
        await tier.connect()
    await tier.close()


async def test_a_server_that_comes_later_is_used() -> None:
    server = RedisServer()
    server.start()
    port = server.port
    server.stop()
    tier = HotMemory(f"redis://127.0.0.1:{port}")
    with pytest.raises(TierUnavailable):
        await tier.connect()
    with RedisServer(port=port):
        assert await tier.peek(KEY, deadline=soon()) is None
        await tier.close()


async def test_passwords() -> None:
    with RedisServer(password="right") as server:
        for login, words in (("", "password"), (":wrong@", "password")):
            tier = HotMemory(f"redis://{login}127.0.0.1:{server.port}")
            with pytest.raises(AccessDenied, match=words):
                await tier.connect()
            await tier.close()
        tier = HotMemory(server.url)
        await tier.connect()
        await tier.ping(deadline=soon())
        await tier.close()


async def test_a_user_without_permissions() -> None:
    with RedisServer() as server:
        with server.connection() as connection:
            connection.call("ACL", "SETUSER", "reader", "on", ">pass", "~*", "+get", "+ping")
        tier = HotMemory(f"redis://reader:pass@127.0.0.1:{server.port}")
        await tier.connect()
        assert await tier.peek(KEY, deadline=soon()) is None
        with pytest.raises(AccessDenied, match="permission"):
            await tier.operate(Look(KEY, "r", 1000), deadline=soon())
        await tier.close()


async def test_a_node_of_a_cluster_that_is_taken_for_a_server(redis_cluster: RedisCluster) -> None:
    tier = HotMemory(redis_cluster.url, cluster=False)
    await tier.connect()
    keys = [Key("tenant", "scope", f"name-{i}") for i in range(20)]
    found = await tier.operate_many([Look(key, "r", 1) for key in keys], deadline=soon())
    wrong = [error for error in found if isinstance(error, TierUnavailable)]
    assert wrong
    assert all("cluster=True" in str(error) for error in wrong)
    await tier.close()


async def test_a_server_that_is_too_old_for_the_scripts(redis_server: RedisServer) -> None:
    link = Link(redis_server.url)
    with pytest.raises(TierUnavailable, match="Redis 7"):
        await link.call(("EVAL", "this is no Lua", 0), soon())
    await link.close()


# --- a full Redis ----------------------------------------------------------------------------------------------------


def fill_up(server: RedisServer) -> None:
    """From now on it holds more than it may."""
    with server.connection() as connection:
        connection.call("CONFIG", "SET", "maxmemory", 1)


async def test_a_full_redis_takes_markers_and_no_values() -> None:
    with RedisServer() as server:
        tier = HotMemory(server.url)
        await tier.connect()
        fill_up(server)

        assert await tier.operate(Announce(KEY, "w", 60_000), deadline=soon()) == Busy(0)
        await tier.operate(Publish(KEY, "w", 5, envelope(bytes(1000))), deadline=soon())
        assert await tier.peek(KEY, deadline=soon()) is None  # acted on without its value
        found = await tier.operate(Look(KEY, "r", 60_000), deadline=soon())
        assert getattr(found, "floor", None) == 5

        other = Key("tenant", "scope", "other")
        looks = [Look(KEY, "x", 60_000), Look(other, "r", 60_000)]
        await tier.operate_many(looks, deadline=soon())
        fills = [
            Settle(KEY, "r", 6, envelope(b"x", version=6)),
            Settle(other, "r", 7, envelope(b"x", key=other, version=7)),
        ]
        assert await tier.operate_many(fills, deadline=soon()) == [None, None]
        assert await tier.peek_many([KEY, other], deadline=soon()) == [None, None]
        floors = [getattr(f, "floor", None) for f in await tier.operate_many(looks, deadline=soon())]
        assert floors == [6, 7]
        await tier.close()


async def test_a_full_redis_refuses_records_and_takes_deletes() -> None:
    with RedisServer() as server:
        tier = HotMemory(server.url)
        await tier.connect()
        there = envelope(b"x", version=0)
        await tier.write(Write(Verb.PUT, "first", there), deadline=soon())
        fill_up(server)

        with pytest.raises(TierFull, match="maxmemory"):
            await tier.write(Write(Verb.PUT, "second", there), deadline=soon())
        await tier.write(Write(Verb.DELETE, "third", envelope(b"", version=0)), deadline=soon())
        assert (await tier.read(KEY, deadline=soon())) is not None
        await tier.close()


class Stingy:
    """In front of a Redis, refuses all scripts for want of memory, even those that a full Redis runs."""

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.refuses = False
        self.serving: list[asyncio.Task[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", self.upstream)
        back = asyncio.create_task(self._pass_on(answers, writer))
        while data := await reader.read(65536):
            if self.refuses and b"EVAL" in data:
                writer.write(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")
            else:
                requests.write(data)
        for stream in (requests, writer):
            stream.close()
            await stream.wait_closed()
        await back

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.create_task(self.serve(reader, writer)))

    async def _pass_on(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await answers.read(65536):
            writer.write(data)


async def test_where_even_a_marker_is_refused_the_entry_goes(redis_server: RedisServer) -> None:
    stingy = Stingy(redis_server.port)
    async with await asyncio.start_server(stingy, "127.0.0.1", 0) as listening:
        tier = HotMemory(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        await tier.connect()
        for leaves in (Announce(KEY, "w", 60_000), Publish(KEY, "w", 6, None)):
            stingy.refuses = False
            await tier.drop([KEY], deadline=soon())
            await tier.operate(Look(KEY, "r", 60_000), deadline=soon())
            await tier.operate(Settle(KEY, "r", 5, envelope(b"old")), deadline=soon())
            assert await tier.peek(KEY, deadline=soon()) == envelope(b"old")

            stingy.refuses = True
            await tier.operate(leaves, deadline=soon())
            assert await tier.peek(KEY, deadline=soon()) is None
        with pytest.raises(TierFull):  # nobody depends on it
            await tier.operate(Look(KEY, "r", 60_000), deadline=soon())
        await tier.close()
        await asyncio.gather(*stingy.serving)


# --- used wrongly ----------------------------------------------------------------------------------------------------


async def test_it_is_used_only_while_connected(redis_server: RedisServer) -> None:
    tier = HotMemory(redis_server.url)
    with pytest.raises(ClientClosed, match="connect"):
        await tier.peek(KEY, deadline=soon())
    await tier.connect()
    await tier.connect()
    await tier.ping(deadline=soon())
    await tier.close()
    await tier.close()
    with pytest.raises(ClientClosed):
        await tier.get("name")
    await tier.connect()
    assert await tier.get("name") is None
    await tier.close()


async def test_it_belongs_to_one_loop(redis_server: RedisServer) -> None:
    tier = HotMemory(redis_server.url)
    await tier.connect()

    def elsewhere() -> None:
        with pytest.raises(ClientClosed, match="loop"):
            asyncio.run(tier.ping(deadline=soon()))
        with pytest.raises(ClientClosed, match="loop"):
            asyncio.run(tier.connect())

    await asyncio.to_thread(elsewhere)
    await tier.ping(deadline=soon())
    await tier.close()


async def test_dropped_unclosed_it_warns(redis_server: RedisServer) -> None:
    tier = HotMemory(redis_server.url)
    await tier.connect()
    client = tier.client
    with pytest.warns(ResourceWarning, match="unclosed HotMemory"):
        tier.__del__()
    assert tier.client is client
    await tier.close()


async def test_a_client_that_was_given_is_used_and_left_open(redis_server: RedisServer) -> None:
    client = Redis.from_pool(BlockingConnectionPool.from_url(redis_server.url, decode_responses=True))
    tier = HotMemory("redis://no-such-host.invalid")
    tier.client = client
    await tier.connect()
    await tier.set("given", "text")
    assert await tier.get("given") == "text"
    await tier.operate(Look(KEY, "r", 1000), deadline=soon())
    await tier.close()
    assert await client.get("given") == "text"
    await client.aclose()


async def test_the_url_can_be_set_before_connecting(redis_server: RedisServer) -> None:
    tier = HotMemory("redis://no-such-host.invalid")
    tier.url = redis_server.url
    assert tier.url == redis_server.url
    await tier.connect()
    await tier.ping(deadline=soon())
    await tier.close()
