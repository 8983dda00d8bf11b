"""The figures as a table for people and as JSON, each beside what it must reach."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.rounds import Group, Ratios

TARGETS: dict[str, tuple[str, float]] = {
    "client.get, hot above an authority": ("wall", 1.3),
    "client.get, hot alone": ("wall", 1.3),
    "client.get_many(50)": ("cpu", 1.3),
    "client.get, warm alone": ("cpu", 1.1),
    "client.get, cold alone": ("cpu", 1.1),
    "metrics on, collected once a turn": ("cpu", 1.15),
    "metrics and spans on, 1 hot hit in 1,000": ("cpu", 1.15),
}
"""What an arm may cost beside the first of its group: of which time, and how many times as much."""

ONE_BY_ONE = "one by one"
AT_LEAST = 5.0  # times what the batch costs, of the time that passes: the arms that make a batch's calls singly

_UNJUDGED = ("32 at once", "hit in process memory")  # the targets of a hot hit are for one at a time, in Redis


@dataclass(frozen=True, slots=True)
class Line:
    """One arm's figures. ``reached``: whether it keeps its target; None: it has none."""

    group: str
    arm: str
    wall_us: float
    cpu_us: float
    wall_ratio: float
    cpu_ratio: float
    wall_spread: tuple[float, float]
    cpu_spread: tuple[float, float]
    target: str
    reached: bool | None


def lines(groups: Sequence[Group]) -> list[Line]:
    made: list[Line] = []
    for group in groups:
        for at, arm in enumerate(group.arms):
            ratios = group.ratios(at)
            what, most = TARGETS.get(arm.name, ("", 0.0))
            judged = what != "" and not any(one in group.title for one in _UNJUDGED)
            singly = arm.name.startswith(ONE_BY_ONE)
            made.append(
                Line(
                    group=group.title,
                    arm=arm.name,
                    wall_us=ratios.wall_us,
                    cpu_us=ratios.cpu_us,
                    wall_ratio=ratios.wall,
                    cpu_ratio=ratios.cpu,
                    wall_spread=ratios.wall_spread,
                    cpu_spread=ratios.cpu_spread,
                    target=f"wall >= {AT_LEAST}" if singly else f"{what} <= {most}" if judged else "",
                    reached=_reached(ratios, what, most, singly) if judged or singly else None,
                )
            )
    return made


def _reached(ratios: Ratios, what: str, most: float, singly: bool) -> bool:
    if singly:
        return ratios.wall >= AT_LEAST
    return (ratios.wall if what == "wall" else ratios.cpu) <= most


def table(found: Sequence[Line]) -> str:
    """Fixed-width text; a ratio is followed by the quartiles of the per-round ratios."""
    rows: list[str] = []
    group = ""
    for line in found:
        if line.group != group:
            group = line.group
            rows += ["", f"{group:<42} {'wall µs':>9} {'cpu µs':>8}   {'wall ratio':<19} {'cpu ratio':<19} target"]
        verdict = {None: "", True: "reached", False: "MISSED"}[line.reached]
        rows.append(
            f"  {line.arm:<40} {line.wall_us:>9.1f} {line.cpu_us:>8.1f}"
            f"   {_ratio(line.wall_ratio, line.wall_spread):<19} {_ratio(line.cpu_ratio, line.cpu_spread):<19} {line.target} {verdict}".rstrip()
        )
    return "\n".join(rows)


def _ratio(ratio: float, spread: tuple[float, float]) -> str:
    return f"{ratio:.2f} ({spread[0]:.2f}-{spread[1]:.2f})"


def machine() -> dict[str, Any]:
    """What the figures were measured on, in general terms, and how busy it was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_1min": round(load, 2),
    }


def as_json(found: Sequence[Line], extra: dict[str, Any]) -> dict[str, Any]:
    return {"lines": [asdict(line) for line in found], **extra}
