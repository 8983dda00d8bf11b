"""Lifetimes of Cosmos DB items, touches, the server's clock, and items that other code left."""

from dataclasses import replace
from typing import Any

import pytest
from azure.cosmos.aio import ContainerProxy
from tests.integration.warm.items import HOUR_MS, item_of, now_ms, took

from thermocline.codec import Codec
from thermocline.errors import TierUnavailable, UnreadableRecord
from thermocline.keys import cosmos_id, cosmos_partition, payload_path
from thermocline.model import Envelope, Key, Pointer
from thermocline.protocols import Effect, Verb, Write
from thermocline.testing.conformance.samples import delete, new_id, new_key, put, sealed, soon, touch, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory

# --- lifetimes -------------------------------------------------------------------------------------------------------


async def test_item_outlives_its_record_by_the_grace_and_no_longer(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    key, day = new_key(), 86_400
    version = await took(warm, put(key, "v", expires_ms=now_ms() + 10_000))
    assert 10 + day <= (await item_of(items, key))["ttl"] <= 12 + day

    control.advance(11 + day - 60)
    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    assert not envelope.live(now_ms() + 1000 * (11 + day - 60))
    control.advance(63)
    assert await warm.read(key, deadline=soon()) is None

    assert await took(warm, put(key, "again", known=version)) > version + day * 1_000_000


async def test_each_write_computes_the_lifetime_anew(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    key, day = new_key(), 86_400
    version = await took(warm, put(key, "v"))
    assert (await item_of(items, key))["ttl"] == -1
    version = await took(warm, touch(key, now_ms() + 5_000, known=version))
    assert 5 + day <= (await item_of(items, key))["ttl"] <= 7 + day
    version = await took(warm, delete(key, known=version))
    assert day <= (await item_of(items, key))["ttl"] <= 1 + day
    version = await took(warm, put(key, "w", known=version, expires_ms=now_ms() + 100 * 365 * day * 1000))
    assert (await item_of(items, key))["ttl"] == -1  # longer than the service can count

    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    assert envelope.header.expires_ms > now_ms() + 99 * 365 * day * 1000


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("state", ["missing", "deleted", "expired"])
async def test_touch_revives_nothing(warm: WarmMemory, control: CosmosControl, state: str, known: bool) -> None:
    key = new_key()
    version = now_ms() * 1000
    if state == "deleted":
        version = await took(warm, delete(key, known=await took(warm, put(key, "v"))))
    elif state == "expired":
        version = await took(warm, put(key, "v", expires_ms=now_ms() + 20_000))
        control.advance(30)
        await warm.ping(deadline=soon())  # its answer tells the server's time
    write = touch(key, now_ms() + HOUR_MS, known=version if known else None)
    written = await warm.write(write, deadline=soon())

    assert written.effect is Effect.NOTHING
    assert (await warm.read(key, deadline=soon()) is None) == (state == "missing")


async def test_touch_of_a_live_record_answers_with_it(warm: WarmMemory) -> None:
    key = new_key()
    version = await took(warm, put(key, {"a": [1, 2.5]}))
    expires = now_ms() + HOUR_MS
    written = await warm.write(touch(key, expires, known=version), deadline=soon())

    assert written.envelope is not None
    assert value_of(written.envelope) == {"a": [1, 2.5]}
    assert written.envelope.header.expires_ms == expires
    assert written.envelope == await warm.read(key, deadline=soon())


async def test_version_follows_the_servers_clock(warm: WarmMemory, control: CosmosControl) -> None:
    control.advance(3 * 86_400)
    await warm.ping(deadline=soon())
    assert abs(warm.skew_ms - 3 * 86_400_000) <= 1_000

    version = await took(warm, put(new_key(), "v"))

    assert abs(version / 1_000_000 - control.now()) < 10


# --- items that other code left --------------------------------------------------------------------------------------


async def test_item_without_a_ring_is_given_one_first(warm: WarmMemory, items: ContainerProxy) -> None:
    key = new_key()
    version = await took(warm, put(key, "old"))
    old = {name: part for name, part in (await item_of(items, key)).items() if name not in ("w", "b")}
    await items.replace_item(old["id"], old)

    assert await took(warm, put(key, "new", known=version)) == version + 1
    item = await item_of(items, key)
    assert len(item["w"]) == 8
    assert item["w"][1:] == [""] * 7
    assert value_of(await warm.read(key, deadline=soon())) == "new"


@pytest.mark.parametrize("write_of", [put, delete], ids=["put", "delete"])
async def test_record_of_a_newer_format_is_never_overwritten(
    warm: WarmMemory, items: ContainerProxy, write_of: Any
) -> None:
    key = new_key()
    version = await took(warm, put(key, "v"))
    await items.patch_item(cosmos_id(key), cosmos_partition(key), [{"op": "set", "path": "/r/z", "value": 2}])
    before = await item_of(items, key)

    for known in (version, None):
        with pytest.raises(UnreadableRecord):
            await warm.write(write_of(key, known=known), deadline=soon())
    with pytest.raises(UnreadableRecord):
        await warm.read(key, deadline=soon())
    assert await item_of(items, key) == before


async def test_damaged_record_can_be_overwritten(warm: WarmMemory, items: ContainerProxy) -> None:
    key = new_key()
    version = await took(warm, put(key, "v"))
    await items.patch_item(cosmos_id(key), cosmos_partition(key), [{"op": "set", "path": "/r", "value": "rubbish"}])

    for known in (version, None):
        await took(warm, put(key, "w", known=known))
    assert value_of(await warm.read(key, deadline=soon())) == "w"


async def test_writes_of_compressed_and_moved_envelopes_are_native_too(warm: WarmMemory, items: ContainerProxy) -> None:
    """A promotion has no ``raw``: the tier inflates the payload, so that people can query it all the same."""
    key, value = new_key(), {"words": ["tide"] * 1000}
    sealed_up = sealed(key, value)
    assert sealed_up.header.compressor != 0
    moved = Envelope(key, sealed_up.header, sealed_up.payload, sealed_up.media_type, {"tag": "x"})
    await took(warm, Write(Verb.PUT, new_id(), moved))

    assert (await item_of(items, key))["r"]["j"] == value
    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    assert Codec().decode(envelope) == value
    assert dict(envelope.tags) == {"tag": "x"}


# --- pointers and the sweeper ----------------------------------------------------------------------------------------

GRACE_HALVED = 12 * 3600  # seconds


def pointing(key: Key, written_ms: int) -> Envelope:
    """A record whose payload was uploaded then."""
    sha256 = "ab" * 32
    return Codec().point(sealed(key, b"x" * 100), Pointer(payload_path(key, sha256), sha256, 100, written_ms))


def pointed(key: Key, written_ms: int, **conditions: Any) -> Write:
    return Write(Verb.PUT, new_id(), pointing(key, written_ms), **conditions)


async def test_pointer_to_a_payload_that_the_sweeper_may_have_seen_is_not_set(
    warm: WarmMemory, control: CosmosControl
) -> None:
    old, young = new_key(), new_key()
    at = now_ms()
    for key in (old, young):
        await took(warm, put(key, "there"))
    await took(warm, pointed(young, at - 1000 * (GRACE_HALVED - 60)))

    for key in (old, new_key()):
        with pytest.raises(TierUnavailable, match="upload it again") as caught:
            await warm.write(pointed(key, at - 1000 * GRACE_HALVED), deadline=soon())
        assert not caught.value.sent
    assert value_of(await warm.read(old, deadline=soon())) == "there"


async def test_copy_of_a_patch_that_arrives_late_sets_no_pointer(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    """The first copy is lost before it is carried out, and by the time of the next half the grace has passed by the server's clock alone."""
    key = new_key()
    version = await took(warm, put(key, "there"))
    control.advance(GRACE_HALVED + 60)

    with pytest.raises(TierUnavailable, match="upload it again"):
        await warm.write(pointed(key, now_ms(), known=version), deadline=soon())
    item = await item_of(items, key)
    assert (item["v"], item["r"]["f"]) == (version, 0)


async def test_payload_is_moved_only_while_it_is_young(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    await took(warm, put(key, "there"))
    old = await warm.read(key, deadline=soon())
    assert old is not None

    with pytest.raises(TierUnavailable, match="upload it again"):
        await warm.relocate(old, pointing(key, now_ms() - 1000 * GRACE_HALVED), deadline=soon())
    assert await warm.relocate(old, pointing(key, now_ms()), deadline=soon())


# --- when a record was created ---------------------------------------------------------------------------------------


async def test_record_keeps_the_time_of_its_creation(warm: WarmMemory, items: ContainerProxy) -> None:
    key, written = new_key(), []
    for value, at in (("first", 1_000), ("second", 2_000)):
        envelope = sealed(key, value)
        envelope = replace(envelope, header=replace(envelope.header, created_ms=at, modified_ms=at))
        answer = await warm.write(Write(Verb.PUT, new_id(), envelope), deadline=soon())
        written.append(answer.envelope)
    await took(warm, touch(key, expires_ms=now_ms() + HOUR_MS))
    written.append(await warm.read(key, deadline=soon()))

    assert [one.header.created_ms for one in written if one is not None] == [1_000] * 3
    item = await item_of(items, key)
    item.pop("c")  # as an item from before it was kept
    await items.replace_item(item["id"], item)
    read = await warm.read(key, deadline=soon())
    assert read is not None
    assert read.header.created_ms == 2_000
