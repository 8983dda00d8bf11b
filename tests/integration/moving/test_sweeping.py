"""`sweep` over SQLite and a folder, on a clock that the test moves: rules, ceilings, orphans, and a pass that others take up."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.moving.home import DAY, SIZE, Home, noise

from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, TierUnavailable
from thermocline.lifetimes import Ceiling, Lifetime, LifetimeRule, Lifetimes
from thermocline.model import Authority, Hit
from thermocline.policy import Route
from thermocline.protocols import Inventory
from thermocline.testing import ManualClock
from thermocline.tiers.local.sqlite import SqliteMemory

HOUR = 3600


def lifetimes(prefix: str = "", *, ceilings: Any = (), **lifetime: Any) -> Lifetimes:
    return Lifetimes([LifetimeRule(prefix=prefix, lifetime=Lifetime(**lifetime))], ceilings=ceilings)


# --- rules -------------------------------------------------------------------------------------------------------------


async def test_records_are_demoted_by_age_and_by_size(home: Home) -> None:
    rules = Lifetimes(
        [
            LifetimeRule(prefix="aging/", lifetime=Lifetime(demote_after=timedelta(days=2))),
            LifetimeRule(prefix="large/", lifetime=Lifetime(demote_above=10_000)),
        ]
    )
    memory = await home.open(lifetimes=rules)
    await memory.set(home.key("aging/old"), noise(1))
    await memory.set(home.key("else/old"), noise(2))
    home.clock.advance(3 * DAY)
    await memory.set(home.key("aging/new"), noise(3))
    await memory.set(home.key("large/yes"), noise(4, 20_000))
    await memory.set(home.key("large/no"), noise(5))
    report = await memory.sweep()
    assert report.finished
    assert (report.records, report.demotions.moved, report.demotions.bytes_moved) == (5, 2, SIZE + 20_000)
    assert report.saves.bytes_moved == SIZE + 20_000
    down = [
        name
        for name in ("aging/old", "else/old", "aging/new", "large/yes", "large/no")
        if await home.pointer(home.key(name))
    ]
    assert down == ["aging/old", "large/yes"]
    again = await memory.sweep()
    assert (again.finished, again.demotions.moved) == (True, 0)


async def test_what_was_read_lately_is_not_idle(home: Home) -> None:
    rules = lifetimes(demote_idle=timedelta(days=3))
    memory = await home.open(lifetimes=rules)
    items = await home.fill(memory, 4)
    read, *others = items
    home.clock.advance(2 * DAY)
    reader = await home.open(save_reads=timedelta(hours=1))
    for _ in range(3):
        assert await reader.get(read) == items[read]
        home.clock.advance(0.9 * DAY)
    await reader.close()  # what it noted is saved
    sweeper = await home.open(lifetimes=rules)
    report = await sweeper.sweep()
    assert report.demotions.moved == 3
    assert await home.pointer(read) is None
    assert all([await home.pointer(key) is not None for key in others])
    home.clock.advance(5 * DAY)
    assert (await sweeper.sweep()).demotions.moved == 1


async def test_without_saved_reads_idle_means_not_written(home: Home) -> None:
    memory = await home.open(lifetimes=lifetimes(demote_idle=timedelta(days=3)))
    items = await home.fill(memory, 2)
    home.clock.advance(4 * DAY)
    await memory.get_many(items)
    assert (await memory.sweep()).demotions.moved == 2


async def test_notes_of_reads_are_merged_and_end(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 3)
    for _ in range(3):  # three clients, of one day
        reader = await home.open(save_reads=timedelta(hours=1))
        await reader.get_many(items)
        await reader.close()
    home.clock.advance(3 * DAY)
    would = await memory.sweep(dry_run=True)
    assert would.notes == 3
    assert (await memory.sweep()).notes == 3
    assert (await memory.sweep()).notes == 0
    idle = await memory.demote(idle_for=timedelta(days=4), dry_run=True)
    assert idle.moved == 0, "what was merged counts as before"
    home.clock.advance(100 * DAY)
    assert (await memory.sweep()).notes <= 1


async def test_ceilings_shorten_and_delete_what_was_written_before_them(home: Home) -> None:
    before = await home.open()
    await before.set(home.key("pii/ever"), "x")
    await before.set(home.key("pii/soon"), "x", ttl=HOUR)
    await before.set(home.key("other"), "x")
    home.clock.advance(2 * DAY)
    await before.set(home.key("pii/new"), "x")
    rules = Lifetimes(ceilings=[Ceiling(timedelta(days=1), prefix="pii/")])
    memory = await home.open(lifetimes=rules)
    would = await memory.sweep(dry_run=True)
    report = await memory.sweep()
    assert (report.deleted, report.shortened) == (1, 1)
    assert (would.deleted, would.shortened) == (1, 1)
    for client in (memory, before, await home.open(hot=None)):
        assert await client.get(home.key("pii/ever")) is None
        assert await client.get(home.key("pii/new")) == "x"
        assert await client.ttl(home.key("pii/new")) == timedelta(days=1)
        assert await client.ttl(home.key("other")) is None
    again = await memory.sweep()
    assert (again.deleted, again.shortened) == (0, 0)


# --- a pass, and who has it --------------------------------------------------------------------------------------------


class Dying(SqliteMemory):
    """Goes down after so many pages of a census."""

    pages: int
    time: ManualClock

    async def census(self, **given: Any) -> Inventory:
        self.pages -= 1
        self.time.advance(1)  # as long as the pace wants for a page
        if self.pages < 0:
            raise TierUnavailable("down", tier="warm")
        return await super().census(**given)


def dying(home: Home, pages: int) -> Dying:
    warm = Dying(home.folder / "warm.sqlite3", clock=home.clock)
    warm.pages, warm.time = pages, home.clock
    return warm


async def test_pass_is_taken_up_where_it_was(home: Home) -> None:
    rules = lifetimes(demote_after=timedelta(days=1))
    memory = await home.open(lifetimes=rules)
    await home.fill(memory, 40)
    home.clock.advance(2 * DAY)
    first = await home.open(warm=dying(home, 2), lifetimes=rules)
    cut = await first.sweep(max_records_per_second=10, max_duration=timedelta(days=1))
    assert not cut.finished
    assert cut.where == "records of warm"
    assert cut.demotions.moved == 20
    rest = await memory.sweep()
    assert rest.finished
    assert (rest.resumed, rest.records, rest.demotions.moved) == (1, 40, 40)
    fresh = await memory.sweep()
    assert (fresh.resumed, fresh.records, fresh.demotions.moved) == (0, 40, 0)


async def test_two_at_once_do_not_double_the_work(home: Home) -> None:
    rules = lifetimes(demote_after=timedelta(days=1))
    clients = [await home.open(lifetimes=rules) for _ in range(3)]
    items = await home.fill(clients[0], 60)
    home.clock.advance(2 * DAY)
    reports = await asyncio.gather(*(client.sweep() for client in clients))
    done = [report for report in reports if report.finished]
    busy = [report for report in reports if report.busy_until is not None]
    assert len(done) + len(busy) == 3
    assert len(done) >= 1
    assert sum(report.demotions.moved for report in reports) == 60
    assert all(report.records == 0 for report in busy)
    assert await (await home.open(hot=None)).get_many(items) == items


async def test_pass_of_a_process_that_says_nothing_is_taken_over(home: Home) -> None:
    rules = lifetimes(demote_after=timedelta(days=1))
    memory = await home.open(lifetimes=rules)
    await home.fill(memory, 30)
    home.clock.advance(2 * DAY)
    stuck, going = asyncio.Event(), asyncio.Event()

    class Stuck(SqliteMemory):
        async def relocate(self, *given: Any, **named: Any) -> bool:
            stuck.set()
            await going.wait()
            return await super().relocate(*given, **named)

    slow = await home.open(warm=Stuck(home.folder / "warm.sqlite3", clock=home.clock), lifetimes=rules)
    task = asyncio.create_task(slow.sweep(lease=timedelta(seconds=30)))
    await stuck.wait()
    busy = await memory.sweep()
    assert busy.busy_until is not None
    assert busy.stopped == "another process is sweeping"
    home.clock.advance(31)
    taken = await memory.sweep()
    assert taken.finished
    going.set()
    late = await task
    assert not late.finished
    assert late.stopped == "another process has taken the pass over"
    assert taken.demotions.moved + late.demotions.moved == 30
    assert late.demotions.changed + late.demotions.clean <= 8


async def test_bounds_stop_it_cleanly_and_the_next_one_goes_on(home: Home) -> None:
    memory = await home.open(lifetimes=lifetimes(demote_after=timedelta(days=1)))
    items = await home.fill(memory, 40)
    home.clock.advance(2 * DAY)

    class Slow(SqliteMemory):
        async def relocate(self, *given: Any, **named: Any) -> bool:
            home.clock.advance(0.5)
            return await super().relocate(*given, **named)

    slow = await home.open(
        warm=Slow(home.folder / "warm.sqlite3", clock=home.clock), lifetimes=lifetimes(demote_after=timedelta(days=1))
    )
    turns = 0
    while True:
        report = await slow.sweep(max_duration=timedelta(seconds=5))
        turns += 1
        if report.finished:
            break
        assert "max_duration" in report.stopped
        assert report.where == "records of warm"
    assert turns >= 3
    assert report.demotions.moved == 40
    assert await (await home.open(hot=None)).get_many(items) == items


async def test_dry_run_changes_nothing_at_all(home: Home) -> None:
    memory = await home.open(lifetimes=lifetimes(demote_after=timedelta(days=1)))
    items = await home.fill(memory, 5)
    first = next(iter(items))
    await memory.demote([first])
    await memory.promote([first])
    await memory.delete(home.key("never"))
    home.clock.advance(3 * DAY)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in home.payloads())
    versions = [await home.stored(key) for key in items]
    report = await memory.sweep(dry_run=True)
    assert report.finished
    assert (report.demotions.moved, report.orphans) == (5, 1)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in home.payloads()) == before
    assert [await home.stored(key) for key in items] == versions
    fresh = await memory.sweep()
    assert fresh.resumed == 0, "a dry run leaves no place to go on from"


async def test_damaged_checkpoint_begins_anew(home: Home) -> None:
    memory = await home.open()
    await home.fill(memory, 3)
    warm: Any = memory._engine.below_hot()[0]
    for data in (b"", b"{}", b"[1]", b'{"step": 7}', b'{"strange": 1}', b"\xff\xfe"):
        note = await warm.read_note("sweep/state", deadline=Deadline.after(10))
        await warm.write_note(
            "sweep/state", data, if_etag=None if note is None else note.etag, deadline=Deadline.after(10)
        )
        report = await memory.sweep()
        assert (report.finished, report.records, report.resumed) == (True, 3, 0)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"max_records_per_second": 0}, "max_records_per_second"),
        ({"max_records_per_second": float("nan")}, "max_records_per_second"),
        ({"max_request_units": -1}, "max_request_units"),
        ({"max_request_units": "many"}, "max_request_units"),
        ({"max_duration": timedelta()}, "max_duration"),
        ({"max_duration": 7}, "max_duration"),
        ({"lease": timedelta()}, "lease"),
        ({"lease": "60"}, "lease"),
    ],
)
async def test_bounds_that_cannot_be_are_refused(home: Home, given: dict[str, Any], what: str) -> None:
    memory = await home.open()
    with pytest.raises(InvalidArgument, match=what):
        await memory.sweep(**given)


async def test_routes_with_several_authorities_are_swept_each(home: Home) -> None:
    route = Route("blob/", authority=Authority.COLD)
    memory = await home.open(routes=[route], lifetimes=lifetimes(demote_after=timedelta(days=1)))
    keys = [home.key("blob/one"), home.key("plain")]
    for key in keys:
        await memory.set(key, noise(1))
    home.clock.advance(2 * DAY)
    report = await memory.sweep()
    assert report.finished
    assert report.records == 2
    other = await home.open(hot=None, routes=[route])
    assert [await other.get(key) for key in keys] == [noise(1)] * 2


async def test_records_that_a_route_no_longer_gives_here_are_left_and_counted(home: Home) -> None:
    memory = await home.open(lifetimes=lifetimes(demote_after=timedelta(days=1)))
    await memory.set(home.key("blob/one"), noise(1))
    home.clock.advance(2 * DAY)
    moved_away = await home.open(
        routes=[Route("blob/", authority=Authority.COLD)], lifetimes=lifetimes(demote_after=timedelta(days=1))
    )
    report = await moved_away.sweep()
    assert (report.strangers, report.demotions.moved) == (1, 0)
    hit = await memory.lookup(home.key("blob/one"))
    assert isinstance(hit, Hit)


async def test_bounds_of_less_than_a_page_let_every_pass_come_further(home: Home) -> None:
    rules = lifetimes(demote_after=timedelta(days=1))
    memory = await home.open(lifetimes=rules)
    items = await home.fill(memory, 40)
    home.clock.advance(2 * DAY)

    class Slow(SqliteMemory):
        async def census(self, **given: Any) -> Inventory:
            home.clock.advance(3)  # longer than the pass may take
            return await super().census(**given)

    slow = await home.open(warm=Slow(home.folder / "warm.sqlite3", clock=home.clock), lifetimes=rules)
    done: list[int] = []
    while not done or done[-1] < 40:
        report = await slow.sweep(max_duration=timedelta(seconds=2))
        moved = report.demotions.moved
        assert 0 < moved - (done[-1] if done else 0) <= 8, "at most eight beyond the bound, and some in each pass"
        done.append(moved)
    last = [await slow.sweep(max_duration=timedelta(seconds=2)) for _ in range(5)]
    assert any(report.finished for report in last)
    assert await (await home.open(hot=None)).get_many(items) == items


@pytest.mark.parametrize("name", ["blob/one", "blob/" + "long" * 300])
async def test_payloads_of_an_authority_that_only_other_clients_route_to_stay(home: Home, name: str) -> None:
    route = Route("blob/", authority=Authority.COLD)
    application = await home.open(routes=[route])
    key, large = home.key(name), noise(1, 1_200_000)  # over what cold keeps in the record's own blob
    await application.set(key, large)
    await application.set(home.key("plain"), 1)
    home.clock.advance(2 * DAY)
    timer = await home.open()  # as `thermocline sweep` has it: the same tiers, and no routes
    report = await timer.sweep()
    assert (report.finished, report.orphans, report.pointed) == (True, 0, 1)
    assert await (await home.open(hot=None, routes=[route])).get(key) == large
