"""The near cache's bounds: in entries, in bytes as they really are, against scans; and with what it is made."""

import gc
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.near.ground import Ground

from thermocline import (
    ConfigurationError,
    InvalidArgument,
    Key,
    MemoryBuilder,
    MemoryClient,
    MemorySettings,
    NearCache,
    ProcessMemory,
)
from thermocline.codec import Codec
from thermocline.model import Authority
from thermocline.wiring import builder

CODEC = Codec()


async def small(entries: int = 100, size: int = 2**26) -> Ground:
    """One that has heard all so far, by a clock that stands still."""
    ground = Ground(NearCache(max_entries=entries, max_bytes=size))
    await ground.client.connect()
    ground.beat()
    return ground


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    made = await small()
    async with made.client:
        yield made


async def test_a_scan_does_not_push_out_what_is_in_use() -> None:
    ground = await small()
    async with ground.client as client:
        for number in range(1000):
            await client.set(f"k{number}", number)
        for _ in range(4):
            for number in range(80):
                await client.get(f"k{number}")
        for number in range(100, 1000):  # each once
            await client.get(f"k{number}")
        assert len(ground.near) == 100
        assert sum(ground.has(f"k{number}") for number in range(80)) >= 78


async def test_what_comes_into_use_finds_its_place() -> None:
    ground = await small()
    async with ground.client as client:
        for number in range(300):
            await client.set(f"k{number}", number)
        for number in range(100):
            await client.get(f"k{number}")
        for _ in range(6):
            for number in range(200, 280):
                await client.get(f"k{number}")
        assert sum(ground.has(f"k{number}") for number in range(200, 280)) >= 76


def pass_through(ground: Ground, number: int, text: str = "") -> None:
    """A key that is read once, as if Redis had answered."""
    key = Key("tenant", "scope", f"name/{number}")
    ticket = ground.near.expect(key, ground.client._engine.routes.route(key))
    found = CODEC.encode(key, {"text": text, "n": number}, now_ms=ground.clock.wall_ms())
    ground.near.keep(ticket, found.stamped(version=number + 1, authority=Authority.HOT).bare())
    ground.near.done(ticket)


@pytest.mark.parametrize("longest", [1, 1000])
async def test_its_bytes_are_bounded_and_counted_honestly(longest: int) -> None:
    """What it says to hold is about what the interpreter has given out for it, and never less."""
    size = 4 * 2**20
    ground = await small(100_000, size)
    async with ground.client:
        pass_through(ground, 0)
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(1, 6000):
                pass_through(ground, number, "x" * (number % longest))
            for number in range(6000):
                ground.near.take(Key("tenant", "scope", f"name/{number}"))
            ground.client._engine.floors.clear()  # they are counted for themselves
            gc.collect()
            held, taken = ground.near.held_bytes, tracemalloc.get_traced_memory()[0]
            ground.near.clear()
            ground.client._engine.floors.clear()
            gc.collect()
            taken -= tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert size * 0.9 < held <= size
        assert held * 0.7 < taken <= held, (held, taken)


async def test_keys_that_pass_through_leave_nothing_behind() -> None:
    """Five times as many keys take no more memory."""
    ground = await small(200)
    async with ground.client:
        gc.collect()
        tracemalloc.start()
        taken = []
        try:
            for number in range(5_000):  # whatever is kept for some keys, as their names, is full
                pass_through(ground, number)
            for count in range(5):
                for number in range(1_000):
                    pass_through(ground, 10_000 * (count + 1) + number)
                gc.collect()
                taken.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert len(ground.near) <= 200
        assert ground.near._pending == {}
        assert taken[-1] <= taken[1] * 1.1, taken  # the first rounds still let tables grow


async def test_a_large_value_is_left_to_hot(ground: Ground) -> None:
    await ground.client.set("k", b"x" * 70_000)
    for _ in range(3):
        await ground.client.get("k")
    assert not ground.has("k")


# --- with what it is made --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"max_entries": 0},
        {"max_entries": True},
        {"max_bytes": 1.5},
        {"stale_at_most": "1 s"},
        {"stale_at_most": 0.019},
        {"stale_at_most": timedelta(milliseconds=19)},
        {"stale_at_most": timedelta(seconds=61)},
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(fields))):
        NearCache(**fields)
    with pytest.raises(ConfigurationError):
        MemoryBuilder().with_near(**fields)


def test_a_bound_in_seconds_is_the_same_as_a_timedelta() -> None:
    assert NearCache(stale_at_most=0.25) == NearCache(stale_at_most=timedelta(milliseconds=250))


def test_what_is_no_near_cache_is_refused() -> None:
    wrong: Any = 10_000
    with pytest.raises(ConfigurationError, match="near is a NearCache"):
        MemoryClient(hot=ProcessMemory(), near=wrong)
    with pytest.raises(ConfigurationError, match="not both"):
        MemoryBuilder().with_near(NearCache(), max_entries=1)


def test_settings_turn_it_on() -> None:
    off = builder(MemorySettings(env_file=None, redis_url="redis://localhost")).build()
    assert off._near is None
    settings = MemorySettings(
        env_file=None, redis_url="redis://localhost", near_max_entries=7, near_max_bytes=2**20, near_stale_ms=250
    )
    on = builder(settings).build()
    assert on._near is not None
    assert on._near._options == NearCache(7, 2**20, timedelta(milliseconds=250))


async def test_over_memory_of_the_process_itself_it_stays_empty() -> None:
    async with MemoryClient(hot=ProcessMemory(), near=NearCache()) as client:
        await client.set("k", 1)
        assert [await client.get("k") for _ in range(3)] == [1, 1, 1]
        assert client.stats()["near"]["near_entries"] == 0


async def test_a_refusal_is_a_reason_of_health(ground: Ground) -> None:
    assert (await ground.client.health()).reasons == ()
    ground.hot.listeners[0].why = "nobody tells"
    assert any("near cache stays empty: nobody tells" in one for one in (await ground.client.health()).reasons)


async def test_bad_arguments_are_told_with_it_on(ground: Ground) -> None:
    with pytest.raises(InvalidArgument):
        await ground.client.get_many("k")


async def test_many_entries_cost_no_more_than_the_bytes_allow() -> None:
    ground = await small(10**12, 2**20)
    async with ground.client:
        assert ground.near._shelf.frequency.size_bytes < 2**16
