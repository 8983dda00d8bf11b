"""A census of the warm tier: what it costs, what it bears, and what it never shows."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from azure.cosmos.aio import ContainerProxy

from thermocline.cursors import pack_place
from thermocline.errors import InvalidArgument
from thermocline.keys import cosmos_id, cosmos_partition
from thermocline.model import Key
from thermocline.protocols import Stored
from thermocline.telemetry import CORRUPT
from thermocline.testing.conformance.samples import new_key, put, soon
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import CosmosServer
from thermocline.tiers.warm import WarmMemory


@pytest.fixture(scope="module")
def split_cosmos() -> Iterator[CosmosServer]:
    """A server of our own: its physical partitions are split."""
    with CosmosServer(kind="strict", ranges=2) as server:
        yield server


@pytest.fixture
async def wide(split_cosmos: CosmosServer) -> AsyncIterator[WarmMemory]:
    name = f"c{uuid.uuid4().hex[:12]}"
    async with WarmMemory(split_cosmos.url, "wide", name, key=split_cosmos.key, create=True) as tier:
        yield tier


async def fill(tier: WarmMemory, keys: list[Key], *, at_once: int = 50) -> None:
    groups: dict[tuple[str, str], list[Key]] = {}
    for key in keys:
        groups.setdefault((key.tenant, key.scope), []).append(key)
    for group in groups.values():
        for start in range(0, len(group), at_once):
            part = group[start : start + at_once]
            await tier.write_atomic([put(key, "x" * 100) for key in part], deadline=soon())


async def count(
    tier: WarmMemory, tenant: str | None = None, *, limit: int = 100, cursor: str | None = None
) -> tuple[list[Stored], list[str]]:
    items: list[Stored] = []
    damaged: list[str] = []
    while True:
        page = await tier.census(tenant=tenant, limit=limit, cursor=cursor, deadline=soon())
        items += page.items
        damaged += page.damaged
        cursor = page.cursor
        if cursor is None:
            return items, damaged


@pytest.mark.parametrize(("tenants", "scopes", "most"), [(1, 1, 16), (2, 25, 28), (100, 1, 28)])
async def test_costs_about_two_queries_a_page(
    wide: WarmMemory, split_cosmos: CosmosServer, tenants: int, scopes: int, most: int
) -> None:
    keys = [Key(f"t{n % tenants}", f"s{n // tenants % scopes}", f"n{n}") for n in range(1_000)]
    await fill(wide, keys, at_once=100)
    control: CosmosControl = split_cosmos.control
    control.reset("counters")

    items, _ = await count(wide, limit=100)

    assert sorted(item.key for item in items) == sorted(keys)
    assert dict(control.stats().kinds) == {"query": control.stats().requests}
    assert control.stats().requests <= most
    assert control.stats().charge < 400


@pytest.mark.parametrize("tenant", [None, "t1"])
async def test_physical_partitions_that_are_split_meanwhile_hide_nothing(
    wide: WarmMemory, split_cosmos: CosmosServer, tenant: str | None
) -> None:
    keys = [Key(f"t{n % 3}", f"s{n // 3 % 20}", f"n{n}") for n in range(300)]
    await fill(wide, keys)
    control: CosmosControl = split_cosmos.control
    seen: set[Key] = set()
    cursor, split = None, [("0", 2), ("1", 4), ("2", 6), ("4", 9)]
    for turn in range(1_000):
        page = await wide.census(tenant=tenant, limit=8, cursor=cursor, deadline=soon())
        seen |= {item.key for item in page.items}
        cursor = page.cursor
        if cursor is None:
            break
        for number, when in split:
            if when == turn:
                control.split("wide", wide._container, number)

    assert cursor is None
    assert seen == {key for key in keys if tenant in (None, key.tenant)}


async def test_cursor_from_before_a_split_is_good_in_another_process(
    wide: WarmMemory, split_cosmos: CosmosServer
) -> None:
    keys = [Key("t", f"s{n % 10}", f"n{n}") for n in range(100)]
    await fill(wide, keys)
    first = await wide.census(limit=30, cursor=None, deadline=soon())
    for number in ("0", "1"):
        split_cosmos.control.split("wide", wide._container, number)

    async with WarmMemory(split_cosmos.url, "wide", wide._container, key=split_cosmos.key) as other:
        rest, _ = await count(other, limit=30, cursor=first.cursor)

    assert {item.key for item in [*first.items, *rest]} == set(keys)


async def test_raw_documents_notes_and_the_epoch_are_not_counted(warm: WarmMemory) -> None:
    key = new_key()
    await warm.write(put(key), deadline=soon())
    await warm.raise_epoch()
    await warm.write_note("census/x", b"1", deadline=soon())
    await warm.upsert({"id": "d", "tenant": key.tenant, "scope": key.scope, "n": key.name, "v": 1, "r": {"z": 1}})
    await warm.upsert({"id": "e", "pk": "p"})

    for tenant in (None, key.tenant):
        items, damaged = await count(warm, tenant)
        assert damaged == []
        assert [item.key for item in items if item.key.tenant == key.tenant] == [key]
        assert all(item.key.tenant for item in items)


async def test_a_forged_cursor_leads_to_no_other_tenant(warm: WarmMemory) -> None:
    """P9: whoever knows how a cursor is made."""
    victim, own = new_key(), new_key()
    await fill(warm, [victim, own])
    for place in (
        ["", "", victim.tenant, ""],
        ["", "", victim.tenant, victim.scope, ""],
        ["", "FF", victim.tenant, victim.scope, ""],
        ["", "", ""],
        ["", "", own.tenant, "", "", ""],
        ["", "", own.tenant, 1],
        {"a": 1},
    ):
        for scope in (None, own.scope):
            forged = pack_place(("census", own.tenant, scope, None), json.dumps(place))
            with pytest.raises(InvalidArgument):
                await warm.census(tenant=own.tenant, scope=scope, limit=5, cursor=forged, deadline=soon())
    forged = pack_place(("census", own.tenant, None, None), json.dumps(["zz", "", own.tenant, ""]))
    with pytest.raises(InvalidArgument):
        await warm.census(tenant=own.tenant, limit=5, cursor=forged, deadline=soon())
    for low in ("", "00"):
        forged = pack_place(("census", own.tenant, None, None), json.dumps([low, "", own.tenant, ""]))
        page = await warm.census(tenant=own.tenant, limit=5, cursor=forged, deadline=soon())
        assert {item.key for item in page.items} <= {own}


async def test_item_whose_name_is_another_is_named_as_damaged(warm: WarmMemory, items: ContainerProxy) -> None:
    good, bad, nameless = (Key("t", "s", name) for name in ("good", "bad", "nameless"))
    await fill(warm, [good, bad, nameless])
    for key, change in ((bad, {"op": "set", "path": "/n", "value": "x"}), (nameless, {"op": "remove", "path": "/n"})):
        await items.patch_item(cosmos_id(key), cosmos_partition(key), [change])

    found, damaged = await count(warm, "t")

    assert [item.key for item in found] == [good]
    assert sorted(cosmos_id(key) in " ".join(damaged) for key in (bad, nameless)) == [True, True]


async def test_damaged_row_does_not_end_a_listing(warm: WarmMemory, items: ContainerProxy) -> None:
    keys = [Key("t", "s", f"n{number}") for number in range(5)]
    await fill(warm, keys)
    await items.patch_item(
        cosmos_id(keys[2]), cosmos_partition(keys[2]), [{"op": "set", "path": "/r/u", "value": "many"}]
    )
    page = await warm.scan("t", "s", "n", limit=10, cursor=None, deadline=soon())

    assert [item.key.name for item in page.items] == ["n0", "n1", "n3", "n4"]
    assert warm.stats.counters[CORRUPT, "warm"] == 1


async def test_names_of_many_kilobytes_are_listed_and_counted(warm: WarmMemory) -> None:
    """The service's continuation token repeats the name it stopped at, in a header."""
    keys = [Key("t", "s", f"{'ü' * 7_000}{number}") for number in range(6)]
    await fill(warm, keys, at_once=3)
    listed, cursor = [], None
    while True:
        page = await warm.scan("t", "s", "ü", limit=2, cursor=cursor, deadline=soon())
        listed += [item.key for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break

    assert listed == keys
    found, _ = await count(warm, "t", limit=2)
    assert sorted(item.key for item in found) == keys
