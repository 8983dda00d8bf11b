"""What a client counts: values by the tier that holds them, hot's copies, cold's reads."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

from thermocline import FolderMemory, MemoryClient, MemoryRules, ProcessMemory, SqliteMemory


def memory(folder: Path, rules: MemoryRules | None = None) -> MemoryClient:
    return MemoryClient(
        hot=ProcessMemory(), warm=SqliteMemory(folder / "warm.sqlite3"), cold=FolderMemory(folder / "cold"), rules=rules
    )


async def test_bytes_count_for_the_tier_that_holds_them(tmp_path: Path) -> None:
    async with memory(tmp_path) as client:
        await client.set("small", b"x" * 10)
        await client.set("large", random.Random(1).randbytes(512_000).hex(), ttl=60)
        figures = client.stats()

    assert figures["warm"]["bytes_raw"] == figures["warm"]["bytes_stored"] == 10
    assert figures["cold"]["bytes_raw"] == 1_024_000
    assert 0 < figures["cold"]["bytes_stored"] < 1_024_000
    assert figures["warm"]["writes"] == 2
    assert figures["cold"]["writes"] == 1


async def test_hot_counts_the_copies_it_took(tmp_path: Path) -> None:
    async with memory(tmp_path) as client:
        await client.set("one", b"x" * 10)
        await client.set_many({"two": b"y" * 20, "three": b"z" * 30})
        figures = client.stats()["hot"]

    assert (figures["writes"], figures["bytes_raw"], figures["bytes_stored"]) == (3, 60, 60)
    assert "promotions" not in figures


async def test_a_promotion_is_a_read_of_cold_and_a_copy_in_hot(tmp_path: Path) -> None:
    async with memory(tmp_path, MemoryRules(write_cold=True, write_around=True)) as client:
        await client.set("key", b"x" * 10)
        assert client.stats()["hot"].get("bytes_raw") is None
        assert await client.get("key") == b"x" * 10
        assert await client.get("key") == b"x" * 10
        figures = client.stats()

    assert (figures["cold"]["reads"], figures["cold"]["hits"]) == (1, 1)
    assert (figures["hot"]["promotions"], figures["hot"]["bytes_raw"], figures["hot"]["hits"]) == (1, 10, 1)


async def test_a_stream_counts_where_it_lies(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1000

    async with memory(tmp_path) as client:
        await client.set_stream("key", chunks())
        figures = client.stats()

    assert figures["cold"]["bytes_raw"] == figures["cold"]["bytes_stored"] == 1000
    assert "bytes_raw" not in figures["warm"]
