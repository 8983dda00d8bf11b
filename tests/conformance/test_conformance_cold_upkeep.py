"""Blob Storage keeping its heads in order, by the official SDK on Azurite."""

import uuid

from tests.conformance.tiers import ColdTier

from thermocline.keys import head_path
from thermocline.model import Key
from thermocline.testing.conformance import CensusConformance, NotesConformance, PurgesConformance, RelocatesConformance
from thermocline.tiers.cold import ColdMemory


class Upkept(ColdTier):
    container = f"upkeep-{uuid.uuid4().hex[:12]}"

    async def damage(self, tier: ColdMemory, key: Key) -> None:
        """The content and the metadata, of which a listing tells."""
        await self.flip(head_path(key), {"other": "1"})


class TestColdCensus(Upkept, CensusConformance):
    pass


class TestColdRelocation(Upkept, RelocatesConformance):
    pass


class TestColdPurging(Upkept, PurgesConformance):
    pass


class TestColdNotes(Upkept, NotesConformance):
    pass


class TestFastCensus(TestColdCensus):
    container = f"upkeep-fast-{uuid.uuid4().hex[:12]}"
    transfer = "obstore"
