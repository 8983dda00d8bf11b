"""Dead letters taken up again where some stay sick, and letters that are damaged: on the embedded tiers."""

import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from thermocline import Key, MemoryClient, ProcessMemory, SqliteMemory
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, ThermoclineError, TierUnavailable
from thermocline.feed import Replay, letters_of
from thermocline.feed.places import NoteLetters
from thermocline.functions.process import AppProcess
from thermocline.functions.worker import Worker
from thermocline.letters import LASTING, Cause, Letter, LetterFilter, letter_of
from thermocline.protocols import EntryOperation, Found

SICK = 100  # a page of letters


def soon() -> Deadline:
    return Deadline.after(30)


class SickScope(ProcessMemory):
    """Hot memory that does not take the keys of the scope ``sick``."""

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        away = TierUnavailable("the shard is away", tier="hot")
        well = iter(
            await super().operate_many([one for one in operations if one.key.scope != "sick"], deadline=deadline)
        )
        return [away if one.key.scope == "sick" else next(well) for one in operations]


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[MemoryClient]:
    async with MemoryClient(hot=SickScope(), warm=SqliteMemory(tmp_path / "warm.sqlite3")) as client:
        yield client


async def put(memory: MemoryClient, number: int, scope: str) -> str:
    """A key and its letter, whose place among the letters is ``number``."""
    key = Key("t", scope, f"k{number}")
    version = (await memory.set(key, number)).version
    letter = Letter(f"{number:040x}", Cause.UNAVAILABLE, "away", key, ("t", scope), version, 5, 1000, {})
    await letters_of(memory).put(letter, deadline=soon())
    return letter.id


async def left(memory: MemoryClient) -> set[str]:
    page = await letters_of(memory).page(LetterFilter(), limit=1000, deadline=soon())
    return {letter.id for letter in page.letters}


async def test_letters_behind_a_page_of_sick_ones_are_settled_by_a_later_turn(
    memory: MemoryClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sick = {await put(memory, number, "sick") for number in range(SICK)}
    well = {await put(memory, SICK + number, "well") for number in range(3)}
    monkeypatch.setenv("THERMOCLINE_HOME", str(tmp_path / "home"))

    async def make(_: object) -> MemoryClient:
        return memory

    worker = Worker(AppProcess(make))
    await worker.replay_dead_letters()
    assert await left(memory) == sick | well
    await worker.replay_dead_letters()
    assert await left(memory) == sick
    again = {await put(memory, SICK + number, "well") for number in range(3)}
    await worker.replay_dead_letters()  # from the first on again
    await worker.replay_dead_letters()

    assert await left(memory) == sick
    assert again == well
    await worker._process.close()


async def test_a_bounded_replay_says_where_to_go_on(memory: MemoryClient) -> None:
    for number in range(5):
        await put(memory, number, "well")
    replay = Replay(memory, letters_of(memory))

    first = await replay.all(LetterFilter(), limit=2)
    rest = await replay.all(LetterFilter(), cursor=first.cursor)

    assert (first.settled, rest.settled, rest.cursor) == (2, 3, None)
    assert await left(memory) == set()


@pytest.mark.parametrize("text", [None, "[]", '{"n": 1}'])
async def test_a_damaged_letter_is_dropped_by_its_id(memory: MemoryClient, text: str | None) -> None:
    damaged = b"no zlib" if text is None else zlib.compress(text.encode())
    warm: Any = memory.warm
    place = letters_of(memory)
    assert isinstance(place, NoteLetters)
    await warm.write_note("letters/" + "d" * 40, damaged, lasting=LASTING, deadline=soon())

    with pytest.raises(CorruptRecord, match="drop it by its id"):
        await place.read("d" * 40, deadline=soon())
    assert await place.discard("d" * 40, deadline=soon())
    assert await place.read("d" * 40, deadline=soon()) is None
    assert not await place.discard("d" * 40, deadline=soon())


@pytest.mark.parametrize(
    "instead", [{"at": 10**17}, {"at": -1}, {"at": float("inf")}, {"v": -1}, {"cause": "none"}, {"n": 5}], ids=repr
)
def test_what_no_letter_has_is_damage(instead: dict[str, Any]) -> None:
    fields = Letter("a" * 40, Cause.CORRUPT, "", Key("t", "s", "n"), ("t", "s"), 5, 1, 1000, {}).fields()
    assert letter_of("a" * 40, "t", "s", fields, None).version == 5

    with pytest.raises(CorruptRecord):
        letter_of("a" * 40, "t", "s", fields | instead, None)
