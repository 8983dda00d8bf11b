"""SqliteMemory's records beside what the conformance suite asks: grace and purging, rows altered from outside, batches that fail in part."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, InvalidArgument, ThermoclineError, UnreadableRecord
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.telemetry import CORRUPT, REQUESTS
from thermocline.testing.clocks import ManualClock
from thermocline.tiers.local import sqlite_rows
from thermocline.tiers.local.sqlite import SqliteMemory

CODEC = Codec()


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def tier(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteMemory]:
    tier = SqliteMemory(tmp_path / "memory.db", clock=clock)
    await tier.connect()
    yield tier
    await tier.close()


class Writer:
    """Makes writes with ids of their own."""

    def __init__(self, tier: SqliteMemory, clock: ManualClock) -> None:
        self.tier = tier
        self.clock = clock
        self.count = 0

    def write(
        self, verb: Verb, key: Key | str, value: object = None, *, seconds: float = 0, **conditions: Any
    ) -> Write:
        self.count += 1
        now_ms = self.clock.wall_ms()
        key = Key.of(key)
        if verb is Verb.DELETE:
            envelope = CODEC.tombstone(key, now_ms=now_ms)
        else:
            envelope = CODEC.encode(
                key, value, now_ms=now_ms, expires_ms=now_ms + int(seconds * 1000) if seconds else 0
            )
        return Write(verb, f"id{self.count}", envelope, **conditions)

    async def put(self, key: Key | str, value: object = None, *, seconds: float = 0, **conditions: Any) -> Written:
        return await self.tier.write(self.write(Verb.PUT, key, value, seconds=seconds, **conditions), deadline=soon())

    async def delete(self, key: Key | str, **conditions: Any) -> Written:
        return await self.tier.write(self.write(Verb.DELETE, key, **conditions), deadline=soon())


@pytest.fixture
def writer(tier: SqliteMemory, clock: ManualClock) -> Writer:
    return Writer(tier, clock)


def alter(path: Path, statement: str, *values: object) -> int:
    """Change the file behind the tier's back; the number of rows that changed."""
    connection = sqlite3.connect(path)
    try:
        changed = connection.execute(statement, values).rowcount
        connection.commit()
        return changed
    finally:
        connection.close()


def rows(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [name for (name,) in connection.execute("SELECT name FROM records ORDER BY name")]
    finally:
        connection.close()


# --- versions ----------------------------------------------------------------------------------------------------


async def test_versions_are_the_clocks_microseconds_and_grow_when_it_stands_or_goes_back(
    writer: Writer, clock: ManualClock
) -> None:
    start = clock.wall_ms() * 1000
    versions = [(await writer.put("k", n)).version for n in range(3)]
    clock.set_wall(clock.wall_ms() - 3_600_000)
    versions.append((await writer.put("k", 3)).version)
    clock.set_wall(clock.wall_ms() + 7_200_000)
    versions.append((await writer.put("k", 4)).version)
    assert versions == [start, start + 1, start + 2, start + 3, clock.wall_ms() * 1000]


async def test_a_record_keeps_its_birthday_until_it_dies(
    writer: Writer, tier: SqliteMemory, clock: ManualClock
) -> None:
    key = Key.of("k")

    async def created() -> int:
        envelope = await tier.read(key, deadline=soon())
        assert envelope is not None
        return envelope.header.created_ms

    born = clock.wall_ms()
    await writer.put(key, 1)
    clock.advance(5)
    await writer.put(key, 2)
    assert await created() == born
    await writer.delete(key)
    clock.advance(5)
    await writer.put(key, 3)
    assert await created() == born + 10_000


async def test_the_last_eight_writes_and_the_creation_are_known_by_their_ids(
    tier: SqliteMemory, writer: Writer
) -> None:
    writes = [writer.write(Verb.PUT, "k", n) for n in range(20)]
    versions = [(await tier.write(write, deadline=soon())).version for write in writes]
    for place in (0, *range(12, 20)):
        again = await tier.write(writes[place], deadline=soon())
        assert (again.effect, again.version) == (Effect.TOOK, versions[place])
    envelope = await tier.read(Key.of("k"), deadline=soon())
    assert envelope is not None
    assert CODEC.decode(envelope) == 19
    assert (await tier.write(writes[11], deadline=soon())).version > versions[-1]  # forgotten: the ring has its bound


# --- grace ---------------------------------------------------------------------------------------------------------


async def test_tombstones_and_expired_records_stay_for_the_grace_and_then_go(
    writer: Writer, tier: SqliteMemory, clock: ManualClock
) -> None:
    await writer.put("deleted", 1)
    await writer.delete("deleted")
    await writer.put("expired", 1, seconds=60)
    await writer.put("kept", 1)
    clock.advance(timedelta(days=1).total_seconds() - 1)
    await writer.put("other", 1)
    assert rows(tier.path) == ["deleted", "expired", "kept", "other"]
    clock.advance(1)
    await writer.put("other", 2)
    assert rows(tier.path) == ["expired", "kept", "other"]
    clock.advance(60)
    await writer.put("other", 3)
    assert rows(tier.path) == ["kept", "other"]
    assert await tier.read(Key.of("deleted"), deadline=soon()) is None


async def test_what_is_due_goes_faster_than_it_comes(writer: Writer, tier: SqliteMemory, clock: ManualClock) -> None:
    for n in range(40):
        await writer.put(f"old{n}", 1, seconds=1)
    clock.advance(86_401)
    for n in range(10):
        await writer.put(f"new{n}", 1, seconds=1)
    assert rows(tier.path) == sorted(f"new{n}" for n in range(10))


async def test_a_write_to_a_key_whose_grace_is_over_goes_on_from_its_version(
    writer: Writer, clock: ManualClock
) -> None:
    await writer.put("k", 1)
    gone = await writer.delete("k")
    clock.advance(2 * 86_400)
    clock.set_wall(clock.wall_ms() - 86_400_000)  # its row is due, and the clock is not to be leant on
    assert (await writer.put("k", 2)).version > gone.version


# --- rows altered from outside -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "record = substr(record, 1, length(record) - 1)",
        "record = zeroblob(length(record))",
        "record = x''",
        "record = 'text'",
        "record = 5",
        "record = (SELECT record FROM records WHERE name = 'other')",
        "version = version + 1",
        "flags = flags + 1",
        "expires_ms = expires_ms + 1",
        "version = 'x'",
        "writes = 'x', version = -1",
    ],
)
async def test_an_altered_row_is_corrupt_for_itself_alone(tier: SqliteMemory, writer: Writer, change: str) -> None:
    await writer.put("k", {"some": "value"}, seconds=60)
    await writer.put("other", 1)
    assert alter(tier.path, f"UPDATE records SET {change} WHERE name = 'k'") == 1
    with pytest.raises(CorruptRecord):
        await tier.read(Key.of("k"), deadline=soon())
    bad, good = await tier.read_many([Key.of("k"), Key.of("other")], deadline=soon())
    assert isinstance(bad, CorruptRecord)
    assert not isinstance(good, ThermoclineError)


