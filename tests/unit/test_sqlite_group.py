"""Writes of one moment share a transaction, and reads a turn of the executor; each caller has its own answer all the same."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import ClientClosed, TierFull, TierTimeout
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.local.sqlite_group import WRITES_TOGETHER

CODEC = Codec(compression=None)


def soon() -> Deadline:
    return Deadline.after(60)


def put(name: str, value: object = 1, write_id: str = "", **condition: Any) -> Write:
    envelope = CODEC.encode(Key.of(name), value, now_ms=1_800_000_000_000)
    return Write(Verb.PUT, write_id or f"id-{name}", envelope, **condition)


class Counting(ThreadPoolExecutor):
    """One thread, and how many jobs it was given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs = 0
        self.asked = asyncio.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1
        self.asked.set()
        return super().submit(fn, *args, **kwargs)


@pytest.fixture
def executor() -> Iterator[Counting]:
    with Counting() as executor:
        yield executor


@pytest.fixture
async def tier(tmp_path: Path, executor: Counting) -> AsyncIterator[SqliteMemory]:
    tier = SqliteMemory(tmp_path / "memory.db", executor=executor)
    await tier.connect()
    executor.jobs = 0
    executor.asked.clear()
    yield tier
    await tier.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process' write transaction, so to speak."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


async def names_in(tier: SqliteMemory, *names: str) -> set[str]:
    found = await tier.read_many([Key.of(name) for name in names], deadline=soon())
    return {name for name, answer in zip(names, found, strict=True) if answer is not None}


async def test_writes_of_one_moment_share_a_transaction(tier: SqliteMemory, executor: Counting) -> None:
    done = await asyncio.gather(*(tier.write(put(f"k{n}"), deadline=soon()) for n in range(150)))

    assert {written.effect for written in done} == {Effect.TOOK}
    assert executor.jobs == 2  # a hundred go together at most
    assert len(await names_in(tier, *(f"k{n}" for n in range(150)))) == 150


