"""SqliteMemory on files that are damaged, strange, full or denied: a clear error, and nothing overwritten or half-written."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import (
    ClientClosed,
    ConfigurationError,
    TierDamaged,
    TierFull,
    UnreadableRecord,
)
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.testing.clocks import ManualClock
from thermocline.tiers.local.sqlite import SqliteMemory

CODEC = Codec(compression=None)
CLOCK = ManualClock()


def soon() -> Deadline:
    return Deadline.after(60)


def put(name: str, value: object, write_id: str = "") -> Write:
    return Write(Verb.PUT, write_id or f"id-{name}", CODEC.encode(Key.of(name), value, now_ms=CLOCK.wall_ms()))


def run(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def refused(path: Path, kind: type[Exception], told: str, **options: Any) -> None:
    """It cannot be connected, leaves nothing to close (a warning would be a failure), and is as new."""
    tier = SqliteMemory(path, **options)
    for _ in range(2):
        with pytest.raises(kind, match=told):
            await tier.connect()


@pytest.fixture
async def tier(tmp_path: Path) -> AsyncIterator[SqliteMemory]:
    tier = SqliteMemory(tmp_path / "memory.db", clock=CLOCK)
    await tier.connect()
    yield tier
    await tier.close()


# --- places ----------------------------------------------------------------------------------------------------------


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "a" / "b" / "memory.db")
    await tier.connect()
    await tier.close()
    assert (tmp_path / "a" / "b" / "memory.db").is_file()


async def test_what_it_makes_is_private(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "a" / "memory.db")
    await tier.connect()
    await tier.write(put("k", 1), deadline=soon())
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()}
    assert modes == {"memory.db": 0o600, "memory.db-wal": 0o600, "memory.db-shm": 0o600}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    await tier.close()


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    await refused(tmp_path, ConfigurationError, "is a folder; give the path of a file")


async def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    await refused(tmp_path / "file" / "memory.db", ConfigurationError, "is not a folder")


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b", None, 5, b"x"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="needs the path of a file"):
        SqliteMemory(path)


async def test_a_path_that_no_system_takes_is_refused(tmp_path: Path) -> None:
    await refused(tmp_path / ("x" * 300), ConfigurationError, "cannot be")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_bytes": 1000}, "max_bytes is"),
        ({"max_bytes": "1 GB"}, "max_bytes is"),
        ({"max_bytes": True}, "max_bytes is"),
        ({"grace": "60"}, "grace is a timedelta"),
        ({"grace": -1}, "grace is a timedelta"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        SqliteMemory(tmp_path / "memory.db", **given)


# --- files that are not ours, or damaged -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "memory.db"
    path.write_bytes(content)
    await refused(path, TierDamaged, "nothing in it was changed.*Restore it from a backup")
    assert path.read_bytes() == content


async def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    content = path.read_bytes()
    await refused(path, ConfigurationError, "another program's database, and was left as it is")
    assert path.read_bytes() == content


async def test_a_database_of_a_newer_version_is_left_as_it_is(tier: SqliteMemory) -> None:
    await tier.close()
    connection = sqlite3.connect(tier.path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    await refused(tier.path, UnreadableRecord, "written by a newer version .schema 3.*upgrade")


async def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / "memory.db").touch()
    tier = SqliteMemory(tmp_path / "memory.db")
    await tier.connect()
    await tier.write(put("k", 1), deadline=soon())
    await tier.close()


async def test_a_file_damaged_in_the_middle_says_so_and_other_keys_are_read(tier: SqliteMemory) -> None:
    writes = [put(f"k{n:03}", "x" * 3000) for n in range(200)]
    await tier.write_many(writes, deadline=soon())
    await tier.close()
    content = bytearray(tier.path.read_bytes())
    half = len(content) // 4096 // 2 * 4096
    content[half : half + 3 * 4096] = os.urandom(3 * 4096)
    tier.path.write_bytes(content)
    await tier.connect()
    found = await tier.read_many([write.key for write in writes], deadline=soon())
    damaged = [answer for answer in found if isinstance(answer, TierDamaged)]
    assert 0 < len(damaged) < 150
    assert "restore" in str(damaged[0]).lower()
    assert sum(not isinstance(answer, Exception) for answer in found) > 50


async def test_a_file_that_was_taken_away_or_replaced_is_noticed_by_a_ping(tier: SqliteMemory) -> None:
    await tier.ping(deadline=soon())
    moved = tier.path.with_suffix(".moved")
    tier.path.rename(moved)
    with pytest.raises(TierDamaged, match="has vanished while it was open"):
        await tier.ping(deadline=soon())
    tier.path.write_bytes(moved.read_bytes())
    with pytest.raises(TierDamaged, match="was replaced while it was open"):
        await tier.ping(deadline=soon())


async def test_a_dropped_table_is_damage(tier: SqliteMemory) -> None:
    connection = sqlite3.connect(tier.path)
    connection.execute("DROP TABLE records")
    connection.commit()
    connection.close()
    with pytest.raises(TierDamaged, match="no such table"):
        await tier.read(Key.of("k"), deadline=soon())
    with pytest.raises(TierDamaged, match="no such table"):
        await tier.write(put("k", 1), deadline=soon())


# --- full ------------------------------------------------------------------------------------------------------------


async def test_a_full_database_takes_nothing_by_halves_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db", clock=CLOCK, max_bytes=256 * 1024)
    await tier.connect()
    try:
        written: list[str] = []

        async def fill() -> None:
            while True:
                await tier.write(put(f"k{len(written)}", b"x" * 10_000), deadline=soon())
                written.append(f"k{len(written)}")

        with pytest.raises(TierFull, match=r"cannot grow.*free space or raise the limit") as caught:
            await fill()
        assert not caught.value.sent
        assert len(written) > 15
        assert await tier.read(Key.of(f"k{len(written)}"), deadline=soon()) is None
        found = await tier.read_many([Key.of(name) for name in written], deadline=soon())
        assert all(not isinstance(answer, Exception) and answer is not None for answer in found)
        # a delete makes room, and the next write has it
        for name in ("k0", "k1"):
            tombstone = Write(Verb.DELETE, f"d{name}", CODEC.tombstone(Key.of(name), now_ms=CLOCK.wall_ms()))
            assert (await tier.write(tombstone, deadline=soon())).effect is Effect.TOOK
        assert (await tier.write(put("new", b"x" * 9_000), deadline=soon())).effect is Effect.TOOK
    finally:
        await tier.close()


async def test_in_a_batch_that_does_not_fit_what_fits_is_written(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db", clock=CLOCK, max_bytes=128 * 1024)
    await tier.connect()
    try:
        writes = [put("a", b"x" * 100), put("big", b"x" * 500_000), put("b", b"x" * 100)]
        answers = await tier.write_many(writes, deadline=soon())
        assert [isinstance(answer, TierFull) for answer in answers] == [False, True, False]
        found = await tier.read_many([write.key for write in writes], deadline=soon())
        assert [answer is not None for answer in found] == [True, False, True]
    finally:
        await tier.close()


IN_A_SMALL_WORLD = """
import asyncio, json, resource, sys
from pathlib import Path
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import ThermoclineError
from thermocline.model import Key
from thermocline.protocols import Verb, Write
from thermocline.tiers.local.sqlite import SqliteMemory

