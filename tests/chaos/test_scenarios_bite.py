"""The scenarios find what is broken: a cascade as everybody writes it first, and this library's client with a part left out."""

from dataclasses import replace
from typing import Any

import pytest
from tests.histories.naive import NaiveCascade

from thermocline.clock import Clock
from thermocline.testing.scenarios import Mix, Places, by_name, play

SECONDS = 0.8


def naive(places: Places, _: Clock) -> Any:
    return NaiveCascade(places)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["redis killed", "redis full", "redis restarted with old data"])
async def test_a_naive_cascade_does_not_come_out_as_stated(name: str) -> None:
    report = await play(by_name(name), seed=1, seconds=SECONDS, make=naive)
    for seed in (2, 3, 4):  # on a busy machine fewer calls meet what is broken
        if not report.broken:
            report = await play(by_name(name), seed=seed, seconds=SECONDS, make=naive)
    assert not report.kept
    assert report.broken  # not only errors that callers should not see: answers that no legal order explains
    assert "NOT AS STATED" in str(report)


@pytest.mark.timeout(120)
async def test_a_client_that_forgets_what_hot_was_not_told_is_found_out() -> None:
    def forget(memory: Any) -> None:
        memory._recovery.add = lambda key, version: None

    # Both clients mend what they have seen themselves, so what is left to find differs from run to run.
    scenario = replace(by_name("redis blackholed"), mix=Mix(keys=200, reads=0.1, callers=12, pace=0.002))
    reports = [await play(scenario, seed=1, seconds=SECONDS, change=forget)]
    while reports[-1].kept and len(reports) < 3:
        reports.append(await play(scenario, seed=len(reports) + 1, seconds=SECONDS, change=forget))
    assert not reports[-1].kept
    assert reports[-1].broken or reports[-1].behind  # hot answers with what it knew before, to the end