async def test_a_damaged_record_can_be_written_anew(tier: SqliteMemory, writer: Writer) -> None:
    old = await writer.put("k", 1)
    alter(tier.path, "UPDATE records SET record = x'00' WHERE name = 'k'")
    new = await writer.put("k", 2)
    assert new.version > old.version
    envelope = await tier.read(Key.of("k"), deadline=soon())
    assert envelope is not None
    assert CODEC.decode(envelope) == 2


@pytest.mark.parametrize("change", ["version = 'x'", "writes = '[]'", "writes = 'x'", "expires_ms = -1", "flags = 1.5"])
async def test_a_row_whose_state_is_lost_is_not_overwritten(tier: SqliteMemory, writer: Writer, change: str) -> None:
    await writer.put("k", 1)
    alter(tier.path, f"UPDATE records SET {change} WHERE name = 'k'")
    with pytest.raises(CorruptRecord, match="restore"):
        await writer.put("k", 2)


@pytest.mark.parametrize("change", ["format = 2", "flags = 8"])
async def test_a_record_of_a_newer_program_is_left_alone(tier: SqliteMemory, writer: Writer, change: str) -> None:
    await writer.put("k", 1)
    alter(tier.path, f"UPDATE records SET {change} WHERE name = 'k'")
    for verb in Verb:
        with pytest.raises(UnreadableRecord, match="upgrade"):
            await tier.write(writer.write(verb, "k", 2), deadline=soon())


