"""The plots and the page's tables: what the stored results give, and nothing else."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.page import PAGE, block, filled  # noqa: E402
from benchmarks.parts import PARTS  # noqa: E402
from benchmarks.plots import CHARTS, FOLDER, drawn, write_plots  # noqa: E402
from benchmarks.results import Fact, Grid, Line, Result, Series, load_all  # noqa: E402
from benchmarks.svg import Axis, Bar, bars, lines  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
STORED = load_all()
LINE = Line("hot hit, 1 caller", "client.get", 60.0, 50.0, 0.7, 0.6, (0.65, 0.75), (0.6, 0.6), "wall ≤ 1", True)


def marks(svg: str, kind: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(SVG + kind))


def words(svg: str) -> list[str]:
    return [text.text or "" for text in marks(svg, "text")]


# What is committed


def test_the_pages_tables_are_what_is_stored() -> None:
    """If not: ``python -m benchmarks --page`` writes them anew."""
    page = PAGE.read_text(encoding="utf-8")

    assert filled(page, STORED) == page


def test_the_plots_are_what_is_stored() -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.svg")}

    assert files == drawn(STORED)


def test_every_plot_is_on_the_page() -> None:
    shown = set(re.findall(r"!\[[^\]]+\]\(performance/([\w-]+)\.svg\)", PAGE.read_text(encoding="utf-8")))

    assert shown == drawn(STORED).keys()


@pytest.mark.parametrize("name", sorted(drawn(STORED)))
def test_a_plot_is_well_formed_and_has_its_words(name: str) -> None:
    svg = drawn(STORED)[name]

    root = ET.fromstring(svg)

    assert root.tag == SVG + "svg"
    assert (root.findtext(SVG + "title") or "") in words(svg)
    assert "prefers-color-scheme:dark" in svg
    if name in CHARTS:
        assert {CHARTS[name].x.label, CHARTS[name].y.label} <= set(words(svg))


def test_every_block_of_the_page_is_of_a_part() -> None:
    names = re.findall(r"<!-- bench:([^>]+?) -->", PAGE.read_text(encoding="utf-8"))

    assert {name.partition(": ")[0] for name in names} == {*PARTS, "bars", "machine"}


def test_nothing_that_was_measured_quickly_is_stored() -> None:
    assert [name for name, result in STORED.items() if result.quick or not result.taken] == []


# How they are made


def test_a_page_is_filled_between_its_markers() -> None:
    page = "# P\n\n<!-- bench:hot -->\nold\n<!-- /bench -->\n\nkept\n\n<!-- bench:near -->\n<!-- /bench -->\n"
    result = Result("hot", lines=[LINE], left_out=["somebody, who is away"])

    made = filled(page, {"hot": result})

    assert "old" not in made
    assert "| **client.get** | 60 | 50 | 0.70 (0.65 to 0.75) | 0.60 (0.60 to 0.60) | wall ≤ 1, reached |" in made
    assert "Left out: somebody, who is away." in made
    assert "kept" in made
    assert 'Not measured yet: `make bench ARGS="--only near --write"`' in made
    assert filled(made, {"hot": result}) == made


def test_the_bars_show_what_was_missed() -> None:
    missed = Fact("memory", "at a million", 1.3, "", "≤ 1.1", False)

    made = block("bars", {"hot": Result("hot", lines=[LINE]), "memory": Result("memory", facts=[missed])})

    assert "| hot hit, 1 caller: client.get | wall ≤ 1 | **0.7** | reached |" in made
    assert "| memory: at a million | ≤ 1.1 | **1.3** | missed |" in made


def test_a_group_of_a_part_can_stand_alone() -> None:
    result = Result("wire", grids=[Grid("one", ["a"], [["x"]]), Grid("two", ["b"], [[1_000_000], [1352.0], [0.25]])])

    assert block("wire: two", {"wire": result}) == "| b |\n|---|\n| 1,000,000 |\n| 1,352 |\n| 0.25 |"
    assert block("wire", {"wire": result}).startswith("one:\n\n| a |\n|---|\n| x |\n\ntwo:\n\n| b |")


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    result = Result("scaling", series=[Series("callers", "raw", [(1, 90.0), (256, 40.0)])])

    first, again = drawn({"scaling": result}), drawn({"scaling": result})

    assert first == again
    assert [path.name for path in write_plots({"scaling": result}, tmp_path)] == ["callers.svg"]
    assert (tmp_path / "callers.svg").read_text() == first["callers"]


def test_a_line_goes_through_its_points() -> None:
    svg = lines("t", Axis("x"), Axis("y"), [("a", [(0.0, 0.0), (50.0, 5.0), (100.0, 10.0)])])
    (line,) = marks(svg, "polyline")
    places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]

    (x0, y0), (x1, y1), (x2, y2) = places

    assert x0 < x1 < x2
    assert y0 > y1 > y2  # up is less, in SVG
    assert abs((x0 + x2) / 2 - x1) < 0.2
    assert abs((y0 + y2) / 2 - y1) < 0.2


def test_a_logarithmic_axis_has_even_powers() -> None:
    svg = lines("t", Axis("x", log=True), Axis("y", log=True), [("a", [(1, 1), (10, 10), (100, 100)])])
    (line,) = marks(svg, "polyline")
    x = [float(pair.split(",")[0]) for pair in line.attrib["points"].split()]

    assert abs((x[1] - x[0]) - (x[2] - x[1])) < 0.2
    assert {"1", "10", "100"} <= set(words(svg))


def test_what_cannot_be_drawn_says_so() -> None:
    with pytest.raises(ValueError, match="no points"):
        lines("t", Axis("x"), Axis("y"), [("a", [])])
    with pytest.raises(ValueError, match="no place for 0"):
        lines("t", Axis("x", log=True), Axis("y"), [("a", [(0, 1), (1, 1)])])
    with pytest.raises(ValueError, match="no bars"):
        bars("t", "x", [])


def test_a_bar_is_as_long_as_its_value() -> None:
    svg = bars("t", "x", [Bar("raw <GET>", 1.0, 0.9, 1.1), Bar("ours", 0.5, 0.4, 0.6, own=True)])
    raw, ours = marks(svg, "rect")

    assert abs(float(raw.attrib["width"]) - 2 * float(ours.attrib["width"])) < 0.3
    assert raw.attrib["fill"] != ours.attrib["fill"]
    assert "raw <GET>" in words(svg)
