"""What a listing says agrees with what a read says, whatever the routes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thermocline.client import MemoryClient
from thermocline.errors import InvalidArgument
from thermocline.model import Key
from thermocline.policy import MemoryRules, Route
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

HOT_ONLY = Route("tmp/", rules=MemoryRules(write_through=False))


def key(name: str) -> Key:
    return Key("acme", "user/1", name)


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[MemoryClient]:
    async with MemoryClient(
        hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "w.sqlite3"), routes=[HOT_ONLY]
    ) as client:
        yield client


async def listed(memory: MemoryClient, prefix: str, limit: int) -> list[str]:
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = await memory.list(prefix, tenant="acme", scope="user/1", limit=limit, cursor=cursor)
        names += [item.key.name for item in page]
        cursor = page.cursor
        if cursor is None:
            return names


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("prefix", ["", "t", "tmp/"])
async def test_keys_of_every_route_are_listed_once(memory: MemoryClient, prefix: str, limit: int) -> None:
    names = ["a", "b", "tail", "tmp/1", "tmp/2", "tmp/3"]
    for name in names:
        await memory.set(key(name), name)

    assert sorted(await listed(memory, prefix, limit)) == [name for name in names if name.startswith(prefix)]


async def test_records_of_a_tier_that_no_longer_has_the_word_are_not_listed(tmp_path: Path) -> None:
    """A route was changed: the old records are not found by a read, so they are not listed either."""
    warm = SqliteMemory(tmp_path / "w.sqlite3")
    async with MemoryClient(hot=ProcessMemory(), warm=warm) as before:
        await before.set(key("tmp/1"), 1)
        await before.set(key("kept"), 2)
    async with MemoryClient(hot=ProcessMemory(), warm=warm, routes=[HOT_ONLY]) as after:
        assert await after.get(key("tmp/1")) is None
        assert await listed(after, "", 10) == ["kept"]


async def test_cursor_of_other_routes_is_refused(memory: MemoryClient) -> None:
    with pytest.raises(InvalidArgument, match="cursor"):
        await memory.list("", tenant="acme", scope="user/1", cursor="elsewhere")


async def test_plain_strings_of_every_route_are_listed_once(memory: MemoryClient) -> None:
    names = [f"{kind}{n}" for kind in ("tmp/", "x") for n in range(20)]
    await memory.set_many(dict.fromkeys(names, 0))
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await memory.list("", limit=7, cursor=cursor)
        found += [item.key.name for item in page]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(found) == sorted(names)


async def test_batch_that_must_not_ask_below_says_so(tmp_path: Path) -> None:
    """``read_fallback=False``: what hot does not know was not asked for, which is no miss."""
    warm = SqliteMemory(tmp_path / "w.sqlite3")
    rules = MemoryRules(read_fallback=False)
    async with MemoryClient(warm=warm) as writer:
        await writer.set(key("below"), 1)
    async with MemoryClient(hot=ProcessMemory(), warm=warm, rules=rules) as memory:
        await memory.set(key("known"), 2)
        batch = await memory.get_many([key("below"), key("known")])
        scoped = await memory.scoped(tenant="acme", scope="user/1").get_many(["below"])

    assert dict(batch) == {key("known"): 2}
    assert batch.not_asked == [key("below")]
    assert batch.missing == []
    assert scoped.not_asked == ["below"]


@pytest.mark.parametrize("many", [False, True])
async def test_write_around_by_argument_leaves_hot_without_the_value(tmp_path: Path, many: bool) -> None:
    hot = ProcessMemory()
    async with MemoryClient(hot=hot, warm=SqliteMemory(tmp_path / "w.sqlite3")) as memory:
        await memory.set(key("k"), "old")
        if many:
            await memory.set_many({key("k"): "new"}, write_around=True)
        else:
            await memory.set(key("k"), "new", write_around=True)
        promotions = memory.stats()["hot"].get("promotions", 0)

        assert await memory.get(key("k")) == "new"
        assert memory.stats()["hot"]["misses"] == 1
        assert promotions == 0
