"""Heads on Azure Storage kept in order, as blobs and as rows: what a census costs, purging after the grace, moves whose answer is lost, tenants (P9)."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.storage.stores import Store, Tier

from thermocline.blobs.batch import each
from thermocline.clock import SYSTEM_CLOCK
from thermocline.codec import Codec
from thermocline.cursors import pack_place
from thermocline.keys import payload_path
from thermocline.model import Envelope, Key, Pointer
from thermocline.testing.conformance.samples import delete, new_key, put, soon, stamp_by, value_of
from thermocline.testing.proxy import ChaosProxy

CODEC = Codec()


def now_ms() -> int:
    return SYSTEM_CLOCK.wall_ms()


@pytest.fixture(autouse=True)
def stamp_samples() -> None:
    """By this machine's clock, whatever suite ran before."""
    stamp_by(SYSTEM_CLOCK)


async def stored(tier: Tier, key: Key, value: object = "v") -> Envelope:
    await tier.write(put(key, value), deadline=soon())
    envelope = await tier.read(key, deadline=soon())
    assert envelope is not None
    return envelope


def demoted(old: Envelope) -> Envelope:
    digest = hashlib.sha256(old.payload).hexdigest()
    return CODEC.point(old, Pointer(payload_path(old.key, digest), digest, len(old.payload), now_ms()))


# --- census ----------------------------------------------------------------------------------------------------------


async def test_census_is_a_listing_and_reads_no_value(store: Store, direct: Tier) -> None:
    long = "é" * 900  # a digest stands for it
    keys = [Key("t", f"s{n % 3}", f"n{n}") for n in range(40)] + [Key("t", "s", long), Key(long[:400], "s", "n")]
    await each(keys, lambda key: direct.write(put(key, "x" * 20_000), deadline=soon()))
    census = asyncio.ensure_future(direct.census(limit=store.page, cursor=None, deadline=soon()))

    assert await store.requests(direct, census) == 1
    inventory = await census
    assert {item.key for item in inventory.items} == set(keys)
    assert inventory.cursor is None
    assert all(item.size < 20_000 <= item.header.raw_length for item in inventory.items)
    read = await direct.read(keys[0], deadline=soon())
    assert read is not None
    [told] = [item for item in inventory.items if item.key == keys[0]]
    assert (told.header, told.etag) == (read.header, read.etag)


async def test_head_that_a_listing_does_not_tell_is_read(store: Store, direct: Tier) -> None:
    plain, long = new_key(), Key("t", "s", "n" * 16_000)
    envelopes = [await stored(direct, plain), await stored(direct, long)]
    await store.forget(direct, plain)

    inventory = await direct.census(limit=10, cursor=None, deadline=soon())

    assert {item.key: item.header for item in inventory.items} == {one.key: one.header for one in envelopes}
    assert inventory.damaged == []


async def test_tenants_that_begin_alike_are_apart_and_a_forged_cursor_helps_nobody(store: Store, direct: Tier) -> None:
    """P9."""
    keys = [
        Key(tenant, scope, "n") for tenant in ("t", "tt", "t/s", "T", "é" * 400, "é" * 401) for scope in ("s", "ss")
    ]
    for key in keys:
        await stored(direct, key)
    first = await direct.census(limit=3, cursor=None, deadline=soon())
    assert first.cursor is not None
    _, place = await store.heads(direct, 3)
    assert place is not None
    for key in keys:
        for scope in (None, key.scope):
            own = {one for one in keys if one.tenant == key.tenant and scope in (None, one.scope)}
            page = await direct.census(tenant=key.tenant, scope=scope, limit=50, cursor=None, deadline=soon())
            assert {item.key for item in page.items} == own
            forged = pack_place(("census", key.tenant, scope, None), store.written(place))
            page = await direct.census(tenant=key.tenant, scope=scope, limit=50, cursor=forged, deadline=soon())
            assert {item.key for item in page.items} <= own


# --- purging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_what_died_long_enough_ago_is_removed(direct: Tier, limit: int) -> None:
    keys = [Key("t", f"s{number % 2}", f"n{number}") for number in range(8)]
    for key in keys:
        await stored(direct, key)
    for key in keys[:3]:
        await direct.write(delete(key), deadline=soon())
    await direct.write(put(keys[3], expires_ms=now_ms() - 1), deadline=soon())
    later = now_ms() + 60_000
    assert await direct.purge(dead_before_ms=later, limit=limit, deadline=soon()) == 0  # within the grace
    assert direct.grace == timedelta(days=1)
    direct._grace_ms = -60_000  # as if all this were long ago

    removed: list[int] = []
    while not removed or removed[-1]:
        removed.append(await direct.purge(dead_before_ms=later, limit=limit, deadline=soon()))

    assert sum(removed) == 4
    assert max(removed) <= limit
    found = await direct.read_many(keys, deadline=soon())
    assert [envelope is None for envelope in found] == [True] * 4 + [False] * 4


