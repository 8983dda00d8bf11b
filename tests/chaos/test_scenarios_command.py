"""``python -m thermocline.testing.scenarios`` in the hands of somebody who is tired: what it is given wrongly, and what fails half-way."""

import sys
from pathlib import Path
from typing import Any

import pytest

from thermocline.testing.history import Verdict
from thermocline.testing.rig.errors import MissingPart
from thermocline.testing.scenarios import Report, by_name, page
from thermocline.testing.scenarios import __main__ as command
from thermocline.testing.scenarios.report import Phases, put_into, reported


def report_of(name: str) -> Report:
    return reported(by_name(name), 1, Phases(well=0.0), [], Verdict(), Verdict())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--only", "redis kiled"], "redis killed"),
        (["--features", "magic"], "hedge"),
        (["--seconds", "0"], "more than 0"),
        (["--seconds", "nan"], "more than 0"),
        (["--page", "no/such/file.md"], "no/such/file.md"),
    ],
)
def test_what_cannot_be_played_is_refused_at_once(
    given: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scenarios", *given])

    with pytest.raises(SystemExit) as refused:
        command.main()

    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_a_document_without_a_place_for_the_page_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"before {command.BEGIN} after")

    with pytest.raises(ValueError, match="no place"):
        put_into(document, "text", command.BEGIN, command.END)

    assert document.read_text() == f"before {command.BEGIN} after"


def test_one_that_cannot_be_played_does_not_cost_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def played(scenario: Any, **_: Any) -> Report:
        if scenario.name == "redis killed":
            raise MissingPart("no redis-server")
        return report_of(scenario.name)

    monkeypatch.setattr(command, "play", played)
    file = tmp_path / "new" / "report.md"
    words = ["--only", "redis killed", "--only", "redis slow", "--only", "disk full", "--report", str(file)]
    monkeypatch.setattr(sys, "argv", ["scenarios", *words])

    assert command.main() == 1

    text = file.read_text(encoding="utf-8")
    assert "2 of 3 as stated" in text
    assert "**Not played**: redis killed: MissingPart: no redis-server" in text
    assert "| redis slow | 0 |" in text


def test_the_page_tells_the_bound_beside_the_worst_that_was_seen() -> None:
    report = report_of("redis slow")
    assert "| ≤ 10 s: none |" in page([report])
    report.verdict.excused["redis slow"] = 3
    report.verdict.behind = 0.25
    assert "| ≤ 10 s: 3, 0.25 s |" in page([report])
    assert "| none |" in page([report_of("disk full")])
