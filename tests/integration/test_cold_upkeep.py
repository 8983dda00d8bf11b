"""Blob Storage keeping its heads in order: what a census costs, purging after the grace, moves whose answer is lost, and who reaches what (P9)."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from thermocline.blobs.batch import each
from thermocline.clock import SYSTEM_CLOCK
from thermocline.codec import Codec
from thermocline.cursors import pack_place
from thermocline.keys import HEAD_ROOT, head_path, payload_path
from thermocline.model import Envelope, Key, Pointer
from thermocline.telemetry import CORRUPT
from thermocline.testing.conformance.samples import delete, near, new_key, put, soon, stamp_by, value_of
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.cold.notes import NOTE_ROOT

CODEC = Codec()


def now_ms() -> int:
    return SYSTEM_CLOCK.wall_ms()


@pytest.fixture(autouse=True)
def stamp_samples() -> None:
    """By this machine's clock, whatever suite ran before."""
    stamp_by(SYSTEM_CLOCK)


@pytest.fixture
def container() -> str:
    return f"upkeep-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def cold(azurite: Azurite, container: str) -> AsyncIterator[ColdMemory]:
    async with ColdMemory.from_connection_string(azurite.connection_string, container, create=True) as tier:
        yield tier


def requests(tier: ColdMemory) -> int:
    return int(tier.stats.get("requests", "cold"))


async def stored(tier: ColdMemory, key: Key, value: object = "v") -> Envelope:
    await tier.write(put(key, value), deadline=soon())
    envelope = await tier.read(key, deadline=soon())
    assert envelope is not None
    return envelope


def demoted(old: Envelope) -> Envelope:
    digest = hashlib.sha256(old.payload).hexdigest()
    return CODEC.point(old, Pointer(payload_path(old.key, digest), digest, len(old.payload), now_ms()))


# --- census ----------------------------------------------------------------------------------------------------------


async def test_census_is_a_listing_and_reads_no_head(cold: ColdMemory) -> None:
    long = "é" * 900  # a digest stands for it in the path
    keys = [Key("t", f"s{n % 3}", f"n{n}") for n in range(40)] + [Key("t", "s", long), Key(long[:400], "s", "n")]
    await each(keys, lambda key: cold.write(put(key, "x" * 20_000), deadline=soon()))
    before = requests(cold)

    inventory = await cold.census(limit=5000, cursor=None, deadline=soon())

    assert requests(cold) - before == 1
    assert {item.key for item in inventory.items} == set(keys)
    assert inventory.cursor is None
    assert all(item.size < 20_000 <= item.header.raw_length for item in inventory.items)
    read = await cold.read(keys[0], deadline=soon())
    assert read is not None
    [told] = [item for item in inventory.items if item.key == keys[0]]
    assert (told.header, told.etag) == (read.header, read.etag)


async def test_head_whose_metadata_is_gone_or_too_long_is_read(cold: ColdMemory) -> None:
    plain, long = new_key(), Key("t", "s", "n" * 16_000)
    envelopes = [await stored(cold, plain), await stored(cold, long)]
    blob = await cold._service.get(head_path(plain), soon())
    assert blob is not None
    await cold._service.put(head_path(plain), blob.data, overwrite=True, deadline=soon())

    inventory = await cold.census(limit=10, cursor=None, deadline=soon())

    assert {item.key: item.header for item in inventory.items} == {one.key: one.header for one in envelopes}
    assert inventory.damaged == []


async def test_what_is_no_head_is_passed_over_and_a_damaged_one_named(cold: ColdMemory) -> None:
    key, moved = Key("t", "s", "n"), Key("t", "s", "elsewhere")
    await stored(cold, key)
    blob = await cold._service.get(head_path(key), soon())
    assert blob is not None
    await cold._service.put(HEAD_ROOT + "UPPER", b"stranger", overwrite=True, deadline=soon())
    folder = HEAD_ROOT + "t/s/folder"
    await cold._service.put(folder, b"", overwrite=True, deadline=soon(), metadata={"hdi_isfolder": "true"})
    await cold._service.put(head_path(moved), blob.data, overwrite=True, deadline=soon())

    inventory = await cold.census(tenant="t", limit=10, cursor=None, deadline=soon())

    assert [item.key for item in inventory.items] == [key]
    assert len(inventory.damaged) == 1
    assert "elsewhere" in inventory.damaged[0]
    page = await cold.scan("t", "s", "", limit=10, cursor=None, deadline=soon())
    assert [item.key for item in page.items] == [key]


async def test_damaged_head_does_not_end_a_listing(cold: ColdMemory) -> None:
    keys = [Key("t", "s", f"n{number}") for number in range(3)]
    for key in keys:
        await stored(cold, key)
    await cold._service.put(head_path(keys[1]), b"not a head", overwrite=True, deadline=soon())

    page = await cold.scan("t", "s", "", limit=10, cursor=None, deadline=soon())

    assert [item.key for item in page.items] == [keys[0], keys[2]]
    assert cold.stats.get(CORRUPT, "cold") == 1


async def test_tenants_that_begin_alike_are_apart_and_a_forged_cursor_helps_nobody(cold: ColdMemory) -> None:
    """P9."""
    keys = [
        Key(tenant, scope, "n") for tenant in ("t", "tt", "t/s", "T", "é" * 400, "é" * 401) for scope in ("s", "ss")
    ]
    for key in keys:
        await stored(cold, key)
    first = await cold.census(limit=3, cursor=None, deadline=soon())
    assert first.cursor is not None
    token = (await cold._service.page(HEAD_ROOT, limit=3, token=None, deadline=soon()))[1]
    assert token is not None
    for key in keys:
        for scope in (None, key.scope):
            own = {one for one in keys if one.tenant == key.tenant and scope in (None, one.scope)}
            page = await cold.census(tenant=key.tenant, scope=scope, limit=50, cursor=None, deadline=soon())
            assert {item.key for item in page.items} == own
            forged = pack_place(("census", key.tenant, scope, None), token)
            page = await cold.census(tenant=key.tenant, scope=scope, limit=50, cursor=forged, deadline=soon())
            assert {item.key for item in page.items} <= own