async def main():
    tier = SqliteMemory(Path(sys.argv[1]))
    await tier.connect()
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    codec = Codec(compression=None)
    report = {"written": [], "error": None, "sent": None, "read": 0}
    for n in range(1000):
        key = Key.of(f"k{n}")
        try:
            await tier.write(Write(Verb.PUT, f"id{n}", codec.encode(key, b"x" * 5000, now_ms=1_800_000_000_000)), deadline=Deadline.after(60))
        except ThermoclineError as error:
            report["error"], report["sent"], report["text"] = type(error).__name__, error.sent, str(error)
            break
        report["written"].append(key.name)
    for name in report["written"]:
        report["read"] += (await tier.read(Key.of(name), deadline=Deadline.after(60))) is not None
    report["unwritten"] = await tier.read(Key.of(f"k{len(report['written'])}"), deadline=Deadline.after(60)) is None
    print(json.dumps(report))
    await tier.close()

asyncio.run(main())
"""


async def test_a_disk_without_room_takes_nothing_by_halves(tmp_path: Path) -> None:
    """The file size limit of a process stands for the disk: SQLite's writes fail part of the way, as on a full one."""
    path = tmp_path / "memory.db"
    done = await asyncio.to_thread(run, IN_A_SMALL_WORLD, path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["error"], report["sent"]) == ("TierFull", False), report
    assert "cannot grow" in report["text"]
    assert len(report["written"]) > 10
    assert report["read"] == len(report["written"])
    assert report["unwritten"]
    tier = SqliteMemory(path)
    await tier.connect()  # and without the limit, all is there and goes on
    found = await tier.read_many([Key.of(name) for name in report["written"]], deadline=soon())
    assert all(not isinstance(answer, Exception) and answer is not None for answer in found)
    assert isinstance(await tier.write(put("more", b"x" * 5000), deadline=soon()), Written)
    await tier.close()
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


# --- denied ------------------------------------------------------------------------------------------------------------

WITHOUT_RIGHTS = """
import asyncio, os, sys
from thermocline.errors import ThermoclineError
from thermocline.tiers.local.sqlite import SqliteMemory

async def main():
    tier = SqliteMemory(sys.argv[1])
    try:
        await tier.connect()
    except ThermoclineError as error:
        print(type(error).__name__, error)
    finally:
        await tier.close()

if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_must_not_be_written_is_denied(tmp_path: Path, what: str) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.owner() == tmp_path.owner() and parent.name.startswith(("pytest-", "popen-")):  # popen-: of xdist
            parent.chmod(0o755)
    path = tmp_path / "memory.db"
    sqlite3.connect(path).close()
    path.touch()
    path.chmod(0o444)
    tmp_path.chmod(0o555 if what == "folder" else 0o777)
    try:
        done = run(WITHOUT_RIGHTS, path)
    finally:
        tmp_path.chmod(0o755)
    assert done.stdout.startswith("AccessDenied"), done
    assert "give this user write access" in done.stdout


async def test_use_before_connect_and_after_close_is_refused(tmp_path: Path) -> None:
    tier = SqliteMemory(tmp_path / "memory.db")
    with pytest.raises(ClientClosed, match="await its connect"):
        await tier.read(Key.of("k"), deadline=soon())
    with pytest.raises(ClientClosed, match="not connected"):
        tier.data_version()
    await tier.connect()
    await tier.close()
    with pytest.raises(ClientClosed):
        await tier.write(put("k", 1), deadline=soon())
    with pytest.raises(ClientClosed):
        tier.data_version()
