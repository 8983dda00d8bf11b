"""The schedules catch memories that lack one part of the protocol: that they find nothing in ours then means something."""

from pathlib import Path

import pytest
from tests.schedules.mutants import MUTANTS, Mutant
from tests.schedules.world import Grounds, run_schedule

MANY = 1000  # schedules that a mutant of ``make test`` may survive at most
RARE = 40_000


def caught(mutant: Mutant, folder: Path, within: int) -> str | None:
    """The first problem that shows, if any does."""
    grounds = Grounds(folder, mutant.hot)
    try:
        for seed in range(within):
            report = run_schedule(seed, mutant.world, grounds, spoil=mutant.spoil)
            if report.problems:
                return report.problems[0]
    finally:
        grounds.close()
    return None


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if not m.rare], ids=lambda m: m.name)
def test_a_broken_memory_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    problem = caught(mutant, tmp_path, MANY)
    assert problem is not None, f"{mutant.name}: not caught within {MANY} schedules"
    assert mutant.shows in problem


@pytest.mark.soak
@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.rare], ids=lambda m: m.name)
def test_a_memory_that_rarely_shows_its_fault_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    problem = caught(mutant, tmp_path, RARE)
    assert problem is not None, f"{mutant.name}: not caught within {RARE} schedules"
    assert mutant.shows in problem
