"""Several processes on the same keys while things break: no answer that no legal order of the operations explains, and a naive cascade is caught.

The workload and the order of the faults come from the seed, as far as processes allow. ``HISTORY_WORLD=cut HISTORY_SEED=7 HISTORY_OPERATIONS=5000
pytest tests/histories -k one_world -s`` runs one; ``HISTORY_KEEP=folder`` keeps what was recorded. ``make soak`` runs a million operations
(``HISTORY_SOAK``), each round of all worlds with another seed.
"""

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.histories.world import (
    AZURITE,
    CRASHING,
    CUT,
    EMBEDDED,
    EXACT,
    IN_A_TABLE,
    LAGGING,
    NAIVE,
    NEAR,
    OUTAGES,
    UNFENCED,
    WORLDS,
    Report,
    World,
    run_world,
)

from thermocline.testing.history import Kind

# Operations of each world in `make test`: more than 20,000 together.
SIZES = {
    EXACT: 4200,
    OUTAGES: 900,
    LAGGING: 2100,
    EMBEDDED: 12_000,
    AZURITE: 1200,
    IN_A_TABLE: 1500,
    CRASHING: 1800,
    CUT: 2100,
    NEAR: 2400,
}
BROKEN_SIZE = 2400
SOAK_SIZES = {
    EXACT: 30_000,
    OUTAGES: 5_000,
    LAGGING: 10_000,
    EMBEDDED: 120_000,
    AZURITE: 10_000,
    IN_A_TABLE: 10_000,
    CRASHING: 10_000,
    CUT: 20_000,
    NEAR: 30_000,
}
SEED = int(os.environ.get("HISTORY_SEED", "1"))
SOAK = int(os.environ.get("HISTORY_SOAK", "1000000"))
NAMES = [world.name for world in WORLDS]

Show = Callable[[object], None]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="needs a CLOCK_MONOTONIC that processes share, as Linux has"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    kept = os.environ.get("HISTORY_KEEP")
    made = Path(tempfile.mkdtemp(prefix="histories-", dir=kept))
    yield made
    if kept is None:
        shutil.rmtree(made)


def judge(report: Report) -> None:
    worst = "\n".join(str(problem) for problem in report.verdict.problems[:10])
    assert report.verdict.problems == [], f"{report}\n{worst}"
    if report.world.bound is None:
        assert report.verdict.excused == {}, report
    assert report.verdict.reads > report.verdict.operations / 2
    if report.world is not OUTAGES:
        assert report.verdict.failed < report.verdict.operations / 2, report


@pytest.mark.timeout(300)
@pytest.mark.parametrize("world", WORLDS, ids=NAMES)
async def test_every_answer_is_explained(world: World, folder: Path, show: Show) -> None:
    report = await run_world(world, SEED, SIZES[world], folder)
    show(report)
    judge(report)
    assert report.verdict.operations >= SIZES[world]
    assert report.faults
    assert (report.evicted > 0) == (world.room is not None)
    assert (report.near > 20) == (world.near > 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("world", [NAIVE, UNFENCED], ids=["naive", "unfenced"])
async def test_a_broken_memory_is_caught(world: World, folder: Path, show: Show) -> None:
    """A naive cascade over the same services, and this library's embedded tiers without their fence."""
    report = await run_world(world, SEED, BROKEN_SIZE, folder)
    show(report)
    verdict = report.verdict
    wrong = verdict.count(Kind.STALE) + verdict.count(Kind.RESURRECTED)
    assert wrong > verdict.reads / 100


@pytest.mark.soak
async def test_every_answer_of_a_million_is_explained(folder: Path, show: Show) -> None:
    done: Counter[str] = Counter()
    seed = SEED
    while done.total() < SOAK:
        seed += 1
        for world, size in SOAK_SIZES.items():
            part = folder / f"{world.name}-{seed}"
            part.mkdir()
            report = await run_world(world, seed, size, part)
            show(report)
            judge(report)
            done[world.name] += report.verdict.operations
            shutil.rmtree(part)


@pytest.mark.skipif("HISTORY_WORLD" not in os.environ, reason="runs the world that HISTORY_WORLD names")
@pytest.mark.timeout(0)
async def test_one_world(folder: Path, show: Show) -> None:
    world = next(world for world in (*WORLDS, NAIVE, UNFENCED) if world.name == os.environ["HISTORY_WORLD"])
    report = await run_world(world, SEED, int(os.environ.get("HISTORY_OPERATIONS", "3000")), folder)
    show(report)
    judge(report)


def test_the_worlds_are_large_enough() -> None:
    assert sum(SIZES.values()) >= 20_000
    assert set(SIZES) == set(SOAK_SIZES) == set(WORLDS)
