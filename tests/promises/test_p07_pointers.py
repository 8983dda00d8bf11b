"""P7: a write can be killed at any point: the pointer in the authority always names a payload that exists.

Here by writes of large values; test_p07_moving.py and test_p07_sweeping.py have demotion, promotion and the sweep.
"""

import random
from collections.abc import AsyncIterator

import pytest
from azure.storage.blob.aio import ContainerClient
from tests.promises.nursery import Nursery
from tests.promises.test_p02_durability import born
from tests.promises.world import LARGE, World, noise

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, InvalidArgument, TierUnavailable, TooLarge
from thermocline.model import Corrupt, Hit, Key, Pointer
from thermocline.policy import MemoryRules
from thermocline.protocols import Announce, EntryOperation, Found
from thermocline.testing import ChaosTier, Fault
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory

STEPS = [
    "before payload",
    "after payload",
    "before announce",
    "after announce",
    "before write",
    "after write",
    "before publish",
    "after publish",
]
NO_COPIES = MemoryRules(hot_max_bytes=1000)  # hot keeps pointers


async def pointer_in_authority(world: World, key: Key) -> Pointer | None:
    async with world.warm() as warm:
        envelope = await warm.read(key, deadline=Deadline.after(10))
    return Codec().pointer_of(envelope) if envelope is not None and envelope.pointer else None


async def payload_of(world: World, key: Key, pointer: Pointer) -> bytes | None:
    async with world.cold() as cold:
        return await cold.get_payload(key, pointer, deadline=Deadline.after(10))


def blobs(world: World) -> ContainerClient:
    """The container by the bare SDK, to look behind the client's back."""
    return ContainerClient.from_connection_string(world.azurite.connection_string, world.name)


async def lose_payloads(world: World) -> int:
    """As an administrator's clean-up, or a storage account's lifecycle rule, would."""
    async with blobs(world) as container:
        names = [blob.name async for blob in container.list_blobs("tc1/p/")]
        for name in names:
            await container.delete_blob(name)
    return len(names)


@pytest.mark.parametrize("died", STEPS)
async def test_writer_of_a_large_value_killed_at_a_step_leaves_no_pointer_to_nothing(
    world: World, nursery: Nursery, died: str
) -> None:
    key = world.key()
    memory = await world.open(cold=True, rules=NO_COPIES)
    old = noise(seed=b"old")
    before = await memory.set(key, old)
    ended = await born(nursery, world, key, noise=LARGE, die_at=died)
    assert ended.killed
    assert ended.steps == STEPS[: STEPS.index(died) + 1]
    assert ended.acknowledged is None
    pointer = await pointer_in_authority(world, key)
    assert pointer is not None
    payload = await payload_of(world, key, pointer)
    assert payload is not None
    written = STEPS.index(died) >= STEPS.index("after write")
    expected = random.Random(LARGE).randbytes(LARGE) if written else old
    for client in (memory, await world.open(cold=True)):
        found = await client.lookup(key)
        assert isinstance(found, Hit)
        assert found.value == expected
        assert (found.version > before.version) is written
    # and the key can be written as before
    after = await memory.set(key, "usable")
    assert after.version > before.version
    assert await (await world.open(cold=True)).get(key) == "usable"


async def test_pointer_is_not_written_if_the_upload_fails(world: World, control: CosmosControl) -> None:
    key = world.key()
    cold = ChaosTier(world.cold(), script=[Fault.REFUSE, Fault.LOSE, None], verbs={"put_payload"})
    memory = await world.open(cold=cold)
    value = noise()
    for _ in range(2):
        with pytest.raises(TierUnavailable):
            await memory.set(key, value)
        assert await pointer_in_authority(world, key) is None
        assert await memory.get(key) is None
    await memory.set(key, value)
    assert await memory.get(key) == value


async def test_stream_that_breaks_off_leaves_the_old_record(world: World) -> None:
    key = world.key()
    memory = await world.open(cold=True)
    await memory.set(key, "old")

    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * LARGE
        raise RuntimeError("the source broke")

    async def wrong() -> AsyncIterator[bytes]:
        yield b"x" * LARGE
        yield "text"  # type: ignore[misc]

    with pytest.raises(RuntimeError, match="the source broke"):
        await memory.set_stream(key, breaking())
    with pytest.raises(InvalidArgument):
        await memory.set_stream(key, wrong())
    assert await memory.get(key) == "old"
    assert await pointer_in_authority(world, key) is None


