"""Process memory as the authority of a client that has nothing else: its census and its notes."""

from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest

from thermocline.testing import ManualClock
from thermocline.testing.conformance import Capability, CensusConformance, NotesConformance, TierConformance
from thermocline.tiers.local.process import ProcessMemory


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
        tier = ProcessMemory(clock=clock)
        await tier.connect()
        yield tier
        await tier.close()


class TestProcessCensus(Parts, CensusConformance):
    pass


class TestProcessNotes(Parts, NotesConformance):
    pass
