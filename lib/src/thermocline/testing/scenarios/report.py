"""What came of a scenario, and one page of many."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thermocline.testing.history import Event, Kind, Outcome, Verdict
from thermocline.testing.scenarios.model import Scenario
from thermocline.testing.scenarios.places import ONLY
from thermocline.testing.scenarios.verbs import NOT_OURS

_LOSSES = frozenset({Kind.STALE, Kind.LOST, Kind.RESURRECTED, Kind.TWICE})


@dataclass(slots=True)
class Phases:
    """Moments of CLOCK_MONOTONIC, in seconds. ``well``: recovery queues empty and breakers closed again; infinity: never."""

    begun: float = 0.0
    broken: float = 0.0
    mended: float = 0.0
    well: float = math.inf
    stopped: float = 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Latencies of the calls of a phase, in milliseconds."""

    calls: int = 0
    p50: float = 0.0
    p99: float = 0.0

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Spread":
        took = sorted((event.end - event.begin) * 1000 for event in events if event.end < math.inf)
        if not took:
            return cls()
        return cls(len(took), took[len(took) // 2], took[min(len(took) - 1, math.ceil(len(took) * 0.99) - 1)])


@dataclass(slots=True)
class Report:
    """``errors`` are counted by kind; those that the scenario does not allow are in ``refused`` as well, with the first of each. ``converged``: seconds from
    the mending to the last error, the last answer that was behind, or the moment all was well, whichever came last; infinity: not at all.
    ``behind``: answers that were behind by the stated cause, and ``worst`` by how long (seconds). ``lost``: keys that Redis alone held and went back."""

    scenario: Scenario
    seed: int
    calls: int
    calm: Spread
    during: Spread
    after: Spread
    errors: Counter[str]
    refused: dict[str, str]
    converged: float
    verdict: Verdict
    only_hot: Verdict
    lost: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def behind(self) -> int:
        return self.verdict.excused.total()

    @property
    def worst(self) -> float:
        return self.verdict.behind

    @property
    def kept(self) -> bool:
        """Whether the stated outcome came about: no promise broken, no error that is not allowed, and well again."""
        return not self.broken and not self.refused and self.converged < math.inf

    def __str__(self) -> str:
        lines = [
            f"{self.scenario.name} (seed {self.seed}): {'as stated' if self.kept else 'NOT AS STATED'}; {self.calls} calls, "
            f"errors {dict(self.errors)}; p99 {self.calm.p99:.1f} ms before, {self.during.p99:.1f} during, {self.after.p99:.1f} after; "
            f"converged after {self.converged:.2f} s; {len(self.broken)} promises broken; {self.behind} answers behind by {self.worst:.2f} s at most; "
            f"{self.lost} keys of Redis alone went back"
        ]
        lines += [f"  broken: {one}" for one in self.broken[:5]]
        lines += [f"  not allowed: {one}" for one in self.refused.values()]
        return "\n".join(lines)


def reported(
    scenario: Scenario, seed: int, phases: Phases, events: Sequence[Event], verdict: Verdict, only_hot: Verdict
) -> Report:
    """Put the figures together. Raises nothing."""
    errors: Counter[str] = Counter()
    refused: dict[str, str] = {}
    broken = [str(problem) for problem in verdict.problems]
    broken += [str(one) for one in only_hot.problems if not scenario.loses or one.kind not in _LOSSES]
    calm_from = phases.well + max(0.5, (phases.stopped - phases.well) / 2) if phases.well < math.inf else math.inf
    last_error = phases.mended
    for event in events:
        kind = kind_of(event)
        if kind is None:
            continue
        errors[kind] += 1
        gone = scenario.loses and event.key.startswith(ONLY)  # said of what was lost until it is written again
        expected = kind in scenario.allowed and phases.broken <= event.end and (gone or event.begin < calm_from)
        if not expected:
            refused.setdefault(kind, f"{kind} {event.begin - phases.mended:+.2f} s from the mending: {event}")
        elif event.begin >= phases.mended and not gone:
            last_error = max(last_error, event.end)
    late = verdict.last if verdict.last > phases.mended else phases.mended
    converged = max(phases.well, last_error, late) - phases.mended
    if verdict.last > phases.stopped:
        converged = math.inf  # when all was over, something was still behind
    during = [event for event in events if phases.broken <= event.begin < phases.mended]
    return Report(
        scenario,
        seed,
        len(events),
        Spread.of(event for event in events if event.begin < phases.broken),
        Spread.of(during),
        Spread.of(event for event in events if phases.mended <= event.begin < phases.stopped),
        errors,
        refused,
        converged,
        verdict,
        only_hot,
        len(only_hot.bad_keys()) if scenario.loses else 0,
        broken,
    )


def kind_of(event: Event) -> str | None:
    """The kind of error that a call ended with, None: with none. A condition that did not hold is an answer."""
    if event.outcome not in (Outcome.FAILED, Outcome.UNKNOWN) or not event.error:
        return None
    return event.error.removeprefix(NOT_OURS).split(":", 1)[0]


def page(reports: Sequence[Report], *, title: str = "Scenarios", unplayed: Mapping[str, str] | None = None) -> str:
    """One page of Markdown. ``unplayed``: why a scenario has no report, by its name."""
    kept = sum(report.kept for report in reports)
    without = unplayed or {}
    promises = sum(len(report.broken) for report in reports)
    calls = sum(report.calls for report in reports)
    lines = [
        f"### {title}: {kept} of {len(reports) + len(without)} as stated",
        "",
        f"{calls:,} calls, {promises} promises broken.",
        "",
        "| scenario | calls | errors that callers saw | p50 / p99 before | during | after (ms) "
        "| well again after | promises broken | bound of answers behind: how many, worst |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        seen = ", ".join(f"{count} {kind}" for kind, count in report.errors.most_common()) or "none"
        if report.refused:
            seen += f" (**not allowed: {', '.join(report.refused)}**)"
        again = f"{report.converged:.2f} s" if report.converged < math.inf else "**never**"
        lines.append(
            f"| {report.scenario.name} | {report.calls:,} | {seen} | {_pair(report.calm)} | {_pair(report.during)} | {_pair(report.after)} "
            f"| {again} | {len(report.broken) or '0'} | {_behind(report)} |"
        )
    lines += ["", *(f"**Not played**: {name}: {why}" for name, why in without.items())] if without else []
    return "\n".join(lines) + "\n"


def _behind(report: Report) -> str:
    """What is stated, and what was seen of it."""
    bounded = report.scenario.bounded
    seen = f"{report.behind}, {report.worst:.2f} s" if report.behind else "none"
    told = seen if bounded is None else f"≤ {bounded.total_seconds():g} s: {seen}"
    return f"{told}; {report.lost} keys of Redis alone went back" if report.lost else told


def _pair(spread: Spread) -> str:
    return f"{spread.p50:.1f} / {spread.p99:.1f}" if spread.calls else "–"


def put_into(document: Path, text: str | None, begin: str, end: str) -> None:
    """Replace what is between two markers; ``text`` None: see only that it can be done. Raises ValueError where they are not, OSError for no such file."""
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document} has no place for the page, between {begin} and {end}")
    if text is not None:
        document.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
