"""How SqliteMemory runs its calls: executors, deadlines, cancellation, closing, and the fence of an embedded hot tier."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import ClientClosed, TierTimeout, UnknownOutcome
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Versions, Write, Written
from thermocline.testing.clocks import ManualClock
from thermocline.tiers.local.sqlite import SqliteMemory

CODEC = Codec()


def soon() -> Deadline:
    return Deadline.after(60)


def put(name: str, value: object = 1, write_id: str = "") -> Write:
    return Write(Verb.PUT, write_id or f"id-{name}", CODEC.encode(Key.of(name), value, now_ms=1_800_000_000_000))


class Inline(Executor):
    """Runs every job at once, in the caller's thread."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.threads.add(threading.get_ident())
        future: Future[Any] = Future()
        try:
            result = fn(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  the caller gets it, whatever it is
            future.set_exception(error)
        else:
            future.set_result(result)
        return future


class Withheld(Inline):
    """Runs every job at once, but hands the results out only when told."""

    def __init__(self) -> None:
        super().__init__()
        self.withhold = False
        self._kept: list[tuple[Future[Any], Future[Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done = super().submit(fn, *args, **kwargs)
        if not self.withhold:
            return done
        shown: Future[Any] = Future()
        shown.set_running_or_notify_cancel()  # as a job that has begun: it cannot be cancelled any more
        self._kept.append((shown, done))
        return shown

    def release(self) -> None:
        self.withhold = False
        for shown, done in self._kept:
            shown.set_result(done.result())


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process' write transaction, so to speak."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
    finally:
        connection.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  SQLite tells no event when a lock is waited for
            await asyncio.sleep(0.001)


@pytest.fixture
async def tier(tmp_path: Path) -> AsyncIterator[SqliteMemory]:
    tier = SqliteMemory(tmp_path / "memory.db")
    await tier.connect()
    yield tier
    await tier.close()


# --- executors -------------------------------------------------------------------------------------------------------


async def test_an_injected_executor_runs_everything(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    inline = Inline()
    tier = SqliteMemory(tmp_path / "memory.db", clock=ManualClock(), executor=inline)
    versions: Versions = tier
    await tier.connect()
    await versions.write(put("k"), deadline=soon())
    await versions.write_many([put("a"), put("b")], deadline=soon())
    assert await versions.read(Key.of("k"), deadline=soon()) is not None
    assert None not in await versions.read_many([Key.of("a"), Key.of("b")], deadline=soon())
    await versions.scan("default", Key.of("k").scope, "", limit=5, cursor=None, deadline=soon())
    await versions.ping(deadline=soon())
    await tier.close()
    assert inline.threads == {threading.get_ident()}
    assert set(threading.enumerate()) <= before


async def test_an_executor_of_many_threads_is_safe(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as executor:
        tier = SqliteMemory(tmp_path / "memory.db", executor=executor)
        await tier.connect()
        written = await asyncio.gather(*(tier.write(put("k", n, f"id{n}"), deadline=soon()) for n in range(60)))
        assert len({result.version for result in written}) == 60
        found = await asyncio.gather(*(tier.read(Key.of("k"), deadline=soon()) for _ in range(60)))
        assert {answer.version for answer in found if answer is not None} == {max(w.version for w in written)}
        await tier.close()


async def test_its_own_thread_ends_with_close(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # another test's may just be ending
    tier = SqliteMemory(tmp_path / "memory.db")
    await asyncio.gather(tier.connect(), tier.connect(), tier.connect())
    await tier.write(put("k"), deadline=soon())
    mine = [thread for thread in {*threading.enumerate()} - before if thread.name.startswith("thermocline-sqlite")]
    assert len(mine) == 1
    await tier.close()
    await until(lambda: not mine[0].is_alive())


async def test_closing_waits_for_what_is_under_way(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db")
    await tier.connect()
    writes = [asyncio.ensure_future(tier.write(put(f"k{n}"), deadline=soon())) for n in range(20)]
    await asyncio.sleep(0)
    await tier.close()
    assert [(await write).effect for write in writes] == [Effect.TOOK] * 20
    await tier.connect()
    assert None not in await tier.read_many([Key.of(f"k{n}") for n in range(20)], deadline=soon())
    await tier.close()


async def test_one_that_is_dropped_open_is_warned_about(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db", executor=Inline())
    await tier.connect()
    tier._file.close()  # the connections, whose own warnings are not ours to test
    with pytest.warns(ResourceWarning, match="was not closed; await its close"):
        del tier


@pytest.mark.parametrize(("power_safe", "level"), [(False, 1), (True, 2)])
async def test_power_safe_syncs_each_commit(tmp_path: Path, power_safe: bool, level: int) -> None:
    tier = SqliteMemory(tmp_path / "memory.db", power_safe=power_safe, executor=Inline())
    await tier.connect()
    writer = tier._file._writer
    assert writer is not None
    assert writer.execute("PRAGMA synchronous").fetchone() == (level,)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await tier.close()


# --- deadlines -----------------------------------------------------------------------------------------------------------


async def test_a_write_that_finds_the_file_locked_ends_in_time_without_effect(tier: SqliteMemory) -> None:
    with locked(tier.path):
        with pytest.raises(TierTimeout) as caught:
            await tier.write(put("k"), deadline=Deadline.after(0.1))
        assert not caught.value.sent
        assert await tier.read(Key.of("k"), deadline=soon()) is None  # readers are not kept out
    assert (await tier.write(put("k"), deadline=soon())).effect is Effect.TOOK


async def test_a_write_waits_for_the_lock_as_long_as_it_may(tier: SqliteMemory) -> None:
    with locked(tier.path) as other:
        write = asyncio.ensure_future(tier.write(put("k"), deadline=soon()))
        await until(lambda: tier._file._waiting is not None)
        other.execute("ROLLBACK")
    assert (await write).effect is Effect.TOOK


async def test_only_a_write_whose_commit_was_under_way_is_unknown(tmp_path: Path) -> None:
    executor = Withheld()
    tier = SqliteMemory(tmp_path / "memory.db", executor=executor)
    await tier.connect()
    executor.withhold = True
    with pytest.raises(UnknownOutcome) as caught:
        await tier.write(put("k"), deadline=Deadline.after(0.5))
    assert caught.value.write_id == "id-k"
    answers = await tier.write_many([put("a"), put("b")], deadline=Deadline.after(0.5))
    assert [answer.write_id for answer in answers if isinstance(answer, UnknownOutcome)] == ["id-a", "id-b"]
    with pytest.raises(TierTimeout):
        await tier.read(Key.of("k"), deadline=Deadline.after(0.5))
    executor.release()
    written = await tier.write(put("k"), deadline=soon())  # the same write again: it did take effect, once
    envelope = await tier.read(Key.of("k"), deadline=soon())
    assert envelope is not None
    assert envelope.version == written.version
    await tier.close()


# --- cancellation --------------------------------------------------------------------------------------------------------


async def cancel(call: "asyncio.Future[Any]") -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_write_cancelled_while_it_waits_for_the_lock_has_no_effect(tier: SqliteMemory) -> None:
    with locked(tier.path) as other:
        write = asyncio.ensure_future(tier.write(put("k"), deadline=soon()))
        await until(lambda: tier._file._waiting is not None)
        await cancel(write)
        other.execute("ROLLBACK")
        await until(lambda: tier._file._waiting is None)
    assert await tier.read(Key.of("k"), deadline=soon()) is None
    assert (await tier.write(put("other"), deadline=soon())).effect is Effect.TOOK
    assert await tier.read(Key.of("k"), deadline=soon()) is None


async def test_a_write_cancelled_in_the_queue_never_runs(tier: SqliteMemory) -> None:
    with locked(tier.path) as other:
        first = asyncio.ensure_future(tier.write(put("first"), deadline=soon()))
        await until(lambda: tier._file._waiting is not None)
        second = asyncio.ensure_future(tier.write(put("second"), deadline=soon()))
        await asyncio.sleep(0)
        await cancel(second)
        other.execute("ROLLBACK")
    assert (await first).effect is Effect.TOOK
    assert await tier.read(Key.of("second"), deadline=soon()) is None


async def test_calls_cancelled_anywhere_leave_whole_writes_and_a_usable_tier(tier: SqliteMemory) -> None:
    for turns in range(40):
        keys = [Key.of(f"{turns}:{n}") for n in range(5)]
        calls: list[Awaitable[Any]] = [
            tier.write_many([put(key.name) for key in keys], deadline=soon()),
            tier.read_many(keys, deadline=soon()),
            tier.scan("default", keys[0].scope, "", limit=5, cursor=None, deadline=soon()),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found = await tier.read_many(keys, deadline=soon())
        assert len({answer is None for answer in found}) == 1  # one transaction: all or none
    assert isinstance(await tier.write(put("after"), deadline=soon()), Written)


# --- the fence -------------------------------------------------------------------------------------------------------


def commit_elsewhere(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("UPDATE records SET raw_size = raw_size + 1").rowcount > 0
    connection.commit()
    connection.close()


async def test_the_fence_moves_with_others_commits_and_not_with_ours(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db", executor=Inline())
    await tier.connect()
    await tier.write(put("k"), deadline=soon())
    first = tier.data_version()
    await tier.write(put("k", 2, "id2"), deadline=soon())
    await tier.write_many([put("a"), put("b")], deadline=soon())
    await tier.read(Key.of("k"), deadline=soon())
    assert tier.data_version() == first
    seen = {first}
    for _ in range(5):
        commit_elsewhere(tier.path)
        moved = tier.data_version()
        assert moved not in seen
        assert tier.data_version() == moved
        seen.add(moved)
        await tier.write(put("k", 3, f"id{len(seen) + 2}"), deadline=soon())
        assert tier.data_version() == moved
    await tier.close()


async def test_the_fence_moves_over_a_pause(tmp_path: Path) -> None:
    """While it was closed anybody may have committed, and SQLite counts from the beginning again."""
    tier = SqliteMemory(tmp_path / "memory.db", executor=Inline())
    seen = set()
    for _ in range(3):
        await tier.connect()
        seen.add(tier.data_version())
        await tier.close()
    assert len(seen) == 3


async def test_while_it_waits_for_anothers_lock_the_fence_moves_when_that_one_commits(tier: SqliteMemory) -> None:
    await tier.write(put("k"), deadline=soon())
    with locked(tier.path) as other:
        write = asyncio.ensure_future(tier.write(put("k", 2, "id2"), deadline=soon()))
        await until(lambda: tier._file._waiting is not None)
        tier.data_version()
        before = tier.data_version()
        assert {tier.data_version() for _ in range(10)} == {before}
        other.execute("UPDATE records SET raw_size = raw_size + 1")
        assert tier.data_version() == before
        other.execute("COMMIT")
        assert tier.data_version() != before
    await write
    assert tier.data_version() == tier.data_version()


async def test_inside_our_transaction_the_fence_is_known_without_asking(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db", executor=Inline())
    await tier.connect()
    await tier.write(put("k"), deadline=soon())
    before = tier.data_version()
    commit = await asyncio.to_thread(_commit_then_begin, tier)
    assert commit == {"held": True, "moved": True}
    assert tier.data_version() != before
    await tier.close()
    with pytest.raises(ClientClosed):
        tier.data_version()


def _commit_then_begin(tier: SqliteMemory) -> dict[str, bool]:
    before = tier.data_version()
    commit_elsewhere(tier.path)
    with tier._file.transaction(soon()):
        held = tier._file._held is not None
        inside = tier.data_version()
    return {"held": held, "moved": inside != before and inside == tier.data_version()}


async def test_the_fence_lets_go_of_its_number_before_the_lock_is_let_go(tmp_path: Path) -> None:
    """Else another process might commit, and be missed, in the moment between."""
    tier = SqliteMemory(tmp_path / "memory.db", executor=Inline())
    await tier.connect()
    writer = tier._file._writer
    assert writer is not None
    seen: list[tuple[str, bool]] = []
    writer.set_trace_callback(lambda sql: seen.append((sql.split()[0], tier._file._held is not None)))
    await tier.write(put("k"), deadline=soon())
    await tier.write(replace(put("k", 2, "id2"), if_absent=True), deadline=soon())
    writer.set_trace_callback(None)
    await tier.close()
    assert [step for step in seen if step[0] in ("BEGIN", "INSERT", "COMMIT", "ROLLBACK")] == [
        ("BEGIN", False),
        ("INSERT", True),
        ("COMMIT", False),
        ("BEGIN", False),
        ("ROLLBACK", False),
    ]
