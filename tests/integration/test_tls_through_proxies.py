"""Through a proxy that the environment names, TLS begins on a connection that is there already: a client that is closed ends both, and waits for neither."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import pytest

from thermocline.resilience.connections import Connector
from thermocline.testing.conformance.samples import new_key, put, soon
from thermocline.testing.rig import CosmosServer
from thermocline.tiers.warm import WarmMemory

_HANGS: Final = 10.0  # seconds


class Proxy:
    """Answers CONNECT, and hands on bytes."""

    def __init__(self) -> None:
        self.asked = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> asyncio.Server:
        return await asyncio.start_server(self._met, "127.0.0.1", 0)

    async def stop(self, server: asyncio.Server) -> None:
        server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # which end with the client's connections

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"CONNECT ")
        self.asked += 1
        host, port = head.split()[1].decode().rsplit(":", 1)
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    one = Proxy()
    server = await one.start()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    yield one
    async with asyncio.timeout(_HANGS):
        await one.stop(server)


async def test_warm_through_a_proxy_is_closed(proxy: Proxy) -> None:
    with CosmosServer(kind="strict", tls=True) as server:
        tier = WarmMemory(server.url, "d", "c", key=server.key, create=True)
        await tier.connect()
        await tier.write(put(new_key(), "v"), deadline=soon())
        async with asyncio.timeout(_HANGS):
            await tier.close()

    assert proxy.asked > 0


async def test_connections_through_a_proxy_are_forgotten_when_they_have_gone(proxy: Proxy) -> None:
    with CosmosServer(kind="strict", tls=True) as server:
        connector = Connector()
        session = aiohttp.ClientSession(connector=connector, trust_env=True)
        for _ in range(5):
            async with session.get(server.url, ssl=False, headers={"Connection": "close"}) as answer:
                await answer.read()
        async with asyncio.timeout(_HANGS):
            await session.close()

    assert proxy.asked == 5
    assert len(connector._there) <= 1  # what is gone is forgotten with the next that comes


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # its connection is left open: that is what this is about
def test_a_connector_whose_loop_has_ended_is_closed_in_another() -> None:
    async def opened() -> Connector:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        connector = Connector()
        port = server.sockets[0].getsockname()[1]
        await asyncio.get_running_loop().create_connection(connector._factory, "127.0.0.1", port)
        return connector

    connector = asyncio.run(opened())
    asyncio.run(connector.close())

    assert connector.closed
    del connector
    gc.collect()
