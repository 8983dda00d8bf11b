"""Process memory, as hot entries and as the authority of a client that has nothing else."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import ClassVar

import pytest

from thermocline.testing import ManualClock
from thermocline.testing.conformance import (
    Capability,
    EntriesConformance,
    HoldsConformance,
    TierConformance,
    VersionsConformance,
)
from thermocline.tiers.local.process import ProcessMemory

REST = timedelta(seconds=10)
MAX_BYTES = 16 * 2**20


class Parts(TierConformance):
    gaps: ClassVar[Mapping[Capability, str]] = {
        Capability.DAMAGE: "process memory holds objects, not bytes: there is nothing to damage from outside",
        Capability.PERSISTENCE: "nothing survives the process",
    }

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def tier(self, clock: ManualClock) -> AsyncIterator[ProcessMemory]:
        tier = ProcessMemory(MAX_BYTES, rest=REST, clock=clock)
        await tier.connect()
        yield tier
        await tier.close()


class TestProcessEntries(Parts, EntriesConformance):
    oversize = MAX_BYTES // 4
    rest_ms = REST // timedelta(milliseconds=1)


class TestProcessHolds(Parts, HoldsConformance):
    pass


class TestProcessVersions(Parts, VersionsConformance):
    oversize = MAX_BYTES // 4
