"""Cold knows whose payloads it holds: a sweep removes none where authorities that it does not know have put some."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.moving.home import DAY, Home, noise

from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, TierUnavailable
from thermocline.protocols import Note
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.sqlite import SqliteMemory


def other(home: Home) -> SqliteMemory:
    """The records of another application, which has the same cold folder."""
    return SqliteMemory(home.folder / "other.sqlite3", clock=home.clock)


async def test_payloads_of_another_authority_stay(home: Home) -> None:
    memory, theirs = await home.open(), await home.open(warm=other(home))
    await memory.set(home.key("ours"), noise(1))
    await theirs.set(home.key("theirs"), noise(2))
    await memory.demote([home.key("ours")])
    await theirs.demote([home.key("theirs")])
    home.clock.advance(2 * DAY)
    for sweeper in (memory, theirs):
        report = await sweeper.sweep()
        assert (report.finished, report.payloads, report.orphans) == (True, 0, 0)
        assert "other authorities (warm " in report.errors[0]
    assert await (await home.open(hot=None)).get(home.key("ours")) == noise(1)
    assert await (await home.open(hot=None, warm=other(home))).get(home.key("theirs")) == noise(2)


async def test_one_that_is_gone_for_good_is_struck_by_name(home: Home) -> None:
    memory, theirs = await home.open(), await home.open(warm=other(home))
    await memory.set(home.key("ours"), noise(1))
    await theirs.set(home.key("theirs"), noise(2))
    await memory.demote([home.key("ours")])
    await theirs.demote([home.key("theirs")])
    home.clock.advance(2 * DAY)
    name = (await memory.sweep()).errors[0].partition("(warm ")[2].partition(")")[0]
    with pytest.raises(InvalidArgument, match=f"there are: {name}"):
        await memory.sweep(disown=["unknown"])
    with pytest.raises(InvalidArgument, match="list of strings"):
        await memory.sweep(disown=name)
    assert (await memory.sweep(disown=[name], dry_run=True)).orphans == 0
    report = await memory.sweep(disown=[name])
    assert (report.orphans, report.pointed, report.errors) == (1, 1, [])
    assert await (await home.open(hot=None)).get(home.key("ours")) == noise(1)


async def test_clients_of_the_same_authority_are_one_owner(home: Home) -> None:
    for number in range(2):
        memory = await home.open()
        await memory.set(home.key(f"name {number}"), noise(number))
        await memory.demote([home.key(f"name {number}")])
        await memory.set(home.key(f"name {number}"), "newer")
    home.clock.advance(2 * DAY)
    report = await (await home.open()).sweep()
    assert (report.orphans, report.errors) == (2, [])


async def test_no_payload_is_put_before_its_owner_stands_in_cold(home: Home) -> None:
    class Mute(FolderMemory):
        async def write_note(self, name: str, data: bytes, *, deadline: Deadline, **given: object) -> Note | None:
            raise TierUnavailable("not now", tier="cold", sent=False)

    memory = await home.open(cold=Mute(home.folder / "cold", clock=home.clock, fsync=False))
    with pytest.raises(TierUnavailable):
        await memory.set(home.key(), noise(1, 500_000))
    assert home.payloads() == []
    assert await (await home.open()).get(home.key()) is None


async def test_a_streamed_payload_has_an_owner_too(home: Home) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield noise(1)

    memory, theirs = await home.open(), await home.open(warm=other(home))
    await memory.set(home.key("ours"), 1)
    await theirs.set_stream(home.key("theirs"), parts())
    home.clock.advance(2 * DAY)
    report = await memory.sweep()
    assert (report.payloads, report.orphans) == (0, 0)
    assert "other authorities (warm " in report.errors[0]
