"""A client that is closed at any turn of the event loop leaves no caller waiting: each gets his answer, or an error of ours."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from thermocline import MemoryClient, ProcessMemory, SqliteMemory
from thermocline.errors import ClientClosed, ThermoclineError
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory

Verb = Callable[[MemoryClient, int], Awaitable[Any]]
TURNS = (*range(8), 12, 20)  # of the event loop, until it is closed
CALLERS = 12


async def five() -> int:
    return 5


VERBS: dict[str, Verb] = {
    "get": lambda memory, n: memory.get(f"there{n % 3}"),
    "get of nothing": lambda memory, n: memory.get(f"nothing{n % 4}"),
    "get of distinct keys": lambda memory, n: memory.get(f"nothing{n}"),
    "set": lambda memory, n: memory.set(f"k{n}", n),
    "delete": lambda memory, n: memory.delete(f"there{n % 3}"),
    "update": lambda memory, n: memory.update(f"k{n % 3}", lambda value: (value or 0) + 1),
    "get_many": lambda memory, n: memory.get_many([f"there{n % 3}", f"nothing{n}"]),
    "set_many": lambda memory, n: memory.set_many({f"k{n}": 1, f"l{n}": 2}),
    "touch": lambda memory, n: memory.touch(f"there{n % 3}", ttl=50),
    "get_or_set": lambda memory, n: memory.get_or_set(f"made{n % 3}", five),
}


@pytest.fixture(params=["process", "process, sqlite", "sqlite", "redis", "redis, sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], MemoryClient]:
    def make() -> MemoryClient:
        parts: dict[str, Any] = {}
        if "process" in request.param:
            parts["hot"] = ProcessMemory()
        if "redis" in request.param:
            server: RedisServer = request.getfixturevalue("redis_server")
            parts["hot"] = HotMemory(server.url)
        if "sqlite" in request.param:
            parts["warm"] = SqliteMemory(tmp_path / "warm.sqlite3")
        return MemoryClient(**parts)

    return make


@pytest.mark.parametrize("verb", VERBS)
async def test_nobody_waits_for_a_client_that_is_closed(opened: Callable[[], MemoryClient], verb: str) -> None:
    for turns in TURNS:
        memory = opened()
        await memory.set_many({f"there{n}": n for n in range(3)})
        calls = [asyncio.ensure_future(VERBS[verb](memory, n)) for n in range(CALLERS)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await memory.close()
        done, waiting = await asyncio.wait(calls, timeout=20)
        for call in waiting:
            call.cancel()
        assert not waiting, f"{len(waiting)} callers wait on, closed after {turns} turns"
        failed = [error for call in done if (error := call.exception()) is not None]
        assert [error for error in failed if not isinstance(error, ThermoclineError)] == []
        with pytest.raises(ClientClosed):
            await memory.get("there0")
