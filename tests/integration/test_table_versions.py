"""Rows of a table on Azurite: a write takes effect once, whatever the network does; what is damaged; order; sizes; costs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from thermocline.blobs import wire
from thermocline.blobs.heads import Head
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import (
    CorruptRecord,
    TierTimeout,
    TierUnavailable,
    TooLarge,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.keys import table_partition, table_row
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite
from thermocline.tiers.table import TableMemory
from thermocline.tiers.table.rows import INLINE_LIMIT, head_of
from thermocline.tiers.table.service import Row

CODEC = Codec()
NOW = 1_800_000_000_000
KEY = Key("t", "s", "name")

MakeProxy = Callable[[str | int], Awaitable[ChaosProxy]]


@pytest.fixture
def table(unique_name: Callable[[str], str]) -> str:
    return unique_name("t").replace("-", "")


@pytest.fixture
async def proxy(azurite: Azurite, chaos_proxy: MakeProxy) -> ChaosProxy:
    return await chaos_proxy(azurite.table_url)


@pytest.fixture
async def direct(azurite: Azurite, table: str) -> AsyncIterator[TableMemory]:
    async with TableMemory(azurite.table_url, table, credential=azurite.key, create=True) as tier:
        yield tier


@pytest.fixture
async def rows(azurite: Azurite, direct: TableMemory, proxy: ChaosProxy, table: str) -> AsyncIterator[TableMemory]:
    """The same table, through the proxy."""
    async with TableMemory(proxy.url, table, credential=azurite.key) as tier:
        yield tier


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


def put(value: object, number: int, **options: object) -> Write:
    return Write(Verb.PUT, f"{number:026d}", CODEC.encode(KEY, value, now_ms=NOW), **options)  # type: ignore[arg-type] # as of Write


def deletion(number: int, **options: object) -> Write:
    return Write(Verb.DELETE, f"{number:026d}", CODEC.tombstone(KEY, now_ms=NOW), **options)  # type: ignore[arg-type] # as of Write


async def requests(tier: TableMemory, call: Awaitable[object]) -> int:
    before = tier.stats.get("requests", "warm_plus")
    await call
    return int(tier.stats.get("requests", "warm_plus") - before)


def value(envelope: Envelope | None) -> object:
    assert envelope is not None
    return CODEC.decode(envelope)


async def row(tier: TableMemory) -> Row:
    found = await tier._service.get(table_partition(KEY), table_row(KEY), soon())
    assert found is not None
    return found


async def head(tier: TableMemory) -> Head:
    return head_of(await row(tier))


async def test_requests_per_verb(direct: TableMemory) -> None:
    assert await requests(direct, direct.write(put(1, 1), deadline=soon())) == 1
    assert await requests(direct, direct.read(KEY, deadline=soon())) == 1
    assert await requests(direct, direct.write(put(2, 2, known=1), deadline=soon())) == 2
    assert await requests(direct, direct.write(put(3, 3), deadline=soon())) == 3
    assert await requests(direct, direct.write(put(4, 4, if_absent=True), deadline=soon())) == 2
    assert await requests(direct, direct.write(deletion(5, known=1), deadline=soon())) == 2
    assert await requests(direct, direct.scan("t", "s", "", limit=10, cursor=None, deadline=soon())) == 1


async def write_and_lose_answer(rows: TableMemory, proxy: ChaosProxy, write: Write, *, reads_first: bool) -> Written:
    """The answer to the request that stores the row is lost; the service has acted, and nobody heard."""
    await rows.ping(deadline=soon())  # a connection is open
    before = proxy.traffic.request_bytes
    lost = None if reads_first else proxy.lose_next_answer()
    task = asyncio.create_task(rows.write(write, deadline=soon()))
    if lost is None:
        await proxy.until(lambda traffic: traffic.request_bytes > before)
        lost = proxy.lose_next_answer()
    written = await task
    assert lost.is_set()
    return written


@pytest.mark.parametrize("verb", ["create", "replace", "if_version", "delete"])
async def test_lost_answer_took_effect_once(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy, verb: str
) -> None:
    """The same request goes out again, is refused, and the ring tells why."""
    base = 0 if verb == "create" else (await direct.write(put("before", 1), deadline=soon())).version
    write = {
        "create": put("new", 2),
        "replace": put("new", 2, known=base),
        "if_version": put("new", 2, if_version=base),
        "delete": deletion(2, known=base),
    }[verb]

    written = await write_and_lose_answer(rows, proxy, write, reads_first=verb != "create")

    assert written.effect is Effect.TOOK
    stored = await head(direct)
    assert stored.version == written.version > base
    assert written.envelope == stored.envelope
    assert [stamp.id for stamp in stored.ring].count(write.id) == 1
    assert len(stored.ring) == (1 if verb == "create" else 2)


async def test_lost_answer_and_others_wrote_meanwhile(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy
) -> None:
    """The version that is reported is the write's own, and not the newest one."""
    await rows.ping(deadline=soon())
    lost = proxy.lose_next_answer()
    proxy.delay(requests=timedelta(milliseconds=150))  # the second copy comes after the others
    task = asyncio.create_task(rows.write(put("mine", 1), deadline=soon()))
    await lost.wait()
    others = [await direct.write(put(f"other {n}", n), deadline=soon()) for n in range(2, 6)]
    written = await task

    stored = await head(direct)
    assert written.effect is Effect.TOOK
    assert written.version == stored.birth.version < others[0].version
    assert stored.version == others[-1].version
    assert [stamp.id for stamp in stored.ring] == [f"{n:026d}" for n in (5, 4, 3, 2, 1)]


