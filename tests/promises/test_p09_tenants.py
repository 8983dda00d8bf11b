"""P9: no tenant can read, list, count or delete another's keys, through any verb, prefix, cursor or crafted name."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from tests.promises.world import World

from thermocline.client import MemoryClient
from thermocline.client.scoped import ScopedMemory
from thermocline.cursors import pack_cursor
from thermocline.errors import InvalidArgument, InvalidKey, ThermoclineError
from thermocline.keys import cosmos_id, cosmos_partition, head_path, payload_path, redis_key
from thermocline.model import Key, Miss
from thermocline.policy import MemoryRules

PARTS: dict[str, dict[str, Any]] = {
    "all tiers": {"cold": True},
    "payloads in cold": {"cold": True, "rules": MemoryRules(write_cold=True)},
    "hot alone": {"warm": None},
    "cold alone": {"warm": None, "hot": None, "cold": True},
}

LONG = "x" * 10_000


def lookalikes(tenant: str) -> list[Key]:
    """Keys that a careless joining, escaping, folding, cutting or normalising takes for one another."""
    t = tenant
    return [
        Key(t, "b", "c"),
        Key(t, "b/c", "d"),
        Key(f"{t}/b", "c", "d"),
        Key(t, "b", "c/d"),
        Key(f"{t}/b/c", "d", "e"),
        Key(t, "b/c/d", "e"),
        Key(t, "b", "c/d/e"),
        Key(f"{t}:b", "c", "d"),
        Key(t, "b:c", "d"),
        Key(t, "b", "c:d"),
        Key(t, "b%2Fc", "d"),
        Key(t, "b~2fc", "d"),
        Key(t, "b~", "2fc"),
        Key(f"{t}}}", "b", "c"),
        Key(f"{{{t}}}", "b", "c"),
        Key(t, "{b}", "c"),
        Key(t, "b", "{c}"),
        Key(t, "b}", "{c"),
        Key(t, "b", ".."),
        Key(t, "..", "c"),
        Key(t, "b/..", "c"),
        Key(f"{t}/../{t}", "b", "c"),
        Key(t, "b", "../b/c"),
        Key(t, "b", "./c"),
        Key(t, ".", "c"),
        Key(t, "b", "c."),
        Key(t, "b", "c "),
        Key(t, "b", " c"),
        Key(t, "b", "C"),
        Key(t.upper(), "b", "c"),
        Key(t, "b", "=c"),
        Key(t, "b", "c\x00"),
        Key(t, "b", "c\n"),
        Key(t, "b", "c\\d"),
        Key(t, "b", "c?d"),
        Key(t, "b", "*"),
        Key(t, "*", "c"),
        Key(t, "b", "é"),
        Key(t, "b", "e\u0301"),  # the same to the eye
        Key(t, "B", "ﬁ"),
        Key(t, "b", "fi"),
        Key(t, "b", "ı"),
        Key(t, "b", "İ"),
        Key(t, "b", "\U0001f9ca"),
        Key(t, "b", "' OR 1=1 --"),
        Key(t, "b", '"; DROP'),
        Key(t, "long", LONG),
        Key(t, "long", LONG + "y"),
        Key(t, "long", LONG[:-1] + "y"),
        Key(t, "long", "y" + LONG[1:]),
        Key(t, LONG[:900], "c"),
        Key(t, LONG[:899], "xc"),
        Key(t + LONG[:900], "b", "c"),
        Key(t + LONG[:899], "xb", "c"),
    ]


@pytest.mark.parametrize("parts", PARTS)
async def test_keys_that_look_alike_never_meet(world: World, parts: str) -> None:
    """Half of them belong to the victim and half to the attacker, who tries everything on his own and finds and changes only these."""
    memory = await world.open(**PARTS[parts])
    for turn in range(2):
        keys = lookalikes(f"{world.name}-{turn}")
        assert len(set(keys)) == len(keys)
        mine, theirs = keys[turn::2], keys[1 - turn :: 2]
        await memory.set_many({key: repr(key) for key in mine})
        assert (await memory.get_many(theirs)).missing == theirs
        for key in theirs[::3]:
            assert isinstance(await memory.lookup(key), Miss)
            assert not await memory.exists(key)
            assert not (await memory.delete(key)).found
            assert not (await memory.touch(key, ttl=60)).found
            assert await memory.increment(key) == 1
        await memory.set_many(dict.fromkeys(theirs, "overwritten?"))
        assert await memory.get_many(mine) == {key: repr(key) for key in mine}
        deleted = await memory.delete_many(theirs)
        assert deleted.errors == {}
        assert await memory.get_many(mine) == {key: repr(key) for key in mine}
        if parts != "hot alone":
            await world.evict(*keys)
            assert await memory.get_many(mine) == {key: repr(key) for key in mine}
        tenant = f"{world.name}-{turn}"
        for scope in ("b", "b/c", "B", "b/..", "long"):
            expected = sorted(key for key in mine if key.tenant == tenant and key.scope == scope)
            assert await names(memory, tenant, scope) == expected


async def names(memory: MemoryClient, tenant: str, scope: str, prefix: str = "") -> list[Key]:
    found: list[Key] = []
    cursor: str | None = None
    while True:
        page = await memory.list(prefix, scope=scope, tenant=tenant, limit=7, cursor=cursor)
        found += [item.key for item in page]
        if page.cursor is None:
            return sorted(found)
        cursor = page.cursor


@pytest.mark.parametrize("parts", PARTS)
async def test_listing_ends_at_the_wall(world: World, parts: str) -> None:
    memory = await world.open(**PARTS[parts])
    victim, attacker = f"{world.name} victim", f"{world.name} attacker"
    secret = [Key(victim, "user/1", f"note {number}") for number in range(9)]
    own = [Key(attacker, "user/1", "note 3"), Key(attacker, "user", "1/note 4"), Key(attacker, "user/10", "note 5")]
    await memory.set_many(dict.fromkeys([*secret, *own], "x"))
    assert await names(memory, victim, "user/1") == sorted(secret)
    assert await names(memory, attacker, "user/1") == own[:1]
    for scope in (
        "user",
        "user/",
        "user/1/",
        "user/1%",
        "user%",
        "*",
        "%",
        "_",
        "user/_",
        "..",
        f"../{victim}/user/1",
        "~",
    ):
        assert await names(memory, attacker, scope) == [key for key in own if key.scope == scope]
    for prefix in (
        "%",
        "_",
        "*",
        "note _",
        "note %",
        "..",
        "../",
        "/",
        "\x00",
        "N",
        "NOTE",
        f"../../{victim}",
        "' OR '1'='1",
        LONG,
    ):
        assert await names(memory, attacker, "user/1", prefix) == []
    assert await names(memory, attacker, "user/1", "note") == own[:1]


@pytest.mark.parametrize("parts", PARTS)
async def test_cursor_of_another_listing_is_refused(world: World, parts: str) -> None:
    """Also one that is made up: nothing in a cursor says where to look, only where to go on."""
    memory = await world.open(**PARTS[parts])
    victim, attacker = f"{world.name} victim", f"{world.name} attacker"
    await memory.set_many({Key(tenant, "s", f"{n}"): n for tenant in (victim, attacker) for n in range(5)})
    page = await memory.list(scope="s", tenant=victim, limit=2)
    assert page.cursor is not None
    crafted = [
        "",
        "nonsense",
        "~00|",
        "9" * 10_000,
        "\x00",
        base64.urlsafe_b64encode(json.dumps([victim, "s", "", "0"]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps(["x", {"tenant": victim}]).encode()).decode(),
        pack_cursor(victim, "s", "", "0"),
    ]
    for cursor in [page.cursor, *crafted]:
        with pytest.raises(InvalidArgument):
            await memory.list(scope="s", tenant=attacker, limit=2, cursor=cursor)
    with pytest.raises(InvalidArgument):
        await memory.list("1", scope="s", tenant=victim, limit=2, cursor=page.cursor)
    with pytest.raises(InvalidArgument):
        await memory.list(scope="s2", tenant=victim, limit=2, cursor=page.cursor)
    if parts != "hot alone":
        own = await memory.list(scope="s", tenant=attacker, limit=10, cursor=None)
        assert {item.key.tenant for item in own} == {attacker}
    places = [pack_cursor(attacker, "s", "", place) for place in ("", "\U0010ffff", f"../{victim}/s/0", LONG)]
    for cursor in places:  # signed by the attacker himself, so to speak: he goes on anywhere in what is his
        try:
            found = await memory.list(scope="s", tenant=attacker, limit=10, cursor=cursor)
        except ThermoclineError:
            continue
        assert {item.key.tenant for item in found} <= {attacker}


async def test_plain_strings_do_not_list_another_tenant(world: World) -> None:
    memory = await world.open()
    plain = f"{world.name} plain"
    await memory.set(Key(world.name, Key.of(plain).scope, plain), 1)
    await memory.set(plain, 1)
    assert [item.key for item in await memory.list(plain)] == [Key.of(plain)]
    with pytest.raises(InvalidArgument):
        await memory.list(tenant=world.name)
    for cursor in ("~00", "~zz|", "|", "~00|x|y", f"{world.name}|", f"../{world.name}/~00|"):
        with pytest.raises(InvalidArgument):
            await memory.list(cursor=cursor)


ByKey = Callable[[ScopedMemory, Any], Awaitable[Any]]


async def chunks() -> AsyncIterator[bytes]:
    yield b"x"


async def streamed(memory: ScopedMemory, name: Any) -> list[bytes]:
    return [chunk async for chunk in memory.stream(name)]


async def alone(batch: Awaitable[Any]) -> Any:
    """A batch of one name: its error is raised."""
    found = await batch
    for error in found.errors.values():
        raise error
    return found


SCOPED: dict[str, ByKey] = {
    "get": lambda memory, name: memory.get(name),
    "lookup": lambda memory, name: memory.lookup(name),
    "exists": lambda memory, name: memory.exists(name),
    "ttl": lambda memory, name: memory.ttl(name),
    "set": lambda memory, name: memory.set(name, 1),
    "delete": lambda memory, name: memory.delete(name),
    "touch": lambda memory, name: memory.touch(name, ttl=1),
    "get_many": lambda memory, name: alone(memory.get_many([name])),
    "set_many": lambda memory, name: alone(memory.set_many({name: 1})),
    "delete_many": lambda memory, name: alone(memory.delete_many([name])),
    "prefetch": lambda memory, name: alone(memory.prefetch([name])),
    "update": lambda memory, name: memory.update(name, lambda value: value),
    "increment": lambda memory, name: memory.increment(name),
    "get_or_set": lambda memory, name: memory.get_or_set(name, dict),
    "append": lambda memory, name: memory.append(name, 1),
    "stream": streamed,
    "set_stream": lambda memory, name: memory.set_stream(name, chunks()),
}


async def test_scoped_memory_takes_no_key_and_leaves_its_scope_by_no_name(world: World) -> None:
    memory = await world.open(cold=True)
    secret = Key(f"{world.name} victim", "s", "secret")
    await memory.set(secret, 41)
    scoped = memory.scoped(tenant=f"{world.name} attacker", scope="s")
    unnamed = {"key", "list", "scope", "tenant", "export", "forget"}
    verbs = {name for name in dir(ScopedMemory) if not name.startswith("_")} - unnamed
    assert set(SCOPED) == verbs  # all there are
    for verb in SCOPED.values():
        for crafted in (secret, cast(Any, (secret.tenant, "s", "secret")), cast(Any, None), cast(Any, b"secret"), ""):
            with pytest.raises(InvalidKey):
                await verb(scoped, crafted)
    for crafted in (
        "secret",
        f"../../{secret.tenant}/s/secret",
        f"{secret.tenant}/s/secret",
        f"}}{secret.tenant}/s/{{secret",
    ):
        assert await scoped.get(crafted) is None
        assert await scoped.get_many([crafted]) == {}
        assert not (await scoped.delete(crafted)).found
        assert await scoped.increment(crafted) == 1
    assert len(await scoped.list()) == 4
    assert {item.key.tenant for item in await scoped.list()} == {scoped.tenant}
    given_out = [json.loads(line) async for line in scoped.export()][1:-1]
    assert {line["key"]["tenant"] for line in given_out} == {scoped.tenant}
    assert (await scoped.forget(by="the attacker", longest_write=timedelta(seconds=1))).tenant == scoped.tenant
    assert len(await scoped.list()) == 0
    assert await memory.get(secret) == 41


@pytest.mark.parametrize("part", ["", "\ud800", "x" * 20_000])
async def test_impossible_parts_are_refused(world: World, part: str) -> None:
    memory = await world.open()
    for parts in ((part, "s", "n"), ("t", part, "n"), ("t", "s", part)):
        with pytest.raises(InvalidKey):
            Key(*parts)
    with pytest.raises(InvalidKey):
        await memory.get(part)
    with pytest.raises(InvalidArgument):
        await memory.list(scope="s", tenant=part)


async def test_direct_methods_do_not_reach_the_cascades_records(world: World) -> None:
    """The raw key space of each tier is another one: nobody gets to a tenant's records by naming what lies in the store."""
    memory = await world.open(cold=True, rules=MemoryRules(write_cold=True))
    key = world.key()
    await memory.set(key, "secret")
    pointer_path = payload_path(key, "0" * 64)
    hot, warm, cold = world.hot(), world.warm(), world.cold()
    async with hot, warm, cold:
        raw = redis_key(key).decode()
        for call in (
            hot.get(raw),
            hot.set(raw, 1),
            hot.delete(raw),
            hot.exists(raw),
            hot.mget([raw]),
            hot.mset({raw: 1}),
        ):
            with pytest.raises(InvalidArgument):
                await call
        item, partition = cosmos_id(key), cosmos_partition(key)
        with pytest.raises(InvalidArgument):
            await warm.upsert({"id": item, "tenant": partition[0], "scope": partition[1]})
        with pytest.raises(InvalidArgument):
            await warm.read(item, partition)
        with pytest.raises(InvalidArgument):
            await warm.delete(item, partition)
        for path in (pointer_path, head_path(key)):
            for crafted in (
                path,
                f"a/../{path}",
                f"./{path}",
                f"/{path}",
                f"//{path}",
                path.replace("/", "\\"),
                f"%2e/{path}",
            ):
                with pytest.raises(ThermoclineError):
                    await cold.download_text(crafted)
                with pytest.raises(ThermoclineError):
                    await cold.upload_text(f"{crafted}/..", "x")
    assert await memory.get(key) == "secret"
    await world.evict(key)
    assert await memory.get(key) == "secret"
