"""Every bar has an arm or a figure of its own, and a rival that is not there is named: neither can be lost by a word that changed."""

import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks import rivals  # noqa: E402
from benchmarks.page import BARRED  # noqa: E402
from benchmarks.report import TARGETS  # noqa: E402
from benchmarks.results import Result, load_all  # noqa: E402
from benchmarks.rivals import Rival, opened  # noqa: E402

from thermocline.testing.rig import RedisServer  # noqa: E402

STORED = load_all()
FACTS = {
    "degrade": {
        "hot blackholed: p99 of a read over the hot deadline and warm's p99": "≤ 1.1",
        "hot blackholed: calls that waited for hot before its breaker opened, at most": "≤ 5",
        "warm reads, some slow: p99 hedged over unhedged": "≤ 0.5",
        "warm reads, some slow: more calls, counted at the wire": "≤ 5",
        "after Redis returns: keys still stale within two recovery periods of 5 s": "≤ 0",
    },
    "memory": {"memory of a process: at 1,000,000 keys over that at 100,000": "≤ 1.1"},
}


def test_every_bar_is_among_what_is_stored() -> None:
    found = [(line.group, line.arm) for part in (*BARRED, "telemetry") for line in STORED[part].lines if line.target]

    assert Counter(found) == Counter(TARGETS.keys())


@pytest.mark.parametrize("part", FACTS)
def test_figures_that_are_no_arms_have_their_bars(part: str) -> None:
    found = {f"{fact.group}: {fact.name}": fact.target for fact in STORED[part].facts}

    assert found.items() >= FACTS[part].items()


def test_a_verdict_is_what_its_figure_says() -> None:
    """So that nobody writes "reached" into a stored file."""
    for result in STORED.values():
        for line in result.lines:
            if not line.target:
                assert line.reached is None, line
                continue
            way, sign, bar = line.target.split()
            ratio = line.wall_ratio if way == "wall" else line.cpu_ratio
            if abs(ratio / float(bar) - 1) > 0.001:  # nearer than that, rounding decides
                assert line.reached == ((ratio < float(bar)) == (sign == "≤")), line


async def test_a_rival_that_is_not_there_or_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str]) -> list[Rival]:
        raise OSError("no such library")

    async def works(stack: contextlib.AsyncExitStack, server: RedisServer, names: Sequence[str]) -> list[Rival]:
        return [Rival("works", _nothing)]

    monkeypatch.setattr(rivals, "_MAKERS", [("no_such_rival", works), ("json", broken), ("json", works)])
    left_out: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        found = await opened(stack, RedisServer(), ["a"], left_out)

    assert [rival.name for rival in found] == ["works"]
    assert left_out == [
        "no_such_rival is not installed: make bench installs it",
        "json cannot be used here: OSError: no such library",
    ]


async def _nothing(name: str) -> object:
    return Result(name)
