"""The HTTP sessions of the Azure tiers: a proxy of the environment is used; without one nothing of the environment is asked for each request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thermocline.clock import Deadline
from thermocline.errors import TierUnavailable
from thermocline.model import Key
from thermocline.testing.rig import Azurite, CosmosServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.warm import WarmMemory

KEY = Key("sessions", "s", "n")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextlib.asynccontextmanager
async def refusing_proxy() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that notes each request's first line, and answers 403."""
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lines


def warm(server: CosmosServer) -> WarmMemory:
    return WarmMemory(server.url, "sessions", "state", key=server.key, create=True)


def cold(server: Azurite) -> ColdMemory:
    return ColdMemory.from_connection_string(server.connection_string, "sessions", create=True)


@pytest.mark.parametrize("tier", ["warm", "cold"])
async def test_a_proxy_of_the_environment_is_used(
    tier: str, cosmos_server: CosmosServer, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with refusing_proxy() as (url, lines):
        monkeypatch.setenv("http_proxy", url)
        memory = warm(cosmos_server) if tier == "warm" else cold(azurite)
        with pytest.raises(TierUnavailable):
            await memory.connect()
        await memory.close()

    assert lines
    assert all(b" http://" in line for line in lines), "a request to a proxy names the whole URL"


@pytest.mark.parametrize("tier", ["warm", "cold"])
async def test_a_netrc_file_does_not_come_between(
    tier: str, cosmos_server: CosmosServer, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """aiohttp would take its password, and then refuse the request for having two."""
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login somebody password something\nmachine localhost login a password b\n")
    monkeypatch.setenv("NETRC", str(file))

    async with warm(cosmos_server) if tier == "warm" else cold(azurite) as memory:
        assert await memory.read(KEY, deadline=Deadline.after(30)) is None
