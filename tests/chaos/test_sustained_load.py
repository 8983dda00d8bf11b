"""Sustained load in small: ten seconds, a thousand operations a second, Redis restarted twice. No figure of time is judged here; docs/chaos.md has those."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.sustained import Latencies, Outcome, Sample, main, shown, sustain


@pytest.mark.timeout(240)
async def test_no_error_and_no_leak_while_redis_is_restarted() -> None:
    found = await sustain(rate=1_000, keys=5_000, seconds=10)
    assert found.done == 10_000
    assert found.errors == {}, shown(found)
    assert found.behind == []
    assert [how for _, how in found.restarts] == ["empty", "with its data"]
    assert found.kept, found.missed
    last = found.samples[-1]
    assert last.files <= found.samples[len(found.samples) // 4].files + 10
    assert 0 < last.tasks <= 20  # the client's own, and this test's
    assert "10,000 of 10,000" in shown(found)


def outcome(**changed: Any) -> Outcome:
    samples = [Sample(float(at), 100_000_000, 10, 20, 0, at * 10) for at in range(20)]
    return Outcome(rate=20, keys=5, seconds=10.0, done=200, samples=samples, **changed)


def grown(found: Outcome, name: str, last: int) -> Outcome:
    for sample in found.samples[15:]:
        setattr(sample, name, last)
    return found


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (outcome(), ""),
        (grown(outcome(), "rss", 105_000_000), ""),
        (grown(outcome(), "rss", 120_000_000), "memory grew 1.20 times"),
        (grown(outcome(), "tasks", 400), "tasks went from 10 to 400"),
        (grown(outcome(), "files", 50), "open files went from 20 to 50"),
        (outcome(errors=Counter(TierTimeout=2)), "2 calls failed"),
        (outcome(behind=["key 1"]), "1 reads were behind"),
    ],
)
def test_what_is_not_flat_or_fails_is_not_as_stated(found: Outcome, said: str) -> None:
    assert found.kept == (said == "")
    assert said in "; ".join(found.missed)
    assert f"flat) | {'yes' if found.kept else said}" in shown(found)


def test_operations_that_were_not_done_and_a_rate_that_was_not_reached_are_told() -> None:
    found = outcome(reached=8.0)
    found.done = 150
    assert found.missed == ["50 operations were not done"]
    assert "20 / 8 a second (**not reached**" in shown(found)
    found.reached = 19.0  # half a second after the last was due
    assert "not reached" not in shown(found)


@pytest.mark.parametrize("given", [["--rate", "0"], ["--seconds", "nan"], ["--reads", "2"], ["--page", "no/such/file"]])
def test_a_load_that_cannot_be_is_refused_at_once(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sustained", *given])

    with pytest.raises(SystemExit) as refused:
        main()

    assert refused.value.code == 2


def test_latencies_are_right_within_two_percent() -> None:
    latencies = Latencies()
    for number in range(1, 1001):
        latencies.add(number / 1000)
    assert latencies.at(0.5) == pytest.approx(500, rel=0.03)
    assert latencies.at(0.99) == pytest.approx(990, rel=0.03)
    assert Latencies().at(0.99) == 0.0
