"""Batches of the change feed, as the official SDK gives them, settled in a real Redis; what cannot be is set aside in a container of the real shape."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.integration.feed.world import FeedWorld, poison_of, soon, written_behind_hot
from tests.promises.world import DATABASE, roomy

from thermocline import MemoryClient
from thermocline.clock import SYSTEM_CLOCK
from thermocline.errors import ConfigurationError, CorruptRecord, InvalidArgument, TierUnavailable
from thermocline.feed import Replay, Settling, letters_of
from thermocline.keys import from_cosmos_id
from thermocline.letters import Cause, Letter, LetterFilter
from thermocline.model import Key
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.pytest_plugin import MakeProxy
from thermocline.testing.rig import RedisServer
from thermocline.tiers.warm.letters import CosmosLetters


async def no_pause(seconds: float) -> None:
    """Time is not what is tested."""


async def settling(world: FeedWorld, client: Any = None, letters: Any = None, **options: Any) -> Settling:
    client = client if client is not None else await world.open()
    letters = letters if letters is not None else await world.letters()
    return Settling(client, letters, pause=no_pause, **options)


async def test_the_feed_ends_what_a_dead_writer_left_behind(world: FeedWorld) -> None:
    keys = [world.key(f"k{n}", scope=f"s{n % 3}") for n in range(7)]
    await written_behind_hot(world, *keys)
    worker = await settling(world)

    done = await worker.settle(await world.feed())

    reader = await world.open()
    assert await reader.get_many(keys) == dict.fromkeys(keys, "new")
    assert (done.settled, done.skipped, done.without_hot, done.set_aside) == (7, 0, 0, [])
    worker.close()


async def test_hot_gets_no_value_from_the_feed(world: FeedWorld) -> None:
    """It would bring in what nobody reads, and without a lease a value that is older than what a reader is about to see."""
    key = world.key()
    await written_behind_hot(world, key)

    await (await settling(world)).settle(await world.feed())
    assert (await world.state_in_hot(key)).startswith("resting")

    await world.evict(key)
    await (await settling(world)).settle(await world.feed())
    assert await world.state_in_hot(key) == "absent"


async def test_twice_in_any_order_and_late_changes_nothing(world: FeedWorld) -> None:
    """At least once, and never in order over partitions: old versions of a key change nothing about its newest in hot."""
    keys = [world.key(f"k{n}") for n in range(5)]
    author = await world.open()
    history: list[dict[str, Any]] = []
    for round_ in range(4):
        for key in keys:
            await author.set(key, f"{key.name} {round_}")
        history += await world.feed()
    before = {key: await world.in_hot(key) for key in keys}
    worker = await settling(world)
    rng = random.Random(6)

    for _ in range(3):
        documents = [*history, *history]
        rng.shuffle(documents)
        for at in range(0, len(documents), 7):
            done = await worker.settle(documents[at : at + 7])
            assert done.set_aside == []

    assert {key: await world.in_hot(key) for key in keys} == before
    assert None not in before.values()


async def test_duplicates_in_a_batch_are_one_word_at_the_highest_version(world: FeedWorld) -> None:
    key = world.key()
    author = await world.open()
    documents = []
    for n in range(3):
        await author.set(key, n)
        documents += await world.feed()
    client = await world.open()
    worker = await settling(world, client)
    before = client.stats().get("hot", {}).get("requests", 0)

    done = await worker.settle([documents[2], documents[0], documents[1], documents[0]])

    assert done.settled == 4
    assert client.stats()["hot"]["requests"] - before <= 2  # EVALSHA, and EVAL where Redis does not know the script yet
    assert await author.get(key) == 2


async def test_a_tombstone_and_an_expired_record_are_versions_like_others(world: FeedWorld) -> None:
    gone, short = world.key("gone"), world.key("short")
    author, silent = await world.open(), await world.open(hot=None)
    for key in (gone, short):
        await author.set(key, "old")
    await silent.delete(gone)
    await silent.set(short, "brief", ttl=timedelta(milliseconds=1))
    assert await author.get(gone) == "old"

    await (await settling(world)).settle(await world.feed())

    reader = await world.open()
    assert await reader.get(gone) is None
    assert await reader.get(short) is None


async def test_what_else_lies_in_the_container_is_skipped(world: FeedWorld) -> None:
    client = await world.open()
    await client.set(world.key(), 1)
    warm: Any = client.warm
    await warm.write_note("sweeps/place", b"here", deadline=soon())
    await warm.raise_epoch()
    await warm.upsert({"id": "own", "tenant": world.name, "scope": "scope", "text": "a program's document"})
    documents = await world.feed()
    assert len(documents) == 4

    done = await (await settling(world)).settle(documents)

    assert (done.settled, done.skipped, done.set_aside) == (1, 3, [])


async def test_poison_in_the_middle_is_set_aside_once_and_the_rest_is_settled(world: FeedWorld) -> None:
    keys = [world.key(f"k{n}") for n in range(6)]
    await written_behind_hot(world, *keys)
    await world.put_raw(poison_of(world.key("poison")))
    await world.put_raw(poison_of(world.key("newer"), r={"z": 2}, v=None))
    documents = await world.feed()
    documents.insert(3, documents.pop())
    worker = await settling(world)

    done = await worker.settle(documents)
    again = await worker.settle(documents)  # at least once

    reader = await world.open()
    assert await reader.get_many(keys) == dict.fromkeys(keys, "new")
    assert done.settled == again.settled == 6
    assert len(done.set_aside) == 2
    letters = {letter.document["n"]: letter for letter in await world.all_letters()}
    assert set(letters) == {"poison", "newer"}
    assert (letters["poison"].cause, letters["newer"].cause) == (Cause.CORRUPT, Cause.UNREADABLE)
    assert "no version" in letters["poison"].error
    assert (letters["poison"].key, letters["poison"].version) == (world.key("poison"), 0)
    assert letters["poison"].partition == (world.name, "scope")
    assert worker.stats.get("feed_settled", "client") == 12
    assert worker.stats.get("feed_set_aside", "client") == 4


async def test_a_letter_holds_no_value(world: FeedWorld) -> None:
    secret = "what a person said"
    await (await world.open()).set(world.key(), {"text": secret}, tags={"mood": secret})
    (item,) = await world.feed()
    await world.put_raw(item | {"v": -1, "also": secret})

    await (await settling(world)).settle(await world.feed())

    (stored,) = [one async for one in world.container(world.letters_container).read_all_items()]
    assert stored["document"]["id"] == item["id"]
    assert secret not in str(stored)


async def test_a_damaged_value_is_settled_for_its_version_is_what_hot_must_know(world: FeedWorld) -> None:
    key = world.key()
    await written_behind_hot(world, key)
    (item,) = await world.feed()
    await world.put_raw(item | {"r": item["r"] | {"k": 1}})

    done = await (await settling(world)).settle(await world.feed())

    assert (done.settled, done.set_aside) == (1, [])
    assert (await world.state_in_hot(key)).startswith("resting")


async def test_a_newer_format_is_settled_if_its_version_can_be_read(world: FeedWorld) -> None:
    key = world.key()
    await written_behind_hot(world, key)
    (item,) = await world.feed()
    await world.put_raw(item | {"r": {"z": 9, "everything": "else"}})

    done = await (await settling(world)).settle(await world.feed())

    assert (done.settled, done.set_aside) == (1, [])
    assert await world.in_hot(key) is None


async def test_hot_as_a_whole_down_sets_nothing_aside_and_the_batch_comes_again(
    world: FeedWorld, chaos_proxy: MakeProxy, redis_server: RedisServer
) -> None:
    keys = [world.key(f"k{n}") for n in range(4)]
    await written_behind_hot(world, *keys)
    proxy = await chaos_proxy(redis_server.url)
    client = await world.open(hot=world.hot(proxy.url))
    worker = await settling(world, client, attempts=3)
    documents = await world.feed()
    proxy.refuse()
    proxy.cut()

    for _ in range(2):
        with pytest.raises(TierUnavailable):
            await worker.settle(documents)
    assert await world.all_letters() == []

    proxy.restore()
    done = await worker.settle(documents)
    assert (done.settled, done.set_aside) == (4, [])
    assert await (await world.open()).get_many(keys) == dict.fromkeys(keys, "new")


async def test_hot_that_only_reads_is_down_and_nothing_is_set_aside(world: FeedWorld) -> None:
    """As a replica or a server that cannot save its data: it answers reads, and takes no word."""
    keys = [world.key(f"k{n}") for n in range(4)]
    redis = RedisServer()
    async with AsyncExitStack() as running:
        await asyncio.to_thread(redis.start)
        running.push_async_callback(asyncio.to_thread, redis.stop)
        raw = await running.enter_async_context(Redis.from_url(redis.url))
        author = await running.enter_async_context(
            MemoryClient(hot=world.hot(redis.url), warm=world.warm(), budget=roomy())
        )
        await author.set_many(dict.fromkeys(keys, 1))
        worker = await settling(world, author, attempts=2)
        documents = await world.feed()
        await raw.config_set("min-replicas-to-write", 1)

        with pytest.raises(TierUnavailable, match="takes no writes"):
            await worker.settle(documents)
        assert await world.all_letters() == []

        await raw.config_set("min-replicas-to-write", 0)
        before = await raw.dbsize()
        done = await worker.settle(documents)
        assert (done.settled, done.set_aside) == (4, [])
        assert await raw.dbsize() == before  # a probe leaves nothing


async def test_poison_waits_with_the_others_while_hot_is_down(
    world: FeedWorld, chaos_proxy: MakeProxy, redis_server: RedisServer
) -> None:
    await written_behind_hot(world, world.key())
    await world.put_raw(poison_of(world.key("poison")))
    proxy = await chaos_proxy(redis_server.url)
    client = await world.open(hot=world.hot(proxy.url))
    worker = await settling(world, client, attempts=1)
    proxy.refuse()
    proxy.cut()

    with pytest.raises(TierUnavailable):
        await worker.settle(await world.feed())

    proxy.restore()
    assert len((await worker.settle(await world.feed())).set_aside) == 1


async def test_if_nothing_can_be_set_aside_the_batch_comes_again(world: FeedWorld, control: CosmosControl) -> None:
    await written_behind_hot(world, world.key())
    await world.put_raw(poison_of(world.key("poison")))
    documents = await world.feed()
    nowhere = CosmosLetters(world.cosmos.url, "promises", world.name + "-none", key=world.cosmos.key)
    world._places.append(nowhere)

    with pytest.raises(ConfigurationError, match="THERMOCLINE_DEAD_LETTERS_CONTAINER"):
        await (await settling(world, letters=nowhere)).settle(documents)

    assert await (await world.open()).get(world.key()) == "new"  # the others were settled all the same


async def test_the_container_of_the_memory_is_no_place_for_letters(world: FeedWorld) -> None:
    await world.open()  # makes it
    wrong = CosmosLetters(world.cosmos.url, "promises", world.name, key=world.cosmos.key)
    world._places.append(wrong)

    with pytest.raises(ConfigurationError, match="defaultTtl of -1"):
        await wrong.connect()


async def test_letters_are_listed_in_pages_and_by_filter(world: FeedWorld) -> None:
    client = await world.open()
    worker = await settling(world, client)
    for n in range(7):
        await world.put_raw(poison_of(world.key(f"p{n}", scope=f"s{n % 2}")))
    await worker.settle(await world.feed())
    place = await world.letters()

    seen, cursor = [], None
    while True:
        page = await place.page(LetterFilter(), limit=3, cursor=cursor, deadline=soon())
        seen += page.letters
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == len({letter.id for letter in seen}) == 7

    ones = (await place.page(LetterFilter(tenant=world.name, scope="s1"), deadline=soon())).letters
    assert {letter.partition[1] for letter in ones} == {"s1"}
    assert len(ones) == 3
    assert (await place.page(LetterFilter(cause=Cause.UNAVAILABLE), deadline=soon())).letters == []
    first = await place.page(LetterFilter(), limit=3, deadline=soon())
    with pytest.raises(InvalidArgument):
        await place.page(LetterFilter(cause=Cause.CORRUPT), limit=3, cursor=first.cursor, deadline=soon())
    assert await place.read(seen[0].id, deadline=soon()) == seen[0]
    assert await place.read("0" * 40, deadline=soon()) is None


async def test_exactly_the_letter_that_was_read_is_dropped(world: FeedWorld) -> None:
    worker = await settling(world)
    await world.put_raw(poison_of(world.key()))
    await worker.settle(await world.feed())
    (letter,) = await world.all_letters()
    await worker.settle(await world.feed())  # set aside anew: another etag
    place = await world.letters()

    assert not await place.drop(letter, deadline=soon())
    (newer,) = await world.all_letters()
    assert await place.drop(newer, deadline=soon())
    assert not await place.drop(newer, deadline=soon())


async def test_letters_lie_beside_the_memory_of_a_client(world: FeedWorld) -> None:
    place = letters_of(await world.open(), world.letters_container)
    world._places.append(place)
    await place.connect()

    assert isinstance(place, CosmosLetters)
    properties = await world.container(world.letters_container).read()
    assert properties["defaultTtl"] == 30 * 24 * 3600


async def test_a_document_that_was_mended_is_replayed(world: FeedWorld) -> None:
    key = world.key()
    await written_behind_hot(world, key)
    (item,) = await world.feed()
    await world.put_raw(item | {"v": "broken"})
    client, place = await world.open(), await world.letters()
    worker = await settling(world, client, place)
    await worker.settle(await world.feed())
    replay = Replay(client, place)

    kept = await replay.all(LetterFilter(cause=Cause.CORRUPT))
    assert [type(error) for error in kept.kept.values()] == [CorruptRecord]
    assert (kept.settled, kept.stopped) == (0, "")

    await world.put_raw(item)
    assert (await replay.all(LetterFilter(cause=Cause.CORRUPT))).settled == 1
    assert await world.all_letters() == []
    assert await (await world.open()).get(key) == "new"


async def test_replay_does_not_believe_a_replica_that_lags(world: FeedWorld, control: CosmosControl) -> None:
    """It would tell hot of an older version, and drop the letter of the newer one. A client knows how far a range has come only of those that it asked."""
    keys = [
        Key(f"{world.name}-{n}", "scope", "name") for n in range(8)
    ]  # on both sides of the split, but for 1 run in 128
    await world.open()  # makes the container
    await control.beside(control.split, DATABASE, world.name)
    await written_behind_hot(world, *keys)
    place = await world.letters()
    for n, item in enumerate(await world.feed()):
        key = from_cosmos_id(item["tenant"], item["scope"], item["id"])
        where = (key.tenant, key.scope)
        letter = Letter(f"{n:040x}", Cause.UNAVAILABLE, "", key, where, item["v"], 5, SYSTEM_CLOCK.wall_ms(), {})
        await place.put(letter, deadline=soon())
    client = await world.open()
    control.lag(milliseconds=60_000, count=20, container=world.name)

    done = await Replay(client, place).all(LetterFilter())

    assert (done.settled, done.kept) == (8, {})
    assert await (await world.open()).get_many(keys) == dict.fromkeys(keys, "new")


async def test_a_document_that_is_no_letter_stops_no_replay(world: FeedWorld) -> None:
    key = world.key()
    await written_behind_hot(world, key)
    (item,) = await world.feed()
    client, place = await world.open(), await world.letters()
    await place.put(
        Letter("f" * 40, Cause.UNAVAILABLE, "", key, (key.tenant, key.scope), item["v"], 5, 1000, {}), deadline=soon()
    )
    strange = world.container(world.letters_container)
    await strange.upsert_item({"id": "0", "cause": "unavailable"})
    await strange.upsert_item({"id": "1", "tenant": "t", "scope": "s", "cause": "unavailable"})

    assert (await Replay(client, place).all(LetterFilter(cause=Cause.UNAVAILABLE))).settled == 1
    with pytest.raises(CorruptRecord, match="drop it by its id"):
        await place.read("1", deadline=soon())
    assert await place.discard("1", deadline=soon())
    assert not await place.discard("1", deadline=soon())
