"""The tables of docs/performance.md, made of the stored results: what stands between ``<!-- bench:NAME -->`` and ``<!-- /bench -->`` is written here.

NAME is a part, ``part: group`` for one group of it, or one of `bars` and `bars: others` (the targets) and `machine`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import cell_text, figure, ratio
from benchmarks.results import Fact, Grid, Line, Result

BARRED = ("hot", "near", "many", "warm", "cold", "degrade", "memory")
"""The parts whose targets are the bars of "faster than the raw client"; the others' are older, or their own."""

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- bench:(?P<name>[^>]+?) -->\n).*?(<!-- /bench -->)", re.S)


def filled(page: str, results: Mapping[str, Result]) -> str:
    """The page with all its blocks written anew."""
    return _BLOCK.sub(lambda found: f"{found.group(1)}{block(found['name'], results)}\n{found.group(3)}", page)


def write_page(results: Mapping[str, Result], path: Path = PAGE) -> Path:
    path.write_text(filled(path.read_text(encoding="utf-8"), results), encoding="utf-8")
    return path


def block(name: str, results: Mapping[str, Result]) -> str:
    """One block's text; a part that was never measured says so."""
    if name in ("bars", "bars: others"):
        return bars({part: result for part, result in results.items() if (part in BARRED) == (name == "bars")})
    if name == "machine":
        return machines(results)
    part, _, group = name.partition(": ")
    if part not in results:
        return f'*Not measured yet: `make bench ARGS="--only {part} --write"`.*'
    result = results[part]
    chosen = [line for line in result.lines if group in ("", line.group)]
    facts = [fact for fact in result.facts if group in ("", fact.group)]
    made = [_lines(chosen)] if chosen else []
    made += [_facts(facts)] if facts else []
    several = group == "" and len(result.grids) > 1
    made += [
        (f"{grid.title}:\n\n" if several else "") + _grid(grid) for grid in result.grids if group in ("", grid.title)
    ]
    if group == "":
        made += [f"Left out: {why}." for why in result.left_out]
    return "\n\n".join(made) if made else f"*Nothing was found for {name}.*"


def bars(results: Mapping[str, Result]) -> str:
    """Every target with what was found."""
    rows = ["| measure | target | found | |", "|---|---|---|---|"]
    for result in results.values():
        for line in result.lines:
            if line.target:
                found = line.wall_ratio if line.target.startswith("wall") else line.cpu_ratio
                rows.append(_bar(f"{line.group}: {line.arm}", line.target, f"{found:.3g}", line.reached))
        rows += [
            _bar(f"{fact.group}: {fact.name}", fact.target, figure(fact), fact.reached)
            for fact in result.facts
            if fact.target
        ]
    return "\n".join(rows)


def machines(results: Mapping[str, Result]) -> str:
    """When, by what and on what each part was measured."""
    rows = ["| part | day | load before | seconds | command |", "|---|---|---|---|---|"]
    for name, result in results.items():
        load = result.machine.get("load_1min", "")
        rows.append(f"| {name} | {result.taken} | {load} | {result.seconds:.0f} | `{result.command}` |")
    if not results:
        return "*Nothing measured yet.*"
    on = next(iter(results.values())).machine
    told = ", ".join(f"{name} {value}" for name, value in on.items() if name != "load_1min")
    return "\n".join([*rows, "", f"On: {told}."])


def _bar(measure: str, target: str, found: str, reached: bool | None) -> str:
    return f"| {measure} | {target} | **{found}** | {'reached' if reached else 'missed'} |"


def _lines(some: Sequence[Line]) -> str:
    rows: list[str] = []
    group = ""
    for line in some:
        if line.group != group:
            group = line.group
            rows += [
                "",
                f"| {group} | wall µs | CPU µs | wall ratio | CPU ratio | target |",
                "|---|---|---|---|---|---|",
            ]
        target = line.target + {None: "", True: ", reached", False: ", **missed**"}[line.reached]
        name = f"**{line.arm}**" if line.arm.startswith(("client.", "cold.")) else line.arm
        rows.append(
            f"| {name} | {_us(line.wall_us)} | {_us(line.cpu_us)} | {ratio(line.wall_ratio, line.wall_spread)}"
            f" | {ratio(line.cpu_ratio, line.cpu_spread)} | {target} |"
        )
    return "\n".join(rows[1:])


def _us(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _facts(some: Sequence[Fact]) -> str:
    rows = ["| | found | target |", "|---|---|---|"]
    for fact in some:
        target = fact.target + {None: "", True: ", reached", False: ", **missed**"}[fact.reached]
        rows.append(f"| {fact.group}: {fact.name} | {figure(fact)} | {target} |")
    return "\n".join(rows)


def _grid(grid: Grid) -> str:
    rows = [f"| {' | '.join(grid.columns)} |", "|" + "---|" * len(grid.columns)]
    rows += [f"| {' | '.join(map(cell_text, row))} |" for row in grid.rows]
    return "\n".join(rows)
