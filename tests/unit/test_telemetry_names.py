"""The names: each counter that the code counts is in names.py, each one there is counted, and the page lists them as they are."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import thermocline
from thermocline import telemetry
from thermocline.client import MemoryClient
from thermocline.telemetry import names
from thermocline.telemetry.__main__ import put_right
from thermocline.telemetry.names import METRICS, VERBS, Kind, counter

LIBRARY = Path(thermocline.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
DERIVED = {names.CALLS, names.TIME, names.LATENCY, names.DURATION}  # made of the latencies when they are collected


def calls() -> Iterator[tuple[Path, ast.expr]]:
    """The first argument of every ``….stats.count(…)`` in the library."""
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "count":
                owner = ast.unparse(node.func.value)
                if owner.endswith("stats") and len(node.args) >= 2:
                    yield path, node.args[0]


def constants(argument: ast.expr) -> Iterator[str]:
    """The names that may be meant: of ``telemetry.HITS if … else telemetry.MISSES`` both."""
    if isinstance(argument, ast.IfExp):
        yield from constants(argument.body)
        yield from constants(argument.orelse)
    elif isinstance(argument, ast.Attribute):
        yield argument.attr
    elif isinstance(argument, ast.Name):
        yield argument.id
    else:
        yield ast.unparse(argument)


def test_everything_that_is_counted_has_a_name() -> None:
    counted = [(path, name) for path, argument in calls() for name in constants(argument)]

    assert len(counted) > 20
    for path, name in counted:
        key = getattr(names, name, None) if name.isupper() else None
        where = f"{path.relative_to(LIBRARY)} counts {name}"
        assert key in METRICS, f"{where}, which is no counter of telemetry/names.py"
        assert METRICS[key].kind is Kind.COUNTER, where


def test_every_name_is_counted_somewhere() -> None:
    used: set[str] = set()
    for path in LIBRARY.rglob("*.py"):
        if path.name == "names.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.Name):
                used.add(node.id)
    constants_of = {value: name for name, value in vars(names).items() if name.isupper() and value in list(METRICS)}

    assert {key for key in METRICS if constants_of[key] not in used} == set()


def test_names_are_in_openTelemetrys_style_and_unlike() -> None:
    assert len({metric.name for metric in METRICS.values()}) == len(METRICS)
    for metric in METRICS.values():
        assert metric.name.startswith("thermocline.")
        assert metric.name == metric.name.lower()
        assert metric.unit in {"s", "By", "1"} or (metric.unit[0], metric.unit[-1]) == ("{", "}")
        assert metric.description
        assert set(metric.attributes) <= set(names.ATTRIBUTES)


def test_a_name_cannot_be_given_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        counter("hits", "{hit}", "again")
    with pytest.raises(ValueError, match="twice"):
        counter("other_hits", "{hit}", "another key, the same name", name="hits")
    assert "other_hits" not in METRICS


def test_the_constants_are_names_of_telemetry() -> None:
    for name in names.__all__:
        assert getattr(telemetry, name) is getattr(names, name)
    upper = {name for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    assert upper <= set(names.__all__), "in names.py, but not in its __all__"


def test_every_verb_with_a_span_is_one_of_the_client() -> None:
    assert [verb for verb in VERBS if not hasattr(MemoryClient, verb)] == []


def test_the_page_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert put_right(page) == page, "run: python -m thermocline.telemetry docs/telemetry.md"


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no lines"):
        put_right("# Telemetry\n")
