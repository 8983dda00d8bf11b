"""Ceilings and rules through every verb that writes, on every tier as the authority; the record itself says when it ends, so every client agrees."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.client.grounds import Grounds, noise

from thermocline import Ceiling, Lifetime, LifetimeRule, Lifetimes, MemoryClient
from thermocline.client.result import NOT_GIVEN, NotGiven, WriteResult
from thermocline.errors import InvalidArgument
from thermocline.model import Hit, Key, Record
from thermocline.protocols import Verb

MINUTE = timedelta(minutes=1)
PII = {"class": "pii"}


def limits(grounds: Grounds) -> Lifetimes:
    """A minute for this test's tenant, half of it for a class of data."""
    return Lifetimes(ceilings=[Ceiling(MINUTE, tenant=grounds.tenant), Ceiling(MINUTE / 2, tag=("class", "pii"))])


async def record(memory: MemoryClient, key: Key) -> Record:
    found = await memory.lookup(key)
    assert isinstance(found, Hit)
    return found.record


async def lives(memory: MemoryClient, key: Key) -> timedelta | None:
    """From its value's write to its end, as a reader sees it."""
    kept = await record(memory, key)
    assert kept.modified is not None
    return kept.expires - kept.modified if kept.expires is not None else None


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("ttl", [NOT_GIVEN, None, 3600], ids=["none", "for ever", "an hour"])
async def test_no_verb_writes_beyond_the_ceiling(each: Grounds, ttl: int | NotGiven | None) -> None:
    memory, other = await each.open(lifetimes=limits(each)), await each.open()
    keys = {
        name: each.key(name) for name in ("set", "tagged", "one", "two", "stream", "update", "sum", "list", "large")
    }
    written: list[WriteResult] = [
        await memory.set(keys["set"], 1, ttl=ttl),
        await memory.set(keys["large"], noise(200_000), ttl=ttl),
        *(await memory.set_many({keys["one"]: 1, keys["two"]: 2}, ttl=ttl)).values(),
        await memory.set_stream(keys["stream"], chunks(b"one", b"two"), ttl=ttl),
    ]
    tagged = await memory.set(keys["tagged"], 1, ttl=ttl, tags=PII)
    for _ in range(2):  # it makes them, and it finds them
        await memory.update(keys["update"], lambda value: value, default=1, ttl=ttl)
        await memory.increment(keys["sum"], ttl=ttl)
        await memory.append(keys["list"], "item", ttl=ttl)
        assert await memory.increment(keys["tagged"], ttl=ttl)  # which keeps the tags
    for result in [*written, tagged]:  # the result tells
        kept = await record(other, result.key)
        if result.key != tagged.key:
            assert result.expires == kept.expires
    for name, key in keys.items():
        most, kept = MINUTE / 2 if name == "tagged" else MINUTE, await record(other, key)
        # an update without a lifetime keeps the end that the first write gave; every other write begins anew
        begin = kept.created if ttl is NOT_GIVEN else kept.modified
        assert kept.expires is not None
        assert begin is not None
        assert kept.expires - begin == most, name


async def test_shorter_lifetimes_are_left_as_they_are(each: Grounds) -> None:
    memory, key = await each.open(lifetimes=limits(each)), each.key()
    await memory.set(key, 1, ttl=10)
    assert await lives(memory, key) == timedelta(seconds=10)
    touched = await memory.touch(key, ttl=20)
    kept = await record(memory, key)
    assert touched.expires == kept.expires
    assert await lives(memory, key) == timedelta(seconds=20)
    await memory.increment(key)
    assert (await record(memory, key)).expires == kept.expires


@pytest.mark.parametrize("ttl", [None, 3600, timedelta(days=365_250)], ids=["for ever", "an hour", "the longest"])
async def test_touch_ends_with_creation_and_ceiling(each: Grounds, ttl: timedelta | int | None) -> None:
    memory = await each.open(lifetimes=limits(each))
    for tags, most in ((None, MINUTE), (PII, MINUTE / 2)):
        key = each.key(f"{most}")
        written = await memory.set(key, "kept", ttl=10, tags=tags)
        touched = await memory.touch(key, ttl=ttl)
        kept = await record(memory, key)
        assert touched.found
        assert kept.version == touched.version > written.version
        assert kept.created is not None
        assert kept.expires == touched.expires == kept.created + most
        again = await memory.touch(key, ttl=ttl)
        assert again.expires == touched.expires
        assert await memory.get(key) == "kept"


async def test_touch_of_what_is_not_there_finds_nothing(each: Grounds) -> None:
    memory, key = await each.open(lifetimes=limits(each)), each.key()
    assert not (await memory.touch(key, ttl=None)).found
    await memory.set(key, 1)
    await memory.delete(key)
    assert not (await memory.touch(key, ttl=None)).found
    assert await memory.get(key, default="gone") == "gone"


async def test_record_from_before_the_ceiling_is_shortened_by_a_touch(each: Grounds) -> None:
    before, memory, key = await each.open(), await each.open(lifetimes=limits(each)), each.key()
    await before.set(key, 1, ttl=None)
    assert (await record(memory, key)).expires is None
    await memory.touch(key, ttl=None)
    kept = await record(before, key)
    assert kept.created is not None
    assert kept.expires == kept.created + MINUTE


