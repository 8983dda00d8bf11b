"""The change feed ends what killed writers left behind, and loses and doubles nothing when its worker is killed: P3 and P4 over processes."""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.integration.feed.world import FeedWorld, lease_container, poison_of, worker_settings
from tests.promises.nursery import Nursery

from thermocline.feed import Settling
from thermocline.model import Key
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer

pytestmark = pytest.mark.timeout(300)  # it takes long, and longer where others have the machine

KILLS = 20
MOST_STEPS = 9  # of a round with a few documents: look at the numbers that this test prints when it changes
SWEEPS_KILLED = 6


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.fixture
async def feed(
    redis_server: RedisServer,
    own_cosmos: CosmosServer,
    azurite: Azurite,
    control: CosmosControl,
    unique_name: Any,
) -> AsyncIterator[FeedWorld]:
    made = FeedWorld(redis_server.url, own_cosmos, azurite, unique_name("feed").lower().replace("_", "-"))
    await lease_container(made)
    yield made
    await made.close()


def worker(world: FeedWorld, **given: Any) -> dict[str, Any]:
    return {
        "job": "worker",
        "settings": worker_settings(world),
        "blob": world.azurite.blob_url,
        "blob_key": world.azurite.key,
        "name": world.name,
        **given,
    }


@pytest.mark.parametrize("verb", ["set", "delete"])
@pytest.mark.parametrize("step", ["after write", "before publish"])
async def test_a_writer_killed_before_it_told_hot_is_followed_by_the_feed(
    feed: FeedWorld, nursery: Nursery, verb: str, step: str
) -> None:
    key = feed.key()
    author = await feed.open()
    await author.set(key, "old")
    job = {
        "redis": feed.redis_url,
        "cosmos": feed.cosmos.url,
        "cosmos_key": feed.cosmos.key,
        "blob": feed.azurite.blob_url,
        "blob_key": feed.azurite.key,
        "name": feed.name,
        "key": [key.tenant, key.scope, key.name],
    }
    ended = await nursery.run(**job, verb=verb, value="new", die_at=step, known=True)
    assert ended.killed
    settling = Settling(await feed.open(), await feed.letters())

    await settling.settle(await feed.feed())

    expected = "new" if verb == "set" else None
    for _ in range(3):
        assert await (await feed.open()).get(key) == expected


class Truth:
    """What hot holds and what the authority has: each key old in hot, newer below."""

    def __init__(self, world: FeedWorld, rng: random.Random) -> None:
        self._world, self._rng = world, rng
        self.newest: dict[Key, int] = {}
        self.poisoned = 0

    async def leave_behind(self, turn: int) -> None:
        """As dead writers do: a few keys whose newest version hot was not told of, and now and then poison among them."""
        author, silent = await self._world.open(), await self._world.open(hot=None)
        for key in [self._world.key(f"k{n}", scope=f"s{n % 8}") for n in self._rng.sample(range(24), 5)]:
            await author.set(key, ["hot", turn])
            await silent.set(key, turn)
            self.newest[key] = turn
            assert await author.get(key) == ["hot", turn]
        if turn % 3 == 0:
            self.poisoned += 1
            await self._world.put_raw(poison_of(self._world.key(f"poison{turn}", scope=f"s{turn % 8}")))


async def test_a_worker_killed_at_twenty_points_loses_and_doubles_nothing(feed: FeedWorld, nursery: Nursery) -> None:
    rng = random.Random(20)
    truth = Truth(feed, rng)
    killed: list[str] = []
    turn = 0
    while len(killed) < KILLS:
        turn += 1
        assert turn < 3 * KILLS, f"the workers ended before they were killed: {killed}"
        await truth.leave_behind(turn)
        ended = await nursery.run(**worker(feed, die_at=rng.randint(1, MOST_STEPS)))
        assert ended.killed or ended.acknowledged == 1
        if ended.killed:
            killed.append(ended.steps[-1])
    ended = await nursery.run(**worker(feed))
    assert ended.acknowledged == 1

    reader = await feed.open()
    assert await reader.get_many([*truth.newest]) == truth.newest
    letters = await feed.all_letters()
    assert len(letters) == truth.poisoned
    assert len({*killed}) >= 5, f"the kills were all at the same points: {killed}"


async def test_a_sweep_of_the_worker_killed_is_taken_up_by_the_next(feed: FeedWorld, nursery: Nursery) -> None:
    rng = random.Random(6)
    author = await feed.open(cold=feed.cold())
    values = {feed.key(f"k{n}", scope=f"s{n % 4}"): rng.randbytes(3_000) for n in range(12)}
    await author.set_many(values)
    killed = 0
    for turn in range(3 * SWEEPS_KILLED):
        ended = await nursery.run(**worker(feed, work="sweep", die_at=rng.randint(1, 20), shift=90.0 * turn))
        assert ended.killed or ended.acknowledged == 1
        killed += ended.killed
        if killed == SWEEPS_KILLED:
            break
    ended = await nursery.run(**worker(feed, work="sweep", shift=90.0 * 3 * SWEEPS_KILLED))
    assert ended.acknowledged == 1

    reader = await feed.open(hot=None, cold=feed.cold())
    assert await reader.get_many([*values]) == values
    flags: list[Any] = [
        one async for one in feed.container().query_items("SELECT VALUE c.r.f FROM c WHERE STARTSWITH(c.id, 'tc1.')")
    ]
    assert flags == [4] * len(values)  # each was demoted, once: a pointer
    assert killed >= 3
