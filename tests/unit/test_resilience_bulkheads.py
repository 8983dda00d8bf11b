"""Nobody's thread is another's: with the event loop's own threads all taken, large values, files and names of hosts are as quick as ever."""

import asyncio
import random
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thermocline import MemoryBuilder, MemorySettings
from thermocline.client import MemoryClient
from thermocline.errors import ConfigurationError
from thermocline.resilience import Hedging, Lookups, Resilience
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.wiring import builder


@pytest.fixture
async def taken() -> AsyncIterator[None]:
    """The event loop has one thread, and somebody waits in it."""
    loop, go = asyncio.get_running_loop(), threading.Event()
    threads = ThreadPoolExecutor(1)
    loop.set_default_executor(threads)
    waiting = loop.run_in_executor(None, go.wait)
    yield
    go.set()
    await waiting


@pytest.mark.usefixtures("taken")
async def test_large_values_and_files_have_threads_of_their_own(tmp_path: Path) -> None:
    tiers = {"hot": ProcessMemory(), "warm": SqliteMemory(tmp_path / "a.db"), "cold": FolderMemory(tmp_path / "cold")}
    large = random.Random(1).randbytes(300_000)
    async with asyncio.timeout(30), MemoryClient(**tiers) as memory:  # type: ignore[arg-type]
        await memory.set("large", large)
        assert await memory.get("large") == large


@pytest.mark.usefixtures("taken")
async def test_names_are_looked_up_in_threads_of_their_own() -> None:
    lookups = Lookups()
    async with asyncio.timeout(30):
        found = await lookups.resolve("localhost", 443, socket.AF_INET)
    assert {(one["hostname"], one["host"], one["port"]) for one in found} == {("localhost", "127.0.0.1", 443)}
    with pytest.raises(socket.gaierror):
        await lookups.resolve("no-such-host.invalid", 443)
    await lookups.close()


async def test_the_builder_hands_it_on(tmp_path: Path) -> None:
    given = Resilience(hedge=Hedging(share=0.5), retry_ratio=0)
    for made in (
        MemoryBuilder().with_resilience(given),
        MemoryBuilder().with_resilience(hedge=Hedging(share=0.5), retry_ratio=0),
    ):
        client = made.with_warm(SqliteMemory(tmp_path / "a.db")).build()
        guards = client._engine.guards
        assert [guard.hedges is not None for guard in guards.values()] == [True]
        await client.close()
    with pytest.raises(ConfigurationError, match="not both"):
        MemoryBuilder().with_resilience(given, retry_ratio=0)
    with pytest.raises(ConfigurationError, match="with_resilience"):
        MemoryBuilder().with_resilience(no_such_thing=1)
    with pytest.raises(ConfigurationError, match="resilience is a Resilience"):
        MemoryClient(warm=SqliteMemory(tmp_path / "a.db"), resilience=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "hedged"), [(0.0, False), (0.05, True)])
async def test_the_settings_switch_hedges_on(tmp_path: Path, share: float, hedged: bool) -> None:
    client = builder(MemorySettings(env_file=None, home=tmp_path, hedge_share=share)).build()
    assert [guard.hedges is not None for name, guard in client._engine.guards.items() if str(name) == "warm"] == [
        hedged
    ]
    assert client._engine.guards[next(iter(client._engine.guards))].hedges is None  # hot is never hedged
    await client.close()
