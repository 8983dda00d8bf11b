"""A Redis cluster of which one node is away: its keys are set aside, the others are settled, and the replay makes good what was set aside."""

from collections.abc import Iterator

import pytest
from redis.crc import key_slot
from tests.integration.feed.test_feed_settling import no_pause
from tests.integration.feed.world import FeedWorld

from thermocline.feed import Replay, Settling
from thermocline.keys import redis_key
from thermocline.letters import Cause, LetterFilter
from thermocline.testing.rig import RedisCluster


@pytest.fixture
def shards(no_server_left_behind: None) -> Iterator[RedisCluster]:
    """Of this test alone: it kills a node."""
    kept = {"appendonly": "yes", "appendfsync": "always"}  # what hot held is there again with the node
    with RedisCluster(masters=3, full_coverage=False, settings=kept) as cluster:
        yield cluster


async def test_one_sick_shard_does_not_stop_the_feed(world: FeedWorld, shards: RedisCluster) -> None:
    keys = [world.key(f"k{n}") for n in range(30)]
    author = await world.open(hot=world.hot(shards.url))
    silent = await world.open(hot=None)
    for key in keys:
        await author.set(key, "old")
        await silent.set(key, "new")
    node = shards.nodes[1]
    sick = {key for key in keys if shards.node_of(key_slot(redis_key(key))) is node}
    assert 0 < len(sick) < len(keys)
    client = await world.open(hot=world.hot(shards.url))
    letters = await world.letters()
    settling = Settling(client, letters, attempts=2, pause=no_pause)
    node.kill()

    done = await settling.settle(await world.feed())

    aside = await world.all_letters()
    assert {letter.key for letter in aside} == sick
    assert {letter.cause for letter in aside} == {Cause.UNAVAILABLE}
    assert done.settled == len(keys) - len(sick)
    well = [key for key in keys if key not in sick]
    assert await author.get_many(well) == dict.fromkeys(well, "new")

    node.start()
    shards.wait_until_whole()
    assert await author.get_many(sick) == dict.fromkeys(sick, "old")
    replayed = await Replay(await world.open(hot=world.hot(shards.url)), letters).all(
        LetterFilter(cause=Cause.UNAVAILABLE)
    )

    assert (replayed.settled, replayed.kept) == (len(sick), {})
    assert await world.all_letters() == []
    assert await author.get_many(keys) == dict.fromkeys(keys, "new")
