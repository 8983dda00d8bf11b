"""The formula, the prices and the bill: pure."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from thermocline.cost import units
from thermocline.cost.bill import Bill, bill
from thermocline.cost.prices import list_prices
from thermocline.cost.profiles import PROFILES, profile
from thermocline.cost.units import COLUMNS, OF_BLOBS, OF_COSMOS, Work, column_of, of_blobs, units_by_operation, work_of
from thermocline.cost.workload import MONTH, Plan, Workload, added, counted, planned
from thermocline.errors import ConfigurationError, InvalidArgument
from thermocline.telemetry import Stats


def reckoned(name: str = "team", workload: Workload | None = None, **options: Any) -> Bill:
    return bill(profile(name), workload or Workload(), list_prices(), **options)


@pytest.mark.parametrize(
    ("size", "read", "write"),
    [
        (1, 1.0, 4.95),
        (1024, 1.0, 4.95),
        (2048, 1.04, 6.29),
        (3072, 1.09, 6.48),
        (128 * 1024, 9.95, 48.19),
        (2**21, 291.8, 1250.0),
    ],
)
def test_the_table_and_what_lies_between_its_columns(size: int, read: float, write: float) -> None:
    assert units.read(size) == pytest.approx(read)
    assert units.create(size, terms=0) == pytest.approx(write)


def test_a_columns_sum_is_that_of_its_items() -> None:
    """Count and bytes are enough, whatever the sizes were."""
    sizes = [4097, 5000, 6100, 8000, 8192]
    column = column_of(sizes[0])
    assert {column_of(size) for size in sizes} == {column}
    together = units.priced(column, len(sizes), sum(sizes), units.WRITE)
    assert together == pytest.approx(sum(units.create(size, terms=0) for size in sizes))


def test_every_operation_has_a_price() -> None:
    priced = units_by_operation([work_of(name, 1, 2000, 3) for name in OF_COSMOS])
    assert priced.keys() == OF_COSMOS.keys()
    assert {name for name, one in priced.items() if one == 0} == {"throttled"}


def test_a_patch_pays_for_what_was_there() -> None:
    alone = units_by_operation([work_of("patch", 10, 600)])
    beside_large = units_by_operation([work_of("patch", 10, 600), work_of("create", 10, 100_000)])
    assert beside_large["patch"] > alone["patch"] + 100


@pytest.mark.parametrize(
    ("method", "url", "billed"),
    [
        ("PUT", "https://a/c/b", "write"),
        ("PUT", "https://a/c/b?comp=block&blockid=x", "write"),
        ("PUT", "https://a/c/b?comp=blocklist", "write"),
        ("PUT", "https://a/c/b?comp=metadata", "write"),
        ("GET", "https://a/c/b", "read"),
        ("GET", "https://a/c?restype=container&comp=list&prefix=x", "list"),
        ("PUT", "https://a/c?restype=container", "list"),
        ("HEAD", "https://a/c/b", "other"),
        ("GET", "https://a/c?restype=container", "other"),
        ("DELETE", "https://a/c/b", "delete"),
    ],
)
def test_blob_requests_by_azures_classes(method: str, url: str, billed: str) -> None:
    assert of_blobs(method, url) == billed
    assert billed in OF_BLOBS


def test_statistics_are_scaled_to_a_month() -> None:
    stats = Stats()
    for size in (500, 1500, 1500):
        stats.operated("warm", "read", size)
    stats.operated("warm", "query", 900, rows=4)
    stats.operated("cold", "write", 5_000_000)
    stats.count("requests", "hot", 7)
    stats.count("request_units", "warm", 6)
    month = counted(json.loads(json.dumps(stats.snapshot())), timedelta(hours=73))
    assert month.warm == (Work("query", 1, 10, 9000, 40), Work("read", 1, 10, 5000), Work("read", 2, 20, 30_000))
    assert month.cold == (Work("write", COLUMNS[-1], 10, 50_000_000),)
    assert (month.commands, month.charged) == (70, 60)


def test_clients_are_added_up() -> None:
    one = counted({"warm": {"request_units": 5, "operations": {"read": {"1": {"count": 2, "bytes": 10}}}}})
    both = added([one, one, counted({"hot": {"requests": 3}})], stored_warm=4.0)
    assert (both.charged, both.units, both.commands, both.stored_warm) == (10, 4, 3, 4)


@pytest.mark.parametrize(
    "stats",
    [
        {},
        {"warm": 3},
        {"tier": {}},
        {"warm": {"operations": []}},
        {"warm": {"operations": {"reed": {}}}},
        {"warm": {"operations": {"read": {"3": {"count": 1}}}}},
        {"warm": {"operations": {"read": {"1": {"count": -1}}}}},
        {"warm": {"operations": {"read": {"1": {"count": "many"}}}}},
        {"warm": {"request_units": float("nan")}},
    ],
)
def test_what_is_no_statistics_is_refused(stats: Any) -> None:
    with pytest.raises(InvalidArgument, match="statistics"):
        counted(stats)
    with pytest.raises(InvalidArgument):
        counted({"hot": {"requests": 1}}, timedelta(0))


def test_a_plan_becomes_the_librarys_operations() -> None:
    month = planned(
        Plan(get=1000, set=100, delete=10, hit_rate=0.9, found=0.5, new=0.4, known=0.5, cold=0.1, records=50)
    )
    by = {name: sum(work.count for work in month.warm if work.operation == name) for name in OF_COSMOS}
    assert (by["create"], by["patch"], by["missing"], by["refused"]) == pytest.approx((40, 70, 50, 30))
    assert by["read"] == pytest.approx(50 + 30)
    assert sum(work.count for work in month.cold if work.operation == "write") == pytest.approx(10)
    assert month.commands == pytest.approx(900 + 300 + 220)
    assert (month.stored_cold, month.written) == pytest.approx((5 * 1e6 / 1e9, 110))


@pytest.mark.parametrize("wrong", [{"get": -1}, {"hit_rate": 1.1}, {"size": float("nan")}, {"set": float("inf")}])
def test_a_plan_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        Plan(**wrong)


@pytest.mark.parametrize("name", PROFILES)
def test_an_idle_profile_costs_its_fixed_parts(name: str) -> None:
    made = reckoned(name)
    assert made.total == pytest.approx(made.fixed)
    assert made.total > 0
    assert not made.notes


def test_profiles_cost_more_the_more_they_promise() -> None:
    totals = [reckoned(name).total for name in PROFILES]
    assert totals == sorted(totals)


def test_autoscale_is_billed_between_a_tenth_and_its_maximum() -> None:
    """4,000 RU/s at 0.012 for 100 and hour, 730 hours: from 35.04 to 350.40."""

    def throughput(charged: float, **options: Any) -> float:
        lines = reckoned("team", Workload(charged=charged), **options).lines
        return sum(line.cost for line in lines if "throughput" in line.what)

    assert throughput(0) == pytest.approx(35.04)
    assert throughput(1e12) == pytest.approx(350.40)
    mean = 1000 * MONTH.total_seconds()
    assert throughput(mean, peak=1) == pytest.approx(87.6, rel=0.01)
    assert throughput(mean, peak=2) == pytest.approx(2 * throughput(mean, peak=1), rel=0.01)
    assert "throttled" in reckoned("team", Workload(charged=1e12)).notes[0]


def test_two_regions_pay_twice() -> None:
    work = Workload(stored_warm=100)
    once, twice = (
        sum(
            line.cost
            for line in bill(replace(profile("team"), regions=n), work, list_prices()).lines
            if line.service == "Cosmos DB"
        )
        for n in (1, 2)
    )
    assert twice == pytest.approx(2 * once)


def test_hot_that_does_not_fit_is_told() -> None:
    assert "evict" in reckoned("dev", Workload(stored_hot=0.5)).notes[0]


def test_prices_are_replaced_by_a_file() -> None:
    text = '{"region": "West Europe", "prices": {"cosmos.stored": {"price": 1, "per": "GB", "source": "ours"}}}'
    ours = list_prices().with_file(text, "ours.json")
    assert (ours.region, ours["cosmos.stored"].amount, ours.as_of) == ("West Europe", 1.0, list_prices().as_of)
    assert list_prices()["cosmos.stored"].amount != 1.0


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"prices": []}',
        '{"prices": {"cosmos.stored": {"price": -1}}}',
        '{"prices": {"cosmos.stored": {"price": true}}}',
        '{"prices": {"cosmos.storage": {"price": 1}}}',
        '{"currency": "EUR"}',
        '{"region": 3}',
    ],
)
def test_prices_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ours\.json"):
        list_prices().with_file(text, "ours.json")


def test_every_price_says_where_it_is_from() -> None:
    assert all(price.per and price.source for price in list_prices().prices.values())
    assert list_prices().currency == "USD"


def test_wrong_profiles_and_peaks_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="dev, team, private, regulated"):
        profile("prod")
    with pytest.raises(InvalidArgument, match="peak"):
        reckoned(peak=0.5)
    with pytest.raises(ConfigurationError, match=r"redis\.Balanced_B9"):
        bill(replace(profile("dev"), redis="Balanced_B9"), Workload(), list_prices())
