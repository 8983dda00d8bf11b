"""Redis as the authority: what a census is found by, what it costs, and who reaches what (P9)."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from thermocline.clock import SYSTEM_CLOCK
from thermocline.cursors import pack_place
from thermocline.errors import InvalidArgument, TierUnavailable
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.protocols import Stored
from thermocline.testing.conformance.samples import delete, new_key, new_word, put, soon, stamp_by
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.notes import INDEX, note_key
from thermocline.tiers.hot.records import AGAIN_MS, INDEX_MS, index_keys, record_key, scope_index_keys


@pytest.fixture(autouse=True)
def stamp_samples() -> None:
    """By this machine's clock, whatever suite ran before."""
    stamp_by(SYSTEM_CLOCK)


@pytest.fixture(params=["redis_server", "redis_cluster"])
async def tier(request: pytest.FixtureRequest) -> AsyncIterator[HotMemory]:
    server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    tier = HotMemory(server.url)
    await tier.connect()
    yield tier
    await tier.close()


def requests(tier: HotMemory) -> int:
    return int(tier.stats.get("requests", "hot"))


async def count(
    tier: HotMemory, tenant: str | None = None, scope: str | None = None, *, limit: int = 100
) -> list[Stored]:
    items: list[Stored] = []
    cursor = None
    while True:
        page = await tier.census(tenant=tenant, scope=scope, limit=limit, cursor=cursor, deadline=soon())
        items += page.items
        cursor = page.cursor
        if cursor is None:
            return items


async def fill(tier: HotMemory, keys: list[Key]) -> None:
    await tier.write_many([put(key) for key in keys], deadline=soon())


# --- the index of scopes ---------------------------------------------------------------------------------------------


async def test_a_scope_is_entered_with_its_first_name_and_once_an_hour(tier: HotMemory) -> None:
    key = new_key()
    scopes, times = scope_index_keys(key.tenant)
    costs = []
    for _ in range(3):
        before = requests(tier)
        await tier.write(put(key), deadline=soon())
        costs.append(requests(tier) - before)
    if tier._link.spread:
        assert costs[0] >= costs[1] + 2
    else:
        assert costs[0] == 1  # one server takes the record and both indexes in one run of a script
    assert costs[1] == costs[2]
    assert await tier.client.zrange(scopes, 0, -1) == [key.scope.encode()]

    await tier.client.delete(scopes, times)  # Redis loses it
    assert await count(tier, key.tenant) == []
    assert [item.key for item in await count(tier, key.tenant, key.scope)] == [key]
    tier._entered[key.tenant, key.scope] -= AGAIN_MS  # an hour later
    await tier.write(put(key), deadline=soon())
    assert [item.key for item in await count(tier, key.tenant)] == [key]


async def test_scopes_without_names_leave_the_index_after_a_day(tier: HotMemory) -> None:
    tenant = new_key().tenant
    keys = [Key(tenant, f"s{number}", "n") for number in range(4)]
    await fill(tier, keys)
    scopes, times = scope_index_keys(tenant)
    for key in keys[:3]:
        await tier.client.delete(record_key(key), *index_keys(tenant, key.scope))
    for key in [keys[0], keys[1], keys[3]]:  # entered more than a day ago
        await tier.client.zincrby(times, -INDEX_MS - 1, key.scope)

    assert [item.key for item in await count(tier, tenant)] == [keys[3]]
    assert await tier.client.zrange(scopes, 0, -1) == [b"s2", b"s3"]


async def test_no_record_without_its_scope_in_the_index(tier: HotMemory) -> None:
    key = new_key()
    scopes, _ = scope_index_keys(key.tenant)
    await tier.client.set(scopes, "no index")
    with pytest.raises(TierUnavailable, match="something else"):
        await tier.write(put(key), deadline=soon())

    assert await tier.read(key, deadline=soon()) is None


async def test_a_tenant_of_many_scopes_takes_few_round_trips(tier: HotMemory) -> None:
    tenant = new_key().tenant
    keys = [Key(tenant, f"s{number:03}", f"n{name}") for number in range(100) for name in range(2)]
    await fill(tier, keys)
    for limit in (1, 7, 200):
        assert {item.key for item in await count(tier, tenant, limit=limit)} == set(keys)


# --- the whole store -------------------------------------------------------------------------------------------------


async def test_other_keys_are_no_records(tier: HotMemory) -> None:
    key = new_key()
    await fill(tier, [key])
    word = new_word()
    await tier.set(word, "plain")
    await tier.set(f"{word}:tc1:{{a/b/c}}r", "plain")
    await tier.client.set(b"tc1:{" + word.encode() + b"}r", b"no key of ours")
    await tier.write_note(word, b"note", deadline=soon())
    cursor, items, damaged = None, [], []
    while True:
        page = await tier.census(limit=50, cursor=cursor, deadline=soon())
        items += page.items
        damaged += page.damaged
        cursor = page.cursor
        if cursor is None:
            break

    assert key in {item.key for item in items}
    assert not any(word in str(item.key) for item in items)
    assert sum(word in line for line in damaged) == 1
    await tier.client.delete(b"tc1:{" + word.encode() + b"}r")


async def test_what_a_scan_gives_above_the_limit_comes_in_the_next_page(tier: HotMemory) -> None:
    keys = [Key(new_key().tenant, "s", f"n{number}") for number in range(30)]
    await fill(tier, keys)
    seen: set[Key] = set()
    cursor = None
    while True:
        page = await tier.census(limit=3, cursor=cursor, deadline=soon())
        assert len(page.items) + len(page.damaged) <= 3
        seen |= {item.key for item in page.items}
        cursor = page.cursor
        if cursor is None:
            break

    assert seen >= set(keys)


