"""Streams, and values that are too large for where they would lie."""

import asyncio
import hashlib
import random
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.client.grounds import Embedded, Grounds, Services, noise

from thermocline.client import MemoryClient
from thermocline.errors import CorruptRecord, InvalidArgument, TierUnavailable, TooLarge
from thermocline.model import Hit, Key, MemoryTier
from thermocline.policy import MemoryRules

MIB = 2**20
SIZE = 56 * MIB
BOUND = (
    44 * MIB
)  # of Python's memory while SIZE bytes pass: four blocks of 4 MiB are under way at once, and each is copied on its way


async def source(size: int, seed: int = 1, chunk: int = MIB) -> AsyncIterator[bytes]:
    """Random bytes that are made as they are asked for."""
    made = random.Random(seed)
    while size > 0:
        yield made.randbytes(min(chunk, size))
        size -= chunk


async def digest_of(chunks: AsyncIterator[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    async for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


async def read(memory: MemoryClient, key: Key) -> bytes:
    return b"".join([chunk async for chunk in memory.stream(key)])


async def test_streams_of_any_size_come_back(grounds: Grounds) -> None:
    one, two = await grounds.open(), await grounds.open()
    for size in (0, 1, 3 * MIB):
        if size > MIB and grounds.authority == "hot":
            size = 700_000  # Redis takes records of a megabyte
        if size > MIB and "cold" not in grounds.tiers:
            size = MIB  # an item of Cosmos DB holds two, encoded
        key = grounds.key(f"{size}")
        written = await one.set_stream(key, source(size, chunk=300_000), tags={"a": "b"}, ttl=timedelta(hours=1))
        wanted = await digest_of(source(size, chunk=300_000))
        assert written.version > 0
        for memory in (one, two):
            assert await digest_of(memory.stream(key)) == wanted
            looked = await memory.lookup(key)
            assert isinstance(looked, Hit)
            assert (looked.value, looked.record.tags) == (await read(memory, key), {"a": "b"})
            assert looked.record.media_type == "application/octet-stream"
            assert await memory.ttl(key) is not None


async def test_fifty_megabytes_pass_in_bounded_memory(whole: Grounds) -> None:
    memory = await whole.open()
    key = whole.key()
    await memory.set_stream(whole.key("warmed up"), source(3 * MIB))
    wanted = await digest_of(source(SIZE))
    tracemalloc.start()
    try:
        await memory.set_stream(key, source(SIZE), media_type="video/mp4")
        _, wrote = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert await digest_of(memory.stream(key)) == wanted
        _, received = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(wrote, received) < BOUND
    [item] = (await memory.list("name", tenant=whole.tenant, scope="scope")).items
    assert (item.tier, item.raw_size) == (MemoryTier.COLD, SIZE)


async def test_values_can_be_streamed_and_streams_read_as_values(each: Grounds) -> None:
    memory = await each.open()
    await memory.set(each.key("bytes"), b"bytes" * 10)
    await memory.set(each.key("text"), "ä")
    await memory.set(each.key("json"), {"a": [1]})
    await memory.set(each.key("zipped"), b"x" * 500_000)
    assert await read(memory, each.key("bytes")) == b"bytes" * 10
    assert await read(memory, each.key("text")) == "ä".encode()
    assert await read(memory, each.key("json")) == b'{"a":[1]}'
    assert await read(memory, each.key("zipped")) == b"x" * 500_000
    await memory.set_stream(each.key("stream"), source(100_000))
    assert await memory.get(each.key("stream")) == b"".join([chunk async for chunk in source(100_000)])
    with pytest.raises(KeyError):
        await read(memory, each.key("absent"))


async def test_a_stream_that_breaks_off_leaves_the_old_value(each: Grounds) -> None:
    """Nothing is visible until all of it has arrived."""
    memory = await each.open()
    key = each.key()
    await memory.set(key, b"old")

    async def broken() -> AsyncIterator[bytes]:
        yield b"new" * 1000
        raise ZeroDivisionError("the source failed")

    with pytest.raises(ZeroDivisionError):
        await memory.set_stream(key, broken())
    assert await memory.get(key) == b"old"

    async def endless() -> AsyncIterator[bytes]:
        reached.set()
        await asyncio.Event().wait()
        yield b""

    reached = asyncio.Event()
    writing = asyncio.create_task(memory.set_stream(key, endless()))
    await reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await memory.get(key) == b"old"
    await memory.set(key, b"newer")
    assert await memory.get(key) == b"newer"


async def test_a_stream_is_made_of_bytes(each: Grounds) -> None:
    memory = await each.open()

    async def text() -> AsyncIterator[bytes]:
        yield "text"  # type: ignore[misc]

    with pytest.raises(InvalidArgument, match="bytes"):
        await memory.set_stream(each.key(), text())
    assert not await memory.exists(each.key())


async def test_without_cold_a_stream_is_bounded(some: Grounds) -> None:
    memory = await some.open(rules=MemoryRules(max_value_bytes=1000))
    with pytest.raises(TooLarge, match="cold"):
        await memory.set_stream(some.key(), source(1001, chunk=100))
    await memory.set_stream(some.key(), source(1000, chunk=100))
    assert len(await memory.get(some.key())) == 1000


async def test_large_values_go_to_cold_and_come_back(whole: Grounds) -> None:
    rules = MemoryRules(cold_threshold_bytes=1000, hot_max_bytes=5000)
    one, two = await whole.open(rules=rules), await whole.open(rules=rules)
    sizes = {"small": 1000, "pointed": 1001, "beyond hot": 5001}
    values = {whole.key(name): noise(size) for name, size in sizes.items()}
    for key, value in values.items():
        await one.set(key, value)
    tiers = {item.key.name: item.tier for item in await one.list(tenant=whole.tenant, scope="scope")}
    assert tiers == {"small": "warm", "pointed": "cold", "beyond hot": "cold"}
    for again in range(3):
        for memory in (one, two):
            assert {key: await memory.get(key) for key in values} == values
            assert await memory.get_many(values) == values
        if again == 1:
            await whole.evict(*values)
    replaced = whole.key("beyond hot")
    await two.set(replaced, b"small now")
    assert await one.get(replaced) == b"small now"
    await one.delete(replaced)
    assert await two.get(replaced) is None


async def test_write_cold_puts_every_payload_into_cold(whole: Grounds) -> None:
    memory = await whole.open(rules=MemoryRules(write_cold=True))
    await memory.set(whole.key(), {"small": True})
    [item] = (await memory.list(tenant=whole.tenant, scope="scope")).items
    assert item.tier == MemoryTier.COLD
    await whole.evict(whole.key())
    assert await memory.get(whole.key()) == {"small": True}


async def test_a_payload_that_is_lost_is_corrupt_and_names_the_remedy(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lost")
    whole = Embedded(folder, "tenant")
    await whole.prepare(["warm", "cold"])
    memory = await whole.open(rules=MemoryRules(cold_threshold_bytes=10))
    key = whole.key()
    await memory.set(key, noise(100))
    [blob] = [path for path in (folder / "cold").rglob("*") if path.is_file() and "/tc1/p/" in str(path)]
    blob.unlink()
    for read_it in (memory.get(key), read(memory, key)):
        with pytest.raises(CorruptRecord):
            await read_it
    assert await memory.exists(key)
    await memory.set(key, b"new")
    assert await memory.get(key) == b"new"
    await whole.close()


async def test_a_pointer_needs_a_cold_tier(services: Services) -> None:
    await services.prepare(["warm", "cold"])
    memory = await services.open()
    await memory.set(services.key(), noise(200_000))
    services.tiers = ["warm"]
    without = await services.open()
    with pytest.raises(TierUnavailable, match="no cold tier"):
        await without.get(services.key())
    assert await without.exists(services.key())
    await services.close()
