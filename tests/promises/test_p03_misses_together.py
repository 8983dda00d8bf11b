"""Keys that miss in one tick go below together where the authority answers for many by one call (client/waves.py); and what hot alone has lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from tests.promises.world import roomy

from thermocline.client import MemoryClient
from thermocline.errors import TierUnavailable
from thermocline.model import Envelope, Key
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.sqlite import SqliteMemory


class Counting(SqliteMemory):
    """Counts the keys of each question."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[int] = []

    async def read(self, key: Key, **given: Any) -> Envelope | None:
        self.asked.append(1)
        return await super().read(key, **given)

    async def read_many(self, keys: Any, **given: Any) -> Any:
        self.asked.append(len(keys))
        return await super().read_many(keys, **given)


@pytest.fixture
async def warm(tmp_path: Path) -> AsyncIterator[Counting]:
    warm = Counting(tmp_path / "warm.sqlite3")
    await warm.connect()
    yield warm
    await warm.close()


async def test_a_hundred_misses_of_one_tick_are_two_questions_to_the_authority(
    redis_server: RedisServer, warm: Counting, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    keys = [Key(unique_name("t"), "s", f"n{number}") for number in range(100)]
    cold = FolderMemory(tmp_path / "cold")
    async with MemoryClient(warm=warm, cold=cold, budget=roomy()) as below:
        await below.set_many({key: key.name for key in keys[:-3]})
        await below.set(keys[-3], bytes(300_000) + b"x", ttl=60)
        await below.set(keys[-2], 1)
        await below.delete(keys[-2])
    async with MemoryClient(hot=HotMemory(redis_server.url), warm=warm, cold=cold, budget=roomy()) as memory:
        warm.asked.clear()
        wanted = [*keys, keys[5], keys[5]]
        came = await asyncio.gather(*[memory.get(key) for key in wanted])
        assert came[:97] == [key.name for key in keys[:97]]
        assert came[97:] == [bytes(300_000) + b"x", None, None, "n5", "n5"]
        assert sorted(warm.asked) == [1, 99], "the first went alone, all others together, each key once"
        warm.asked.clear()
        assert await asyncio.gather(*[memory.get(key) for key in keys[:97]]) == came[:97]
        assert warm.asked == [], "and they were filled"


async def test_a_miss_that_cannot_be_asked_is_an_outage_for_each(
    redis_server: RedisServer, warm: Counting, unique_name: Callable[[str], str]
) -> None:
    keys = [Key(unique_name("t"), "s", f"n{number}") for number in range(10)]
    async with MemoryClient(hot=HotMemory(redis_server.url), warm=warm, budget=roomy()) as memory:
        await memory.set(keys[0], 1)
        await warm.close()
        came = await asyncio.gather(*[memory.get(key) for key in keys], return_exceptions=True)
    assert came[0] == 1
    assert all(isinstance(one, Exception) for one in came[1:]), "never an absence (P1)"


async def test_what_redis_alone_has_lost_is_a_miss_after_a_second_and_not_an_outage_for_hours() -> None:
    with RedisServer() as server:
        async with MemoryClient(hot=HotMemory(server.url), budget=roomy()) as memory:
            written = await memory.set("session", [1])
            assert not written.durable
            async with redis.asyncio.from_url(server.url) as client:
                await client.flushall()
            assert await memory.get("session", default="lost") == "lost"
            assert await memory.get("session", default="lost", timeout=0.5) == "lost", "and it is known to be lost"
            again = await memory.set("session", [2])
            assert again.version > written.version
            assert await memory.get("session") == [2]
            async with redis.asyncio.from_url(server.url) as client:
                await client.flushall()
            with pytest.raises(TierUnavailable):  # too short a time to tell a loss from a fail-over under way
                await memory.get("session", timeout=0.2)
