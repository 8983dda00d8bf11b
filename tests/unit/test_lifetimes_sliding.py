"""Sliding records and jitter, on embedded tiers whose clock the test moves."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline import Ceiling, Lifetime, LifetimeRule, Lifetimes, MemoryBuilder, MemoryClient
from thermocline.client.touching import RENEWALS_WAITING
from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError
from thermocline.model import Hit, Key
from thermocline.protocols import Write, Written
from thermocline.testing import ManualClock
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

SLIDING = Lifetimes([LifetimeRule(prefix="s:", lifetime=Lifetime(100, sliding=True))])
KEY = Key("t", "user/1", "s:session")


class HeldWarm(SqliteMemory):
    """Its writes wait for the test."""

    gate: asyncio.Event
    begun = 0

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        self.begun += 1
        await self.gate.wait()
        return await super().write(write, deadline=deadline)


class Ground:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self.clients: list[MemoryClient] = []

    async def open(self, lifetimes: Lifetimes | None = SLIDING, *, hot: Any = True, **options: Any) -> MemoryClient:
        tiers: dict[str, Any] = {"warm": SqliteMemory(self.folder / "warm.sqlite3", clock=self.clock)}
        if hot:
            tiers["hot"] = ProcessMemory(clock=self.clock)
        client = MemoryClient(**{**tiers, "clock": self.clock, "lifetimes": lifetimes, **options})
        self.clients.append(client)
        await client.connect()
        return client


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    for client in ground.clients:
        await client.close()


async def renewed(memory: MemoryClient) -> int:
    """Wait for the renewals under way; how many there were."""
    tasks = [*memory._touches._renewing.values()]
    await asyncio.gather(*tasks)
    return len(tasks)


async def read(memory: MemoryClient, verb: str) -> None:
    if verb == "get":
        assert await memory.get(KEY) == b"kept"
    elif verb == "lookup":
        assert isinstance(await memory.lookup(KEY), Hit)
    elif verb == "get_many":
        assert await memory.get_many([KEY]) == {KEY: b"kept"}
    else:
        assert b"".join([chunk async for chunk in memory.stream(KEY)]) == b"kept"


@pytest.mark.parametrize("hot", [True, False], ids=["hot", "without hot"])
@pytest.mark.parametrize("verb", ["get", "lookup", "get_many", "stream"])
async def test_record_that_is_read_lives_on_and_ends_when_nobody_reads(ground: Ground, verb: str, hot: bool) -> None:
    memory = await ground.open(hot=hot)
    first = await memory.set(KEY, b"kept")
    ground.clock.advance(50)
    await read(memory, verb)
    assert await renewed(memory) == 0  # half of it has not passed yet
    for n in range(1, 4):
        ground.clock.advance(10 if n == 1 else 60)
        await read(memory, verb)
        assert await renewed(memory) == 1
        assert await memory.ttl(KEY) == timedelta(seconds=100)
        assert memory.stats()["client"]["renewals"] == n
    assert (await memory.lookup(KEY)).version > first.version + 2  # type: ignore[union-attr]
    ground.clock.advance(100)
    assert await memory.get(KEY, default="gone") == "gone"


async def test_questions_about_a_record_do_not_renew_it(ground: Ground) -> None:
    memory = await ground.open()
    await memory.set(KEY, b"kept")
    ground.clock.advance(60)
    assert await memory.exists(KEY)
    assert await memory.ttl(KEY) == timedelta(seconds=40)
    assert [item.key for item in await memory.list("s:", scope=KEY.scope, tenant=KEY.tenant)] == [KEY]
    assert await renewed(memory) == 0


async def test_lifetime_of_its_own_is_not_renewed(ground: Ground) -> None:
    memory = await ground.open()
    for ttl in (60, 200, None):
        await memory.set(KEY, b"kept", ttl=ttl)
        ground.clock.advance(55)
        await read(memory, "get")
        assert await renewed(memory) == 0
        assert await memory.ttl(KEY) == (None if ttl is None else timedelta(seconds=ttl - 55))


async def test_update_is_a_use_too(ground: Ground) -> None:
    memory = await ground.open()
    await memory.append(KEY, 1)
    ground.clock.advance(10)
    assert await memory.append(KEY, 2) == 2
    assert await memory.ttl(KEY) == timedelta(seconds=100)
    await memory.touch(KEY, ttl=30)  # from now on its end is a lifetime of its own
    ground.clock.advance(10)
    assert await memory.append(KEY, 3) == 3
    assert await memory.ttl(KEY) == timedelta(seconds=20)


async def test_renewal_stops_at_the_ceiling(ground: Ground) -> None:
    lifetimes = Lifetimes(SLIDING.rules, ceilings=[Ceiling(250, tenant="t")])
    memory = await ground.open(lifetimes)
    await memory.set(KEY, b"kept")
    began = ground.clock.wall_ms()
    for _ in range(4):
        ground.clock.advance(60)
        await read(memory, "get")
        await renewed(memory)
    found = await memory.lookup(KEY)
    assert isinstance(found, Hit)
    assert found.record.expires is not None
    assert found.record.expires.timestamp() * 1000 == began + 250_000
    assert memory.stats()["client"]["renewals"] == 3
    await read(memory, "get")
    assert await renewed(memory) == 0
    ground.clock.advance(10)
    assert await memory.get(KEY, default="gone") == "gone"


async def test_two_clients_renew_once(ground: Ground) -> None:
    """A renewal is of the version that was read."""
    one, other = await ground.open(hot=False), await ground.open(hot=False)
    written = await one.set(KEY, b"kept")
    ground.clock.advance(60)
    await read(one, "get")
    await read(other, "get")
    await asyncio.gather(renewed(one), renewed(other))
    counted = [client.stats()["client"].get("renewals", 0) for client in (one, other)]
    assert sorted(counted) == [0, 1]
    assert "renewals_failed" not in one.stats()["client"] | other.stats()["client"]
    assert await other.ttl(KEY) == timedelta(seconds=100)
    assert (await other.lookup(KEY)).version > written.version  # type: ignore[union-attr]


async def test_renewals_are_bounded_one_per_key_and_awaited_at_the_end(ground: Ground) -> None:
    warm = HeldWarm(ground.folder / "warm.sqlite3", clock=ground.clock)
    warm.gate = asyncio.Event()
    warm.gate.set()
    memory = await ground.open(hot=False, warm=warm)
    keys = [Key("t", "user/1", f"s:{n}") for n in range(RENEWALS_WAITING + 6)]
    await memory.set_many(dict.fromkeys(keys, 1))
    ground.clock.advance(60)
    warm.gate.clear()
    for _ in range(3):
        found = await memory.get_many(keys)
        assert (found.errors, found.missing, len(found)) == ({}, [], len(keys))  # nobody waits for them
    assert len(memory._touches) == RENEWALS_WAITING
    assert memory.stats()["client"]["renewals_dropped"] == 3 * 6
    assert warm.begun < RENEWALS_WAITING  # few write at the same time
    warm.gate.set()
    assert "renewals" not in memory.stats()["client"]
    await memory.close()
    assert memory.stats()["client"]["renewals"] == RENEWALS_WAITING
    assert len(memory._touches) == 0
    again = await ground.open(hot=False)
    lives = [await again.ttl(key) for key in keys]
    assert lives == [timedelta(seconds=100)] * RENEWALS_WAITING + [timedelta(seconds=40)] * 6


async def test_renewal_that_a_tier_does_not_answer_is_ended_with_the_client(ground: Ground) -> None:
    warm = HeldWarm(ground.folder / "warm.sqlite3", clock=ground.clock)
    warm.gate = asyncio.Event()
    warm.gate.set()
    memory = await ground.open(warm=warm)
    await memory.set(KEY, b"kept")
    ground.clock.advance(60)
    warm.gate.clear()
    await read(memory, "get")
    await memory._touches.close(patience=0)
    assert len(memory._touches) == 0
    assert "renewals" not in memory.stats()["client"]
    warm.gate.set()
    await read(memory, "get")  # and none is begun any more
    assert len(memory._touches) == 0


# --- jitter ----------------------------------------------------------------------------------------------------------


async def test_what_was_written_together_does_not_end_together(ground: Ground) -> None:
    lifetimes = Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(1000, jitter=0.2))])
    memory = await ground.open(lifetimes, tokens=random.Random(7))
    await memory.set_many({f"n{n}": n for n in range(200)})
    lives = [(await memory.ttl(f"n{n}") or timedelta()).total_seconds() for n in range(200)]
    assert 800 <= min(lives) < 820
    assert 980 < max(lives) <= 1000
    assert len(set(lives)) > 190
    await memory.set("own", 1, ttl=1000)
    assert await memory.ttl("own") == timedelta(seconds=1000)


async def test_copies_leave_hot_apart(ground: Ground) -> None:
    """Over a folder, which has no fence that could void what hot holds for reasons of its own."""
    lifetimes = Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(hot=100, jitter=0.5))])
    cold = FolderMemory(ground.folder / "cold", clock=ground.clock)
    memory = await ground.open(lifetimes, tokens=random.Random(7), warm=None, cold=cold)
    keys = [f"n{n}" for n in range(200)]
    await memory.set_many(dict.fromkeys(keys, 1))
    left = []
    for _ in range(10):
        ground.clock.advance(10)
        before = memory.stats()["hot"].get("misses", 0)
        for key in keys:
            assert memory._engine.hot is not None
            left.append(await memory._engine.hot.peek(Key.of(key), deadline=Deadline.never()) is None)
        assert memory.stats()["hot"].get("misses", 0) == before
    gone = [sum(left[at : at + 200]) for at in range(0, 2000, 200)]
    assert gone[:4] == [0] * 4  # half of the hundred seconds is theirs
    assert 0 < gone[5] < gone[7] < gone[9] == 200
    assert len(await memory.get_many(keys)) == 200  # the records themselves have no end


# --- where it is given -----------------------------------------------------------------------------------------------


async def test_without_lifetimes_nothing_is_drawn_or_renewed(ground: Ground) -> None:
    memory = await ground.open(None)
    await memory.set(KEY, b"kept", ttl=100)
    ground.clock.advance(60)
    await read(memory, "get")
    assert not memory._engine.lifetimes.given
    assert await renewed(memory) == 0


def test_the_builder_takes_lifetimes_or_their_fields() -> None:
    rule = LifetimeRule(prefix="s:", lifetime="session")
    for built in (
        MemoryBuilder().with_lifetimes(Lifetimes([rule])),
        MemoryBuilder().with_lifetimes(rules=[rule]),
    ):
        client = built.with_hot(ProcessMemory()).build()
        assert client._engine.lifetimes.of(KEY).hot == timedelta(minutes=5)
    for wrong, says in (
        ({"lifetimes": Lifetimes(), "rules": [rule]}, "not both"),
        ({"rule": [rule]}, "see Lifetimes"),
        ({"rules": [rule, LifetimeRule(prefix="s:", lifetime="profile")]}, "contradict"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            MemoryBuilder().with_lifetimes(**wrong)
    with pytest.raises(ConfigurationError, match="lifetimes is a Lifetimes"):
        MemoryClient(hot=ProcessMemory(), lifetimes=[rule])  # type: ignore[arg-type]
