"""Calls that share a connection to Redis, where the server does what it should not, over TLS, and by other options."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.integration.answering import answering
from tests.integration.lanes.calls import ask, lanes_of

from thermocline.errors import TierTimeout, TierUnavailable
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisServer
from thermocline.testing.rig.certificates import make_certificates
from thermocline.tiers.hot import HotMemory

# --- what a server should not do -------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonsense", ["what?\r\n", "+PONG\r\n+and more\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_nonsense_ends_the_connection_and_reaches_nobody(nonsense: str) -> None:
    def behaviour(number: int, sent: str) -> str:
        if sent == "PING":
            return nonsense if number == 1 else "+PONG\r\n"
        return "+OK\r\n"

    async with answering(behaviour) as url, HotMemory(url, cluster=False) as tier:
        if nonsense.startswith("+PONG"):
            assert await ask(tier, "PING") == b"PONG"  # its own reply; what came behind it is nobody's
        else:
            with pytest.raises(TierUnavailable):
                await ask(tier, "PING")
        assert await ask(tier, "PING") == b"PONG"
        assert not lanes_of(tier)._leaving


async def test_a_reply_that_comes_in_pieces_keeps_its_lane_though_its_caller_is_gone() -> None:
    """The lane is slow, not silent; and what is left of that reply reaches nobody."""

    def behaviour(_: int, sent: str) -> str:
        return {"PING": "$8\r\nhalf", "ECHO": "more\r\n+mine\r\n"}.get(sent, "+OK\r\n")

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
