"""Listing: scopes and plain strings, by prefix, page by page, from the authority."""

from datetime import timedelta

import pytest
from tests.integration.client.grounds import Grounds, noise

from thermocline.client import MemoryClient
from thermocline.errors import InvalidArgument
from thermocline.model import Key, MemoryTier


async def listed(
    memory: MemoryClient, prefix: str = "", *, tenant: str | None, scope: str | None, limit: int
) -> list[str]:
    """All names, over all pages."""
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = await memory.list(prefix, tenant=tenant, scope=scope, limit=limit, cursor=cursor)
        assert len(page) <= limit
        names += [item.key.name for item in page]
        cursor = page.cursor
        if cursor is None:
            return names


async def test_pages_of_a_scope_hold_each_key_once(grounds: Grounds) -> None:
    memory = await grounds.open()
    names = [f"turn/{number:03}" for number in range(45)] + ["other", "Turn/001", "turn", "ü"]
    await memory.set_many({grounds.key(name): name for name in names})
    await memory.set(grounds.key("elsewhere", scope="scope 2"), 1)
    await memory.delete(grounds.key("turn/007"))
    names.remove("turn/007")
    for limit in (1, 10, 1000):
        found = await listed(memory, tenant=grounds.tenant, scope="scope", limit=limit)
        assert sorted(found) == sorted(names)
    turns = [name for name in names if name.startswith("turn/")]
    assert sorted(await listed(memory, "turn/", tenant=grounds.tenant, scope="scope", limit=7)) == turns
    assert await listed(memory, "nothing", tenant=grounds.tenant, scope="scope", limit=7) == []
    assert await listed(memory, tenant=grounds.tenant, scope="empty", limit=7) == []


async def test_a_listed_key_says_what_it_is(each: Grounds) -> None:
    memory = await each.open()
    first = await memory.set(each.key("small"), "x" * 10, ttl=timedelta(hours=1), tags={"a": "b"})
    await memory.set(each.key("zipped"), "x" * 100_000)
    large = await memory.set(each.key("large"), noise(300_000))
    items = {item.key.name: item for item in await memory.list(tenant=each.tenant, scope="scope")}
    small, zipped, big = items["small"], items["zipped"], items["large"]
    assert (small.key, small.version, small.expires, small.tags) == (
        each.key("small"),
        first.version,
        first.expires,
        {"a": "b"},
    )
    assert small.raw_size == 10
    assert zipped.raw_size == 100_000
    assert zipped.size < 5000
    assert (big.version, big.raw_size) == (large.version, 300_000)
    assert small.tier == MemoryTier(each.authority)
    assert big.tier == (MemoryTier.COLD if "cold" in each.tiers else MemoryTier(each.authority))
    assert big.modified is not None


async def test_expired_and_deleted_keys_are_not_listed(each: Grounds) -> None:
    memory = await each.open()
    await memory.set_many({each.key(name): 1 for name in ("kept", "deleted", "expired")})
    await memory.delete(each.key("deleted"))
    await memory.touch(each.key("expired"), ttl=0.001)
    while await memory.exists(each.key("expired")):
        pass
    assert await listed(memory, tenant=each.tenant, scope="scope", limit=10) == ["kept"]


async def test_plain_strings_are_listed_over_all_their_scopes(some: Grounds) -> None:
    memory = await some.open()
    names = [f"{some.tenant}/{number}" for number in range(30)]
    await memory.set_many({name: name for name in names})
    await memory.set(some.key(f"{some.tenant}/no plain string"), 1)
    assert sorted(await listed(memory, f"{some.tenant}/", tenant=None, scope=None, limit=7)) == sorted(names)
    assert {item.key for item in await memory.list(names[3], limit=1000)} == {Key.of(names[3])}
    await memory.delete_many(names)
    assert await listed(memory, f"{some.tenant}/", tenant=None, scope=None, limit=1000) == []


async def test_cursors_belong_to_their_listing(each: Grounds) -> None:
    memory = await each.open()
    keys = [each.key(f"{number}", scope=scope) for scope in ("a", "b") for number in range(4)]
    await memory.set_many(dict.fromkeys(keys, 1))
    page = await memory.list(tenant=each.tenant, scope="a", limit=2)
    assert page.cursor is not None
    for scope, prefix in (("b", ""), ("a", "1")):
        with pytest.raises(InvalidArgument):
            await memory.list(prefix, tenant=each.tenant, scope=scope, cursor=page.cursor)
    for cursor in ("", "nonsense", "~00|nonsense", page.cursor[:-1]):
        with pytest.raises(InvalidArgument):
            await memory.list(tenant=each.tenant, scope="a", cursor=cursor)
    for cursor in ("", "nonsense", "~zz|", page.cursor):
        with pytest.raises(InvalidArgument):
            await memory.list(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_limits(some: Grounds, limit: int) -> None:
    memory = await some.open()
    with pytest.raises(InvalidArgument, match="limit"):
        await memory.list(scope="scope", limit=limit)


async def test_a_tenant_needs_a_scope(some: Grounds) -> None:
    memory = await some.open()
    with pytest.raises(InvalidArgument, match="scope"):
        await memory.list(tenant="tenant")
