"""`FolderMemory`, its sweeper and its listings."""

from datetime import timedelta

import pytest
from tests.unit.folder.ground import KEY, put, soon

from thermocline.errors import CorruptRecord, InvalidKey, UnreadableRecord
from thermocline.keys import PAYLOAD_ROOT, blob_prefix, head_path
from thermocline.model import Key
from thermocline.telemetry import CORRUPT
from thermocline.testing import ManualClock
from thermocline.tiers.local.folder import FolderMemory


async def test_sweeping_takes_only_what_was_seen_and_is_old(folder: FolderMemory, clock: ManualClock) -> None:
    pointer = await folder.put_payload(KEY, b"orphan", deadline=soon())
    [seen], _ = await folder.list_payloads(limit=10, cursor=None, deadline=soon())
    assert (seen.path, seen.size, seen.modified_ms) == (pointer.path, 6, pointer.written_ms)
    old = seen.modified_ms

    assert not await folder.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=old - 1, deadline=soon())
    renewed = await folder.renew_payload(KEY, pointer, deadline=soon())
    assert renewed is not None
    assert renewed.written_ms > pointer.written_ms
    assert not await folder.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=old + 9999, deadline=soon())
    [seen], _ = await folder.list_payloads(limit=10, cursor=None, deadline=soon())
    assert await folder.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=old + 9999, deadline=soon())

    assert await folder.get_payload(KEY, pointer, deadline=soon()) is None
    assert await folder.renew_payload(KEY, pointer, deadline=soon()) is None
    with pytest.raises(InvalidKey):
        await folder.sweep_payload(head_path(KEY), etag="", unmodified_since_ms=0, deadline=soon())


async def test_payloads_are_listed_by_page_and_by_scope(folder: FolderMemory) -> None:
    names = ["a", "b" * 300, "b" * 300 + "c", "Ü" * 200, "x" * 5000]
    stored = [
        (await folder.put_payload(Key("t", scope, name), b"x", deadline=soon())).path
        for scope in ("one", "two")
        for name in names
    ]
    found: list[str] = []
    cursor = None
    while True:
        page, cursor = await folder.list_payloads(limit=3, cursor=cursor, deadline=soon())
        found += [payload.path for payload in page]
        if cursor is None:
            break
    prefix = blob_prefix("t", "one", "b" * 250, root=PAYLOAD_ROOT)
    of_one, _ = await folder.list_payloads(prefix, limit=100, cursor=None, deadline=soon())

    assert sorted(found) == sorted(stored)
    assert [p.path for p in of_one] == sorted(path for path in stored if path.startswith(prefix))
    assert len(of_one) == 2


async def test_purging_takes_up_where_it_stopped_and_comes_round(folder: FolderMemory, clock: ManualClock) -> None:
    keys = [Key("t", "s", f"n{number}") for number in range(150)]
    for number, key in enumerate(keys):
        await folder.write(put(folder, 1, number, key, expires_ms=clock.wall_ms() + 1000), deadline=soon())
    clock.advance(folder.grace.total_seconds() + 2)
    now = clock.wall_ms()

    assert await folder.purge(dead_before_ms=now, limit=100, deadline=soon()) == 100
    again = await folder.write(put(folder, 2, 500, keys[0]), deadline=soon())  # before the place where it stopped
    await folder.write(
        put(folder, 1, 501, keys[1], expires_ms=now - folder.grace // timedelta(milliseconds=1)), deadline=soon()
    )
    clock.advance(folder.grace.total_seconds() + 2)
    now = clock.wall_ms()

    assert await folder.purge(dead_before_ms=now, limit=100, deadline=soon()) == 51
    assert await folder.purge(dead_before_ms=now, limit=100, deadline=soon()) == 0
    left = await folder.census(limit=100, cursor=None, deadline=soon())
    assert [(stored.key, stored.header.version) for stored in left.items] == [(keys[0], again.version)]


async def test_purging_removes_notes_that_are_over(folder: FolderMemory, clock: ManualClock) -> None:
    await folder.write_note("short", b"x", lasting=timedelta(minutes=1), deadline=soon())
    await folder.write_note("long", b"x", lasting=timedelta(hours=1), deadline=soon())
    await folder.write_note("ever", b"x", deadline=soon())
    clock.advance(61)
    assert await folder.purge(dead_before_ms=1, limit=1, deadline=soon()) == 0

    assert await folder.list_notes("", limit=10, cursor=None, deadline=soon()) == (["ever", "long"], None)


async def test_damaged_head_is_left_out_of_a_listing_and_counted(folder: FolderMemory) -> None:
    await folder.write(put(folder, 1, 1), deadline=soon())
    await folder.write(put(folder, 1, 2, Key("t", "s", "other")), deadline=soon())
    (folder.path / head_path(KEY)).write_bytes(b"damaged")

    page = await folder.scan("t", "s", "", limit=10, cursor=None, deadline=soon())

    assert [item.key.name for item in page.items] == ["other"]
    assert folder.stats.get(CORRUPT, "cold") == 1


async def test_head_in_another_keys_place_is_told_as_damaged(folder: FolderMemory) -> None:
    """P9: a file that was copied by hand into another tenant is not that tenant's."""
    await folder.write(put(folder, 1, 1), deadline=soon())
    stolen = folder.path / head_path(Key("thief", "s", "name"))
    stolen.parent.mkdir(parents=True)
    stolen.write_bytes((folder.path / head_path(KEY)).read_bytes())
    (stolen.parent / "stray").write_bytes(b"no head")

    inventory = await folder.census(tenant="thief", limit=10, cursor=None, deadline=soon())
    page = await folder.scan("thief", "s", "", limit=10, cursor=None, deadline=soon())

    assert inventory.items == []
    assert len(inventory.damaged) == 2
    assert page.items == []


async def test_damaged_note_is_told_and_replaced_by_a_write(folder: FolderMemory) -> None:
    first = await folder.write_note("a/b.c-d", b"text", deadline=soon())
    [path] = (folder.path / "tc1" / "n").iterdir()
    content = path.read_bytes()
    for damaged in (b"", content[:-1], content[:20], b"x" + content[1:], content[:-1] + b"?"):
        path.write_bytes(damaged)
        with pytest.raises(CorruptRecord):
            await folder.read_note("a/b.c-d", deadline=soon())
    path.write_bytes(content[:3] + b"\x02" + content[4:])
    with pytest.raises(UnreadableRecord):
        await folder.read_note("a/b.c-d", deadline=soon())
    path.write_bytes(content)
    assert await folder.read_note("a/b.c-d", deadline=soon()) == first
    path.write_bytes(b"")
    assert await folder.write_note("a/b.c-d", b"new", deadline=soon()) is not None
    assert await folder.delete_note("a/b.c-d", deadline=soon())
