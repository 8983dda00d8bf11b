"""Rows of a table kept in order: what a census costs, purging after the grace, moves whose answer is lost, who reaches what (P9)."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from thermocline.blobs.batch import each
from thermocline.clock import SYSTEM_CLOCK
from thermocline.codec import Codec
from thermocline.cursors import pack_place
from thermocline.errors import InvalidArgument
from thermocline.keys import payload_path, table_partition, table_row
from thermocline.model import Envelope, Key, Pointer
from thermocline.testing.conformance.samples import delete, new_key, put, soon, stamp_by, value_of
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite
from thermocline.tiers.table import TableMemory
from thermocline.tiers.table.notes import NOTES
from thermocline.tiers.table.rows import pack_token

CODEC = Codec()
ALL = "PartitionKey ge 'tc1.' and PartitionKey lt 'tc1/'"


def now_ms() -> int:
    return SYSTEM_CLOCK.wall_ms()


@pytest.fixture(autouse=True)
def stamp_samples() -> None:
    """By this machine's clock, whatever suite ran before."""
    stamp_by(SYSTEM_CLOCK)


@pytest.fixture
def table(unique_name: Callable[[str], str]) -> str:
    return unique_name("t").replace("-", "")


@pytest.fixture
async def rows(azurite: Azurite, table: str) -> AsyncIterator[TableMemory]:
    async with TableMemory(azurite.table_url, table, credential=azurite.key, create=True) as tier:
        yield tier


def requests(tier: TableMemory) -> int:
    return int(tier.stats.get("requests", "warm_plus"))


async def stored(tier: TableMemory, key: Key, value: object = "v") -> Envelope:
    await tier.write(put(key, value), deadline=soon())
    envelope = await tier.read(key, deadline=soon())
    assert envelope is not None
    return envelope


def demoted(old: Envelope) -> Envelope:
    digest = hashlib.sha256(old.payload).hexdigest()
    return CODEC.point(old, Pointer(payload_path(old.key, digest), digest, len(old.payload), now_ms()))


# --- census ----------------------------------------------------------------------------------------------------------


async def test_census_is_a_listing_and_reads_no_value(rows: TableMemory) -> None:
    long = "é" * 900  # a digest stands for it in the row key
    keys = [Key("t", f"s{n % 3}", f"n{n}") for n in range(40)] + [Key("t", "s", long), Key(long[:400], "s", "n")]
    await each(keys, lambda key: rows.write(put(key, "x" * 20_000), deadline=soon()))
    before = requests(rows)

    inventory = await rows.census(limit=1000, cursor=None, deadline=soon())

    assert requests(rows) - before == 1
    assert {item.key for item in inventory.items} == set(keys)
    assert inventory.cursor is None
    assert all(item.size < 20_000 <= item.header.raw_length for item in inventory.items)
    read = await rows.read(keys[0], deadline=soon())
    assert read is not None
    [told] = [item for item in inventory.items if item.key == keys[0]]
    assert (told.header, told.etag) == (read.header, read.etag)


async def test_row_whose_columns_are_gone_or_too_long_is_read(rows: TableMemory) -> None:
    plain, long = new_key(), Key("t", "s", "n" * 16_000)
    envelopes = [await stored(rows, plain), await stored(rows, long)]
    row = await rows._service.get(table_partition(plain), table_row(plain), soon())
    assert row is not None
    await rows._service.put(replace(row, columns={}), soon())

    inventory = await rows.census(limit=10, cursor=None, deadline=soon())

    assert {item.key: item.header for item in inventory.items} == {one.key: one.header for one in envelopes}
    assert inventory.damaged == []


async def test_tenants_that_begin_alike_are_apart_and_a_forged_cursor_helps_nobody(rows: TableMemory) -> None:
    """P9."""
    keys = [
        Key(tenant, scope, "n") for tenant in ("t", "tt", "t/s", "T", "é" * 400, "é" * 401) for scope in ("s", "ss")
    ]
    for key in keys:
        await stored(rows, key)
    token = (await rows._service.page(ALL, limit=3, token=None, deadline=soon()))[1]
    assert token is not None
    for key in keys:
        for scope in (None, key.scope):
            own = {one for one in keys if one.tenant == key.tenant and scope in (None, one.scope)}
            page = await rows.census(tenant=key.tenant, scope=scope, limit=50, cursor=None, deadline=soon())
            assert {item.key for item in page.items} == own
            forged = pack_place(("census", key.tenant, scope, None), pack_token(token))
            page = await rows.census(tenant=key.tenant, scope=scope, limit=50, cursor=forged, deadline=soon())
            assert {item.key for item in page.items} <= own
    for place in ("", "[]", '{"PartitionKey": 1}'):
        with pytest.raises(InvalidArgument):
            await rows.census(limit=1, cursor=pack_place(("census", None, None, None), place), deadline=soon())


