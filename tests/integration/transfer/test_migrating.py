"""A migration from its plan to its end, and back."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from tests.integration.transfer.homes import QUIET, Fragile, Homes, everything, soon, until

from thermocline import Conflict, HotMemory, MemoryClient
from thermocline.errors import ConfigurationError, InvalidArgument, TierUnavailable
from thermocline.model import Authority, Hit, Key
from thermocline.testing.rig import RedisServer
from thermocline.transfer import DualMemory, Migration, Phase, Space

VALUES: dict[str, Any] = {
    "none": None,
    "zero": 0,
    "empty": "",
    "bytes": b"\x00\xff" * 40,
    "text": "Grüße " * 300,
    "json": {"z": 1, "a": [1.5, None, True, {"deep": "ü"}]},
    "big": {"n": 2**70},
    "when": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    "money": Decimal("12.50"),
    "id": UUID(int=7),
    "large": random.Random(1).randbytes(300_000),
    "long json": [{"n": n, "text": "word " * 5} for n in range(3000)],
}


async def fill(memory: MemoryClient, scope: str = "user/1", tenant: str = "t") -> dict[Key, Any]:
    wanted = {Key(tenant, scope, name): value for name, value in VALUES.items()}
    for key, value in wanted.items():
        await memory.set(key, value, tags={"kind": key.name}, ttl=timedelta(days=3) if key.name == "json" else None)
    await memory.set("a plain name", {"plain": True}, media_type="application/json")
    wanted[Key.of("a plain name")] = {"plain": True}
    gone = Key(tenant, scope, "deleted")
    await memory.set(gone, 1)
    await memory.delete(gone)
    return wanted


async def two(homes: Homes, way: str) -> tuple[MemoryClient, MemoryClient]:
    if way == "up":
        return await homes.folder(), await homes.services()
    if way == "down":
        return await homes.services(), await homes.folder()
    return await homes.folder("a"), await homes.folder("b", cold=False)


@pytest.mark.parametrize("way", ["up", "down", "aside"])
async def test_everything_arrives_as_it_was(homes: Homes, way: str) -> None:
    source, target = await two(homes, way)
    wanted = await fill(source)
    migration = Migration(source, target, quiet=QUIET)
    plan = await migration.plan()
    assert (plan.possible, plan.records, plan.dead, plan.in_target) == (True, len(wanted), 1, 0)
    assert plan.requests > 0
    assert (plan.request_units > 0) == (way != "aside")

    dry = await migration.copy(dry_run=True)
    assert (dry.written, await everything(target)) == (len(wanted), {})
    report = await migration.copy()
    assert (report.written, report.clean, report.failed) == (len(wanted), True, 0)
    assert await everything(target) == wanted
    for key in wanted:
        mine, other = await source.lookup(key), await target.lookup(key)
        assert isinstance(mine, Hit)
        assert isinstance(other, Hit)
        a, b = mine.record, other.record
        assert (a.expires, a.created, a.modified, a.media_type, dict(a.tags)) == (
            b.expires,
            b.created,
            b.modified,
            b.media_type,
            dict(b.tags),
        )
    again = await migration.copy()
    assert (again.written, again.same, again.deleted) == (0, len(wanted), 0)
    found = await migration.verify()
    assert (found.none, found.equal) == (True, len(wanted))


async def test_later_passes_bring_changes_and_deletions(homes: Homes) -> None:
    source, target = await two(homes, "aside")
    wanted = await fill(source)
    migration = Migration(source, target, quiet=QUIET)
    await migration.copy()
    changed, deleted = Key("t", "user/1", "text"), Key("t", "user/1", "large")
    await source.set(changed, "anew")
    await source.delete(deleted)
    found = await migration.verify()
    assert found.different == [f"{changed}: time of writing, tags"]
    assert found.extra == [str(deleted)]
    report = await migration.copy()
    assert (report.written, report.deleted) == (1, 1)
    del wanted[deleted]
    assert await everything(target) == wanted | {changed: "anew"}


async def test_two_writes_of_one_millisecond_and_one_size_are_told_apart(homes: Homes) -> None:
    source, target = await two(homes, "aside")
    key = Key("t", "s", "counter")
    await source.set(key, 41)
    migration = Migration(source, target, quiet=QUIET)
    await migration.copy()
    there = await source._engine.authorities[Authority.WARM].read(key, deadline=source._engine.budget.call())
    assert there is not None
    while True:  # until a second write falls into the same millisecond as the first
        first, second = await asyncio.gather(source.set(key, 42), source.set(key, 43))
        await migration.copy()
        assert await target.get(key) == (43 if second.version > first.version else 42)
        break


async def test_a_tenant_gets_a_new_name_in_the_same_tiers(homes: Homes) -> None:
    memory = await homes.folder()
    wanted = await fill(memory)
    await memory.set(Key("other", "s", "n"), "stays")
    space = Space("t", to_tenant="renamed")
    migration = Migration(memory, memory, space=space, quiet=QUIET)
    report = await migration.copy()
    assert report.written == len(VALUES)
    found = await everything(memory)
    for key in wanted:
        if key.tenant == "t":
            assert found[Key("renamed", key.scope, key.name)] == wanted[key] == found[key]
    assert {key.tenant for key in found} == {"t", "renamed", "other", "default"}
    assert (await migration.verify()).equal == len(VALUES)


async def test_cold_heads_become_records_of_the_warm_tier(homes: Homes) -> None:
    before = await homes.folder(authority=Authority.COLD)
    wanted = await fill(before)
    after = await homes.folder(authority=Authority.WARM)
    migration = Migration(before, after, quiet=QUIET)
    assert (await migration.copy()).written == len(wanted)
    await migration.cut_over()
    assert await everything(after) == wanted


async def test_the_same_place_is_refused(homes: Homes) -> None:
    one, other = await homes.folder(), await homes.folder()
    await fill(one)
    with pytest.raises(ConfigurationError, match="same records"):
        await Migration(one, other).plan()
    with pytest.raises(ConfigurationError, match="same records"):
        await Migration(one, other, space=Space("t", "user/1")).copy()
    with pytest.raises(InvalidArgument, match="say which"):
        Space(to_tenant="x")
    with pytest.raises(InvalidArgument, match="name"):
        Migration(one, other, name="Not This")


async def test_a_target_that_is_not_empty_is_refused_or_merged(homes: Homes) -> None:
    source, target = await two(homes, "aside")
    old, new, own = Key("t", "s", "older there"), Key("t", "s", "newer there"), Key("t", "s", "own")
    await target.set(old, "target's")
    await source.set(old, "source's")
    await source.set(new, "source's")
    await asyncio.sleep(0.005)
    await target.set(new, "target's")
    await target.set(own, "target's")
    migration = Migration(source, target, quiet=QUIET)
    assert not (await migration.plan()).possible
    with pytest.raises(Conflict, match="merge"):
        await migration.copy()
    report = await migration.copy(merge=True)
    assert (report.written, report.kept, report.deleted) == (1, 1, 0)
    assert await everything(target) == {old: "source's", new: "target's", own: "target's"}
    assert (await migration.verify()).none
    await migration.cut_over()
    await target.set(own, "since")
    await migration.rollback()
    assert (await everything(source))[own] == "since", "what was written since goes back"


async def test_what_the_target_wrote_itself_is_never_overwritten(homes: Homes) -> None:
    source, target = await two(homes, "aside")
    await fill(source)
    migration = Migration(source, target, quiet=QUIET)
    await migration.copy()
    stranger = Key("t", "user/1", "a stranger")
    await target.set(stranger, "written past the migration")
    report = await migration.copy()
    assert (report.kept, report.newer) == (1, [str(stranger)])
    with pytest.raises(Conflict, match="newer"):
        await migration.cut_over()
    state, _ = await migration.status()
    assert state is not None
    assert (state.phase, state.owner) == (Phase.COPY, "")
    assert await target.get(stranger) == "written past the migration"
    await migration.cut_over(source_wins=True)
    assert await target.get(stranger) is None


async def test_what_a_target_cannot_hold_is_told_before(homes: Homes) -> None:
    source, target = await homes.folder(), await homes.folder("b", cold=False, max_value_bytes=100_000)
    await fill(source)
    plan = await Migration(source, target).plan()
    assert plan.blocked == 2
    assert sorted(words.split(":")[0] for words in plan.problems) == ["t/user/1/large", "t/user/1/long json"]
    for dry_run in (True, False):
        with pytest.raises(Conflict, match=r"2 records do not fit into the target: t/user/1/l.*nothing was written"):
            await Migration(source, target).copy(dry_run=dry_run)
    assert await everything(target) == {}
    assert await Migration(source, target).status() == (None, None)
    await source.delete(Key("t", "user/1", "large"))
    await source.delete(Key("t", "user/1", "long json"))
    assert (await Migration(source, target).copy()).clean
    for name in ("large", "long json"):  # what came after the first copy
        await source.set(Key("t", "user/1", name), VALUES[name])
    report = await Migration(source, target).copy()
    assert (report.failed, report.written) == (2, 0)
    with pytest.raises(Conflict, match="nothing was switched"):
        await Migration(source, target).cut_over()
    assert sorted(words.split(":")[0] for words in report.errors) == ["t/user/1/large", "t/user/1/long json"]


async def test_forgotten_scopes_are_not_copied_back(homes: Homes) -> None:
    source, target = await two(homes, "aside")
    await fill(source)
    await source.set(Key("t", "user/2", "n"), 2)
    migration = Migration(source, target, quiet=QUIET)
    await migration.copy()
    await target.forget(tenant="t", scope="user/1", by="the person", longest_write=timedelta(seconds=1))
    report = await migration.copy()
    assert (report.forgotten, report.written) == (len(VALUES), 0)
    assert set(await everything(target)) == {Key("t", "user/2", "n"), Key.of("a plain name")}
    found = await migration.verify()
    assert (found.none, found.forgotten) == (True, len(VALUES))


@pytest.mark.parametrize("way", ["up", "aside"])
async def test_writers_in_both_worlds_until_the_cut_over_and_back(homes: Homes, way: str) -> None:
    source, target = await two(homes, way)
    await fill(source)
    migration = Migration(source, target, quiet=QUIET)
    memory = DualMemory(source, target)
    await memory.set("early", "source alone")
    await migration.copy()
    assert await memory.phase() in (Phase.COPY, Phase.DUAL)
    await migration.dual_write()
    await until(memory, Phase.DUAL)
    await memory.set("both", 1)
    assert await target.get("both") == 1
    assert await memory.increment("both", 4) == 5
    assert await target.get("both") == 5
    await memory.delete("early")
    assert await target.get("early") is None
    batch = await memory.set_many({"one": 1, "two": 2, "three": 3})
    assert (set(batch), batch.errors) == ({"one", "two", "three"}, {})
    assert await target.get_many(["one", "two"]) == {"one": 1, "two": 2}

    await migration.cut_over()
    assert await memory.phase() is Phase.TARGET
    await memory.set("after", "in the target")
    assert await target.get("after") == await source.get("after") == "in the target"
    await target.set("past", "past the writer in both worlds")
    assert (await everything(target)).keys() - (await everything(source)).keys() == {Key.of("past")}
    await migration.rollback()
    assert await everything(source) == await everything(target)
    assert await memory.phase() is Phase.DUAL
    await migration.cut_over()
    await migration.finish()
    await memory.set("last", 1)
    assert await memory.get("last") == 1
    assert await source.get("last") is None
    with pytest.raises(Conflict, match="rollback goes with"):
        await migration.rollback()


async def test_a_target_that_is_down_costs_nobody_a_write(homes: Homes) -> None:
    fragile = homes.sqlite("b", Fragile)
    source, target = await homes.folder(), await homes.folder("b", warm=fragile)
    migration = Migration(source, target, quiet=QUIET)
    await source.set("n", 0)
    await migration.copy()
    await migration.dual_write()
    memory = DualMemory(source, target)
    await memory.set("n", 1)
    fragile.down = True
    assert (await memory.set("n", 2)).durable
    assert memory.behind == {Key.of("n"): "it is down"}
    fragile.down = False
    assert await target.get("n") == 1
    book = memory._source.book()
    names, _ = await book.notes.list_notes("transfer/migration/behind/", limit=10, cursor=None, deadline=soon())
    assert len(names) == 1
    note = await book.read(names[0], soon())
    assert note is not None
    assert json.loads(note.data)["why"] == "TierUnavailable", "no message, which may name keys"
    assert (await migration.copy()).written == 1, "the pass finds it without any note"
    assert await target.get("n") == 2
    assert await memory.repair() == 0
    assert await book.read(names[0], soon()) is None


async def test_writers_wait_while_it_is_cut_over(homes: Homes) -> None:
    source, target = await two(homes, "aside")
    migration = Migration(source, target, quiet=QUIET)
    await source.set("n", 0)
    await migration.copy()
    memory = DualMemory(source, target)
    cutting = asyncio.create_task(migration.cut_over())
    await until(memory, Phase.FENCED)
    with pytest.raises(TierUnavailable, match="writers wait"):
        await memory.set("n", 1, timeout=0.1)
    assert await memory.get("n") == 0
    waiting = asyncio.create_task(memory.set("n", 2, timeout=20))
    await cutting
    await waiting
    assert await target.get("n") == 2


async def test_two_operators_do_not_meet(homes: Homes) -> None:
    source, target = await two(homes, "aside")
    await source.set("n", 0)
    one = Migration(source, target, quiet=QUIET)
    other = Migration(source, target, quiet=QUIET)
    await one.copy()
    results = await asyncio.gather(one.cut_over(), other.cut_over(), return_exceptions=True)
    assert [type(result) for result in results].count(Conflict) == 1
    state, _ = await one.status()
    assert state is not None
    assert state.phase is Phase.TARGET
    with pytest.raises(Conflict, match="copy goes with"):
        await other.copy()


async def test_one_hot_tier_for_both_is_refused(homes: Homes, redis_server: RedisServer) -> None:
    source = await homes.folder("a", hot=HotMemory(redis_server.url))
    target = await homes.folder("b", hot=HotMemory(redis_server.url))
    apart = await homes.folder("c")
    key = Key(homes.name, "s", "n")
    await source.set(key, 1)
    with pytest.raises(ConfigurationError, match="share a hot tier"):
        await Migration(source, target).plan()
    with pytest.raises(ConfigurationError, match="share a hot tier"):
        await Migration(source, target).copy()
    with pytest.raises(ConfigurationError, match="share a hot tier"):
        await DualMemory(source, target).set(key, 2)
    assert await source.get(key) == 1
    renamed = Space(homes.name, to_tenant=f"{homes.name}-new")
    assert (await Migration(source, target, space=renamed).copy()).written == 1
    assert await target.get(Key(f"{homes.name}-new", "s", "n")) == 1
    assert (await Migration(source, apart, name="apart").copy()).written == 1


async def test_hot_is_told_of_what_a_migration_writes(homes: Homes, redis_server: RedisServer) -> None:
    """A client of the target that reads through Redis sees what a pass and a writer in both worlds bring."""
    source = await homes.folder("a")
    target = await homes.folder("b", hot=HotMemory(redis_server.url))
    reader = await homes.folder("b", hot=HotMemory(redis_server.url))
    key, other = Key(homes.name, "s", "n"), Key(homes.name, "s", "other")
    await source.set_many({key: 1, other: 1})
    migration = Migration(source, target, quiet=QUIET)
    await migration.copy()
    assert await reader.get_many([key, other]) == {key: 1, other: 1}
    await source.set(key, 2)
    await source.delete(other)
    await migration.copy()
    assert (await reader.get(key), await reader.get(other)) == (2, None)
    await migration.dual_write()
    memory = DualMemory(source, target)
    await memory.set(key, 3)
    assert await reader.get(key) == 3


async def test_an_operator_who_waits_long_for_one_record_keeps_others_away(homes: Homes) -> None:
    fragile = homes.sqlite("a", Fragile)
    source, target = await homes.folder("a", warm=fragile), await homes.folder("b")
    await source.set("n", 1)
    one = Migration(source, target, quiet=QUIET, lease=timedelta(seconds=1))
    other = Migration(await homes.folder("a"), target, quiet=QUIET)
    fragile.slow = asyncio.Event()
    copying = asyncio.create_task(one.copy())
    serials: set[int] = set()
    while len(serials) < 6:  # written down by nothing but the lease's renewal
        state, _ = await other.status()
        serials |= {state.serial} if state is not None else set()
        await asyncio.sleep(0.01)
    with pytest.raises(Conflict, match="another operator is at 'copy'"):
        await other.copy()
    fragile.slow.set()
    assert (await copying).written == 1
    state, _ = await other.status()
    assert state is not None
    assert state.owner == ""
    assert (await other.copy()).same == 1
