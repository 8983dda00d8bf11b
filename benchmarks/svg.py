"""Plots as SVG, written by hand: text stays text, the same figures give the same bytes, and the colours suit light and dark pages and all eyes.

The colours are those of Okabe and Ito's palette, which people with any kind of colour vision can tell apart; each line has a mark of its own besides.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 24, 48, 56
_ROW = 15  # height of a line of the legend
_BAR = 26  # height of a bar with its gap
_LABELS = 310  # width of the bars' names
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:12px;fill:#1f2328}"
    ".title{font-size:15px;font-weight:600}.grid{stroke:#d0d7de;stroke-width:1}.axis{stroke:#57606a;stroke-width:1}"
    ".one{stroke:#57606a;stroke-width:1.5;stroke-dasharray:5 4}.spread{stroke:#1f2328;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#30363d}.axis,.one{stroke:#9198a1}.spread{stroke:#e6edf3}}"
)


@dataclass(frozen=True, slots=True)
class Axis:
    """``label`` names the quantity and its unit; ``log``: by powers of ten. ``words`` writes a tick. ``ticks``: these, from the first to the last of which the
    axis goes at least; none: round numbers around the points."""

    label: str
    log: bool = False
    words: Callable[[float], str] = "{:g}".format
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with the quartiles around it; ``own``: one of ours, drawn in the first colour."""

    name: str
    value: float
    low: float
    high: float
    own: bool = False


Points = Sequence[tuple[float, float]]


def lines(title: str, x: Axis, y: Axis, series: Sequence[tuple[str, Points]]) -> str:
    """A line for each of the series, with a legend above. Raises ValueError if there is no point, or one at or below 0 on a logarithmic axis."""
    points = [point for _, line in series for point in line]
    if not points:
        raise ValueError(f"the plot {title!r} has no points")
    top = _TOP + _ROW * len(series)
    height = HEIGHT + _ROW * len(series)
    across = _scale([px for px, _ in points], x, _LEFT, WIDTH - _RIGHT)
    up = _scale([py for _, py in points], y, height - _BOTTOM, top)
    body = [_text(_LEFT, 24, title, "title")]
    body += _grid(x, y, across, up, top, height)
    for number, (name, line) in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        at = _TOP - 4 + _ROW * number
        body += [_mark(number, _LEFT + 8, at - 4, colour), _text(_LEFT + 20, at, name)]
        drawn = [(across.of(px), up.of(py)) for px, py in sorted(line)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in drawn)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [_mark(number, px, py, colour) for px, py in drawn]
    return _page(WIDTH, height, title, body)