# --- purging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_what_died_long_enough_ago_is_removed(rows: TableMemory, limit: int) -> None:
    keys = [Key("t", f"s{number % 2}", f"n{number}") for number in range(8)]
    for key in keys:
        await stored(rows, key)
    for key in keys[:3]:
        await rows.write(delete(key), deadline=soon())
    await rows.write(put(keys[3], expires_ms=now_ms() - 1), deadline=soon())
    later = now_ms() + 60_000
    assert await rows.purge(dead_before_ms=later, limit=limit, deadline=soon()) == 0  # within the grace
    assert rows.grace == timedelta(days=1)
    rows._grace_ms = -60_000  # as if all this were long ago

    removed: list[int] = []
    while not removed or removed[-1]:
        removed.append(await rows.purge(dead_before_ms=later, limit=limit, deadline=soon()))

    assert sum(removed) == 4
    assert max(removed) <= limit
    found = await rows.read_many(keys, deadline=soon())
    assert [envelope is None for envelope in found] == [True] * 4 + [False] * 4


async def test_purge_that_began_in_the_middle_looks_at_all(rows: TableMemory) -> None:
    rows._grace_ms = -60_000
    keys = [Key("t", "s", f"n{number}") for number in range(4)]
    for key in keys:
        await stored(rows, key)
    await rows.write(delete(keys[3]), deadline=soon())
    rows._swept = (await rows._service.page(ALL, limit=2, token=None, deadline=soon()))[1]
    await rows.write(delete(keys[0]), deadline=soon())

    answers = [await rows.purge(dead_before_ms=now_ms() + 60_000, limit=10, deadline=soon()) for _ in range(3)]

    assert answers == [1, 1, 0]


async def test_version_grows_over_purging_and_creation(rows: TableMemory) -> None:
    """P4."""
    key = new_key()
    await stored(rows, key)
    gone = await rows.write(delete(key), deadline=soon())
    rows._grace_ms = -60_000
    assert await rows.purge(dead_before_ms=now_ms() + 60_000, limit=10, deadline=soon()) == 1

    assert (await rows.write(put(key, "anew", if_absent=True), deadline=soon())).version > gone.version


async def test_row_that_is_written_anew_meanwhile_stays(rows: TableMemory) -> None:
    key = new_key()
    await stored(rows, key)
    await rows.write(delete(key), deadline=soon())
    seen, _ = await rows._service.page(ALL, limit=10, token=None, deadline=soon(), select=())
    await stored(rows, key, "again")

    assert await rows._remove(seen, soon()) == 0
    assert value_of(await rows.read(key, deadline=soon())) == "again"


async def test_notes_whose_time_is_over_are_gone_and_purged(rows: TableMemory) -> None:
    for name, lasting in (("kept", None), ("over", timedelta(milliseconds=1)), ("long", timedelta(hours=1))):
        assert await rows.write_note(f"n/{name}", b"x", lasting=lasting, deadline=soon()) is not None
    while await rows.read_note("n/over", deadline=soon()) is not None:
        pass

    assert await rows.list_notes("n/", limit=10, cursor=None, deadline=soon()) == (["n/kept", "n/long"], None)
    assert await rows.write_note("n/over", b"y", if_absent=True, lasting=timedelta(milliseconds=1), deadline=soon())
    while await rows.read_note("n/over", deadline=soon()) is not None:
        pass
    await rows.purge(dead_before_ms=1, limit=1, deadline=soon())
    left, _ = await rows._service.page(f"PartitionKey eq '{NOTES}'", limit=10, token=None, deadline=soon())
    assert len(left) == 2


# --- moving ----------------------------------------------------------------------------------------------------------


async def test_move_is_a_read_and_a_write(rows: TableMemory) -> None:
    old = await stored(rows, new_key(), "x" * 5_000)
    before = requests(rows)

    assert await rows.relocate(old, demoted(old), deadline=soon())
    assert requests(rows) - before == 2


async def test_move_whose_answer_is_lost_is_known_by_its_row(azurite: Azurite, rows: TableMemory, table: str) -> None:
    old = await stored(rows, new_key(), "x" * 5_000)
    async with (
        ChaosProxy(azurite.table_url) as proxy,
        TableMemory(proxy.url, table, credential=azurite.key) as behind,
    ):
        await behind.ping(deadline=soon())
        before = proxy.traffic.answer_bytes
        task = asyncio.create_task(behind.relocate(old, demoted(old), deadline=soon()))
        await proxy.until(lambda traffic: traffic.answer_bytes > before)  # the row was read
        lost = proxy.lose_next_answer()
        assert await task
        assert lost.is_set()

    there = await rows.read(old.key, deadline=soon())
    assert there is not None
    assert (there.pointer, there.version) == (True, old.version)