async def test_touches_beside_writers_go_beyond_no_value(whole: Grounds) -> None:
    """Each touch is of the record that it read: one that another writer replaced meanwhile is read again."""
    clients = [await whole.open(lifetimes=limits(whole)) for _ in range(3)]
    key = whole.key()
    await clients[0].set(key, 0, tags=PII)

    async def write(memory: MemoryClient) -> None:
        for n in range(8):
            await memory.set(key, n, ttl=None, tags=PII if n % 2 else None)

    async def touch(memory: MemoryClient) -> None:
        for _ in range(8):
            assert (await memory.touch(key, ttl=None)).found

    await asyncio.gather(write(clients[0]), touch(clients[1]), touch(clients[2]))
    await clients[0].set(key, "last", ttl=5, tags=PII)
    await asyncio.gather(touch(clients[1]), touch(clients[2]))
    kept = await record(clients[0], key)
    assert kept.value == "last"
    assert kept.expires is not None
    assert kept.modified is not None
    assert kept.expires <= kept.modified + MINUTE / 2


async def test_rules_give_what_a_write_leaves_out(each: Grounds) -> None:
    lifetimes = Lifetimes(
        [
            LifetimeRule(prefix="", lifetime=Lifetime(100)),
            LifetimeRule(scope_prefix="user/", lifetime=Lifetime(200)),
            LifetimeRule(tag=("class", "pii"), lifetime=Lifetime(300)),
            LifetimeRule(prefix="kept", lifetime="catalogue_snapshot"),
            LifetimeRule(prefix="session", lifetime="session"),
        ]
    )
    memory = await each.open(lifetimes=lifetimes)
    plain, user, tagged = each.key("n"), each.key("n", "user/1"), each.key("tagged", "user/1")
    kept, session = each.key("kept"), each.key("session")
    for key in (plain, user, kept, session):
        await memory.set(key, 1)
    await memory.set(tagged, 1, tags=PII)
    found = [await lives(memory, key) for key in (plain, user, tagged, kept)]
    assert found == [timedelta(seconds=100), timedelta(seconds=200), timedelta(seconds=300), None]
    in_hot = each.authority == "hot"  # where its copies are the records
    assert await lives(memory, session) == (timedelta(minutes=5) if in_hot else None)
    ends = (await record(memory, tagged)).expires
    await memory.increment(tagged)  # which keeps it
    assert (await record(memory, tagged)).expires == ends
    await memory.set(plain, 1, ttl=5)
    assert await lives(memory, plain) == timedelta(seconds=5)


async def test_sliding_record_is_renewed_wherever_it_lies(each: Grounds) -> None:
    """Two seconds of real time for each tier; a manual clock goes through the rest in tests/unit/test_lifetimes_sliding.py."""
    lifetimes = Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(3600, sliding=True))])
    memory, other, key = await each.open(lifetimes=lifetimes), await each.open(), each.key()
    written = await memory.set(key, "kept")
    header = (await other.lookup(key)).record  # type: ignore[union-attr]
    assert header.modified is not None
    memory._engine.skew_ms += 2_000_000  # this client's time is later: more than half of the hour has passed
    assert await memory.get(key) == "kept"
    await asyncio.gather(*memory._touches._renewing.values())
    kept = await record(other, key)
    assert memory.stats()["client"]["renewals"] == 1
    assert kept.version > written.version
    assert kept.expires is not None
    assert header.expires is not None
    assert timedelta(seconds=2000) <= kept.expires - header.expires < timedelta(seconds=2060)
    assert await memory.get(key) == "kept"


async def test_bad_tags_are_refused_in_words_beside_rules_by_tag(each: Grounds) -> None:
    memory = await each.open(lifetimes=limits(each))
    with pytest.raises(InvalidArgument, match="tags"):
        await memory.set(each.key(), 1, tags=["class"])  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="ttl"):
        await memory.touch(each.key(), ttl=0)


@pytest.mark.parametrize("ttl", [NOT_GIVEN, None, 3600], ids=["none", "for ever", "an hour"])
async def test_value_in_one_tier_alone_keeps_the_ceiling_too(whole: Grounds, ttl: int | NotGiven | None) -> None:
    memory, key = await whole.open(lifetimes=limits(whole)), whole.key()
    for tier in ("hot", "cold"):
        before = memory._engine.now_ms()
        written = await memory.set(key, 1, ttl=ttl, tier=tier)
        after = memory._engine.now_ms()
        assert written.expires is not None
        assert before <= round((written.expires - MINUTE).timestamp() * 1000) <= after
        assert await memory.get(key, tier=tier) == 1


async def test_whatever_writes_a_record_keeps_the_ceiling(each: Grounds) -> None:
    """Also what takes over an old copy, or brings one back from elsewhere, with the times that it had there."""
    memory, key = await each.open(lifetimes=limits(each)), each.key()
    engine = memory._engine
    plan, deadline = engine.routes.route(key), engine.budget.call(None)
    written_ms = engine.now_ms() - 20_000
    envelope = engine.codec.encode(key, "old", now_ms=written_ms, expires_ms=0, tags=PII)
    intent = await memory._writer.intent(Verb.PUT, envelope, plan, deadline)
    await memory._writer.carry_out(intent, deadline)
    assert await lives(memory, key) == MINUTE / 2
    assert (await memory.ttl(key) or MINUTE) <= timedelta(seconds=10)
