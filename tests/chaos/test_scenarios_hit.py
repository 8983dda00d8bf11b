"""What a scenario breaks is broken: calls meet the fault. Else "as stated" would be said of a calm day."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from thermocline.testing.scenarios import Stage, by_name, play


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("cosmos throttled at 90 %", "429"),
        ("cosmos 449 storm", "449"),
        ("cosmos region gone", "503"),
        ("cosmos region read-only", "403"),
    ],
)
async def test_calls_meet_the_servers_fault(name: str, status: str) -> None:
    met: dict[str, int] = {}

    async def watched(stage: Stage, seconds: float) -> None:
        stage.control.reset("counters")
        await by_name(name).breaks(stage, seconds)
        statuses: Mapping[str, int] = stage.control.stats().statuses
        met.update(statuses)

    report = await play(replace(by_name(name), breaks=watched), seconds=0.8)

    assert sum(count for told, count in met.items() if told.split("/")[0] == status) > 0, met
    assert report.kept, report


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "way"), [("redis blackholed", "redis"), ("blob answers 503", "blob")])
async def test_calls_meet_the_proxys_fault(name: str, way: str) -> None:
    lost: list[int] = []

    async def watched(stage: Stage, seconds: float) -> None:
        before = stage.proxies[way].traffic.lost_bytes
        await by_name(name).breaks(stage, seconds)
        lost.append(stage.proxies[way].traffic.lost_bytes - before)

    report = await play(replace(by_name(name), breaks=watched), seconds=0.8)

    assert lost[0] > 0
    assert report.kept, report
