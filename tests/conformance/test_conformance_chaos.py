"""A ChaosTier without faults, or with mere delays, is the tier that it wraps."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import ClassVar

import pytest

from thermocline.testing import ChaosTier, Fault, ManualClock
from thermocline.testing.conformance import Capability, EntriesConformance, TierConformance, VersionsConformance
from thermocline.tiers.local.process import ProcessMemory


class Wrapped(TierConformance):
    gaps: ClassVar[Mapping[Capability, str]] = {
        Capability.DAMAGE: "process memory holds objects, not bytes: there is nothing to damage from outside",
        Capability.OVERSIZE: "tested on process memory itself",
        Capability.PERSISTENCE: "nothing survives the process",
    }

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def tier(self, clock: ManualClock) -> AsyncIterator[ChaosTier]:
        tier = ChaosTier(ProcessMemory(clock=clock), rates={Fault.SLOW: 0.2}, latency=timedelta(0))
        await tier.connect()
        yield tier
        await tier.close()


class TestChaosEntries(Wrapped, EntriesConformance):
    pass


class TestChaosVersions(Wrapped, VersionsConformance):
    pass
