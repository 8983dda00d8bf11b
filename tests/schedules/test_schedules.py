"""The real client over embedded tiers, on schedules that a seed decides: no read goes back, nothing returns from the dead, nothing is torn or lost.

A failure names its world and seed. ``SCHEDULE_WORLD=losses SCHEDULE_SEED=123 pytest tests/schedules/test_schedules.py -k replay -s`` runs that one again and
prints its history.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.schedules.world import WORLDS, Grounds, Report, World, run_schedule

CHUNK = 200
CHUNKS = 3  # of each world
SOAK = 20_000  # of each world
LEAST_A_SECOND = 100  # of this process' own time; a floor for machines that are busy

ids = [world.name for world in WORLDS]


@pytest.fixture
def grounds(tmp_path: Path) -> Iterator[Grounds]:
    grounds = Grounds(tmp_path)
    yield grounds
    grounds.close()


def check(world: World, seeds: range, grounds: Grounds) -> list[Report]:
    """Run all; fail with what went wrong in the first few that did not hold."""
    reports = [run_schedule(seed, world, grounds) for seed in seeds]
    bad = [report for report in reports if report.problems]
    lines = [f"seed {report.seed}: {problem}" for report in bad[:5] for problem in report.problems[:3]]
    again = f"SCHEDULE_WORLD={world.name} SCHEDULE_SEED={bad[0].seed}" if bad else ""
    assert not bad, "\n".join([f"{len(bad)} of {len(reports)} schedules in the world {world.name!r}; {again}", *lines])
    return reports


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("world", WORLDS, ids=ids)
def test_no_schedule_breaks_a_promise(world: World, chunk: int, grounds: Grounds) -> None:
    reports = check(world, range(chunk * CHUNK, (chunk + 1) * CHUNK), grounds)
    assert len({report.digest for report in reports}) == CHUNK  # each was another one
    assert sum(report.commits for report in reports) > 2 * CHUNK


@pytest.mark.soak
@pytest.mark.parametrize("world", WORLDS, ids=ids)
def test_no_schedule_of_many_breaks_a_promise(world: World, grounds: Grounds) -> None:
    check(world, range(1_000_000, 1_000_000 + SOAK), grounds)


def test_hundreds_of_schedules_run_in_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The best of three, since other processes slow this one's own time down too."""
    grounds, rates = Grounds(tmp_path), []
    try:
        for start in (2_000_000, 2_001_000, 2_002_000):
            began = time.process_time()
            for world in WORLDS:
                check(world, range(start, start + 20), grounds)
            rates.append(20 * len(WORLDS) / (time.process_time() - began))
    finally:
        grounds.close()
    with capsys.disabled():
        print(f"\n{max(rates):.0f} schedules in a second of one core")
    assert max(rates) > LEAST_A_SECOND


def test_the_same_seed_gives_the_same_schedule(grounds: Grounds) -> None:
    for world in WORLDS:
        for seed in range(8):
            assert run_schedule(seed, world, grounds) == run_schedule(seed, world, grounds)


def test_the_same_seed_gives_the_same_schedule_whatever_the_hash_seed(tmp_path: Path) -> None:
    """Two interpreters that order their sets of strings differently come to the same digests."""
    program = (
        "import sys, pathlib; from tests.schedules.world import *\n"
        "grounds = Grounds(pathlib.Path(sys.argv[1]))\n"
        "print([run_schedule(seed, world, grounds).digest for world in WORLDS for seed in range(5)])\n"
        "grounds.close()"
    )
    root = Path(__file__).parents[2]
    digests = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / hash_seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert digests[0] == digests[1]
    assert digests[0].count(",") == 5 * len(WORLDS) - 1


def test_replay(grounds: Grounds) -> None:
    """Runs the schedule that SCHEDULE_WORLD and SCHEDULE_SEED name; without them, the first of each world with its history written down."""
    wanted, seed = os.environ.get("SCHEDULE_WORLD"), int(os.environ.get("SCHEDULE_SEED", "0"))
    for world in WORLDS:
        if wanted in (None, world.name):
            report = run_schedule(seed, world, grounds, journal=True)
            if wanted is not None:
                print("\n".join(report.history))
            assert report.problems == []
            assert report.history
            assert run_schedule(seed, world, grounds).digest == report.digest  # writing it down changes nothing
