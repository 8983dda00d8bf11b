"""The command ``sweep`` on the embedded tiers, by typer's own runner."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from thermocline.cli.app import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the embedded tiers of this test, in a folder without a .env."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def run_it(*words: str) -> Result:
        result = CliRunner().invoke(app, [*words, "--home", str(tmp_path / "home")])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it


@pytest.fixture
def filled(run: Run, tmp_path: Path) -> Run:
    """Three records of 5,000 bytes."""
    for number in range(3):
        path = tmp_path / f"value-{number}"
        path.write_bytes(random.Random(number).randbytes(5000))
        assert run("set", f"name-{number}", "--file", str(path), "--bytes").exit_code == 0
    return run


def parsed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_dry_run_then_the_pass_then_nothing_is_left_to_do(filled: Run) -> None:
    rule = ("--demote-above", "1000")
    would = parsed(filled("sweep", "--dry-run", "--json", *rule))
    assert (would["dry_run"], would["demotions_moved"], would["demotions_bytes_moved"]) == (True, 3, 15_000)
    assert would["saves"]["bytes_moved"] == 15_000
    did = parsed(filled("sweep", "--json", *rule))
    assert (did["finished"], did["demotions_moved"], did["errors"]) == (True, 3, [])
    after = parsed(filled("sweep", "--json", *rule))
    assert (after["demotions_moved"], after["payloads"], after["young"]) == (0, 3, 3)
    assert parsed(filled("get", "name-1", "--json"))["base64"]


def test_people_are_told_what_happened(filled: Run) -> None:
    told = filled("sweep", "--demote-above", "1000").stdout
    assert "3 records" in told
    assert "3 demoted (15.0 kB)" in told
    assert "USD a month" in told
    dry = filled("sweep", "--dry-run").stdout
    assert "3 payloads" in dry
    assert "would be" in dry


def test_without_rules_nothing_is_demoted(filled: Run) -> None:
    assert parsed(filled("sweep", "--json"))["demotions_moved"] == 0
    assert parsed(filled("sweep", "--json", "--demote-after", "1h", "--demote-idle", "2d"))["demotions_moved"] == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--max-duration", "never"], 2),
        (["--max-duration", "0s"], 2),
        (["--max-duration", "soon"], 2),
        (["--demote-after", "never"], 2),
        (["--max-records-per-second", "0"], 2),
        (["--max-request-units", "-1"], 2),
        (["--demote-above", "-5"], 2),
    ],
)
def test_bounds_that_cannot_be_end_with_words(run: Run, words: list[str], code: int) -> None:
    result = run("sweep", *words)
    assert result.exit_code == code
    assert "Traceback" not in result.output
