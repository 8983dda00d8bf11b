"""A machine's wrong clock beside a tier on Azure Storage that has the word: the client goes by the service's (COHERENCE section 2)."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.storage.stores import soon

from thermocline import MemoryClient
from thermocline.model import Key
from thermocline.testing import JumpingClock
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.table import TableMemory

KEY = Key("tenant", "scope", "name")
HOUR, DAY = 3600, 86_400
Names = Callable[[str], str]


def tiers(kind: str, azurite: Azurite, name: str, clock: JumpingClock) -> dict[str, Any]:
    if kind == "cold":
        return {"cold": ColdMemory(azurite.blob_url, name, credential=azurite.key, create=True, clock=clock)}
    table = TableMemory(azurite.table_url, name.replace("-", ""), credential=azurite.key, create=True, clock=clock)
    return {"warm_plus": table}


@pytest.mark.parametrize("kind", ["cold", "table"])
@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
async def test_records_end_by_the_services_clock(azurite: Azurite, unique_name: Names, kind: str, ahead: int) -> None:
    clock = JumpingClock()
    clock.jump(ahead)
    async with MemoryClient(clock=clock, **tiers(kind, azurite, unique_name("c"), clock)) as memory:
        written = await memory.set(KEY, "value", ttl=timedelta(minutes=5))
        assert written.expires is not None
        assert abs(written.expires.timestamp() - time.time() - 300) < 120
        clock.jump(-2 * ahead)  # and by what it says now, when this machine's was turned
        assert await memory.get(KEY) == "value"
        again = await memory.set(KEY, "value", ttl=timedelta(minutes=5))
        assert again.expires is not None
        assert abs(again.expires.timestamp() - time.time() - 300) < 120


async def test_sweep_of_a_machine_that_is_days_ahead_leaves_young_payloads(
    azurite: Azurite, unique_name: Names
) -> None:
    """P7: a payload that is uploaded, and to which its writer is about to set a pointer."""
    clock = JumpingClock()
    clock.jump(3 * DAY)
    given = tiers("cold", azurite, unique_name("c"), clock)
    async with MemoryClient(clock=clock, **given) as memory:
        await memory.set(Key("tenant", "scope", "other"), "value")
        pointer = await given["cold"].put_payload(KEY, b"payload" * 1000, deadline=soon())
        report = await memory.sweep()
        assert (report.payloads, report.young, report.orphans) == (1, 1, 0)
        assert await given["cold"].get_payload(KEY, pointer, deadline=soon()) == b"payload" * 1000
