"""Listings of the warm tier, and relocation of its payloads."""

import time

import pytest
from azure.cosmos.aio import ContainerProxy
from tests.integration.warm.items import stored

from thermocline.codec import Codec
from thermocline.errors import InvalidArgument
from thermocline.keys import cosmos_id, cosmos_partition, payload_path
from thermocline.model import Envelope, Key, Pointer
from thermocline.testing.conformance.samples import delete, new_key, new_word, put, sealed, soon
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory

# --- listings --------------------------------------------------------------------------------------------------------


async def test_listing_shows_each_key_once_while_all_are_written(warm: WarmMemory) -> None:
    tenant = f"t{new_word()}"
    keys = [Key(tenant, "s", f"a{number:02}") for number in range(30)]
    await warm.write_many([put(key, 0) for key in keys], deadline=soon())
    cursor, seen, turn = None, [], 0
    while True:
        page = await warm.scan(tenant, "s", "a", limit=4, cursor=cursor, deadline=soon())
        seen += [item.key for item in page.items]
        turn += 1
        await warm.write_many([put(key, turn) for key in keys], deadline=soon())
        await warm.write_many([put(Key(tenant, "s", f"a{turn:02}-new"), 1)], deadline=soon())
        cursor = page.cursor
        if cursor is None:
            break

    assert [key for key in seen if key in keys] == keys
    assert len(set(seen)) == len(seen)


async def test_listing_tells_of_each_record_without_its_value(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key("listed")
    expires = time.time_ns() // 1_000_000 + 60_000
    given = sealed(key, {"a": "b" * 5000}, expires_ms=expires, tags={"k": "v"})
    write = put(key)
    written = await warm.write(type(write)(write.verb, write.id, given), deadline=soon())
    [item] = (await warm.scan(key.tenant, key.scope, "list", limit=5, cursor=None, deadline=soon())).items

    assert (item.key, item.version, item.expires_ms) == (key, written.version, expires)
    assert item.raw_size == given.header.raw_length
    assert item.tags == {"k": "v"}
    assert not item.pointer


async def test_expired_by_the_servers_clock_is_not_listed(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    await warm.write(put(key, "v", expires_ms=time.time_ns() // 1_000_000 + 30_000), deadline=soon())
    control.advance(40)
    await warm.ping(deadline=soon())
    page = await warm.scan(key.tenant, key.scope, "", limit=5, cursor=None, deadline=soon())

    assert page.items == []


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "AAAAAAAAAAAAAAAA"])
async def test_cursor_that_no_listing_gave_is_refused(warm: WarmMemory, cursor: str) -> None:
    with pytest.raises(InvalidArgument):
        await warm.scan("t", "s", "", limit=5, cursor=cursor, deadline=soon())


# --- relocation ------------------------------------------------------------------------------------------------------


def moved(envelope: Envelope) -> Envelope:
    """As a demotion makes it: the same record with a pointer for a payload."""
    sha256 = "ab" * 32
    pointer = Pointer(payload_path(envelope.key, sha256), sha256, len(envelope.payload), time.time_ns() // 1_000_000)
    return Codec().point(envelope, pointer)


@pytest.mark.parametrize("lost", ["nothing", "request", "answer"])
async def test_relocation_leaves_version_and_ring_alone(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, lost: str
) -> None:
    key = new_key()
    old = await stored(warm, key, {"a": 1})
    before = dict(await items.read_item(cosmos_id(key), cosmos_partition(key)))
    if lost != "nothing":
        control.drop(kinds=["patch"], count=1, after=lost == "answer")

    new = moved(old)
    assert await warm.relocate(old, new, deadline=soon())

    after = await items.read_item(cosmos_id(key), cosmos_partition(key))
    assert [after[name] for name in ("v", "w", "b", "ttl")] == [before[name] for name in ("v", "w", "b", "ttl")]
    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    assert envelope.pointer
    assert envelope.payload == new.payload


async def test_relocation_of_a_replaced_copy_does_nothing(warm: WarmMemory) -> None:
    key = new_key()
    old = await stored(warm, key, {"a": 1})
    new = await stored(warm, key, {"a": 2})

    assert not await warm.relocate(old, moved(old), deadline=soon())
    assert await warm.read(key, deadline=soon()) == new


async def test_relocation_after_a_delete_and_of_nothing_does_nothing(warm: WarmMemory, items: ContainerProxy) -> None:
    key = new_key()
    old = await stored(warm, key, {"a": 1})
    await warm.write(delete(key), deadline=soon())
    assert not await warm.relocate(old, moved(old), deadline=soon())
    await items.delete_item(cosmos_id(key), cosmos_partition(key))
    assert not await warm.relocate(old, moved(old), deadline=soon())

    with pytest.raises(InvalidArgument):
        await warm.relocate(sealed(key, 1), moved(old), deadline=soon())