async def test_purge_that_began_in_the_middle_looks_at_all(store: Store, direct: Any) -> None:
    direct._grace_ms = -60_000
    keys = [Key("t", "s", f"n{number}") for number in range(4)]
    for key in keys:
        await stored(direct, key)
    await direct.write(delete(keys[3]), deadline=soon())
    _, direct._swept = await store.heads(direct, 2)
    await direct.write(delete(keys[0]), deadline=soon())

    answers = [await direct.purge(dead_before_ms=now_ms() + 60_000, limit=10, deadline=soon()) for _ in range(3)]

    assert answers == [1, 1, 0]


async def test_purge_goes_round_within_one_call(store: Store, direct: Any) -> None:
    """What lies before the place where it began is not put off: 0 says that nothing is left."""
    direct._grace_ms = -60_000
    keys = [Key("t", "s", f"n{number}") for number in range(4)]
    for key in keys:
        await stored(direct, key)
    await direct.write(delete(keys[0]), deadline=soon())
    _, direct._swept = await store.heads(direct, 2)

    answers = [await direct.purge(dead_before_ms=now_ms() + 60_000, limit=10, deadline=soon()) for _ in range(2)]

    assert answers == [1, 0]


async def test_version_grows_over_purging_and_creation(direct: Tier) -> None:
    """P4."""
    key = new_key()
    await stored(direct, key)
    gone = await direct.write(delete(key), deadline=soon())
    direct._grace_ms = -60_000
    assert await direct.purge(dead_before_ms=now_ms() + 60_000, limit=10, deadline=soon()) == 1

    assert (await direct.write(put(key, "anew", if_absent=True), deadline=soon())).version > gone.version


async def test_head_that_is_written_anew_meanwhile_stays(store: Store, direct: Any) -> None:
    key = new_key()
    await stored(direct, key)
    await direct.write(delete(key), deadline=soon())
    seen, _ = await store.heads(direct, 10)
    assert len(seen) == 1
    await stored(direct, key, "again")

    assert await direct._remove(seen, soon()) == 0
    assert value_of(await direct.read(key, deadline=soon())) == "again"


async def test_notes_whose_time_is_over_are_gone_and_purged(store: Store, direct: Tier) -> None:
    for name, lasting in (("kept", None), ("over", timedelta(milliseconds=1)), ("long", timedelta(hours=1))):
        assert await direct.write_note(f"n/{name}", b"x", lasting=lasting, deadline=soon()) is not None
    while await direct.read_note("n/over", deadline=soon()) is not None:
        pass

    assert await direct.list_notes("n/", limit=10, cursor=None, deadline=soon()) == (["n/kept", "n/long"], None)
    assert await direct.write_note("n/over", b"y", if_absent=True, lasting=timedelta(milliseconds=1), deadline=soon())
    while await direct.read_note("n/over", deadline=soon()) is not None:
        pass
    assert await store.notes(direct) == 3
    await direct.purge(dead_before_ms=1, limit=1, deadline=soon())
    assert await store.notes(direct) == 2


# --- moving ----------------------------------------------------------------------------------------------------------


async def test_move_is_a_read_and_a_write(store: Store, direct: Tier) -> None:
    old = await stored(direct, new_key(), "x" * 5_000)
    move = asyncio.ensure_future(direct.relocate(old, demoted(old), deadline=soon()))

    assert await store.requests(direct, move) == 2
    assert await move


async def test_move_whose_answer_is_lost_is_known_by_its_head(direct: Tier, behind: Tier, proxy: ChaosProxy) -> None:
    old = await stored(direct, new_key(), "x" * 5_000)
    await behind.ping(deadline=soon())
    before = proxy.traffic.answer_bytes
    task = asyncio.create_task(behind.relocate(old, demoted(old), deadline=soon()))
    await proxy.until(lambda traffic: traffic.answer_bytes > before)  # the head was read
    lost = proxy.lose_next_answer()
    assert await task
    assert lost.is_set()

    there = await direct.read(old.key, deadline=soon())
    assert there is not None
    assert (there.pointer, there.version) == (True, old.version)
