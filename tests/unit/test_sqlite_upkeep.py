"""What keeps `SqliteMemory` in order, beside what the conformance suites ask: files of an older version, killed writers, large pages, doubt."""

import asyncio
import random
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import TierDamaged, UnknownOutcome
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write
from thermocline.testing.clocks import ManualClock
from thermocline.tiers.local import sqlite_census
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.local.sqlite_schema import APPLICATION, SCHEMA_VERSION

CODEC = Codec()
NOW = 1_800_000_000_000
DAY = timedelta(days=1)

# The tables of version 1, as the first released program made them. Never to be changed.
VERSION_1 = f"""
    CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL, scope TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, format INTEGER NOT NULL, flags INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL, purge_ms INTEGER NOT NULL,
        size INTEGER NOT NULL, raw_size INTEGER NOT NULL, tags TEXT, writes TEXT NOT NULL,
        record BLOB NOT NULL);
    CREATE UNIQUE INDEX records_key ON records (tenant, scope, name);
    CREATE INDEX records_due ON records (purge_ms) WHERE purge_ms > 0;
    PRAGMA application_id = {APPLICATION};
    PRAGMA user_version = 1;
"""
OF_VERSION_1 = "tenant, scope, name, version, format, flags, expires_ms, created_ms, modified_ms, purge_ms, size, raw_size, tags, writes, record"


def soon() -> Deadline:
    return Deadline.after(60)


def put(name: str, value: object, number: int) -> Write:
    envelope = CODEC.encode(Key("t", "s", name), value, now_ms=NOW)
    return Write(Verb.PUT, f"{number:026d}", envelope)


def delete(name: str, number: int) -> Write:
    return Write(Verb.DELETE, f"{number:026d}", CODEC.tombstone(Key("t", "s", name), now_ms=NOW))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def tier(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteMemory]:
    tier = SqliteMemory(tmp_path / "memory.db", clock=clock)
    await tier.connect()
    yield tier
    await tier.close()


# --- files of an older version ---------------------------------------------------------------------------------------


async def of_version_1(tier: SqliteMemory, path: Path) -> None:
    """The file as the first program would have left it, with what ``tier`` holds."""
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript(f"BEGIN; {VERSION_1} COMMIT")
        old.execute("ATTACH ? AS new", (str(tier.path),))
        old.execute(f"INSERT INTO main.records ({OF_VERSION_1}) SELECT {OF_VERSION_1} FROM new.records")


async def test_file_of_version_1_goes_on(tier: SqliteMemory, tmp_path: Path) -> None:
    write = put("kept", "old value", 1)
    version = (await tier.write(write, deadline=soon())).version
    path = tmp_path / "old.db"
    await of_version_1(tier, path)

    migrated = [SqliteMemory(path), SqliteMemory(path)]
    await asyncio.gather(*(one.connect() for one in migrated))  # both come upon the old tables
    try:
        for one in migrated:
            found = await one.read(write.key, deadline=soon())
            assert found is not None
            assert (CODEC.decode(found), found.version) == ("old value", version)
            assert found.etag is not None
            assert (await one.write(write, deadline=soon())).version == version  # its id is known
        note = await migrated[0].write_note("n", b"x", deadline=soon())
        assert await migrated[1].read_note("n", deadline=soon()) == note
        inventory = await migrated[1].census(limit=10, cursor=None, deadline=soon())
        assert [stored.key for stored in inventory.items] == [write.key]
    finally:
        for one in migrated:
            await one.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


async def test_migration_that_is_cut_off_leaves_the_old_file(tier: SqliteMemory, tmp_path: Path) -> None:
    """By a table that stands in its way, after its first step."""
    await tier.write(put("kept", "old value", 1), deadline=soon())
    path = tmp_path / "old.db"
    await of_version_1(tier, path)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE notes (x)")

    with pytest.raises(TierDamaged, match="notes already exists"):
        await SqliteMemory(path).connect()

    with closing(sqlite3.connect(path)) as file, file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
        assert "moves" not in [row[1] for row in file.execute("PRAGMA table_info(records)")]
        file.execute("DROP TABLE notes")
    mended = SqliteMemory(path)
    await mended.connect()
    assert await mended.read(Key("t", "s", "kept"), deadline=soon()) is not None
    await mended.close()


