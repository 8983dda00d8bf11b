"""The benchmark's measuring: turns in reversed order, preparation outside the time, medians of per-round ratios, targets."""

from pathlib import Path

import pytest
from benchmarks.drawing import at_random, in_turn
from benchmarks.report import ABOVE, TARGETS, callers, judged, lines, shown
from benchmarks.results import Fact, Grid, Line, Result, Series, at_most, load, load_all, store
from benchmarks.rounds import Arm, Group, Ratios, Sample, percentile, quartiles


def arm_of(name: str, told: list[str], *, prepared: bool = False) -> Arm:
    async def work() -> None:
        told.append(name)

    async def prepare() -> None:
        told.append(f"prepare {name}")

    return Arm(name, work, before=prepare if prepared else None)


async def test_arms_take_turns_in_reversed_order() -> None:
    told: list[str] = []
    group = Group("order", [arm_of("a", told), arm_of("b", told)], operations=1, rounds=3)

    await group.measure()

    assert told == ["a", "b", *"abbaab"]  # the first two warm up
    assert [len(samples) for samples in group.samples] == [3, 3]


async def test_an_arm_is_prepared_before_each_turn() -> None:
    told: list[str] = []

    await Group("prepared", [arm_of("a", told, prepared=True)], operations=2, rounds=2).measure()

    assert told == ["prepare a", "a", *["prepare a", "a", "a"] * 2]


async def test_callers_share_the_operations() -> None:
    told: list[str] = []
    arm = Arm("many", arm_of("x", told).operation, at_once=4)

    await arm.run(12)

    assert told == ["x"] * 12


def group_of(first: list[float], second: list[float]) -> Group:
    group = Group("hot hit, 1 caller", [Arm("raw", _nothing), Arm(ABOVE, _nothing)], 1, len(first))
    group.samples = [[Sample(value, value) for value in values] for values in (first, second)]
    return group


async def _nothing() -> None:
    return None


def test_the_median_of_the_rounds_ratios_counts() -> None:
    """A round in which everything is ten times slower changes nothing."""
    group = group_of([1.0, 10.0, 1.0, 1.0], [0.5, 5.0, 0.5, 2.0])

    ratios = group.ratios(1)

    assert (ratios.wall, ratios.cpu) == (0.5, 0.5)
    assert ratios.wall_spread == (0.5, 0.875)


def test_a_line_is_judged_by_its_groups_target() -> None:
    raw, client = lines([group_of([1.0, 1.0], [1.2, 1.2])])

    assert (raw.target, raw.reached) == ("", None)
    assert (client.target, client.reached) == ("wall ≤ 1", False)
    assert Result("hot", lines=[raw, client]).missed == [
        f"hot hit, 1 caller, {ABOVE}: wall 1.2, CPU 1.2, target wall ≤ 1"
    ]


@pytest.mark.parametrize(("number", "most"), [(1, 1.0), (4, 0.5), (32, 0.15), (128, 0.08)])
def test_the_bars_of_a_hit(number: int, most: float) -> None:
    assert TARGETS[f"hot hit, {callers(number)}", ABOVE] == ("wall", most)


@pytest.mark.parametrize(("wall", "reached"), [(4.9, False), (5.0, True)])
def test_calls_made_singly_are_to_cost_five_times_the_batch(wall: float, reached: bool) -> None:
    ratios = Ratios(wall, 1.0, (1.0, 1.0), (1.0, 1.0), 1.0, 1.0)

    assert judged("SQLite: 1,000 gets", "one by one (get_many)", ratios) == ("wall ≥ 5", reached)


def test_percentiles_are_values_that_occurred() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]

    assert [percentile(hundred, share) for share in (0.0, 0.5, 0.99, 0.995, 1.0)] == [1.0, 50.0, 99.0, 100.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_quartiles_lie_within_the_values() -> None:
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)
    assert quartiles([1.0, 3.0]) == (1.5, 2.5)
    assert quartiles([2.0]) == (2.0, 2.0)


def test_draws_are_seeded_and_the_same_for_all() -> None:
    first, second, other = at_random(range(100)), at_random(range(100)), at_random(range(100), seed=8)

    drawn = [first() for _ in range(50)]

    assert drawn == [second() for _ in range(50)]
    assert drawn != [other() for _ in range(50)]
    assert len(set(drawn)) > 25
    turns = in_turn("abc")
    assert "".join(turns() for _ in range(5)) == "abcab"


def test_a_result_is_read_as_it_was_stored(tmp_path: Path) -> None:
    result = Result(
        "hot",
        lines=[Line("g", "a", 1.5, 1.0, 1.0, 1.0, (0.9, 1.1), (1.0, 1.0), "wall ≤ 1", True)],
        facts=[at_most("f", "over", 1.25, 1.1, "MiB")],
        series=[Series("callers", "raw", [(1.0, 2.5)])],
        grids=[Grid("t", ["a", "b"], [["x", 1], ["y", 2.5]])],
        left_out=["somebody"],
        taken="2026-11-21",
        machine={"cores": 2, "load_1min": 0.5, "system": "Linux"},
    )

    path = store(result, tmp_path / "new")

    assert load(path) == result
    assert load_all(tmp_path / "new") == {"hot": result}
    assert result.missed == ["f, over: 1.25 MiB, target ≤ 1.1"]
    assert "MISSED" in shown(result)


def test_a_figure_at_its_bar_reaches_it() -> None:
    assert at_most("g", "n", 5, 5).reached is True
    assert Fact("g", "n", 5).reached is None
