"""What a part of the benchmark found, as it is stored: lines of compared arms, single figures, series for the plots, and tables of words and counts."""

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.parts import PARTS
from thermocline.testing.rig.errors import MissingPart
from thermocline.testing.rig.redis import find_redis_server

STORED = Path(__file__).parent / "results"
"""What the documentation cites; everything else goes to the folder `.cache/bench` of the checkout."""

_NAMED = (
    "redis",
    "hiredis",
    "azure-cosmos",
    "azure-storage-blob",
    "obstore",
    "aiocache",
    "cashews",
    "coredis",
    "langgraph-checkpoint",
    "py-key-value-aio",
    "valkey-glide",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One arm's figures. ``target``: what it must reach, in words; ``reached``: None if it has none."""

    group: str
    arm: str
    wall_us: float
    cpu_us: float
    wall_ratio: float
    cpu_ratio: float
    wall_spread: tuple[float, float]
    cpu_spread: tuple[float, float]
    target: str = ""
    reached: bool | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure that is no arm's: ``target`` is what it must reach, in words."""

    group: str
    name: str
    value: float
    unit: str = ""
    target: str = ""
    reached: bool | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a plot; ``chart`` is of `benchmarks.plots.CHARTS`, points are (x, y)."""

    chart: str
    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its columns' heads, and rows as long as they."""

    title: str
    columns: list[str]
    rows: list[list[str | int | float]]


@dataclass(slots=True)
class Result:
    """All that one part found. ``left_out``: what could not be measured, and why."""

    part: str
    lines: list[Line] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    taken: str = ""  # the day, by UTC
    command: str = ""
    quick: bool = False
    seconds: float = 0.0
    machine: dict[str, str | int | float] = field(default_factory=dict)

    @property
    def missed(self) -> list[str]:
        """The targets that were not reached, each with its figure."""
        found = [
            f"{line.group}, {line.arm}: wall {line.wall_ratio:.3g}, CPU {line.cpu_ratio:.3g}, target {line.target}"
            for line in self.lines
            if line.reached is False
        ]
        return found + [
            f"{fact.group}, {fact.name}: {fact.value:g} {fact.unit}, target {fact.target}"
            for fact in self.facts
            if fact.reached is False
        ]


def rounded(value: float) -> float:
    """Four digits: what a run of this kind can tell, and stored files that people can read."""
    return float(f"{value:.4g}")


def at_most(group: str, name: str, value: float, most: float, unit: str = "") -> Fact:
    """A figure that must not be above ``most``."""
    return Fact(group, name, rounded(value), unit, f"≤ {most:g}", value <= most)


def machine() -> dict[str, str | int | float]:
    """What the figures are measured on, in general terms, how busy it is, and the versions of those who are compared."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    found: dict[str, str | int | float] = {
        "cores": os.cpu_count() or 0,
        "system": platform.system(),
        "architecture": platform.machine(),
        "load_1min": round(load, 2),
        "python": platform.python_version(),
        "redis-server": _redis_version(),
    }
    for name in _NAMED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _redis_version() -> str:
    try:
        said = subprocess.run([find_redis_server(), "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    except (MissingPart, OSError, subprocess.CalledProcessError):
        return "none"
    return next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), "unknown")


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def store(result: Result, folder: Path) -> Path:
    """Write it as ``<part>.json``; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.part}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(asdict(result)), indent=1) + b"\n")
    return path


def load(path: Path) -> Result:
    """Read what `store` wrote. Raises OSError, or msgspec.ValidationError for a file of another make."""
    return msgspec.json.decode(path.read_bytes(), type=Result)


def load_all(folder: Path = STORED) -> dict[str, Result]:
    """All stored parts by name, in the order of `PARTS`; none if there is no such folder."""
    return {part: load(path) for part in PARTS if (path := folder / f"{part}.json").exists()}


def as_json(results: dict[str, Result]) -> dict[str, Any]:
    return {name: asdict(result) for name, result in results.items()}
