"""Each scenario in a second or two: it comes out as stated. ``make soak`` runs them for longer, and prints what it cost.

``CHAOS_SEED=7 pytest tests/chaos -k "redis killed"`` plays one with another seed; ``CHAOS_KEEP=folder`` keeps what was recorded.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from thermocline.testing.scenarios import FEATURES, SCENARIOS, Places, Scenario, by_name, page, play

SEED = int(os.environ.get("CHAOS_SEED", "1"))
SECONDS = 0.8
NAMES = [scenario.name for scenario in SCENARIOS]

Show = Callable[[object], None]


def kept_folder(name: str) -> Path | None:
    where = os.environ.get("CHAOS_KEEP")
    if where is None:
        return None
    folder = Path(where) / name.replace(" ", "-")
    folder.mkdir(parents=True)
    return folder


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
async def test_it_comes_out_as_stated(scenario: Scenario, show: Show) -> None:
    report = await play(scenario, seed=SEED, seconds=SECONDS, folder=kept_folder(scenario.name))
    show(report)
    assert report.kept, report
    assert report.calls > 50
    assert report.calm.calls > 0
    assert report.during.calls > 0
    assert report.after.calls > 0
    if scenario.bounded is None:
        assert report.behind == 0


def test_names_are_unique_and_found() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert [by_name(name) for name in NAMES] == list(SCENARIOS)
    with pytest.raises(KeyError, match="redis killed"):
        by_name("no such thing")


def test_every_scenario_states_its_outcome() -> None:
    for scenario in SCENARIOS:
        assert scenario.says
        assert scenario.outcome
        assert scenario.bounded is not None or not scenario.rolls_back
    assert "0 of 0" in page([])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["redis killed", "redis blackholed", "cosmos 449 storm", "all three tiers at once"])
async def test_with_everything_switched_on(name: str, show: Show) -> None:
    report = await play(by_name(name), seed=SEED, seconds=SECONDS, features=tuple(FEATURES))
    show(report)
    assert report.kept, report


def test_a_feature_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="hedge"):
        Places(folder="nowhere", features=("magic",)).client()
