"""A client's life: connected on first use, in one event loop, and closed with what it opened, no more."""

import asyncio
import gc
import random
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from thermocline.client import MemoryClient
from thermocline.client.recovery import UNKNOWN
from thermocline.errors import ClientClosed, Conflict, InvalidArgument, TierTimeout, TierUnavailable
from thermocline.model import Key
from thermocline.policy import MemoryRules
from thermocline.protocols import Write, Written
from thermocline.resilience import Budget
from thermocline.testing import ManualClock
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

KEY = Key("tenant", "scope", "name")


@pytest.fixture
def tiers(tmp_path: Path) -> dict[str, Any]:
    return {
        "hot": ProcessMemory(),
        "warm": SqliteMemory(tmp_path / "warm.db"),
        "cold": FolderMemory(tmp_path / "cold"),
    }


async def test_it_connects_on_first_use_and_closes_what_it_opened(tiers: dict[str, Any]) -> None:
    memory = MemoryClient(**tiers)
    assert not any(tier.connected for tier in tiers.values())
    await memory.set(KEY, 1)
    assert all(tier.connected for tier in tiers.values())
    await memory.close()
    assert not any(tier.connected for tier in tiers.values())
    await memory.close()  # idempotent


async def test_it_leaves_open_what_was_open(tiers: dict[str, Any]) -> None:
    await tiers["warm"].connect()
    async with MemoryClient(**tiers) as memory:
        await memory.set(KEY, 1)
    assert [name for name, tier in tiers.items() if tier.connected] == ["warm"]
    async with MemoryClient(**tiers) as memory:
        assert await memory.get(KEY) == 1
    await tiers["warm"].close()


class Part:
    """Something that a client closes at its end, as a credential."""

    closed = 0

    async def close(self) -> None:
        self.closed += 1


