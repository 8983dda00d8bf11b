"""Which plots there are, and what of the results they show. They lie in docs/performance/."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import HIT, callers
from benchmarks.results import Line, Result
from benchmarks.svg import Axis, Bar, bars, lines

FOLDER = Path(__file__).parents[1] / "docs" / "performance"

_OWN = ("client.", "cold.")
"""So the names of our own arms begin."""


def _count(value: float) -> str:
    for power, word in ((1_000_000, " million"), (1_000, ",000")):
        if value >= power:
            return f"{value / power:g}{word}"
    return f"{value:g}"


def _bytes(value: float) -> str:
    for power, word in ((1_000_000, "MB"), (1_000, "kB")):
        if value >= power:
            return f"{value / power:g} {word}"
    return f"{value:g} B"


def _percentile(value: float) -> str:
    return f"p{100 - 100 / value:.4g}"


PERCENTILES = (50, 75, 90, 95, 98, 99, 99.5)
"""They are drawn by how rare the calls beyond them are: one in two, in four, …, in two hundred."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot of the series that name it; ``place`` says where on the axis a stored x lies."""

    title: str
    x: Axis
    y: Axis
    place: Callable[[float], float] = float


CHARTS: dict[str, Chart] = {
    "callers": Chart(
        "GET of 0.5 kB by callers at once",
        Axis("callers at once, 100 keys in use", log=True, ticks=(1, 2, 4, 8, 16, 32, 64, 128, 256)),
        Axis("µs for each call (wall)", log=True),
    ),
    "keys": Chart(
        "GET of 100 B by keys that Redis holds, 32 callers",
        Axis("keys in Redis", log=True, words=_count),
        Axis("µs for each call (CPU)"),
    ),
    "values": Chart(
        "GET and SET by size of the value, one caller",
        Axis("bytes of the value", log=True, words=_bytes),
        Axis("µs for each call (wall)", log=True, words=_count),
    ),
    "cold-values": Chart(
        "Cold read by size of the value, one caller",
        Axis("bytes of the value", log=True, words=_bytes),
        Axis("ms of CPU for each call", log=True),
    ),
    "hedging": Chart(
        "Warm reads with a few slow answers, with and without hedging",
        Axis("percentile of the calls", log=True, words=_percentile, ticks=tuple(100 / (100 - p) for p in PERCENTILES)),
        Axis("ms (wall)", log=True),
        place=lambda percentile: 100 / (100 - percentile),
    ),
    "memory": Chart(
        "Memory of a process that reads keys, never the same, through a near cache of 10,000",
        Axis("keys passed through", words=_count),
        Axis("MiB resident"),
    ),
}
_BARS = {
    "rivals-1": ("A hot hit beside others, one caller", f"{HIT}, {callers(1)}"),
    "rivals-32": ("A hot hit beside others, 32 callers of 100 keys", f"{HIT}, {callers(32)}"),
}


def drawn(results: Mapping[str, Result]) -> dict[str, str]:
    """All plots that the results have figures for: SVG by name."""
    made: dict[str, str] = {}
    every = [series for result in results.values() for series in result.series]
    for name, chart in CHARTS.items():
        found = [
            (series.name, [(chart.place(x), y) for x, y in series.points]) for series in every if series.chart == name
        ]
        if found:
            made[name] = lines(chart.title, chart.x, chart.y, found)
    if "hot" in results:
        for name, (title, group) in _BARS.items():
            rows = [line for line in results["hot"].lines if line.group == group and "no-op" not in line.arm]
            made[name] = bars(
                title, "time for a call, redis.asyncio GET = 1 (wall)", [_bar(row, _wall) for row in rows]
            )
    services = [line for part in ("warm", "cold") if part in results for line in results[part].lines]
    if services:
        ours = [line for line in services if line.arm.startswith(_OWN)]
        made["services"] = bars(
            "Warm and cold beside the Azure SDKs",
            "CPU for a call, the raw SDK's = 1",
            [_bar(line, _cpu, _service(line)) for line in ours],
        )
    return made


def _wall(line: Line) -> tuple[float, tuple[float, float]]:
    return line.wall_ratio, line.wall_spread


def _cpu(line: Line) -> tuple[float, tuple[float, float]]:
    return line.cpu_ratio, line.cpu_spread


def _bar(line: Line, of: Callable[[Line], tuple[float, tuple[float, float]]], name: str = "") -> Bar:
    value, (low, high) = of(line)
    return Bar(name or line.arm, value, low, high, own=line.arm.startswith(_OWN))


def _service(line: Line) -> str:
    """As short as a bar's name has to be."""
    payload = " as a payload" if line.arm.startswith(_OWN[1]) else ""
    return f"{line.group}{payload}{', obstore' if line.arm.endswith('obstore') else ''}"


def write_plots(results: Mapping[str, Result], folder: Path = FOLDER) -> list[Path]:
    """Write all plots; returns their files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in drawn(results).items():
        path = folder / f"{name}.svg"
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
