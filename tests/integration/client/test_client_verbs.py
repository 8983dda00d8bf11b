"""The verbs and their arguments, whatever tiers there are."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.client.grounds import Grounds

from thermocline.client import MemoryClient
from thermocline.errors import Conflict, InvalidArgument, InvalidKey
from thermocline.model import Authority, Hit, Key, MemoryTier, Miss
from thermocline.policy import MemoryRules

HOUR = timedelta(hours=1)
NEAR = timedelta(minutes=2)  # what a slow machine may take


def close_to(found: timedelta | None, wanted: timedelta) -> bool:
    return found is not None and wanted - NEAR < found <= wanted + timedelta(milliseconds=2)


async def hit(memory: MemoryClient, key: Key) -> Hit:
    looked = await memory.lookup(key)
    assert isinstance(looked, Hit)
    return looked


# --- writing -----------------------------------------------------------------------------------------------------------


async def test_the_result_of_a_write_says_what_happened(grounds: Grounds) -> None:
    memory = await grounds.open()
    key = grounds.key()
    first = await memory.set(key, 1)
    second = await memory.set(key, 2)
    assert second.version > first.version > 0
    assert second.key == key
    assert second.authority == Authority[grounds.authority.upper()]
    assert second.durable == (grounds.authority != "hot")
    assert (second.found, second.hot, second.hot_until) == (True, True, None)
    gone = await memory.delete(key)
    assert gone.version > second.version
    assert (gone.found, gone.expires) == (True, None)
    back = await memory.set(key, 3)
    assert back.version > gone.version  # also over deletion


async def test_a_write_overwrites_and_all_clients_see_it(grounds: Grounds) -> None:
    one, two = await grounds.open(), await grounds.open()
    key = grounds.key()
    for number, (writer, reader) in enumerate([(one, two), (two, one), (one, one), (two, one)]):
        await writer.set(key, number)
        assert await reader.get(key) == number
        assert await writer.get(key) == number


async def test_deleted_keys_are_gone_for_all(grounds: Grounds) -> None:
    one, two = await grounds.open(), await grounds.open()
    key = grounds.key()
    await one.set(key, "value")
    assert await two.get(key) == "value"
    gone = await one.delete(key)
    for memory in (one, two):
        assert await memory.get(key, default="default") == "default"
        assert not await memory.exists(key)
        missed = await memory.lookup(key)
        assert isinstance(missed, Miss)
        assert missed.version in (0, gone.version)
        with pytest.raises(KeyError):
            await memory.ttl(key)


async def test_deleting_and_touching_what_is_not_there_finds_nothing(each: Grounds) -> None:
    memory = await each.open()
    for result in (await memory.delete(each.key()), await memory.touch(each.key(), ttl=60)):
        assert (result.found, result.version) == (False, 0)
    assert not await memory.exists(each.key())


@pytest.mark.parametrize("ttl", [HOUR, 3600, 3600.0])
async def test_lifetimes_in_seconds_and_as_timedelta(some: Grounds, ttl: Any) -> None:
    memory = await some.open()
    written = await memory.set(some.key(), 1, ttl=ttl)
    assert close_to(await memory.ttl(some.key()), HOUR)
    assert written.expires is not None
    assert close_to(written.expires - datetime.now(UTC), HOUR)
    looked = await hit(memory, some.key())
    assert looked.record.expires == written.expires


async def test_lifetimes_given_left_out_and_none(each: Grounds) -> None:
    rules = MemoryRules(hot_ttl_seconds=600, warm_ttl_seconds=7200)
    memory = await each.open(rules=rules)
    usual = timedelta(seconds=600 if each.authority == "hot" else 7200)
    await memory.set(each.key("by the rules"), 1)
    await memory.set(each.key("given"), 1, ttl=HOUR)
    forever = await memory.set(each.key("for ever"), 1, ttl=None)
    await memory.set_many({each.key("many"): 1}, ttl=timedelta(hours=3))
    await memory.set_many({each.key("many by the rules"): 1})
    other = await each.open(rules=MemoryRules(hot_ttl_seconds=None))
    for reader in (memory, other):
        assert close_to(await reader.ttl(each.key("by the rules")), usual)
        assert close_to(await reader.ttl(each.key("given")), HOUR)
        assert await reader.ttl(each.key("for ever")) is None
        assert close_to(await reader.ttl(each.key("many")), timedelta(hours=3))
        assert close_to(await reader.ttl(each.key("many by the rules")), usual)
    assert forever.expires is None


async def test_touch_gives_a_new_lifetime_and_leaves_the_value(grounds: Grounds) -> None:
    one, two = await grounds.open(), await grounds.open()
    key = grounds.key()
    first = await one.set(key, {"kept": True}, ttl=60, tags={"a": "b"}, media_type="text/x")
    assert await two.get(key) == {"kept": True}
    touched = await two.touch(key, ttl=HOUR)
    assert touched.found
    assert touched.version > first.version
    for memory in (one, two):
        assert close_to(await memory.ttl(key), HOUR)
        looked = await hit(memory, key)
        assert looked.value == {"kept": True}
        assert (looked.record.tags, looked.record.media_type) == ({"a": "b"}, "text/x")
    assert (await one.touch(key, ttl=None)).found
    for memory in (one, two):
        assert await memory.ttl(key) is None
    await one.delete(key)
    assert not (await two.touch(key, ttl=HOUR)).found
    assert not await two.exists(key)


async def test_tags_and_media_type(each: Grounds) -> None:
    one, two = await each.open(), await each.open()
    key = each.key()
    tags = {"kind": "profile", "ü": ""}
    await one.set(key, "<a/>", tags=tags, media_type="application/xml")
    await one.set_many({each.key("many"): 1}, tags=tags)
    for memory in (one, two):
        record = (await hit(memory, key)).record
        assert (record.tags, record.media_type) == (tags, "application/xml")
        assert (await hit(memory, each.key("many"))).record.tags == tags
    listed = {item.key.name: item.tags for item in await one.list(scope="scope", tenant=each.tenant)}
    assert listed == {"name": tags, "many": tags}
    await two.set(key, "<b/>")
    assert (await hit(one, key)).record.tags == {}  # a new record has its own


async def test_lookup_tells_the_whole_record(grounds: Grounds) -> None:
    memory = await grounds.open()
    key = grounds.key()
    before = datetime.now(UTC)
    first = await memory.set(key, 1)
    second = await memory.set(key, 2)
    for _ in range(2):
        looked = await hit(memory, key)
        assert (looked.value, looked.version) == (2, second.version)
        assert looked.tier == (MemoryTier.HOT if "hot" in grounds.tiers else MemoryTier(grounds.authority))
        assert (looked.stale, looked.bound) == (False, "")
        assert 0 <= looked.age_ms < NEAR // timedelta(milliseconds=1)
        assert looked.record.key == key
        assert looked.record.created is not None
        assert looked.record.modified is not None
        assert before - timedelta(seconds=3) <= looked.record.created <= looked.record.modified
    assert isinstance(await memory.lookup(grounds.key("absent")), Miss)
    assert first.version < second.version


# --- conditions --------------------------------------------------------------------------------------------------------


async def test_if_absent_writes_once(grounds: Grounds) -> None:
    one, two = await grounds.open(), await grounds.open()
    key = grounds.key()
    first = await one.set(key, "first", if_absent=True)
    for memory in (one, two):
        with pytest.raises(Conflict) as refused:
            await memory.set(key, "second", if_absent=True)
        assert refused.value.version in (0, first.version)
    assert await two.get(key) == "first"
    await one.delete(key)
    again = await two.set(key, "again", if_absent=True)  # a tombstone is no value
    assert again.version > first.version
    assert await one.get(key) == "again"


async def test_if_version_writes_onto_that_version_alone(grounds: Grounds) -> None:
    one, two = await grounds.open(), await grounds.open()
    key = grounds.key()
    first = await one.set(key, 1)
    second = await two.set(key, 2, if_version=first.version)
    for memory in (one, two):
        with pytest.raises(Conflict) as refused:
            await memory.set(key, 3, if_version=first.version)
        assert refused.value.version == second.version
        with pytest.raises(Conflict):
            await memory.delete(key, if_version=first.version)
        with pytest.raises(Conflict):
            await memory.set(key, 3, if_version=second.version + 1)
        assert await memory.get(key) == 2
    gone = await one.delete(key, if_version=second.version)
    assert gone.version > second.version
    assert await two.get(key) is None
    with pytest.raises(Conflict):
        await two.set(key, 3, if_version=second.version)
    with pytest.raises(Conflict):
        await two.set(grounds.key("never"), 3, if_version=1)
    assert await one.get(key) is None


async def test_a_refused_write_leaves_hot_as_it_was(above: Grounds) -> None:
    memory = await above.open()
    key = above.key()
    first = await memory.set(key, 1)
    with pytest.raises(Conflict):
        await memory.set(key, 2, if_version=first.version + 1)
    assert await memory.get(key) == 1
    assert memory.stats()["client"]["recovery_queue"] == 0


# --- many --------------------------------------------------------------------------------------------------------------


async def test_many_keys_at_once(grounds: Grounds) -> None:
    one, two = await grounds.open(), await grounds.open()
    keys = [grounds.key(f"{number}", scope=f"scope {number % 3}") for number in range(120)]
    written = await one.set_many({key: number for number, key in enumerate(keys)})
    assert (len(written), written.errors, written.missing) == (120, {}, [])
    assert all(result.version > 0 and result.hot for result in written.values())
    found = await two.get_many([*keys, grounds.key("absent"), keys[0]])
    assert dict(found) == {key: number for number, key in enumerate(keys)}
    assert found.missing == [grounds.key("absent")]
    assert found.raise_errors() is found
    gone = await two.delete_many([*keys[:50], grounds.key("absent")])
    assert set(gone) == set(keys[:50])
    assert gone.missing == [grounds.key("absent")]
    left = await one.get_many(keys)
    assert (list(left), left.missing) == (keys[50:], keys[:50])


async def test_nothing_at_once(some: Grounds) -> None:
    memory = await some.open()
    assert (await memory.get_many([])) == {}
    assert (await memory.set_many({})) == {}
    assert (await memory.delete_many([])) == {}


async def test_plain_strings_are_keys_of_the_default_tenant(some: Grounds) -> None:
    memory = await some.open()
    name, other = f"{some.tenant} plain", f"{some.tenant} other"
    await memory.set(name, 1)
    await memory.set_many({other: 2})
    assert await memory.get(Key.of(name)) == 1
    assert await memory.get_many([name, other, some.key()]) == {name: 1, other: 2}
    assert [item.key for item in await memory.list(name)] == [Key.of(name)]
    await memory.delete_many([name, other])
    assert (await memory.list(some.tenant)).items == []


# --- a scope's own memory ------------------------------------------------------------------------------------------------


async def chunks(*parts: bytes) -> Any:
    for part in parts:
        yield part


async def test_a_scoped_memory_has_every_verb(grounds: Grounds) -> None:
    memory = await grounds.open()
    mine = memory.scoped(tenant=grounds.tenant, scope="mine")
    other = memory.scoped(tenant=grounds.tenant, scope="other")
    written = await mine.set("a", {"x": 1}, ttl=HOUR, tags={"t": "1"}, media_type="m")
    assert written.key == mine.key("a") == Key(grounds.tenant, "mine", "a")
    assert await mine.get("a") == {"x": 1}
    assert await mine.get("a", type=dict[str, int]) == {"x": 1}
    assert await mine.get("b", default=0) == 0
    assert isinstance(await mine.lookup("a"), Hit)
    assert await mine.exists("a")
    assert not await other.exists("a")
    assert close_to(await mine.ttl("a"), HOUR)
    with pytest.raises(Conflict):
        await mine.set("a", 2, if_absent=True)
    await mine.set("a", {"x": 2}, if_version=written.version)
    assert (await mine.touch("a", ttl=None)).found
    assert await mine.ttl("a") is None
    assert set(await mine.set_many({"b": 2, "c": 3}, ttl=HOUR, tags={})) == {"b", "c"}
    batch = await mine.get_many(["b", "c", "d"])
    assert (dict(batch), batch.missing, batch.errors) == ({"b": 2, "c": 3}, ["d"], {})
    assert [item.key.name for item in await mine.list()] == ["a", "b", "c"]
    assert [item.key.name for item in await mine.list("c", limit=5)] == ["c"]
    assert (await other.list()).items == []
    assert await mine.update("n", lambda n: n + 1, default=0, ttl=HOUR) == 1
    assert await mine.increment("n", 5) == 6
    assert await mine.append("l", "x", "y", keep=1) == 1
    await mine.set_stream("s", chunks(b"ab", b"c"), tags={"s": "1"}, media_type="text/plain")
    assert b"".join([chunk async for chunk in mine.stream("s")]) == b"abc"
    assert set(await mine.delete_many(["b", "c"])) == {"b", "c"}
    assert (await mine.delete("a")).found
    assert [item.key.name for item in await mine.list()] == ["l", "n", "s"]


async def test_a_scoped_memory_takes_no_keys(some: Grounds) -> None:
    memory = await some.open()
    mine = memory.scoped(scope="mine")
    assert mine.tenant == "default"
    for key in (some.key(), 1, None):
        with pytest.raises(InvalidKey):
            await mine.get(key)  # type: ignore[arg-type]
    for scope in ("", "x" * 1001):
        with pytest.raises(InvalidKey):
            memory.scoped(scope=scope)


# --- update, increment, append ---------------------------------------------------------------------------------------------


async def test_update_keeps_expiry_and_tags(each: Grounds) -> None:
    memory = await each.open()
    key = each.key()
    await memory.set(key, [1], ttl=HOUR, tags={"a": "b"}, media_type="x/y")
    assert await memory.update(key, lambda value: [*value, 2]) == [1, 2]
    record = (await hit(memory, key)).record
    assert (record.tags, record.media_type) == ({"a": "b"}, "x/y")
    assert close_to(await memory.ttl(key), HOUR)
    assert await memory.append(key, 3) == 3
    assert close_to(await memory.ttl(key), HOUR)
    await memory.update(key, lambda value: value, ttl=timedelta(hours=2))
    assert close_to(await memory.ttl(key), timedelta(hours=2))
    await memory.update(key, lambda value: value, ttl=None)
    assert await memory.ttl(key) is None


async def test_update_begins_with_the_default(each: Grounds) -> None:
    memory = await each.open()
    seen: list[Any] = []

    def note(value: Any) -> Any:
        seen.append(value)
        return None

    assert await memory.update(each.key(), note, default="default") is None
    assert await memory.update(each.key(), note, default="default") is None  # None is a value
    assert seen == ["default", None]
    assert await memory.increment(each.key("n"), initial=40, by=2) == 42
    assert await memory.increment(each.key("n"), 0.5) == 42.5
    assert await memory.append(each.key("l"), 1, 2, 3, keep=2) == 2
    assert await memory.get(each.key("l")) == [2, 3]


async def test_what_an_update_raises_leaves_the_value(some: Grounds) -> None:
    memory = await some.open()
    await memory.set(some.key(), 1)
    with pytest.raises(ZeroDivisionError):
        await memory.update(some.key(), lambda value: 1 // 0)
    with pytest.raises(InvalidArgument):
        await memory.append(some.key(), 1, keep=0)
    assert await memory.get(some.key()) == 1
