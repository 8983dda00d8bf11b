"""``python -m thermocline.telemetry [FILE]``: the tables of all names, or a page with its tables put right."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from thermocline.telemetry import names
from thermocline.telemetry.names import Kind, Metric

BEGIN: Final = (
    "<!-- Made from names.py by `python -m thermocline.telemetry docs/telemetry.md`; edits here are lost. -->"
)
END: Final = "<!-- End of what is made. -->"


def tables() -> str:
    """Metrics, spans and attributes as Markdown."""
    metrics = list(names.METRICS.values())
    summaries = (names.CALLS, names.TIME, names.LATENCY)
    plain = [metric for metric in metrics if metric.kind is not Kind.HISTOGRAM and metric.key not in summaries]
    timed = [metric for metric in metrics if metric.kind is Kind.HISTOGRAM or metric.key in summaries]
    spans = [(f"`{name}`", text) for name, text in names.SPANS.items()]
    verbs = [
        ("sampled where hot answers", _code(verb for verb, kind in names.VERBS.items() if kind == "read")),
        ("always the tracer's own sampler's", _code(verb for verb, kind in names.VERBS.items() if kind != "read")),
    ]
    parts = [
        "### Counters and gauges",
        _table(("metric", "kind", "unit", "attributes", "in `stats()`", "what it says"), map(_row, plain)),
        "### Durations",
        _table(("metric", "kind", "unit", "attributes", "in `stats()`", "what it says"), map(_row, timed)),
        "### Spans",
        _table(("span", "what it is"), spans),
        _table(("verbs with a span", ""), verbs),
        f"One hot hit in {names.HOT_HIT_RATE:,} may become a span (`hot_hit_rate`).",
        "### Attributes",
        _table(("attribute", "what it says"), [(f"`{name}`", text) for name, text in names.ATTRIBUTES.items()]),
    ]
    return "\n\n".join(parts)


def _row(metric: Metric) -> Sequence[str]:
    in_stats = "" if metric.key in (names.CALLS, names.TIME, names.LATENCY) else f"`{metric.key}`"
    return (
        f"`{metric.name}`",
        metric.kind.value,
        f"`{metric.unit}`",
        _code(metric.attributes),
        in_stats,
        metric.description,
    )


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put_right(page: str) -> str:
    """The page with the tables of now between its two marks. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m thermocline.telemetry", description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, help="a page to put right; left out: print the tables")
    given = parser.parse_args()
    if given.page is None:
        print(tables())
        return 0
    page = given.page.read_text(encoding="utf-8")
    given.page.write_text(put_right(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
