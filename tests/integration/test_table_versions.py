"""Rows of a table on Azurite: what is damaged as only a row can be; order, sizes, cursors. The rest: tests/integration/storage."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.cursors import pack_place
from thermocline.errors import (
    CorruptRecord,
    InvalidArgument,
    TooLarge,
)
from thermocline.keys import table_partition, table_row
from thermocline.model import Key
from thermocline.protocols import Verb, Write, Written
from thermocline.testing.rig import Azurite
from thermocline.tiers.table import TableMemory
from thermocline.tiers.table.rows import INLINE_LIMIT
from thermocline.tiers.table.service import Row

CODEC = Codec()
NOW = 1_800_000_000_000
KEY = Key("t", "s", "name")


@pytest.fixture
def table(unique_name: Callable[[str], str]) -> str:
    return unique_name("t").replace("-", "")


@pytest.fixture
async def direct(azurite: Azurite, table: str) -> AsyncIterator[TableMemory]:
    async with TableMemory(azurite.table_url, table, credential=azurite.key, create=True) as tier:
        yield tier


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


async def requests(tier: TableMemory, call: Awaitable[object]) -> int:
    before = tier.stats.get("requests", "warm_plus")
    await call
    return int(tier.stats.get("requests", "warm_plus") - before)


async def row(tier: TableMemory) -> Row:
    found = await tier._service.get(table_partition(KEY), table_row(KEY), soon())
    assert found is not None
    return found


async def test_row_that_lies_in_the_place_of_another_is_damaged(direct: TableMemory) -> None:
    other = Key("t", "s", "other")
    await direct.write(Write(Verb.PUT, "1" * 26, CODEC.encode(KEY, "value", now_ms=NOW)), deadline=soon())
    await direct._service.put(replace(await row(direct), row=table_row(other)), soon())

    with pytest.raises(CorruptRecord):
        await direct.read(other, deadline=soon())


@pytest.mark.parametrize("name", ["n", "\0" * 10_000])
async def test_largest_value_and_one_byte_more(direct: TableMemory, name: str) -> None:
    """With the longest columns beside it, too."""
    key = Key("é" * 500, "\0" * 1000, name)
    tags = {f"tag {number}": "é" * 100 for number in range(8)}
    small = Codec(compression=None)
    largest = INLINE_LIMIT if name == "n" else INLINE_LIMIT - 64 * 1024
    kept = small.encode(key, b"x" * largest, now_ms=NOW, tags=tags)
    await direct.write(Write(Verb.PUT, "1" * 26, kept), deadline=soon())

    found = await direct.read(key, deadline=soon())
    assert found is not None
    assert (found.payload, dict(found.tags)) == (kept.payload, tags)
    page = await direct.scan(key.tenant, key.scope, "", limit=10, cursor=None, deadline=soon())
    assert [(item.key, item.tags) for item in page.items] == [(key, tags)]
    more = small.encode(key, b"x" * (INLINE_LIMIT + 1), now_ms=NOW)
    with pytest.raises(TooLarge, match="cold_threshold_bytes"):
        await direct.write(Write(Verb.PUT, "2" * 26, more), deadline=soon())


async def test_listing_is_in_the_order_of_names_and_reads_no_values(direct: TableMemory) -> None:
    names = [
        "",
        "-",
        ".",
        "/",
        "0",
        "9",
        ":",
        "A",
        "Z",
        "_",
        "a",
        "a\0",
        "a/b",
        "ab",
        "z",
        "~",
        "é",
        "\uffff",
        "\U00010000",
        "🌊",
    ]
    names = [f"n{name}" for name in names]
    writes = [
        Write(Verb.PUT, f"{number:026d}", CODEC.encode(Key("t", "s", name), name, now_ms=NOW))
        for number, name in enumerate(reversed(names))
    ]
    assert all(isinstance(one, Written) for one in await direct.write_many(writes, deadline=soon()))
    listed: list[str] = []

    async def scan() -> None:
        cursor = None
        while True:
            page = await direct.scan("t", "s", "n", limit=7, cursor=cursor, deadline=soon())
            listed.extend(item.key.name for item in page.items)
            cursor = page.cursor
            if cursor is None:
                return

    assert await requests(direct, scan()) <= 4
    assert listed == sorted(names)


@pytest.mark.parametrize("place", ["", "[]", '{"PartitionKey": 1}'])
async def test_cursor_of_no_place_in_a_table_is_refused(direct: TableMemory, place: str) -> None:
    with pytest.raises(InvalidArgument):
        await direct.census(limit=1, cursor=pack_place(("census", None, None, None), place), deadline=soon())
