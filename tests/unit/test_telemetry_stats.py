"""`Stats` and the registry of clients: sums that never go back, whatever clients come and go."""

import gc
import random
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from thermocline import MemoryClient, ProcessMemory, SqliteMemory, telemetry
from thermocline.errors import CircuitOpen, TierUnavailable
from thermocline.telemetry.registry import Figure, Registry
from thermocline.telemetry.stats import BUCKETS, Histogram, Stats, bucket_of, edge
from thermocline.testing import ChaosTier


class Source:
    def __init__(self, *figures: Figure) -> None:
        self.figures = figures

    def gauges(self) -> Iterable[Figure]:
        return self.figures


def counted(amount: float = 1) -> Stats:
    stats = Stats()
    stats.count(telemetry.HITS, "hot", amount)
    stats.observe("get", "hot", 0.001)
    return stats


def test_a_quantile_is_at_most_a_bucket_above_the_true_one() -> None:
    seconds = sorted(random.Random(5).lognormvariate(-7, 2) for _ in range(5000))
    histogram = Histogram()
    for one in seconds:
        histogram.observe(one)

    for q in (0.1, 0.5, 0.9, 0.99):
        true = seconds[int(q * len(seconds)) - 1]
        assert true <= histogram.quantile(q) <= true * 2**0.25 * 1.0001
    assert Histogram().quantile(0.5) == 0


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e-6, 3e-6, 0.05, 1.0, 999.0, 1e9])
def test_a_duration_is_in_the_bucket_around_it(seconds: float) -> None:
    bucket = bucket_of(seconds)

    assert 0 <= bucket < BUCKETS
    assert seconds <= edge(bucket) * 1.0001 or bucket == BUCKETS - 1
    assert bucket == 0 or seconds >= edge(bucket - 1) * 0.9999


def test_what_came_since_is_the_difference() -> None:
    histogram, earlier = Histogram(), Histogram()
    histogram.observe(0.001)
    earlier.add(histogram)
    histogram.observe(0.1)
    since = histogram.since(earlier)

    assert since.count == sum(since.counts) == 1
    assert since.total == pytest.approx(0.1)
    assert since.quantile(0.5) == pytest.approx(0.1, rel=0.2)


def test_outcomes_are_apart_and_a_verb_is_their_sum() -> None:
    stats = Stats()
    stats.observe("read", "warm", 0.001)
    stats.observe("read", "warm", 0.5, telemetry.UNAVAILABLE)

    assert {timed: h.count for timed, h in stats.latencies.items()} == {
        ("read", "warm", "ok"): 1,
        ("read", "warm", "unavailable"): 1,
    }
    assert stats.snapshot()["warm"]["latency"]["read"]["count"] == 2


def test_a_clients_counts_outlive_it() -> None:
    registry = Registry()
    closed, dropped, live = Source(), Source(), Source()
    for source in (closed, dropped, live):
        registry.add(source, counted())
    registry.remove(closed)
    registry.remove(closed)
    del dropped
    gc.collect()

    assert len(registry) == 1
    assert registry.totals().get(telemetry.HITS, "hot") == 3
    assert registry.counted(telemetry.HITS) == {"hot": 3}
    assert registry.totals().latencies["get", "hot", "ok"].count == 3


def test_gauges_are_sums_and_of_a_breaker_and_a_lag_the_worst() -> None:
    registry = Registry()
    sources = [
        Source((telemetry.FLOORS, "client", 2), (telemetry.BREAKER, "hot", 2), (telemetry.FEED_LAG, "client", 1.5)),
        Source((telemetry.FLOORS, "client", 3), (telemetry.BREAKER, "hot", 1), (telemetry.FEED_LAG, "client", 40)),
    ]
    for source in sources:
        registry.add(source, Stats())

    assert registry.gauges() == {
        (telemetry.FLOORS, "client"): 5,
        (telemetry.BREAKER, "hot"): 2,
        (telemetry.FEED_LAG, "client"): 40,
    }


def test_what_was_charged_is_kept_by_verb_and_outlives_its_client() -> None:
    registry, source, stats, ended = Registry(), Source(), Stats(), Source()
    registry.add(source, stats)
    registry.add(ended, stats_of_ended := Stats())
    stats.charge(telemetry.REQUEST_UNITS, "warm", "read", 1.0)
    stats.charge(telemetry.REQUEST_UNITS, "warm", "write", 7.25)
    stats_of_ended.charge(telemetry.REQUEST_UNITS, "warm", "write", 2.5)
    registry.remove(ended)

    assert stats.snapshot()["warm"] == {"request_units": 8.25, "request_units_by_verb": {"read": 1, "write": 7.25}}
    assert registry.charged(telemetry.REQUEST_UNITS) == {("warm", "read"): 1, ("warm", "write"): 9.75}
    assert registry.counted(telemetry.REQUEST_UNITS) == {"warm": 10.75}
    assert registry.totals().charges[telemetry.REQUEST_UNITS, "warm", "write"] == 9.75


def test_sums_can_be_taken_while_others_count() -> None:
    """A collector's thread beside a client's: every sum is one that there was, and none is behind the one before."""
    registry, source, stats = Registry(), Source(), Stats()
    registry.add(source, stats)
    sums: list[float] = []
    done = threading.Event()

    def collect() -> None:
        while not done.is_set():
            total = registry.totals()
            sums.append(total.get(telemetry.HITS, "hot"))
            assert all(h.count == sum(h.counts) for h in total.latencies.values())

    collector = threading.Thread(target=collect)
    collector.start()
    for number in range(20_000):
        stats.count(telemetry.HITS, "hot")
        stats.observe(f"verb {number % 50}", f"tier {number % 7}", 0.001)
    done.set()
    collector.join()

    assert sums == sorted(sums)
    assert registry.totals().get(telemetry.HITS, "hot") == 20_000


async def test_a_client_is_collected_from_until_it_is_closed(tmp_path: Path) -> None:
    before = len(telemetry.CLIENTS)
    hits = telemetry.CLIENTS.counted(telemetry.HITS).get("hot", 0)
    async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "warm.sqlite3")) as client:
        await client.set("key", 1)
        assert await client.get("key") == 1
        assert len(telemetry.CLIENTS) == before + 1
        assert telemetry.CLIENTS.gauges()[telemetry.FLOORS, "client"] >= 1
        assert telemetry.CLIENTS.counted(telemetry.HITS)["hot"] == hits + 1

    assert len(telemetry.CLIENTS) == before
    assert telemetry.CLIENTS.counted(telemetry.HITS)["hot"] == hits + 1


async def test_what_the_breaker_refuses_is_unavailable_too(tmp_path: Path) -> None:
    chaos: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3"))
    async with MemoryClient(warm=chaos) as client:
        chaos.down = True
        refused: list[TierUnavailable] = []
        while not refused or not isinstance(refused[-1], CircuitOpen):
            with pytest.raises(TierUnavailable) as caught:
                await client.get("key")
            refused.append(caught.value)
        figures = client.stats()["warm"]
        chaos.down = False

    assert figures["unavailable"] == len(refused)
    assert figures["breaker"] == "open"
    assert figures["latency"]["read"]["count"] == len(refused) - 1
