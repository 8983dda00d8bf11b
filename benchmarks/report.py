"""The figures as a table for people, each beside what it must reach."""

from collections.abc import Sequence

from benchmarks.results import Fact, Grid, Line, Result, rounded
from benchmarks.rounds import Group, Ratios

HIT = "hot hit"
ABOVE, ALONE = "client.get, hot above an authority", "client.get, hot alone"
SET = "client.set, hot alone"
NEAR_NEW, NEAR_SHARED = "client.get, near, decoded anew", "client.get, near, immutable value shared"

_HITS = {1: 1.0, 4: 0.5, 32: 0.15, 128: 0.08}
_ONE = "1 caller"
_DISTINCT = "32 callers, all keys distinct"
WARM_READ, WARM_WRITE = "client.get, warm alone", "client.set, warm alone"
FILL, THROUGH_WRITE = "client.get, miss and fill", "client.set through hot"


def callers(number: int) -> str:
    return _ONE if number == 1 else f"{number} callers"


TARGETS: dict[tuple[str, str], tuple[str, float]] = {
    **{(f"{HIT}, {callers(n)}", arm): ("wall", most) for n, most in _HITS.items() for arm in (ABOVE, ALONE)},
    **{(f"{HIT}, {_DISTINCT}", arm): ("wall", 0.4) for arm in (ABOVE, ALONE)},
    ("hot set, 32 callers", SET): ("wall", 0.4),
    ("near hit", NEAR_NEW): ("wall", 0.05),
    ("near hit", NEAR_SHARED): ("wall", 0.02),
    ("50 keys", "client.get_many(50)"): ("cpu", 1.3),
    ("1,000 keys", "client.get_many(1000)"): ("cpu", 1.3),
    ("warm read", WARM_READ): ("cpu", 1.05),
    ("warm write", WARM_WRITE): ("cpu", 1.05),
    ("warm read through hot", FILL): ("cpu", 1.05),
    ("warm write through hot", THROUGH_WRITE): ("cpu", 1.05),
    ("cold read, 1 MB", "client.get, cold alone"): ("cpu", 1.05),
    ("cold read, 1 MB", "client.get, cold alone, obstore"): ("cpu", 0.5),
    ("telemetry, hot hit in Redis", "metrics on, collected once a turn"): ("cpu", 1.15),
    ("telemetry, hot hit in Redis", "metrics and spans on, 1 hot hit in 1,000"): ("cpu", 1.15),
}
"""What an arm of a group may cost beside the first of its group: of which time, and how many times as much. The bars of docs/performance.md."""

ONE_BY_ONE = "one by one"
AT_LEAST = 5.0  # times what the batch costs, of the time that passes: the arms that make a batch's calls singly


def distinct() -> str:
    """The group of hits whose callers never ask for one key together."""
    return f"{HIT}, {_DISTINCT}"


def lines(groups: Sequence[Group]) -> list[Line]:
    made: list[Line] = []
    for group in groups:
        for at, arm in enumerate(group.arms):
            ratios = group.ratios(at)
            target, reached = judged(group.title, arm.name, ratios)
            made.append(
                Line(
                    group=group.title,
                    arm=arm.name,
                    wall_us=rounded(ratios.wall_us),
                    cpu_us=rounded(ratios.cpu_us),
                    wall_ratio=rounded(ratios.wall),
                    cpu_ratio=rounded(ratios.cpu),
                    wall_spread=(rounded(ratios.wall_spread[0]), rounded(ratios.wall_spread[1])),
                    cpu_spread=(rounded(ratios.cpu_spread[0]), rounded(ratios.cpu_spread[1])),
                    target=target,
                    reached=reached,
                )
            )
    return made


def judged(group: str, arm: str, ratios: Ratios) -> tuple[str, bool | None]:
    """The target of an arm in words, and whether it is reached; None if it has none."""
    if arm.startswith(ONE_BY_ONE):
        return f"wall ≥ {AT_LEAST:g}", ratios.wall >= AT_LEAST
    if (group, arm) not in TARGETS:
        return "", None
    what, most = TARGETS[group, arm]
    found = ratios.wall if what == "wall" else ratios.cpu
    return f"{'wall' if what == 'wall' else 'CPU'} ≤ {most:g}", found <= most


def verdict(reached: bool | None) -> str:
    return {None: "", True: "reached", False: "MISSED"}[reached]


def shown(result: Result) -> str:
    """A part as fixed-width text; a ratio is followed by the quartiles of the per-round ratios."""
    rows = _lines(result.lines)
    for fact in result.facts:
        rows.append(f"  {fact.group}, {fact.name}: {figure(fact)}  {fact.target} {verdict(fact.reached)}".rstrip())
    for grid in result.grids:
        rows += ["", *_grid(grid)]
    rows += [f"  left out: {why}" for why in result.left_out]
    return "\n".join(rows)


def figure(fact: Fact) -> str:
    """The figure with its unit."""
    return (
        f"{fact.value:,.4g} {fact.unit}".strip()
        if abs(fact.value) < 10_000
        else f"{fact.value:,.0f} {fact.unit}".strip()
    )


def ratio(value: float, spread: tuple[float, float]) -> str:
    digits = 2 if value >= 0.2 else 3
    return f"{value:.{digits}f} ({spread[0]:.{digits}f} to {spread[1]:.{digits}f})"


def _lines(found: Sequence[Line]) -> list[str]:
    rows: list[str] = []
    group = ""
    for line in found:
        if line.group != group:
            group = line.group
            rows += ["", f"{group:<44} {'wall µs':>9} {'cpu µs':>8}   {'wall ratio':<24} {'cpu ratio':<24} target"]
        rows.append(
            f"  {line.arm:<42} {line.wall_us:>9.1f} {line.cpu_us:>8.1f}   {ratio(line.wall_ratio, line.wall_spread):<24}"
            f" {ratio(line.cpu_ratio, line.cpu_spread):<24} {line.target} {verdict(line.reached)}".rstrip()
        )
    return rows


def _grid(grid: Grid) -> list[str]:
    cells = [grid.columns, *([cell_text(cell) for cell in row] for row in grid.rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(grid.columns))]
    return [
        grid.title,
        *(
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ),
    ]


def cell_text(cell: str | float) -> str:
    return cell if isinstance(cell, str) else f"{cell:,.10g}"
