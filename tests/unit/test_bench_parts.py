"""Every part of the benchmark works, with tiny numbers and in a process of its own, as it always runs. No figure is judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.__main__ import main, told  # noqa: E402
from benchmarks.parts import PARTS  # noqa: E402
from benchmarks.results import Result, at_most, load  # noqa: E402
from benchmarks.running import MISSING  # noqa: E402


def quickly(part: str, folder: Path) -> Result:
    """A part's result with tiny numbers; skips where a server is not to be had."""
    command = [sys.executable, "-m", "benchmarks.running", part, str(folder), "--quick", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == MISSING:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return load(folder / f"{part}.json")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_finds_something(part: str, tmp_path: Path) -> None:
    result = quickly(part, tmp_path)

    assert result.part == part
    assert result.quick
    assert result.taken
    assert result.machine["python"]
    assert result.lines or result.facts or result.grids
    for line in result.lines:
        assert line.wall_us > 0, line
    for series in result.series:
        assert len(series.points) > 0, series
    for grid in result.grids:
        assert {len(row) for row in grid.rows} == {len(grid.columns)}, grid.title
    if part == "wire":
        exact(result)


def exact(result: Result) -> None:
    """What does not hang on a clock: commands, calls and blob requests of the plain verbs."""
    (grid,) = result.grids
    rows = {(row[0], row[1]): row for row in grid.rows}
    assert rows["hot + warm + cold", "get, hit"][2:6] == ["1 (GET)", 0, 0.0, "0"]
    assert rows["warm alone", "get, hit"][2:4] == ["0", 1]
    assert rows["cold alone", "get, hit"][5] == "1 (read)"
    assert str(rows["hot + warm + cold", "set, known key"][2]).startswith("2 (")
    assert rows["hot + warm + cold", "set, known key"][3] == 1
    assert int(rows["warm alone", "set, known key"][6]) > 1000  # bytes sent: the value has 500


def test_a_profile_names_the_functions(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.profiling", "many", str(tmp_path), "--quick"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    if done.returncode != 0 and "MissingPart" in done.stderr:
        pytest.skip("no redis-server")
    assert done.returncode == 0, done.stderr
    files = sorted(tmp_path.glob("*.txt"))
    assert [path.name for path in files] == sorted(done.stdout.split())
    text = files[0].read_text()
    assert "get_many" in text
    assert str(ROOT) not in text


def test_a_missed_bar_is_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    missed = Result("memory", facts=[at_most("memory", "growth", 2.0, 1.1)])
    reached = Result("memory", facts=[at_most("memory", "growth", 1.0, 1.1)])

    assert told({"memory": missed}, [], quick=False) == 1
    assert "memory, growth: 2" in capsys.readouterr().err
    assert told({"memory": missed}, [], quick=True) == 0
    assert told({"memory": reached}, [], quick=False) == 0
    assert told({}, ["hot"], quick=True) == 1


@pytest.mark.parametrize("given", [["--only", "nonsense"], ["--rounds", "3"], ["--quick", "--write"]])
def test_what_cannot_be_measured_is_refused(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *given])

    with pytest.raises(SystemExit) as refused:
        main()

    assert refused.value.code == 2


def test_a_part_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "hot,neer"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    told_of = capsys.readouterr().err
    assert "no part 'neer'; the parts are: hot, near," in told_of
    assert "--rounds is" not in told_of
