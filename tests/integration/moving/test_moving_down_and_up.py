"""`demote` and `promote` over SQLite and a folder: what moves, what does not, and that nobody notices."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.moving.home import DAY, SIZE, Home, noise

from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError, InvalidArgument, TierUnavailable
from thermocline.model import Envelope, Hit, Key
from thermocline.policy import MemoryRules
from thermocline.testing import ChaosTier, Fault
from thermocline.tiers.local.sqlite import SqliteMemory


async def test_demoted_records_are_the_same_records(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 5)
    await memory.set(home.key("timed"), noise(9), ttl=3 * DAY, tags={"kind": "note"}, media_type="image/png")
    before = {key: await memory.lookup(key) for key in (*items, home.key("timed"))}
    moved = await memory.demote(scope="scope", tenant="tenant")
    assert (moved.seen, moved.moved, moved.bytes_moved, moved.reused) == (6, 6, 6 * SIZE, 0)
    other = await home.open(hot=None)
    for key, was in before.items():
        assert await home.pointer(key) is not None
        for client in (memory, other):
            now = await client.lookup(key)
            assert isinstance(was, Hit)
            assert isinstance(now, Hit)
            assert now.record == was.record
    assert len(home.payloads()) == 6
    assert memory.stats()["warm"]["demotions"] == 6


async def test_promoted_records_are_the_same_records(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 4)
    versions = [(await memory.lookup(key)).version for key in items]  # type: ignore[union-attr]
    await memory.demote(tenant="tenant")
    moved = await memory.promote(tenant="tenant", scope="scope")
    assert (moved.seen, moved.moved, moved.bytes_moved) == (4, 4, 4 * SIZE)
    assert [await home.pointer(key) for key in items] == [None] * 4
    other = await home.open(hot=None)
    assert await other.get_many(items) == items
    assert [(await other.lookup(key)).version for key in items] == versions  # type: ignore[union-attr]
    assert len(home.payloads()) == 4, "only a sweep removes payloads"


async def test_clean_payloads_are_not_uploaded_again(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 3)
    await memory.demote(items)
    again = await memory.demote(items)
    assert (again.moved, again.clean) == (0, 3)
    await memory.promote(items)
    uploads = memory.stats()["cold"]["writes"]
    down = await memory.demote(items)
    assert (down.moved, down.reused) == (3, 3)
    assert memory.stats()["cold"]["writes"] == uploads
    assert await (await home.open(hot=None)).get_many(items) == items


async def test_dry_run_moves_nothing_and_says_what_it_would_save(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 8)
    would = await memory.demote(tenant="tenant", dry_run=True)
    assert (would.moved, would.bytes_moved, would.dry_run) == (8, 8 * SIZE, True)
    assert would.saves.bytes_moved == 8 * SIZE
    assert would.saves.dollars_a_month > 0
    assert would.saves.units_to_move > 8 * 6
    assert home.payloads() == []
    assert [await home.pointer(key) for key in items] == [None] * 8
    did = await memory.demote(tenant="tenant")
    assert (did.moved, did.bytes_moved) == (would.moved, would.bytes_moved)
    up = await memory.promote(tenant="tenant", dry_run=True)
    assert up.saves.dollars_a_month < 0
    assert (up.moved, up.bytes_moved) == (8, 8 * SIZE)
    assert await home.pointer(next(iter(items))) is not None


async def test_selection_needs_all_that_is_given(home: Home) -> None:
    memory = await home.open()
    await memory.set(home.key("a/old"), noise(1))
    await memory.set(home.key("a/large"), noise(2, 20_000))
    await memory.set(home.key("b/old"), noise(3, 20_000))
    await memory.set(home.key("a/else", scope="elsewhere"), noise(4, 20_000))
    home.clock.advance(3 * DAY)
    await memory.set(home.key("a/new"), noise(5, 20_000))
    await memory.set(home.key("a/small"), "little")

    async def chosen(**selection: Any) -> int:
        return (await memory.demote(**selection, dry_run=True)).moved

    assert await chosen(tenant="tenant") == 5
    assert await chosen(tenant="tenant", scope="scope") == 4
    assert await chosen(tenant="tenant", prefix="a/") == 4
    assert await chosen(older_than=timedelta(days=2)) == 4
    assert await chosen(older_than=timedelta(days=4)) == 0
    assert await chosen(idle_for=2 * DAY) == 4
    assert await chosen(larger_than=SIZE) == 4
    assert await chosen(tenant="tenant", scope="scope", prefix="a/", older_than=DAY, larger_than=SIZE) == 1
    assert await chosen(tenant="nobody") == 0
    assert await chosen(scope="scope") == 0, "a scope alone is one of the default tenant"


async def test_limit_is_held_and_what_is_left_is_said(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 30)
    moved = await memory.demote(tenant="tenant", limit=13)
    assert (moved.moved, moved.more) == (13, True)
    rest = await memory.demote(tenant="tenant", limit=100)
    assert (rest.moved, rest.clean, rest.more) == (17, 13, False)
    assert await (await home.open(hot=None)).get_many(items) == items


async def test_time_that_is_up_ends_it_cleanly(home: Home) -> None:
    memory = await home.open()
    await home.fill(memory, 20)

    class Slow(SqliteMemory):
        async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
            home.clock.advance(1)
            return await super().relocate(old, new, deadline=deadline)

    slow = await home.open(warm=Slow(home.folder / "warm.sqlite3", clock=home.clock))
    moved = await slow.demote(tenant="tenant", timeout=4)
    assert moved.more
    assert 0 < moved.moved < 20
    assert moved.failed == 0


async def test_too_small_dead_and_missing_ones_stay(home: Home) -> None:
    memory = await home.open()
    await memory.set(home.key("small"), "x" * 100)
    await memory.set(home.key("gone"), noise(1))
    await memory.set(home.key("ends"), noise(2), ttl=60)
    await memory.delete(home.key("gone"))
    home.clock.advance(61)
    names = ["small", "gone", "ends", "never"]
    moved = await memory.demote([home.key(name) for name in names])
    assert (moved.seen, moved.moved, moved.unfit, moved.changed) == (4, 0, 1, 3)
    assert home.payloads() == []
    assert (await memory.demote(tenant="tenant")).moved == 0


async def test_what_belongs_into_cold_is_not_promoted(home: Home) -> None:
    memory = await home.open(rules=MemoryRules(cold_threshold_bytes=10_000))
    await memory.set(home.key("large"), noise(1, 50_000))
    up = await memory.promote([home.key("large")])
    assert (up.moved, up.unfit) == (0, 1)
    assert await home.pointer(home.key("large")) is not None
    always = await home.open(rules=MemoryRules(write_cold=True))
    await always.set(home.key("cold"), noise(2))
    assert (await always.promote([home.key("cold")])).unfit == 1


async def test_promotion_into_hot(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 3)
    await memory.demote(items)
    other = await home.open()
    up = await other.promote(items, into_hot=True)
    assert (up.moved, up.into_hot) == (3, 3)
    before = other.stats()["warm"]["reads"]
    assert await other.get_many(items) == items
    assert other.stats()["warm"]["reads"] == before


class Meanwhile(SqliteMemory):
    """Between the reading of a record and its replacement, somebody else does something."""

    then: Any = None

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        then, self.then = self.then, None
        if then is not None:
            await then()
        return await super().relocate(old, new, deadline=deadline)


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("verb", ["set", "delete", "touch"])
async def test_record_that_is_written_meanwhile_is_left_as_its_writer_left_it(
    home: Home, down: bool, verb: str
) -> None:
    """P4: a deleted key does not come back by a demotion or promotion under way."""
    key = home.key()
    writer = await home.open()
    await writer.set(key, noise(1))
    if not down:
        await writer.demote([key])
    warm = Meanwhile(home.folder / "warm.sqlite3", clock=home.clock)
    memory = await home.open(warm=warm)

    async def write() -> None:
        if verb == "set":
            await writer.set(key, "newer")
        elif verb == "delete":
            await writer.delete(key)
        else:
            await writer.touch(key, ttl=DAY)

    warm.then = write
    moved = await (memory.demote([key]) if down else memory.promote([key]))
    assert (moved.moved, moved.changed) == (0, 1)
    expected = {"set": "newer", "delete": None, "touch": noise(1)}[verb]
    for client in (memory, writer, await home.open(hot=None)):
        assert await client.get(key) == expected


async def test_process_that_slept_before_the_pointer_renews_the_payload(home: Home) -> None:
    key = home.key()
    warm = Meanwhile(home.folder / "warm.sqlite3", clock=home.clock)
    memory = await home.open(warm=warm, cold=home.cold())
    await memory.set(key, noise(1))

    async def sleep() -> None:
        home.clock.advance(13 * 3600)  # more than half the grace

    warm.then = sleep
    moved = await memory.demote([key], timeout=timedelta(days=2))
    assert moved.failed + moved.moved == 1
    if moved.failed:  # its own time was up: as it was, and again
        assert await home.pointer(key) is None
        assert (await memory.demote([key])).moved == 1
    pointer = await home.pointer(key)
    assert pointer is not None
    assert home.clock.wall_ms() - pointer.written_ms < 60_000
    assert await (await home.open(hot=None)).get(key) == noise(1)


@pytest.mark.parametrize("verb", ["put_payload", "renew_payload"])
async def test_record_whose_upload_fails_stays_as_it_is(home: Home, verb: str) -> None:
    writer = await home.open()
    items = await home.fill(writer, 3)
    cold = ChaosTier(home.cold(), script=[Fault.REFUSE, None, None], verbs={verb})
    memory = await home.open(cold=cold)
    moved = await memory.demote(items)
    assert (moved.moved, moved.failed) == (2, 1)
    assert all(isinstance(error, TierUnavailable) for error in moved.errors.values())
    assert sum([await home.pointer(key) is None for key in items]) == 1
    assert await (await home.open(hot=None)).get_many(items) == items


async def test_hot_copies_stay_right_through_every_move(home: Home) -> None:
    """Hot is not told: neither version nor value changes. A pointer in hot whose payload went leads to the authority again."""
    rules = MemoryRules(hot_max_bytes=1000)  # hot keeps pointers
    memory = await home.open(rules=rules)
    key = home.key()
    await memory.set(key, noise(1))
    await memory.demote([key])
    await memory.prefetch([key])
    hit = await memory.lookup(key)
    assert isinstance(hit, Hit)
    assert hit.value == noise(1)
    await memory.promote([key])
    for path in home.payloads():
        path.unlink()  # as a sweep would, after the grace
    assert await memory.get(key) == noise(1)


def nothing() -> list[Key]:
    return []


@pytest.mark.parametrize(
    ("selection", "what"),
    [
        ({}, "say what to demote"),
        ({"keys": ["a"], "scope": "scope"}, "not both"),
        ({"keys": "a"}, "list of keys"),
        ({"scope": ""}, "scope"),
        ({"older_than": 0}, "older_than"),
        ({"idle_for": -1}, "idle_for"),
        ({"larger_than": -1}, "larger_than"),
        ({"larger_than": 1.5}, "larger_than"),
        ({"scope": "s", "limit": 0}, "limit"),
        ({"scope": "s", "limit": True}, "limit"),
        ({"prefix": 7}, "prefix"),
    ],
)
async def test_bad_input_is_refused_in_words(home: Home, selection: dict[str, Any], what: str) -> None:
    memory = await home.open()
    with pytest.raises(InvalidArgument, match=what):
        await memory.demote(**selection)


async def test_tiers_that_cannot_move_are_a_configuration_error(home: Home) -> None:
    without = await home.open(cold=None)
    with pytest.raises(ConfigurationError, match="no cold tier"):
        await without.demote(scope="scope")
    with pytest.raises(ConfigurationError, match="no cold tier"):
        await without.promote(["key"])
    alone = await home.open(warm=None, cold=None)
    with pytest.raises(ConfigurationError):
        await alone.demote(scope="scope")


async def test_no_keys_are_no_error(home: Home) -> None:
    memory = await home.open()
    assert replace(await memory.demote(nothing()), errors={}).seen == 0
    assert (await memory.prefetch(nothing())).promoted == []