# --- purging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_what_died_long_enough_ago_is_removed(cold: ColdMemory, limit: int) -> None:
    keys = [Key("t", f"s{number % 2}", f"n{number}") for number in range(8)]
    for key in keys:
        await stored(cold, key)
    for key in keys[:3]:
        await cold.write(delete(key), deadline=soon())
    await cold.write(put(keys[3], expires_ms=now_ms() - 1), deadline=soon())
    later = now_ms() + 60_000
    assert await cold.purge(dead_before_ms=later, limit=limit, deadline=soon()) == 0  # within the grace
    assert cold.grace == timedelta(days=1)
    cold._grace_ms = -60_000  # as if all this were long ago

    removed: list[int] = []
    while not removed or removed[-1]:
        removed.append(await cold.purge(dead_before_ms=later, limit=limit, deadline=soon()))

    assert sum(removed) == 4
    assert max(removed) <= limit
    found = await cold.read_many(keys, deadline=soon())
    assert [envelope is None for envelope in found] == [True] * 4 + [False] * 4


async def test_purge_that_began_in_the_middle_looks_at_all(cold: ColdMemory) -> None:
    cold._grace_ms = -60_000
    keys = [Key("t", "s", f"n{number}") for number in range(4)]
    for key in keys:
        await stored(cold, key)
    await cold.write(delete(keys[3]), deadline=soon())
    cold._swept = (await cold._service.page(HEAD_ROOT, limit=2, token=None, deadline=soon()))[1]
    await cold.write(delete(keys[0]), deadline=soon())

    answers = [await cold.purge(dead_before_ms=now_ms() + 60_000, limit=10, deadline=soon()) for _ in range(3)]

    assert answers == [1, 1, 0]


async def test_head_that_is_written_anew_meanwhile_stays(cold: ColdMemory) -> None:
    key = new_key()
    await stored(cold, key)
    await cold.write(delete(key), deadline=soon())
    entries, _ = await cold._service.page(HEAD_ROOT, limit=10, token=None, deadline=soon())
    await stored(cold, key, "again")

    assert await cold._remove(entries, soon()) == 0
    assert value_of(await cold.read(key, deadline=soon())) == "again"


async def test_notes_whose_time_is_over_are_gone_and_purged(cold: ColdMemory) -> None:
    for name, lasting in (("kept", None), ("over", timedelta(milliseconds=1)), ("long", timedelta(hours=1))):
        assert await cold.write_note(f"n/{name}", b"x", lasting=lasting, deadline=soon()) is not None
    while await cold.read_note("n/over", deadline=soon()) is not None:
        pass

    assert await cold.list_notes("n/", limit=10, cursor=None, deadline=soon()) == (["n/kept", "n/long"], None)
    assert await cold.write_note("n/over", b"y", if_absent=True, lasting=timedelta(milliseconds=1), deadline=soon())
    while await cold.read_note("n/over", deadline=soon()) is not None:
        pass
    await cold.purge(dead_before_ms=1, limit=1, deadline=soon())
    entries, _ = await cold._service.page(NOTE_ROOT, limit=10, token=None, deadline=soon())
    assert len(entries) == 2


# --- moving ----------------------------------------------------------------------------------------------------------


async def test_move_is_a_read_and_a_write(cold: ColdMemory) -> None:
    old = await stored(cold, new_key(), "x" * 5_000)
    before = requests(cold)

    assert await cold.relocate(old, demoted(old), deadline=soon())
    assert requests(cold) - before == 2


async def test_move_whose_answer_is_lost_is_known_by_its_head(
    azurite: Azurite, cold: ColdMemory, container: str
) -> None:
    old = await stored(cold, new_key(), "x" * 5_000)
    async with (
        ChaosProxy(azurite.blob_url) as proxy,
        ColdMemory(proxy.url, container, credential=azurite.key) as behind,
    ):
        await behind.ping(deadline=soon())
        before = proxy.traffic.answer_bytes
        task = asyncio.create_task(behind.relocate(old, demoted(old), deadline=soon()))
        await proxy.until(lambda traffic: traffic.answer_bytes > before)  # the head was read
        lost = proxy.lose_next_answer()
        assert await task
        assert lost.is_set()

    there = await cold.read(old.key, deadline=soon())
    assert there is not None
    assert (there.pointer, there.version) == (True, old.version)


async def test_notes_lie_where_no_key_and_no_direct_name_reaches(cold: ColdMemory) -> None:
    """P9."""
    await cold.write_note("a/b", b"note", deadline=soon())
    [entry], _ = await cold._service.page(NOTE_ROOT, limit=10, token=None, deadline=soon())
    assert not entry.name.startswith((HEAD_ROOT, "tc1/p/"))
    with pytest.raises(ValueError, match="cascade's own"):
        await cold.download_bytes(entry.name)
    for key in (Key("..", "n", "612f62"), Key("n", "612f62", "x"), near(Key("t", "s", "n"), "/../../n/612f62")):
        assert await cold.read(key, deadline=soon()) is None
        await stored(cold, key)
    note = await cold.read_note("a/b", deadline=soon())
    assert note is not None
    assert note.data == b"note"