async def test_old_program_that_has_the_file_open_goes_on(tier: SqliteMemory, tmp_path: Path) -> None:
    """Its statements name no column that it does not know."""
    await tier.write(put("kept", "old value", 1), deadline=soon())
    path = tmp_path / "old.db"
    await of_version_1(tier, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        assert old.execute("SELECT count(*) FROM records").fetchone() == (1,)
        new = SqliteMemory(path)
        await new.connect()
        before = await new.read(Key("t", "s", "kept"), deadline=soon())
        assert before is not None
        columns = OF_VERSION_1.replace("name,", "'other',", 1)
        old.execute(f"INSERT INTO records ({OF_VERSION_1}) SELECT {columns} FROM records")
        assert old.execute("SELECT count(*) FROM records").fetchone() == (2,)
        assert await new.read(Key("t", "s", "kept"), deadline=soon()) == before
        await new.close()


# --- several writes as one -------------------------------------------------------------------------------------------

KILLED = """
import asyncio, sys
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.protocols import Verb, Write
from thermocline.tiers.local.sqlite import SqliteMemory

async def main():
    tier = SqliteMemory(sys.argv[1])
    await tier.connect()
    number = int(sys.argv[2])
    while True:
        number += 1
        writes = [
            Write(Verb.PUT, f"{number:013d}{place:013d}", Codec().encode(Key("t", "s", f"n{place}"), number, now_ms=1))
            for place in range(8)
        ]
        await tier.write_atomic(writes, deadline=Deadline.after(60))
        print(number, flush=True)

asyncio.run(main())
"""


async def test_killed_anywhere_all_or_none_took_effect(tmp_path: Path) -> None:
    dice = random.Random(7)
    path = tmp_path / "memory.db"
    acknowledged = 0
    for _ in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, str(path), str(acknowledged), stdout=PIPE
        )
        assert process.stdout is not None
        for _ in range(dice.randint(1, 40)):
            acknowledged = int(await process.stdout.readline())
        process.kill()
        for line in (await process.stdout.read()).splitlines():
            acknowledged = int(line)
        await process.wait()

        tier = SqliteMemory(path)
        await tier.connect()
        found = await tier.read_many([Key("t", "s", f"n{place}") for place in range(8)], deadline=soon())
        await tier.close()
        values = {
            CODEC.decode(envelope) for envelope in found if envelope is not None and not isinstance(envelope, Exception)
        }
        assert len(values) == 1
        assert values <= {acknowledged, acknowledged + 1}


async def test_copy_that_is_only_partly_remembered_is_in_doubt(tier: SqliteMemory) -> None:
    """It took effect, but one of its ids has left the ring: nothing is written again."""
    writes = [put("once", 1, 1), put("often", 1, 2)]
    await tier.write(put("often", 0, 3), deadline=soon())
    await tier.write_atomic(writes, deadline=soon())
    for number in range(20):
        await tier.write(put("often", number, 100 + number), deadline=soon())

    with pytest.raises(UnknownOutcome):
        await tier.write_atomic(writes, deadline=soon())

    found = await tier.read(writes[1].key, deadline=soon())
    assert found is not None
    assert CODEC.decode(found) == 19


# --- pages, purging, notes -------------------------------------------------------------------------------------------


async def test_page_of_large_records_ends_early(tier: SqliteMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_census, "PAGE_BYTES", 10_000)
    for number in range(7):
        await tier.write(put(f"n{number}", random.Random(number).randbytes(4_096), number), deadline=soon())

    sizes, names, cursor = [], [], None
    while True:
        page = await tier.census(limit=100, cursor=cursor, deadline=soon())
        sizes.append(len(page.items))
        names += [stored.key.name for stored in page.items]
        cursor = page.cursor
        if cursor is None:
            break

    assert names == [f"n{number}" for number in range(7)]
    assert max(sizes) == 3


@pytest.mark.parametrize(("tenant", "scope"), [(None, None), ("t", None), ("t", "s")])
async def test_page_is_one_stretch_of_the_index(tier: SqliteMemory, tenant: str | None, scope: str | None) -> None:
    """No page sorts, and none reads what is before it."""
    given = [part for part in (tenant, scope) if part is not None]
    statement = sqlite_census._PAGE.format(sqlite_census._WHERE[len(given)])
    with closing(sqlite3.connect(tier.path)) as file:
        plan = file.execute(f"EXPLAIN QUERY PLAN {statement}", [*given, *[b""] * (3 - len(given)), 10]).fetchall()

    assert len(plan) == 1
    assert plan[0][-1].startswith("SEARCH records USING INDEX records_key (")


async def test_longer_grace_of_a_later_program_holds(tier: SqliteMemory, clock: ManualClock) -> None:
    await tier.write(put("k", 1, 1), deadline=soon())
    await tier.write(delete("k", 2), deadline=soon())
    patient = SqliteMemory(tier.path, clock=clock, grace=3 * DAY)
    await patient.connect()
    clock.advance(2 * DAY.total_seconds())

    assert await patient.purge(dead_before_ms=clock.wall_ms(), limit=10, deadline=soon()) == 0
    clock.advance(2 * DAY.total_seconds())
    assert await patient.purge(dead_before_ms=clock.wall_ms(), limit=10, deadline=soon()) == 1
    await patient.close()


async def test_notes_that_are_over_are_removed_by_later_ones(tier: SqliteMemory, clock: ManualClock) -> None:
    await tier.write_note("short", b"x", lasting=timedelta(minutes=1), deadline=soon())
    await tier.write_note("long", b"x", lasting=timedelta(hours=1), deadline=soon())
    clock.advance(61)
    await tier.write_note("other", b"x", deadline=soon())

    assert await tier.list_notes("", limit=10, cursor=None, deadline=soon()) == (["long", "other"], None)


async def test_relocation_is_no_write_for_the_one_who_waits(tier: SqliteMemory) -> None:
    """An `if_version` of the same version still holds after it, and its write is the next version."""
    first = await tier.write(put("k", "v" * 5_000, 1), deadline=soon())
    old = await tier.read(Key("t", "s", "k"), deadline=soon())
    assert old is not None
    assert await tier.relocate(old, old, deadline=soon())
    late = Write(Verb.PUT, "x" * 26, CODEC.encode(Key("t", "s", "k"), 2, now_ms=NOW), if_version=first.version)

    assert (await tier.write(late, deadline=soon())).effect is Effect.TOOK
