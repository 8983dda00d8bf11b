"""docs/chaos.md lists the scenarios as the catalogue has them, and these say of errors what is judged."""

from pathlib import Path

import pytest

from thermocline.testing.scenarios import Scenario
from thermocline.testing.scenarios.catalogue import SCENARIOS

PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"
HEAD = "| scenario | what is broken | what is stated | errors that calls may see |"


def test_the_page_lists_what_the_catalogue_has() -> None:
    lines = PAGE.read_text(encoding="utf-8").split(HEAD)[1].splitlines()[2:]
    listed = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[: lines.index("")]]
    assert listed == [(one.name, one.says, one.outcome, one.errors) for one in SCENARIOS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_what_is_stated_of_errors_is_what_is_judged(scenario: Scenario) -> None:
    never_fails = scenario.outcome.startswith("no call fails")
    assert never_fails == (not scenario.allowed) == (scenario.errors == "none")
    assert ("of unknown outcome" in scenario.errors) == ("UnknownOutcome" in scenario.allowed)
    assert "certain" not in scenario.outcome
