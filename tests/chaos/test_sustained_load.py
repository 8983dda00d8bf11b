"""Sustained load in small: ten seconds, a thousand operations a second, Redis restarted twice. No figure of time is judged here; docs/chaos.md has those."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.sustained import Latencies, shown, sustain


@pytest.mark.timeout(240)
async def test_no_error_and_no_leak_while_redis_is_restarted() -> None:
    found = await sustain(rate=1_000, keys=5_000, seconds=10)
    assert found.done == 10_000
    assert found.errors == {}, shown(found)
    assert found.behind == []
    assert [how for _, how in found.restarts] == ["empty", "with its data"]
    assert found.kept
    last = found.samples[-1]
    assert last.files <= found.samples[len(found.samples) // 4].files + 10
    assert last.tasks <= 20  # the client's own, and this test's
    assert "10,000 of 10,000" in shown(found)


def test_latencies_are_right_within_two_percent() -> None:
    latencies = Latencies()
    for number in range(1, 1001):
        latencies.add(number / 1000)
    assert latencies.at(0.5) == pytest.approx(500, rel=0.03)
    assert latencies.at(0.99) == pytest.approx(990, rel=0.03)
    assert Latencies().at(0.99) == 0.0