def bars(title: str, label: str, some: Sequence[Bar]) -> str:
    """Horizontal bars from 0 with their figures, the quartiles as a thin line, and a dashed line at 1. Raises ValueError for no bars."""
    if not some:
        raise ValueError(f"the plot {title!r} has no bars")
    height = _TOP + _BAR * len(some) + _BOTTOM
    largest = max(1.0, *(max(bar.value, bar.high) for bar in some))
    across = _Scale(0.0, largest, _LABELS, WIDTH - 70, False)
    body = [_text(16, 24, title, "title")]
    for tick in _ticks(0.0, largest, False):
        at = across.of(tick)
        body.append(f'<line class="grid" x1="{at:.1f}" y1="{_TOP - 8}" x2="{at:.1f}" y2="{height - _BOTTOM}"/>')
        body.append(_text(at, height - _BOTTOM + 18, f"{tick:g}", anchor="middle"))
    for number, bar in enumerate(some):
        at = _TOP + _BAR * number
        end = across.of(bar.value)
        colour = _COLOURS[0] if bar.own else _COLOURS[-1]
        body.append(_text(_LABELS - 8, at + 13, bar.name, anchor="end"))
        body.append(
            f'<rect x="{_LABELS}" y="{at}" width="{max(1.0, end - _LABELS):.1f}" height="{_BAR - 8}" fill="{colour}"/>'
        )
        middle = at + (_BAR - 8) / 2
        body.append(
            f'<line class="spread" x1="{across.of(bar.low):.1f}" y1="{middle:.1f}" x2="{across.of(bar.high):.1f}" y2="{middle:.1f}"/>'
        )
        body.append(_text(max(end, across.of(bar.high)) + 6, at + 13, f"{bar.value:.2f}"))
    one = across.of(1.0)
    body.append(f'<line class="one" x1="{one:.1f}" y1="{_TOP - 8}" x2="{one:.1f}" y2="{height - _BOTTOM}"/>')
    body.append(_text((_LABELS + WIDTH - 70) / 2, height - 14, label, anchor="middle"))
    return _page(WIDTH, height, title, body)


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool

    def of(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(value)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def _scale(values: Sequence[float], axis: Axis, start: float, end: float) -> _Scale:
    """From the smallest to the largest, logarithmic ones widened to a 1, 2 or 5; linear ones begin at 0."""
    if axis.log and min(values) <= 0:
        raise ValueError("a logarithmic axis has no place for 0")
    if axis.ticks:
        return _Scale(min(*axis.ticks, *values), max(*axis.ticks, *values), start, end, axis.log)
    if axis.log:
        return _Scale(_round_down(min(values)), _round_up(max(values)), start, end, True)
    return _Scale(min(0.0, *values), max(values) * 1.05 or 1.0, start, end, False)


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return power * max(step for step in (1, 2, 5) if power * step <= value * 1.000001)


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return power * min(step for step in (1, 2, 5, 10) if power * step >= value * 0.999999)


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if log:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        decades = high / low
        steps = (1, 2, 5) if decades <= 200 else (1,)
        made = [10.0**exponent * step for exponent in exponents for step in steps]
        return [tick for tick in made if low * 0.999 <= tick <= high * 1.001]
    step = _round_up((high - low) / 8)
    return [low + step * number for number in range(math.floor((high - low) / step + 1e-9) + 1)]


def _grid(x: Axis, y: Axis, across: _Scale, up: _Scale, top: float, height: float) -> list[str]:
    bottom, right = height - _BOTTOM, WIDTH - _RIGHT
    made = []
    for tick in y.ticks or _ticks(up.low, up.high, y.log):
        at = up.of(tick)
        made.append(f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        made.append(_text(_LEFT - 8, at + 4, y.words(tick), anchor="end"))
    for tick in x.ticks or _ticks(across.low, across.high, x.log):
        at = across.of(tick)
        made.append(f'<line class="grid" x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{bottom}"/>')
        made.append(_text(at, bottom + 18, x.words(tick), anchor="middle"))
    made.append(f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    made.append(f'<line class="axis" x1="{_LEFT}" y1="{top}" x2="{_LEFT}" y2="{bottom}"/>')
    made.append(_text((_LEFT + right) / 2, height - 14, x.label, anchor="middle"))
    middle = (top + bottom) / 2
    made.append(
        f'<text x="18" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 18 {middle:.1f})">{escape(y.label)}</text>'
    )
    return made


def _mark(number: int, x: float, y: float, colour: str) -> str:
    """A disc, a square, a triangle, a diamond, …: by the line's number."""
    shapes: tuple[Sequence[tuple[float, float]], ...] = (
        (),
        ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        ((0, -5), (5, 4), (-5, 4)),
        ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
        ((0, 5), (5, -4), (-5, -4)),
    )
    shape = shapes[number % len(shapes)]
    if not shape:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shape)
    return f'<polygon points="{corners}" fill="{colour}"/>'


def _text(x: float, y: float, words: str, kind: str = "", *, anchor: str = "start") -> str:
    given = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{given}>{escape(words)}</text>'


def _page(width: int, height: int, title: str, body: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", *body, "</svg>", ""])
