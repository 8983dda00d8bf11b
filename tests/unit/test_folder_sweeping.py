"""`FolderMemory`, its sweeper and its listings."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import (
    CorruptRecord,
    InvalidKey,
)
from thermocline.keys import PAYLOAD_ROOT, blob_prefix, head_path
from thermocline.model import Key
from thermocline.protocols import Verb, Write
from thermocline.testing import ManualClock
from thermocline.tiers.local.folder import FolderMemory

CODEC = Codec()
KEY = Key("t", "s", "name")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def folder(tmp_path: Path, clock: ManualClock) -> AsyncIterator[FolderMemory]:
    async with FolderMemory(tmp_path / "cold", clock=clock, fsync=False) as tier:
        yield tier


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


def put(tier: FolderMemory, value: object, number: int, key: Key = KEY, **options: Any) -> Write:
    encode = {name: options.pop(name) for name in ("expires_ms",) if name in options}
    return Write(
        Verb.PUT, f"{number:026d}", CODEC.encode(key, value, now_ms=tier._clock.wall_ms(), **encode), **options
    )


def deletion(tier: FolderMemory, number: int, key: Key = KEY) -> Write:
    return Write(Verb.DELETE, f"{number:026d}", CODEC.tombstone(key, now_ms=tier._clock.wall_ms()))


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


async def test_sweeping_takes_old_tombstones_only(folder: FolderMemory, clock: ManualClock) -> None:
    live, deleted, expired = (Key("t", "s", name) for name in ("live", "deleted", "expired"))
    await folder.write(put(folder, 1, 1, live), deadline=soon())
    await folder.write(put(folder, 1, 2, deleted), deadline=soon())
    gone = await folder.write(deletion(folder, 3, deleted), deadline=soon())
    await folder.write(put(folder, 1, 4, expired, expires_ms=clock.wall_ms() + 1000), deadline=soon())
    clock.advance(100_000)
    grace_ago = clock.wall_ms() - 50_000

    assert await folder.sweep_heads(dead_before_ms=1, limit=100, cursor=None, deadline=soon()) == (0, None)
    removed, cursor, total = 0, None, 0
    while True:
        removed, cursor = await folder.sweep_heads(dead_before_ms=grace_ago, limit=1, cursor=cursor, deadline=soon())
        total += removed
        if cursor is None:
            break

    assert total == 2
    assert await folder.read(live, deadline=soon()) is not None
    assert await folder.read(deleted, deadline=soon()) is None
    assert await folder.read(expired, deadline=soon()) is None
    again = await folder.write(put(folder, 2, 5, deleted), deadline=soon())
    assert again.version > gone.version


async def test_damaged_head_ends_a_listing_with_its_error(folder: FolderMemory) -> None:
    await folder.write(put(folder, 1, 1), deadline=soon())
    (folder.path / head_path(KEY)).write_bytes(b"damaged")

    with pytest.raises(CorruptRecord):
        await folder.scan("t", "s", "", limit=10, cursor=None, deadline=soon())
