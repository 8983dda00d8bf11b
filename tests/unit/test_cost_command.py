"""The command ``cost``, and the tables of docs/cost.md, which it stands for."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from thermocline.cli.app import app
from thermocline.cost.__main__ import EXAMPLE, written
from thermocline.cost.profiles import PROFILES
from thermocline.telemetry import Stats

PAGE = Path(__file__).parents[2] / "docs" / "cost.md"
PLAN = f"get={EXAMPLE.get},set={EXAMPLE.set},delete={EXAMPLE.delete},records={EXAMPLE.records},cold={EXAMPLE.cold}"


def run(*words: str, code: int = 0, given: str | None = None) -> str:
    result = CliRunner().invoke(app, ["cost", *words], input=given)
    assert result.exit_code == code, result.output
    return result.output


def test_the_pages_tables_are_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "python -m thermocline.cost docs/cost.md"
    assert "| **in all** |" in page


def test_the_command_gives_the_pages_figures() -> None:
    idle = json.loads(run("--json"))["profiles"]
    busy = json.loads(run("--json", "--operations", PLAN))["profiles"]
    page = PAGE.read_text(encoding="utf-8")
    for bills in (idle, busy):
        assert tuple(bills) == PROFILES
        assert "| **in all** | " + " | ".join(f"**{bills[name]['total']:,.2f}**" for name in PROFILES) + " |" in page


def test_from_statistics(tmp_path: Path) -> None:
    stats = Stats()
    for _ in range(100):
        stats.operated("warm", "create", 700)
    stats.count("request_units", "warm", 640)
    (tmp_path / "a.json").write_text(json.dumps(stats.snapshot()))
    (tmp_path / "b.json").write_text(json.dumps({"memory": stats.snapshot(), "process": 1}))
    files = ["--stats", str(tmp_path / "a.json"), "--stats", str(tmp_path / "b.json")]
    told = json.loads(run(*files, "--over", "73h", "--profile", "dev", "--stored", "warm=2", "--json"))
    assert told["request_units"] == {"formula": 12700.0, "charged": 12800.0, "by_operation": {"create": 12700.0}}
    data = next(
        line for line in told["profiles"]["dev"]["lines"] if line["service"] == "Cosmos DB" and line["what"] == "data"
    )
    assert data["cost"] == pytest.approx(0.5)
    assert (told["commands"], told["gigabytes"]["moved"], told["blob_operations"]["write"]) == (0, 0.0014, 0)
    assert "12,800 as charged" in run("--stats", "-", "--over", "36.5h", given=json.dumps(stats.snapshot()))


def test_statistics_without_their_time_are_a_months_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(_reads("1", count=5))
    assert "--over" in run("--stats", str(tmp_path / "a.json"), "--profile", "dev")
    assert "whole month" not in run("--stats", str(tmp_path / "a.json"), "--profile", "dev", "--over", "24h")


def test_statistics_of_the_embedded_tiers_have_nothing_to_bill_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"hot": {"requests": 5}, "warm": {"requests": 7}}))
    (tmp_path / "b.json").write_text(_reads("1", count=5))
    assert "nothing to do" in run("--stats", str(tmp_path / "a.json"), "--over", "24h")
    assert "nothing to do" not in run("--stats", str(tmp_path / "b.json"), "--over", "24h")


def test_what_work_adds_is_not_paid_though_nothing_is_done() -> None:
    idle = json.loads(run("--json"))["profiles"]
    busy = json.loads(run("--json", "--operations", "executions=1e9"))["profiles"]
    assert {name: one["fixed"] for name, one in busy.items()} == {name: one["fixed"] for name, one in idle.items()}
    assert busy["regulated"]["total"] > idle["regulated"]["total"] + 100


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--profile", "prod"], 2, "there is no profile"),
        (["--operations", "gets=3"], 2, "gets=3"),
        (["--operations", "get"], 2, "NAME=NUMBER"),
        (["--operations", "get=many"], 2, "get=many"),
        (["--stored", "cool=3"], 2, "hot, warm, cold"),
        (["--stats", "missing.json"], 2, "cannot be read"),
        (["--stats", "-", "--operations", "get=1"], 2, "not both"),
        (["--stats", "-", "--over", "never"], 2, "--over"),
        (["--prices", "missing.json"], 2, "cannot be read"),
        (["--peak", "0"], 2, "peak"),
        (["--operations", "get=1,get=2"], 2, "get twice"),
        (["--stored", "warm=1e300"], 2, "warm=1e300"),
        (["--over", "24h"], 2, "--stats"),
        (["--stats", "-", "--over", "0.1s"], 2, "--over"),
    ],
)
def test_what_cannot_be_is_told(words: list[str], code: int, said: str) -> None:
    assert said in run(*words, code=code, given="{}")


def _reads(column: str, **figures: float) -> str:
    return json.dumps({"warm": {"operations": {"read": {column: figures}}}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"memory": 3}',
        '{"warm": {"operations": {"read": 1}}}',
        "{" * 5000,
        _reads("²", count=1),
        _reads("01", count=1),
        _reads("1", count=1e308, bytes=1e308),  # sums of such would be infinite, which is no JSON
        _reads("1024", count=10),  # of that size there would be bytes
        _reads("1", count=1, bytes=5000),
    ],
)
def test_statistics_that_are_none_are_told(text: str) -> None:
    assert "thermocline: " in run("--stats", "-", code=2, given=text)