async def test_server_that_started_anew_is_scanned_anew() -> None:
    """Its tables are others now, and the old cursor means nothing there."""
    with RedisServer() as server:
        async with HotMemory(server.url) as tier:
            assert isinstance(tier, HotMemory)
            keys = [Key("t", "s", f"n{number}") for number in range(200)]
            await fill(tier, keys)
            page = await tier.census(limit=40, cursor=None, deadline=soon())
            assert page.cursor is not None
            server.restart()
            await fill(tier, keys)
            seen = set()
            cursor: str | None = page.cursor
            while cursor is not None:
                page = await tier.census(limit=40, cursor=cursor, deadline=soon())
                seen |= {item.key for item in page.items}
                cursor = page.cursor

    assert seen == set(keys)


async def test_cluster_that_moves_slots_cannot_be_counted_and_says_so() -> None:
    with RedisCluster() as cluster:
        async with HotMemory(cluster.url) as tier:
            assert isinstance(tier, HotMemory)
            keys = [Key("t", f"s{number % 5}", f"n{number}") for number in range(60)]
            await fill(tier, keys)
            first = await tier.census(limit=20, cursor=None, deadline=soon())
            slot = tier.client.keyslot(redis_key(keys[0]))
            source = cluster.node_of(slot)
            target = next(node for node in cluster.nodes if node is not source)
            with source.connection() as here, target.connection() as there:
                mine, other = here.call("CLUSTER", "MYID"), there.call("CLUSTER", "MYID")
                assert isinstance(mine, bytes)
                assert isinstance(other, bytes)
                there.call("CLUSTER", "SETSLOT", slot, "IMPORTING", mine.decode())
                here.call("CLUSTER", "SETSLOT", slot, "MIGRATING", other.decode())
                with pytest.raises(TierUnavailable, match="being moved"):
                    await tier.census(limit=20, cursor=first.cursor, deadline=soon())
                assert {item.key for item in await count(tier, "t")} == set(keys)
                while moving := here.call("CLUSTER", "GETKEYSINSLOT", slot, 1):
                    assert isinstance(moving, list)
                    [name] = moving
                    assert isinstance(name, bytes)
                    here.call("MIGRATE", "127.0.0.1", target.port, name.decode(), 0, 5000)
                for node in cluster.nodes:
                    with node.connection() as connection:
                        connection.call("CLUSTER", "SETSLOT", slot, "NODE", other.decode())
            seen = set()
            cursor = first.cursor
            while cursor is not None:
                page = await tier.census(limit=20, cursor=cursor, deadline=soon())
                seen |= {item.key for item in page.items}
                cursor = page.cursor

    assert seen == set(keys)


# --- tenants ---------------------------------------------------------------------------------------------------------


async def test_a_forged_cursor_leads_to_no_other_tenant(tier: HotMemory) -> None:
    """P9: whoever knows how a cursor is made."""
    victim, own = new_key(), new_key()
    await fill(tier, [victim, own])
    for place in (
        [victim.scope, ""],
        [f"../{victim.tenant}/{victim.scope}", ""],
        [f"x/{victim.scope}", None],
        ["", None],
        [victim.scope, 1],
        ["s", "\ud800"],
        [],
        {"a": 1},
        "x",
    ):
        for scope in (None, own.scope):
            forged = pack_place(("census", own.tenant, scope, None), json.dumps(place))
            try:
                page = await tier.census(tenant=own.tenant, scope=scope, limit=5, cursor=forged, deadline=soon())
            except InvalidArgument:
                continue
            assert {item.key for item in page.items} <= {own}
    for left in (["zz"], [1], "x", [redis_key(victim).hex()]):
        state = json.loads(json.dumps(["", 0, 0, left]))
        forged = pack_place(("census", None, None, None), json.dumps(state))
        page = await tier.census(limit=5, cursor=forged, deadline=soon())  # of another state: from the beginning
        assert len(page.items) <= 5


async def test_records_of_the_dead_are_counted_as_long_as_redis_has_them(tier: HotMemory) -> None:
    key = new_key()
    await fill(tier, [key])
    await tier.write(delete(key), deadline=soon())

    for scope in (None, key.scope):
        [item] = await count(tier, key.tenant, scope)
        assert item.header.flags & 1


# --- notes -----------------------------------------------------------------------------------------------------------


async def test_notes_end_and_leave_the_index(tier: HotMemory) -> None:
    word = new_word()
    for name, lasting in (("a", None), ("b", timedelta(hours=1)), ("c", timedelta(hours=1))):
        await tier.write_note(f"{word}/{name}", b"x", lasting=lasting, deadline=soon())
    assert 3_500_000 < await tier.client.pttl(note_key(f"{word}/b")) <= 3_600_000
    assert await tier.client.pttl(note_key(f"{word}/a")) == -1
    await tier.client.delete(note_key(f"{word}/b"))  # as at the end of its hour

    assert await tier.list_notes(word, limit=10, cursor=None, deadline=soon()) == ([f"{word}/a", f"{word}/c"], None)
    assert await tier.client.zscore(INDEX, f"{word}/b") is None


async def test_a_plain_key_reaches_no_note(tier: HotMemory) -> None:
    """P9."""
    with pytest.raises(InvalidArgument, match="cascade"):
        await tier.get(note_key("x").decode())
    with pytest.raises(InvalidArgument, match="cascade"):
        await tier.set(INDEX.decode(), "x")
