"""One SQLite file and several processes: versions of their own, no lost update, writers killed between any two steps, commits noticed at once."""

import asyncio
import json
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write
from thermocline.tiers.local import sqlite_file, sqlite_schema
from thermocline.tiers.local.sqlite import SqliteMemory

CODEC = Codec()
PROCESSES = 4
COUNTS = 25

PROGRAM = """
import asyncio, json, sys, time, uuid
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write
from thermocline.tiers.local.sqlite import SqliteMemory

codec = Codec()

def put(name, value, **conditions):
    key = Key("t", "s", name)
    return Write(Verb.PUT, uuid.uuid4().hex, codec.encode(key, value, now_ms=time.time_ns() // 10**6), **conditions)

def say(*words):
    print(json.dumps(words), flush=True)

async def overwrite(tier, times):
    for n in range(times):
        say((await tier.write(put("shared", n), deadline=Deadline.after(60))).version)

async def count(tier, times):
    key = Key("t", "s", "counter")
    for _ in range(times):
        while True:
            envelope = await tier.read(key, deadline=Deadline.after(60))
            write = put("counter", codec.decode(envelope) + 1, if_version=envelope.version)
            if (await tier.write(write, deadline=Deadline.after(60))).effect is Effect.TOOK:
                break

async def flood(tier, _):
    n = 0
    while True:
        writes = [put(f"{n:06}:{part}", "x" * 2000) for part in range(20)]
        await tier.write_many(writes, deadline=Deadline.after(60))
        say(n)
        n += 1

async def crowd(tier, callers):
    # many callers at once, whose writes share transactions
    async def caller(number):
        n = 0
        while True:
            await tier.write(put(f"{number:02}:{n:06}", "x" * 500), deadline=Deadline.after(60))
            say(f"{number:02}:{n:06}")
            n += 1
    await asyncio.gather(*map(caller, range(callers)))

async def obey(tier, _):
    loop = asyncio.get_running_loop()
    say("ready")
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        say((await tier.write(put("theirs", line.strip()), deadline=Deadline.after(60))).version)

async def main(path, task, times):
    tier = SqliteMemory(path)
    await tier.connect()
    try:
        await {"overwrite": overwrite, "count": count, "flood": flood, "crowd": crowd, "obey": obey}[task](tier, int(times))
    finally:
        await tier.close()

asyncio.run(main(*sys.argv[1:]))
"""


def soon() -> Deadline:
    return Deadline.after(60)