async def test_a_block_that_cannot_begin_closes_the_client(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    part, warm = Part(), SqliteMemory(tmp_path / "warm.db")
    memory = MemoryClient(warm=warm, cold=FolderMemory(tmp_path / "file" / "cold"), closes=[part])

    with pytest.raises(TierUnavailable):
        async with memory:
            pass

    assert (part.closed, warm.connected) == (1, False)
    with pytest.raises(ClientClosed, match="make a new one"):
        async with memory:
            pass


async def test_a_block_in_another_loop_leaves_the_client_to_its_own(tiers: dict[str, Any]) -> None:
    async def enter() -> None:
        async with memory:
            pass

    async with MemoryClient(**tiers) as memory:
        with pytest.raises(ClientClosed, match="another event loop"):
            await asyncio.to_thread(asyncio.run, enter())
        await memory.set(KEY, 1)
        assert await memory.get(KEY) == 1


CALLS: dict[str, Callable[[MemoryClient], Any]] = {
    "get": lambda memory: memory.get(KEY),
    "lookup": lambda memory: memory.lookup(KEY),
    "set": lambda memory: memory.set(KEY, 1),
    "delete": lambda memory: memory.delete(KEY),
    "get_many": lambda memory: memory.get_many([KEY]),
    "set_many": lambda memory: memory.set_many({KEY: 1}),
    "list": lambda memory: memory.list(scope="scope"),
    "increment": lambda memory: memory.increment(KEY),
    "connect": lambda memory: memory.connect(),
    "settled": lambda memory: memory.settled(),
}


@pytest.mark.parametrize("verb", CALLS)
async def test_after_closing_every_verb_says_so(tiers: dict[str, Any], verb: str) -> None:
    memory = MemoryClient(**tiers)
    await memory.get(KEY)
    await memory.close()
    with pytest.raises(ClientClosed, match="make a new one"):
        await CALLS[verb](memory)


async def test_a_client_that_was_never_used_can_be_closed(tiers: dict[str, Any]) -> None:
    memory = MemoryClient(**tiers)
    await memory.close()
    with pytest.raises(ClientClosed):
        await memory.get(KEY)


def test_two_loops_are_refused(tmp_path: Path) -> None:
    memory = MemoryClient(warm=SqliteMemory(tmp_path / "warm.db"))
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(memory.set(KEY, 1))
        with pytest.raises(ClientClosed, match="one per loop"):
            asyncio.run(memory.get(KEY))
        assert loop.run_until_complete(memory.get(KEY)) == 1  # the first one goes on
        loop.run_until_complete(memory.close())
    finally:
        loop.close()


async def test_a_dropped_client_warns(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "warm.db")
    await tier.connect()
    memory = MemoryClient(warm=tier)
    await memory.get(KEY)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del memory
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "was not closed" in str(caught[0].message)
    await tier.close()


async def test_a_client_that_was_never_connected_is_dropped_in_silence(tiers: dict[str, Any]) -> None:
    memory = MemoryClient(**tiers)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del memory
        gc.collect()
    assert caught == []


async def test_a_failing_close_closes_the_others_all_the_same(tiers: dict[str, Any]) -> None:
    class Stubborn(FolderMemory):
        async def close(self) -> None:
            await super().close()
            raise TierUnavailable("it does not want to", tier="cold")

    tiers["cold"] = Stubborn(tiers["cold"].path)
    memory = MemoryClient(**tiers)
    await memory.get(KEY)
    with pytest.raises(ExceptionGroup, match="could not be closed"):
        await memory.close()
    assert not any(tier.connected for tier in tiers.values())


async def test_leaving_by_an_error_closes_too(tiers: dict[str, Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with MemoryClient(**tiers) as memory:
            await memory.update(KEY, lambda value: 1 // 0)
    assert not any(tier.connected for tier in tiers.values())


async def test_what_it_was_given_to_close_is_closed_once(tiers: dict[str, Any]) -> None:
    class Credential:
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    credential = Credential()
    memory = MemoryClient(**tiers, closes=[credential])
    await memory.get(KEY)
    await memory.close()
    await memory.close()
    assert credential.closed == 1


# --- on a clock that is moved ------------------------------------------------------------------------------------------


class Interfered(SqliteMemory):
    """Before each write of a client, somebody else's comes, and time passes."""

    other: MemoryClient | None = None
    clock: ManualClock

    async def write(self, write: Write, **options: Any) -> Written:
        other, self.other = self.other, None
        if other is not None:
            await other.increment(write.key)
            self.clock.advance(0.3)
            self.other = other
        return await super().write(write, **options)


@pytest.fixture
async def interfered(tmp_path: Path) -> AsyncIterator[Interfered]:
    tier = Interfered(tmp_path / "warm.db")
    tier.clock = ManualClock()
    await tier.connect()
    yield tier
    await tier.close()


async def test_an_update_that_never_wins_ends_with_its_deadline(interfered: Interfered) -> None:
    clock = interfered.clock
    async with (
        MemoryClient(warm=interfered, clock=clock, budget=Budget(clock), tokens=random.Random(1)) as memory,
        MemoryClient(warm=interfered) as other,
    ):
        await memory.set(KEY, 0)
        interfered.other = other
        tries: list[int] = []

        def note(value: int) -> int:
            tries.append(value)
            return -1

        with pytest.raises((Conflict, TierTimeout)):
            await memory.update(KEY, note, timeout=1)
        assert tries == [0, 1, 2, 3]  # each saw what had come between
        interfered.other = None
        assert await memory.get(KEY) == 4


async def test_records_expire_by_the_clients_clock_and_no_later(tmp_path: Path) -> None:
    clock = ManualClock()
    options: dict[str, Any] = {"clock": clock, "budget": Budget(clock)}
    async with MemoryClient(
        hot=ProcessMemory(clock=clock), warm=SqliteMemory(tmp_path / "w.db", clock=clock), **options
    ) as memory:
        await memory.set(KEY, 1, ttl=10)
        clock.advance(9.999)
        assert await memory.get(KEY) == 1
        clock.advance(0.001)
        assert await memory.get(KEY) is None
        assert not await memory.exists(KEY)
        assert (await memory.list(tenant="tenant", scope="scope")).items == []
        assert (await memory.set(KEY, 2, if_absent=True)).found


async def test_a_full_recovery_queue_makes_the_client_blind_until_hots_ceiling(tmp_path: Path) -> None:
    """What it cannot remember it must not read."""
    clock = ManualClock()
    hot = ProcessMemory(clock=clock)
    async with MemoryClient(
        hot=hot, warm=SqliteMemory(tmp_path / "w.db", clock=clock), clock=clock, budget=Budget(clock)
    ) as memory:
        await memory.set(KEY, 1)
        assert await memory.get(KEY) == 1
        hits = memory.stats()["hot"]["hits"]
        memory._recovery._capacity = 0
        memory._recovery.add(Key("tenant", "scope", "lost"), 1)
        assert await memory.get(KEY) == 1
        assert await memory.get_many([KEY]) == {KEY: 1}
        assert memory.stats()["client"]["recovery_queue"] == 0  # reading while blind owes hot nothing
        clock.advance(3599)
        assert await memory.get(KEY) == 1
        assert memory.stats()["hot"]["hits"] == hits  # it asked the authority each time
        clock.advance(1)
        assert await memory.get(KEY) == 1
        assert await memory.get(KEY) == 1
        assert memory.stats()["hot"]["hits"] > hits


async def test_a_blind_client_that_may_not_ask_below_does_not_read_hot_either(tmp_path: Path) -> None:
    rules = MemoryRules(read_fallback=False)
    async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "w.db"), rules=rules) as memory:
        await memory.set(KEY, 1)
        memory._recovery._capacity = 0
        memory._recovery.add(Key("tenant", "scope", "lost"), 1)
        assert await memory.get(KEY, default="not asked") == "not asked"


async def test_writes_of_unknown_outcome_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """The authority cannot be asked, but hot can be told of what is known."""
    async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "w.db")) as memory:
        recovery = memory._recovery
        ask, recovery._ask = recovery._ask, _nobody
        for number in range(150):
            recovery.add(Key("tenant", "scope", f"{number}"), UNKNOWN)
        recovery.add(KEY, 7)
        for _ in range(2):
            await recovery.drain()
        assert KEY not in recovery._due
        assert len(recovery) == 150
        recovery._ask = ask
        assert await memory.settled(timeout=60)


async def _nobody(key: Key) -> int:
    raise TierUnavailable("it is down", tier="warm")


async def test_timeouts_are_longer_than_nothing(tiers: dict[str, Any]) -> None:
    async with MemoryClient(**tiers) as memory:
        for timeout in (0, -1, "1", True):
            with pytest.raises(InvalidArgument, match="timeout"):
                await memory.get(KEY, timeout=timeout)  # type: ignore[arg-type]
