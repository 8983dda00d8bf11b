"""Letters of the feed among the notes of an embedded tier, and their replay."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.feed.ground import KEY, Small, document, letter_for, soon

from thermocline import Key, MemoryClient
from thermocline.errors import InvalidArgument
from thermocline.feed import Replay, letters_of
from thermocline.letters import Cause, Letter, LetterFilter


async def test_replayed_letters_are_settled_by_the_present_version(small: Small, sick: Callable[..., Any]) -> None:
    version = await small.version(value="old")
    heal = sick(KEY)
    await small.settling(attempts=1).settle([document(KEY, version)])
    heal()
    async with MemoryClient(warm=small.warm, clock=small.clock) as silent:
        await silent.set(KEY, "new")

    done = await Replay(small.client, letters_of(small.client)).all(LetterFilter(cause=Cause.UNAVAILABLE))

    assert (done.settled, done.kept, done.stopped) == (1, {}, "")
    assert await small.letters() == []
    assert await small.client.get(KEY) == "new"


async def test_what_cannot_be_replayed_stays(small: Small, sick: Callable[..., Any]) -> None:
    sick(KEY)
    nameless = document(Key("t", "s", "p"), None, scope=None)
    await small.settling(attempts=1).settle([document(KEY, 5), nameless])
    place = letters_of(small.client)

    small.clock.advance(3601)  # a young letter's version would be waited for
    done = await Replay(small.client, place, clock=small.clock).all(LetterFilter())
    missing = await Replay(small.client, place).these(["0" * 40])

    assert done.settled == 1  # nothing is known of that key by now, so there is nothing to tell
    (poison,) = await small.letters()
    assert done.stopped == ""
    assert "which key it was" in str(done.kept[poison.id])
    assert [str(error) for error in missing.kept.values()] == [f"there is no dead letter {'0' * 40}"]


async def test_replay_stops_while_hot_is_down(small: Small, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    keys = [Key("t", "s", f"k{n}") for n in range(3)]
    place = letters_of(small.client)
    for key in keys:
        version = await small.version(key)
        await place.put(letter_for(key, version), deadline=soon())
    small.chaos.down = True

    done = await Replay(small.client, place).all(LetterFilter())

    assert done.settled == 0
    assert "none of 3 letters" in done.stopped
    small.chaos.down = False
    assert (await Replay(small.client, place).all(LetterFilter(), limit=2)).settled == 2
    assert (await Replay(small.client, place).all(LetterFilter())).settled == 1


async def test_letters_come_in_pages_and_by_filter(small: Small) -> None:
    place = letters_of(small.client)
    for n in range(7):
        key = Key("t", f"s{n % 2}", f"k{n}")
        await place.put(letter_for(key, n + 1), deadline=soon())
    seen: list[Letter] = []
    cursor = None
    while True:
        page = await place.page(LetterFilter(), limit=3, cursor=cursor, deadline=soon())
        seen += page.letters
        cursor = page.cursor
        if cursor is None:
            break

    assert sorted(letter.version for letter in seen) == [1, 2, 3, 4, 5, 6, 7]
    ones = (await place.page(LetterFilter(tenant="t", scope="s1"), deadline=soon())).letters
    assert sorted(letter.version for letter in ones) == [2, 4, 6]
    assert await place.read(seen[0].id, deadline=soon()) == seen[0]
    with pytest.raises(InvalidArgument, match="tenant"):
        LetterFilter(scope="s1")
    with pytest.raises(InvalidArgument, match="letters"):
        await place.page(LetterFilter(), limit=0, deadline=soon())


async def test_exactly_the_letter_that_was_read_is_dropped(small: Small) -> None:
    place = letters_of(small.client)
    await place.put(letter_for(KEY, 1), deadline=soon())
    (first,) = await small.letters()
    await place.put(letter_for(KEY, 2), deadline=soon())

    assert not await place.drop(first, deadline=soon())
    (second,) = await small.letters()
    assert await place.drop(second, deadline=soon())
    assert await small.letters() == []