async def test_what_arrives_during_a_commit_goes_together_in_the_next(
    tier: SqliteMemory, executor: Counting, tmp_path: Path
) -> None:
    with locked(tmp_path / "memory.db"):
        first = asyncio.ensure_future(tier.write(put("first"), deadline=soon()))
        await executor.asked.wait()
        later = [asyncio.ensure_future(tier.write(put(f"k{n}"), deadline=soon())) for n in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(first, *later)

    assert executor.jobs == 2


async def test_a_lone_write_waits_for_nobody(tier: SqliteMemory, executor: Counting) -> None:
    for number in range(3):
        await tier.write(put("k", number, f"id{number}"), deadline=soon())

    assert executor.jobs == 3


async def test_writes_of_one_key_in_one_transaction_come_in_order(tier: SqliteMemory, executor: Counting) -> None:
    done = await asyncio.gather(*(tier.write(put("k", n, f"id{n}"), deadline=soon()) for n in range(10)))

    versions = [written.version for written in done]
    assert versions == sorted(set(versions))
    assert executor.jobs == 1
    found = await tier.read(Key.of("k"), deadline=soon())
    assert found is not None
    assert (CODEC.decode(found), found.version) == (9, versions[-1])


async def test_a_refused_write_costs_the_others_nothing(tier: SqliteMemory) -> None:
    await tier.write(put("there"), deadline=soon())

    refused, conditional, plain = await asyncio.gather(
        tier.write(put("there", 2, "second", if_absent=True), deadline=soon()),
        tier.write(put("missing", if_version=5), deadline=soon()),
        tier.write(put("plain"), deadline=soon()),
    )

    assert (refused.effect, conditional.effect, plain.effect) == (Effect.REFUSED, Effect.REFUSED, Effect.TOOK)


async def test_one_that_finds_no_room_leaves_room_to_the_others(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "small.db", max_bytes=300_000)
    await tier.connect()
    try:
        large, *small = await asyncio.gather(
            tier.write(put("large", "x" * 1_000_000), deadline=soon()),
            *(tier.write(put(f"k{n}"), deadline=soon()) for n in range(10)),
            return_exceptions=True,
        )
        assert isinstance(large, TierFull)
        assert [getattr(written, "effect", written) for written in small] == [Effect.TOOK] * 10
        assert await names_in(tier, "large", *(f"k{n}" for n in range(10))) == {f"k{n}" for n in range(10)}
    finally:
        await tier.close()


async def test_who_leaves_before_the_commit_takes_only_his_own_write_along(
    tier: SqliteMemory, executor: Counting, tmp_path: Path
) -> None:
    with locked(tmp_path / "memory.db"):
        staying = [asyncio.ensure_future(tier.write(put(f"k{n}"), deadline=soon())) for n in range(5)]
        leaving = asyncio.ensure_future(tier.write(put("left"), deadline=soon()))
        late = asyncio.ensure_future(tier.write(put("late"), deadline=Deadline.after(0.05)))
        await executor.asked.wait()
        leaving.cancel()
        with pytest.raises(TierTimeout) as caught:
            await late
        with pytest.raises(asyncio.CancelledError):
            await leaving
    await asyncio.gather(*staying)

    assert caught.value.sent is False
    assert executor.jobs == 1  # they were in one transaction, which was undone for their sake and made again
    names = [*(f"k{n}" for n in range(5)), "left", "late"]
    assert await names_in(tier, *names) == {f"k{n}" for n in range(5)}


async def test_who_leaves_the_line_is_never_carried_out(tier: SqliteMemory, executor: Counting, tmp_path: Path) -> None:
    with locked(tmp_path / "memory.db"):
        first = asyncio.ensure_future(tier.write(put("first"), deadline=soon()))
        await executor.asked.wait()
        waiting = asyncio.ensure_future(tier.write(put("waiting"), deadline=soon()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await first

    assert await names_in(tier, "first", "waiting") == {"first"}
    assert executor.jobs == 2  # the write and this read


async def test_a_crowd_that_leaves_the_line_does_not_stop_it(
    tier: SqliteMemory, executor: Counting, tmp_path: Path
) -> None:
    with locked(tmp_path / "memory.db"):
        first = asyncio.ensure_future(tier.write(put("first"), deadline=soon()))
        await executor.asked.wait()
        crowd = [asyncio.ensure_future(tier.write(put(f"c{n}"), deadline=soon())) for n in range(WRITES_TOGETHER)]
        behind = asyncio.ensure_future(tier.write(put("behind"), deadline=soon()))
        await asyncio.sleep(0)
        for leaving in crowd:
            leaving.cancel()
        await asyncio.wait(crowd)
    await first

    assert executor.jobs == 2  # else nobody comes for it until somebody else writes
    assert (await behind).effect is Effect.TOOK
    assert await names_in(tier, "behind", "c0", f"c{WRITES_TOGETHER - 1}") == {"behind"}


async def test_reads_of_one_moment_share_a_turn(tier: SqliteMemory, executor: Counting) -> None:
    await tier.write_many([put(f"k{n}", n) for n in range(40)], deadline=soon())
    executor.jobs = 0

    found = await asyncio.gather(*(tier.read(Key.of(f"k{n}"), deadline=soon()) for n in range(41)))

    assert [None if one is None else CODEC.decode(one) for one in found] == [*range(40), None]
    assert executor.jobs == 1


async def test_a_read_sees_the_write_that_was_acknowledged_before_it(tier: SqliteMemory) -> None:
    async def one(number: int) -> tuple[int, int]:
        key = f"k{number % 7}"
        written = await tier.write(put(key, number, f"id{number}"), deadline=soon())
        found = await tier.read(Key.of(key), deadline=soon())
        assert found is not None
        return written.version, found.version

    assert [pair for pair in await asyncio.gather(*map(one, range(200))) if pair[1] < pair[0]] == []


async def test_calls_in_line_at_close_are_carried_out_and_later_ones_refused(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db")
    await tier.connect()
    writes = [asyncio.ensure_future(tier.write(put(f"k{n}"), deadline=soon())) for n in range(250)]
    await asyncio.sleep(0)
    await tier.close()

    assert [(await write).effect for write in writes] == [Effect.TOOK] * 250
    with pytest.raises(ClientClosed):
        await tier.write(put("late"), deadline=soon())


def test_the_same_memory_serves_one_loop_after_another(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db")

    async def work(number: int) -> int:
        await tier.connect()
        await tier.write(put("k", number, f"id{number}"), deadline=soon())
        found = await tier.read(Key.of("k"), deadline=soon())
        await tier.close()
        assert found is not None
        return int(CODEC.decode(found))

    assert [asyncio.run(work(number)) for number in range(3)] == [0, 1, 2]