def put(name: str, value: object, write_id: str) -> Write:
    return Write(Verb.PUT, write_id, CODEC.encode(Key("t", "s", name), value, now_ms=1_700_000_000_000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
async def tier(path: Path) -> AsyncIterator[SqliteMemory]:
    tier = SqliteMemory(path)
    await tier.connect()
    yield tier
    await tier.close()


@asynccontextmanager
async def running(path: Path, task: str, times: int = 0) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(path), task, str(times), stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def finished(path: Path, task: str, times: int) -> list[list[object]]:
    """What a process said until it ended well."""
    async with running(path, task, times) as process:
        out, _ = await process.communicate()
        assert process.returncode == 0
        return [json.loads(line) for line in out.splitlines()]


async def heard(process: Process) -> object:
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the process ended"
    return json.loads(line)[0]


async def test_writers_of_one_key_get_versions_of_their_own(path: Path) -> None:
    """They also create the file, all at once."""
    said = await asyncio.gather(*(finished(path, "overwrite", COUNTS) for _ in range(PROCESSES)))
    versions = [line[0] for lines in said for line in lines]
    assert len(versions) == PROCESSES * COUNTS
    assert [version for version, times in Counter(versions).items() if times > 1] == []
    for lines in said:
        assert lines == sorted(lines)
    tier = SqliteMemory(path)
    await tier.connect()
    envelope = await tier.read(Key("t", "s", "shared"), deadline=soon())
    await tier.close()
    assert envelope is not None
    assert envelope.version == max(versions)  # type: ignore[type-var]


async def test_no_update_is_lost_between_processes(tier: SqliteMemory) -> None:
    await tier.write(put("counter", 0, "first"), deadline=soon())
    await asyncio.gather(*(finished(tier.path, "count", COUNTS) for _ in range(PROCESSES)))
    envelope = await tier.read(Key("t", "s", "counter"), deadline=soon())
    assert envelope is not None
    assert CODEC.decode(envelope) == PROCESSES * COUNTS


async def test_a_writer_killed_at_any_point_leaves_whole_transactions_and_all_that_it_was_told(
    tier: SqliteMemory,
) -> None:
    acknowledged = 0
    for kill_after in (0, 1, 5, 17):
        async with running(tier.path, "flood") as process:
            for number in range(kill_after + 1):
                assert await heard(process) == number
            process.kill()
            assert process.stdout is not None
            rest = (await process.stdout.read()).splitlines(keepends=True)
            told = kill_after + 1 + sum(line.endswith(b"\n") for line in rest)
        acknowledged = max(acknowledged, told)
        found: Counter[str] = Counter()
        cursor = None
        while True:
            page = await tier.scan("t", "s", "", limit=1000, cursor=cursor, deadline=soon())
            found.update(item.key.name.partition(":")[0] for item in page.items)
            cursor = page.cursor
            if cursor is None:
                break
        assert set(found.values()) == {20}
        assert len(found) >= acknowledged
        check = sqlite3.connect(tier.path)
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        check.close()
    assert (await tier.write(put("after", 1, "after"), deadline=soon())).effect is Effect.TOOK


async def test_of_writes_that_shared_transactions_each_that_was_acknowledged_survives_a_kill(
    tier: SqliteMemory,
) -> None:
    for kill_after in (1, 40, 200):
        told: set[str] = set()
        async with running(tier.path, "crowd", 24) as process:
            while len(told) < kill_after:
                told.add(str(await heard(process)))
            process.kill()
            assert process.stdout is not None
            rest = (await process.stdout.read()).splitlines(keepends=True)
            told.update(json.loads(line)[0] for line in rest if line.endswith(b"\n"))
        found = await tier.read_many([Key("t", "s", name) for name in sorted(told)], deadline=soon())
        assert None not in found
        check = sqlite3.connect(tier.path)
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        check.close()


async def test_the_fence_misses_no_commit_of_another_process_whatever_this_one_is_doing(tier: SqliteMemory) -> None:
    """Our own writes run all the while, so that the looks fall before, into and after their transactions."""
    stop = False

    async def write_on(lane: int) -> int:
        turn = 0
        while not stop:
            turn += 1
            await tier.write(put(f"ours{lane}", turn, f"{lane}:{turn}"), deadline=soon())
        return turn

    async with running(tier.path, "obey") as process:
        assert await heard(process) == "ready"
        assert process.stdin is not None
        own = [asyncio.ensure_future(write_on(lane)) for lane in range(3)]
        for turn in range(150):
            before = tier.data_version()
            process.stdin.write(b"%d\n" % turn)
            await heard(process)
            assert tier.data_version() != before
        stop = True
        assert min(await asyncio.gather(*own)) > 0


async def test_a_file_that_another_process_furnishes_meanwhile_is_not_taken_for_a_strangers(path: Path) -> None:
    """Two processes open a new file at once: what the second looks at first must be one view of it, not half before and half after the first's work."""
    steps: list[str] = []
    looking = sqlite3.connect(path, timeout=5, isolation_level=None)
    furnishing = sqlite3.connect(path, timeout=0, isolation_level=None)

    def furnish(statement: str) -> None:
        steps.append(statement)
        if statement.startswith("PRAGMA user_version") and len(steps) < 10:
            try:
                furnishing.executescript(";".join(("BEGIN IMMEDIATE", *sqlite_schema.SCHEMA, "COMMIT")))
            except sqlite3.OperationalError:
                furnishing.execute("ROLLBACK")  # locked out, as it should be

    looking.set_trace_callback(furnish)
    try:
        sqlite_file.SqliteFile(path, max_bytes=None, power_safe=False)._create(looking)
    finally:
        looking.close()
        furnishing.close()
    assert any(statement.startswith("PRAGMA user_version") for statement in steps)