@pytest.mark.parametrize(
    "change", ["name = 'l' || x'ff'", "tags = '{'", "tags = '[]'", "size = 'x'", "name = CAST(x'ff' AS TEXT)"]
)
async def test_a_listing_leaves_an_altered_row_out_and_counts_it(
    tier: SqliteMemory, writer: Writer, change: str
) -> None:
    for name in ("j", "k", "m"):
        await writer.put(Key("t", "s", name), 1)
    assert alter(tier.path, f"UPDATE records SET {change} WHERE name = 'k'") == 1
    found: list[str] = []
    cursor = None
    while True:
        page = await tier.scan("t", "s", "", limit=1, cursor=cursor, deadline=soon())
        found += [item.key.name for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break

    assert found == ["j", "m"]
    assert tier.stats.get(CORRUPT, "warm") == 1


async def test_a_key_that_is_no_text_is_in_no_listing_and_told_by_the_census(
    tier: SqliteMemory, writer: Writer
) -> None:
    for name in ("j", "k", "m"):
        await writer.put(Key("t", "s", name), 1)
    assert alter(tier.path, "UPDATE records SET name = x'6b' WHERE name = 'k'") == 1

    page = await tier.scan("t", "s", "", limit=10, cursor=None, deadline=soon())
    inventory = await tier.census(tenant="t", limit=10, cursor=None, deadline=soon())

    assert [item.key.name for item in page.items] == ["j", "m"]
    assert [stored.key.name for stored in inventory.items] == ["j", "m"]
    assert len(inventory.damaged) == 1


# --- listings --------------------------------------------------------------------------------------------------------


async def test_prefixes_go_by_code_point_up_to_the_last_one(tier: SqliteMemory, writer: Writer) -> None:
    last = "\U0010ffff"
    names = [
        "a",
        "ab",
        "a\x00",
        "a\ud7ff",
        "a\ud7ffz",
        "a\ue000",
        "a" + last,
        "a" + last + last,
        "b",
        last,
        last + "a",
        "%",
        "_",
    ]
    for name in names:
        await writer.put(Key("t", "s", name), 1)

    async def listed(prefix: str) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = await tier.scan("t", "s", prefix, limit=2, cursor=cursor, deadline=soon())
            found += [item.key.name for item in page.items]
            cursor = page.cursor
            if cursor is None:
                return found

    for prefix in ["", "a", "a\ud7ff", "a" + last, last, "%", "_", "c", "A"]:
        assert await listed(prefix) == sorted(name for name in names if name.startswith(prefix)), ascii(prefix)


async def test_a_listing_reads_its_stretch_of_the_index_and_no_payload(tier: SqliteMemory, writer: Writer) -> None:
    await writer.put(Key("t", "s", "k"), 1)
    connection = sqlite3.connect(tier.path)
    try:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN " + sqlite_rows._LIST.format(">=", "AND name < ?"), ("t", "s", "k", "l", 0, 5)
        ).fetchall()
    finally:
        connection.close()
    assert [step[3] for step in plan] == [
        "SEARCH records USING INDEX records_key (tenant=? AND scope=? AND name>? AND name<?)"
    ]


@pytest.mark.parametrize(("prefix", "limit"), [("\ud800", 10), ("k", 0), ("k", -1), ("x" * 20_000, 1)])
async def test_impossible_listings_are_refused(tier: SqliteMemory, prefix: str, limit: int) -> None:
    with pytest.raises(InvalidArgument):
        await tier.scan("t", "s", prefix, limit=limit, cursor=None, deadline=soon())


# --- batches ---------------------------------------------------------------------------------------------------------


async def test_reading_many_is_one_statement_per_chunk(tier: SqliteMemory, writer: Writer) -> None:
    await tier.write_many([writer.write(Verb.PUT, f"k{n}", n) for n in range(500)], deadline=soon())
    before = tier.stats.get(REQUESTS, "warm")
    assert before == 5  # a hundred to a transaction
    found = await tier.read_many([Key.of(f"k{n}") for n in range(500)], deadline=soon())
    assert None not in found
    assert tier.stats.get(REQUESTS, "warm") - before == 3


async def test_a_large_batch_holds_the_file_for_no_more_than_its_bytes(tier: SqliteMemory, writer: Writer) -> None:
    writes = [writer.write(Verb.PUT, f"k{n}", bytes([n]) * 3_000_000) for n in range(5)]
    plain = Codec(compression=None)
    now_ms = writer.clock.wall_ms()
    writes = [
        Write(Verb.PUT, w.id, plain.encode(w.key, bytes([n]) * 3_000_000, now_ms=now_ms)) for n, w in enumerate(writes)
    ]
    written = await tier.write_many(writes, deadline=soon())
    assert [w.effect for w in written if isinstance(w, Written)] == [Effect.TOOK] * 5
    assert tier.stats.get(REQUESTS, "warm") == 3


async def test_a_refused_write_leaves_the_file_as_it_is(tier: SqliteMemory, writer: Writer) -> None:
    there = await writer.put("k", 1)
    other = sqlite3.connect(tier.path)
    try:
        before = other.execute("PRAGMA data_version").fetchone()
        assert (await writer.put("k", 2, if_version=there.version + 1)).effect is Effect.REFUSED
        assert (await writer.delete("nothing")).effect is Effect.NOTHING
        assert other.execute("PRAGMA data_version").fetchone() == before
        await writer.put("k", 2)
        assert other.execute("PRAGMA data_version").fetchone() != before
    finally:
        other.close()


async def test_many_writes_in_one_instant_get_versions_of_their_own(tier: SqliteMemory, writer: Writer) -> None:
    written = await asyncio.gather(*(writer.put("k", n) for n in range(200)))
    assert len({result.version for result in written}) == 200