async def test_missing_payload_is_corrupt_only_if_the_authority_still_names_it(world: World) -> None:
    key = world.key()
    memory = await world.open(cold=True, rules=NO_COPIES)
    await memory.set(key, noise())
    assert await lose_payloads(world) == 1
    for client in (memory, await world.open(cold=True, rules=NO_COPIES)):
        with pytest.raises(CorruptRecord):
            await client.get(key, default="made up")
        assert isinstance(await client.lookup(key), Corrupt)
        batch = await client.get_many([key])
        assert isinstance(batch.errors[key], CorruptRecord)
        with pytest.raises(CorruptRecord):
            assert not [chunk async for chunk in client.stream(key)]


class LoseBeforeRead(ColdMemory):
    """Between a reader's answer from the authority and its visit to cold, the key is written anew and the old payload is swept."""

    world: World
    once: bool = True

    async def get_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> bytes | None:
        await self._meanwhile(key)
        return await super().get_payload(key, pointer, deadline=deadline)

    async def stream_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> AsyncIterator[bytes]:
        await self._meanwhile(key)
        async for chunk in super().stream_payload(key, pointer, deadline=deadline):
            yield chunk

    async def _meanwhile(self, key: Key) -> None:
        if self.once:
            self.once = False
            await lose_payloads(self.world)
            await (await self.world.open(cold=True)).set(key, noise(seed=b"new"))


@pytest.mark.parametrize("verb", ["get", "lookup", "get_many", "stream"])
async def test_reader_whose_pointer_leads_nowhere_asks_the_authority_again(world: World, verb: str) -> None:
    key = world.key()
    setup = await world.open(cold=True, rules=NO_COPIES)
    await setup.set(key, noise(seed=b"old"))
    cold = LoseBeforeRead(world.azurite.blob_url, world.name, credential=world.azurite.key)
    cold.world = world
    memory = await world.open(cold=cold, rules=NO_COPIES)
    if verb == "stream":
        found = b"".join([chunk async for chunk in memory.stream(key)])
    elif verb == "lookup":
        hit = await memory.lookup(key)
        assert isinstance(hit, Hit)
        found = hit.value
    else:
        found = await memory.get(key) if verb == "get" else (await memory.get_many([key]))[key]
    assert found == noise(seed=b"new")


async def test_overwriting_and_deleting_remove_no_payload(world: World) -> None:
    """Only the sweeper does, after a grace: a reader that has the old pointer still finds its payload."""
    key = world.key()
    memory = await world.open(cold=True, rules=NO_COPIES)
    value = noise()
    await memory.set(key, value)
    pointer = await pointer_in_authority(world, key)
    assert pointer is not None
    await memory.set(key, noise(seed=b"other"))
    assert await payload_of(world, key, pointer) == value
    await memory.delete(key)
    assert await payload_of(world, key, pointer) == value


async def test_damaged_payload_is_corrupt_and_never_returned(world: World) -> None:
    key = world.key()
    memory = await world.open(cold=True, rules=NO_COPIES)
    await memory.set(key, noise())
    pointer = await pointer_in_authority(world, key)
    assert pointer is not None
    async with blobs(world) as container:
        blob = container.get_blob_client(pointer.path)
        properties = await blob.get_blob_properties()
        await blob.upload_blob(b"damaged" * 10, overwrite=True, metadata=properties.metadata)
    for _ in range(2):
        with pytest.raises(CorruptRecord):
            await memory.get(key, default="made up")
    await memory.set(key, "repaired by a write")
    assert await memory.get(key) == "repaired by a write"


class Watching(HotMemory):
    """Looks at cold in the moment of each announcement."""

    world: World
    seen: list[int]

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        if isinstance(operation, Announce):
            async with blobs(self.world) as container:
                self.seen.append(len([blob async for blob in container.list_blobs("tc1/p/")]))
        return await super().operate(operation, deadline=deadline)


async def test_payload_is_there_before_anything_is_announced(world: World) -> None:
    hot = Watching(world.redis_url)
    hot.world, hot.seen = world, []
    memory = await world.open(hot=hot, cold=True)
    await memory.set(world.key("one"), noise(seed=b"1"))
    await memory.set(world.key("two"), noise(seed=b"2"))
    assert hot.seen == [1, 2]


async def test_value_over_the_limit_is_refused_before_anything_is_uploaded(world: World) -> None:
    memory = await world.open(cold=True, rules=MemoryRules(max_value_bytes=LARGE - 1))
    with pytest.raises(TooLarge):
        await memory.set(world.key(), noise())
    async with blobs(world) as container:
        assert [blob async for blob in container.list_blobs()] == []
