"""Many writers at once: nothing is lost, nothing is counted twice."""

import asyncio
from typing import Any

from tests.integration.client.grounds import Grounds

from thermocline.errors import Conflict

WRITERS = 20


async def test_increments_of_many_tasks_and_two_clients_all_count(grounds: Grounds) -> None:
    one, two = await grounds.open(), await grounds.open()
    key = grounds.key()
    sums = await asyncio.gather(*((one, two)[number % 2].increment(key) for number in range(WRITERS)))
    assert sorted(sums) == list(range(1, WRITERS + 1))  # each saw a sum of its own
    assert await one.get(key) == await two.get(key) == WRITERS


async def test_appends_of_many_tasks_and_two_clients_all_count(each: Grounds) -> None:
    one, two = await each.open(), await each.open()
    key = each.key()
    lengths = await asyncio.gather(*((one, two)[number % 2].append(key, number) for number in range(WRITERS)))
    assert sorted(lengths) == list(range(1, WRITERS + 1))
    assert sorted(await one.get(key)) == list(range(WRITERS))
    assert await two.get(key) == await one.get(key)


async def test_updates_beside_deletes_lose_nothing_that_was_not_deleted(each: Grounds) -> None:
    one, two = await each.open(), await each.open()
    key = each.key()
    deleted: list[Any] = []

    async def delete() -> None:
        for _ in range(3):
            await two.delete(key)
            deleted.append(None)

    lengths = await asyncio.gather(*(one.append(key, number) for number in range(WRITERS)), delete())
    left = await one.get(key, default=[])
    assert len(set(left)) == len(left) == (lengths[-2] and len(await two.get(key, default=[])))
    assert len(deleted) == 3
    assert sum(1 for length in lengths[:-1] if length == 1) <= 1 + len(
        deleted
    )  # a list begins anew after a delete only


async def test_only_one_of_many_creates(each: Grounds) -> None:
    one, two = await each.open(), await each.open()
    key = each.key()
    answers = await asyncio.gather(
        *((one, two)[number % 2].set(key, number, if_absent=True) for number in range(WRITERS)),
        return_exceptions=True,
    )
    won = [number for number, answer in enumerate(answers) if not isinstance(answer, BaseException)]
    assert len(won) == 1
    assert all(isinstance(answer, Conflict) for answer in answers if isinstance(answer, BaseException))
    assert await one.get(key) == await two.get(key) == won[0]


async def test_only_one_of_many_replaces_a_version(each: Grounds) -> None:
    one, two = await each.open(), await each.open()
    key = each.key()
    first = await one.set(key, "first")
    answers = await asyncio.gather(
        *((one, two)[number % 2].set(key, number, if_version=first.version) for number in range(WRITERS)),
        return_exceptions=True,
    )
    won = [number for number, answer in enumerate(answers) if not isinstance(answer, BaseException)]
    assert len(won) == 1
    assert all(isinstance(answer, Conflict) for answer in answers if isinstance(answer, BaseException))
    assert await one.get(key) == await two.get(key) == won[0]


async def test_versions_order_the_writes_of_all(each: Grounds) -> None:
    """The value that is there in the end is that of the highest version."""
    one, two = await each.open(), await each.open()
    key = each.key()
    written = await asyncio.gather(*((one, two)[number % 2].set(key, number) for number in range(WRITERS)))
    versions = [result.version for result in written]
    assert len(set(versions)) == WRITERS
    last = versions.index(max(versions))
    assert await one.get(key) == await two.get(key) == last