async def test_lost_request_is_sent_again(rows: TableMemory, direct: TableMemory, proxy: ChaosProxy) -> None:
    await rows.ping(deadline=soon())
    lost = proxy.lose_next_request()

    written = await rows.write(put("new", 1), deadline=soon())

    assert lost.is_set()
    assert written.effect is Effect.TOOK
    assert len((await head(direct)).ring) == 1


async def test_silence_is_an_unknown_outcome_and_the_same_write_again_tells(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy
) -> None:
    await rows.ping(deadline=soon())
    proxy.blackhole(answers=True)
    write = put("new", 1)
    with pytest.raises(UnknownOutcome) as caught:
        await rows.write(write, deadline=soon(0.5))
    proxy.restore()

    assert caught.value.write_id == write.id
    assert value(await direct.read(KEY, deadline=soon())) == "new"
    again = await rows.write(write, deadline=soon())
    assert (again.effect, again.version) == (Effect.TOOK, (await head(direct)).version)
    assert len((await head(direct)).ring) == 1


async def test_silence_to_a_read_is_certainly_no_effect(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy
) -> None:
    await direct.write(put("old", 1), deadline=soon())
    proxy.blackhole(answers=True)
    with pytest.raises(TierTimeout) as caught:
        await rows.write(put("new", 2, known=1), deadline=soon(0.3))
    proxy.restore()

    assert not caught.value.sent
    assert len((await head(direct)).ring) == 1


async def test_outage_is_never_an_absence(rows: TableMemory, proxy: ChaosProxy) -> None:
    """P1."""
    proxy.refuse()
    proxy.cut()
    for call in (
        rows.read(KEY, deadline=soon()),
        rows.scan("t", "s", "", limit=1, cursor=None, deadline=soon()),
        rows.census(limit=1, cursor=None, deadline=soon()),
        rows.read_note("n", deadline=soon()),
        rows.list_notes("", limit=1, cursor=None, deadline=soon()),
    ):
        with pytest.raises(TierUnavailable):
            await call
    [answer] = await rows.read_many([KEY], deadline=soon())
    assert isinstance(answer, TierUnavailable)


async def test_request_that_arrives_late_takes_no_effect_again(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy
) -> None:
    """A copy is held up while its sender gives up; it is delivered after others have written."""
    await direct.write(put("old", 1), deadline=soon())
    before = proxy.traffic.request_bytes
    task = asyncio.create_task(rows.write(put("late", 2, known=1), deadline=soon(1)))
    await proxy.until(lambda traffic: traffic.request_bytes > before)
    proxy.hold(requests=True)
    with pytest.raises((UnknownOutcome, TierTimeout)):
        await task
    await direct.write(put("newer", 3), deadline=soon())
    proxy.restore()
    await rows.ping(deadline=soon())
    await proxy.until(lambda traffic: traffic.open <= 1)

    stored = await head(direct)
    assert value(stored.envelope) == "newer"
    assert [stamp.id for stamp in stored.ring] == [f"{n:026d}" for n in (3, 1)]


async def test_cancelled_write_is_whole_or_absent_and_the_tier_goes_on(direct: TableMemory) -> None:
    """P10."""
    for turns in range(0, 60, 4):
        task = asyncio.create_task(direct.write(put(turns, turns), deadline=soon()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    written = await direct.write(put("last", 1000), deadline=soon())

    stored = await head(direct)
    ids = [stamp.id for stamp in stored.ring]
    assert stored.version == written.version
    assert len(set(ids)) == len(ids)
    assert value(stored.envelope) == "last"


async def test_row_that_was_damaged_is_neither_returned_nor_overwritten(direct: TableMemory) -> None:
    await direct.write(put("value", 1), deadline=soon())
    sound = await row(direct)
    data = wire.pack_head(head_of(sound))
    for damaged, kind in (
        (data[:-1], CorruptRecord),
        (b"", CorruptRecord),
        (data[:3] + b"\x02" + data[4:], UnreadableRecord),
    ):
        await direct._service.put(replace(sound, data=damaged), soon())
        with pytest.raises(kind):
            await direct.read(KEY, deadline=soon())
        with pytest.raises(kind):
            await direct.write(put("new", 2), deadline=soon())
    other = Key("t", "s", "other")
    await direct._service.put(replace(sound, row=table_row(other)), soon())
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
