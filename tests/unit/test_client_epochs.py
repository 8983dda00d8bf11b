"""A raised epoch (a fail-over, a restore) voids what hot and the clients remember: versions may have turned back."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from thermocline.client import MemoryClient
from thermocline.clock import Clock, Deadline
from thermocline.errors import InvalidArgument, TierUnavailable
from thermocline.model import Authority, Envelope, Header, Key
from thermocline.protocols import Announce, Busy, HasEpoch, Leased, Look, OfEpoch, Publish, Settle, Verb, Write
from thermocline.testing.schedule import SeededLoop
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

NEVER = Deadline.never()
KEY = Key("tenant", "scope", "name")


class Restored(SqliteMemory):
    """An authority whose runbook raises its epoch."""

    raised = 0
    down = False

    async def epoch(self) -> int:
        if self.down:
            raise TierUnavailable("it is down", tier="warm")
        return self.raised


def envelope(version: int, payload: bytes = b"value") -> Envelope:
    return Envelope(KEY, Header(authority=Authority.WARM, version=version), payload)


def run(main: Callable[[Clock], Coroutine[Any, Any, None]]) -> None:
    """On virtual time."""
    loop = SeededLoop(1)
    try:
        loop.run_until_complete(main(loop.clock))
        assert loop.errors == []
    finally:
        loop.close()


def turn_back(authority: SqliteMemory) -> None:
    """As a restore does: the last writes never were."""
    with authority._file.transaction(NEVER) as transaction:
        transaction.execute("DELETE FROM records")
        transaction.commit()


# --- process memory ----------------------------------------------------------------------------------------------------


async def test_process_memory_drops_the_entries_of_another_epoch_and_keeps_its_records() -> None:
    tier = ProcessMemory()
    await tier.connect()
    other = Key("tenant", "scope", "leased")
    await tier.operate(Look(KEY, "r", 1000), deadline=NEVER)
    await tier.operate(Settle(KEY, "r", 5, envelope(5)), deadline=NEVER)
    await tier.operate(Look(other, "r", 1000), deadline=NEVER)
    await tier.write(Write(Verb.PUT, "0" * 26, envelope(0)), deadline=NEVER)
    tier.enter_epoch(0)
    assert await tier.peek(KEY, deadline=NEVER) == envelope(5)  # no other epoch
    held = tier.held_bytes
    tier.enter_epoch(1)
    assert await tier.peek(KEY, deadline=NEVER) is None
    assert await tier.operate(Look(KEY, "s", 1000), deadline=NEVER) == Leased(0)  # no floor is left
    assert await tier.operate(Look(other, "s", 1000), deadline=NEVER) == Leased(0)  # nor another's lease
    assert await tier.read(KEY, deadline=NEVER) is not None
    assert 0 < tier.held_bytes < held
    await tier.close()


async def test_a_write_that_was_announced_in_the_epoch_before_leaves_its_floor_alone() -> None:
    tier = ProcessMemory()
    await tier.connect()
    assert await tier.operate(Announce(KEY, "w", 1000), deadline=NEVER) == Busy(0)
    tier.enter_epoch(1)
    await tier.operate(Publish(KEY, "w", 6, envelope(6)), deadline=NEVER)
    assert await tier.peek(KEY, deadline=NEVER) is None
    assert await tier.operate(Look(KEY, "r", 1000), deadline=NEVER) == Leased(6)
    await tier.close()


def test_an_epoch_is_not_negative() -> None:
    tier = ProcessMemory()
    assert isinstance(tier, OfEpoch)
    with pytest.raises(InvalidArgument, match="at least 0"):
        tier.enter_epoch(-1)


# --- the client --------------------------------------------------------------------------------------------------------


def test_a_raised_epoch_is_seen_within_half_a_minute_and_what_was_remembered_is_void(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        authority = Restored(tmp_path / "a.db", clock=clock)
        assert isinstance(authority, HasEpoch)
        async with MemoryClient(hot=ProcessMemory(clock=clock), warm=authority, clock=clock) as memory:
            lost = await memory.set(KEY, "lost by the restore")
            assert await memory.get(KEY) == "lost by the restore"
            turn_back(authority)
            assert await memory.get(KEY) == "lost by the restore"  # nobody has said so yet
            authority.raised = 1
            await asyncio.sleep(31)
            assert memory.stats()["client"]["floors"] == 0
            assert await memory.get(KEY) is None
            assert not await memory.exists(KEY)
            again = await memory.set(KEY, "again")
            assert again.version != lost.version
            assert await memory.get(KEY) == "again"

    run(main)


def test_the_recovery_queue_ends_with_its_epoch(tmp_path: Path) -> None:
    """Its versions would be floors that no authority reaches any more."""

    async def main(clock: Clock) -> None:
        authority = Restored(tmp_path / "a.db", clock=clock)
        async with MemoryClient(hot=ProcessMemory(clock=clock), warm=authority, clock=clock) as memory:
            written = await memory.set(KEY, "lost by the restore")
            memory._recovery.add(KEY, written.version + 1000)
            memory._recovery._tell = _deaf
            turn_back(authority)
            authority.raised = 1
            await asyncio.sleep(31)
            assert memory.stats()["client"]["recovery_queue"] == 0
            assert await memory.get(KEY) is None
            assert await memory.settled()

    run(main)


async def _deaf(known: Any) -> Any:
    return [TierUnavailable("hot is down", tier="hot") for _ in known]


def test_an_authority_that_cannot_be_asked_for_its_epoch_is_asked_again(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        authority = Restored(tmp_path / "a.db", clock=clock)
        async with MemoryClient(hot=ProcessMemory(clock=clock), warm=authority, clock=clock) as memory:
            await memory.set(KEY, 1)
            authority.down, authority.raised = True, 1
            await asyncio.sleep(31)
            assert memory.stats()["client"]["floors"] == 1
            authority.down = False
            await asyncio.sleep(30)
            assert memory.stats()["client"]["floors"] == 0

    run(main)


def test_a_client_enters_the_epoch_when_it_connects(tmp_path: Path) -> None:
    """The entries that a shared hot still has are of the epoch before."""

    async def main(clock: Clock) -> None:
        hot = ProcessMemory(clock=clock)
        await hot.connect()
        authority = Restored(tmp_path / "a.db", clock=clock)
        await authority.connect()
        async with MemoryClient(hot=hot, warm=authority, clock=clock) as before:
            await before.set(KEY, "old")
        turn_back(authority)
        authority.raised = 3
        async with MemoryClient(hot=hot, warm=authority, clock=clock) as after:
            assert await after.get(KEY) is None
        await authority.close()
        await hot.close()

    run(main)


def test_a_failed_first_look_at_the_epoch_leaves_nothing_open(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        authority = Restored(tmp_path / "a.db", clock=clock)
        authority.down = True
        hot = ProcessMemory(clock=clock)
        memory = MemoryClient(hot=hot, warm=authority, clock=clock)
        with pytest.raises(TierUnavailable):
            await memory.connect()
        assert not hot.connected
        assert not authority.connected
        authority.down = False
        assert await memory.get(KEY) is None  # and the next call connects
        await memory.close()

    run(main)
