"""The parts of a sweep that need no tier: its pace on a clock that the test moves, and the place that it writes down."""

import asyncio
import json
from dataclasses import asdict
from datetime import timedelta

import pytest

from thermocline.client.moving.bookmark import Place
from thermocline.client.moving.pace import Pace
from thermocline.client.moving.report import SweepReport
from thermocline.client.moving.result import Fate, Moved, Savings
from thermocline.cost import units
from thermocline.testing import ManualClock


async def finished(task: asyncio.Task[None]) -> bool:
    """Whether it ends by itself, as the clock stands: it looks at the clock every 50 ms."""
    return task in (await asyncio.wait([task], timeout=0.2))[0]


async def test_rate_is_held_by_the_clock() -> None:
    clock = ManualClock()
    pace = Pace(clock, per_second=10, spent=lambda: 0.0)
    began = clock.monotonic()
    for page in range(1, 4):
        task = asyncio.create_task(pace.records(pace.page(500)))
        assert not await finished(task)
        clock.advance(0.9)
        assert not await finished(task)
        clock.advance(0.1)
        assert await finished(task)
        assert clock.monotonic() - began == pytest.approx(page)


async def test_what_took_long_by_itself_is_not_waited_for_again() -> None:
    clock = ManualClock()
    pace = Pace(clock, per_second=100, spent=lambda: 0.0)
    for _ in range(5):
        clock.advance(3)
        assert await finished(asyncio.create_task(pace.records(pace.page(500))))
    burst = [asyncio.create_task(pace.records(100)) for _ in range(1)]
    assert not await finished(burst[0]), "a slow minute is no credit for a fast one"
    clock.advance(1)
    assert await finished(burst[0])


async def test_pages_are_no_larger_than_a_second() -> None:
    clock = ManualClock()
    assert Pace(clock, spent=lambda: 0.0).page(500) == 500
    assert Pace(clock, per_second=7.9, spent=lambda: 0.0).page(500) == 7
    assert Pace(clock, per_second=0.2, spent=lambda: 0.0).page(500) == 1
    assert Pace(clock, per_second=10_000, spent=lambda: 0.0).page(500) == 500


async def test_duration_ends_a_wait_too() -> None:
    clock = ManualClock()
    pace = Pace(clock, per_second=1, duration=timedelta(seconds=5), spent=lambda: 0.0)
    task = asyncio.create_task(pace.records(100))
    assert not await finished(task)
    assert pace.over() == ""
    clock.advance(5)
    assert await finished(task)
    assert "max_duration" in pace.over()


def test_units_count_from_the_begin() -> None:
    spent = [1000.0]
    pace = Pace(ManualClock(), request_units=50, spent=lambda: spent[0])
    assert pace.over() == ""
    spent[0] += 49
    assert pace.over() == ""
    spent[0] += 1
    assert "max_request_units" in pace.over()
    assert pace.units == 50


def test_place_is_read_as_it_was_written() -> None:
    place = Place("owner", 5, 7, "payloads", "cursor", False, 9, {"records": 3})
    assert Place.read(json.dumps(asdict(place)).encode()) == place


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"step": 1}',
        b'{"other": 1}',
        b'{"cursor": 1}',
        b'{"counts": []}',
        b'{"done": 1}',
    ],
)
def test_place_that_is_none_is_no_pass_to_take_up(data: bytes) -> None:
    assert Place.read(data) == Place()


def test_report_goes_through_a_checkpoint() -> None:
    report = SweepReport(records=7, orphans=2, orphan_bytes=9)
    report.demotions.count(Fate.MOVED, 5000)
    again = SweepReport()
    again.add({**report.counts(), "errors": 5, "unknown": 1, "records": 7})
    assert again.counts() == report.counts()
    assert again.demotions.bytes_moved == 5000
    again.add({"records": "many", "dead": True})
    assert (again.records, again.dead) == (7, 0)


def test_errors_are_counted_and_the_first_hundred_named() -> None:
    report = SweepReport()
    for number in range(300):
        report.fail(f"key {number}", ValueError("x" * 1000))
    assert (report.failures, len(report.errors)) == (300, 100)
    assert all(len(error) <= 300 for error in report.errors)


def test_savings_by_the_published_figures() -> None:
    saves = Savings.of(10**9, 10_000)  # ten thousand records of 100 kB
    assert saves.dollars_a_month == pytest.approx(0.232)
    assert saves.units_per_read_of_all == pytest.approx(10_000 * (units.read(100_600) - 1.0))
    assert saves.units_per_write_of_all == pytest.approx(10_000 * 2 * (units.create(100_600) - units.create(700)))
    assert Savings.of(1000, 1).units_per_read_of_all < 1, "a small record saves next to nothing"
    assert Moved().saves == Savings(0, 0.0, 0.0, 0.0, 0.0)


def test_promotion_saves_less_than_nothing() -> None:
    down, up = Savings.of(10**9, 10_000), Moved(up=True, moved=10_000, bytes_moved=10**9).saves
    assert up.dollars_a_month == -down.dollars_a_month
    assert up.units_per_read_of_all == -down.units_per_read_of_all
    assert 0 < up.units_to_move < down.units_to_move, "the payload is not read from Cosmos DB"
