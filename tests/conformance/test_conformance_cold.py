"""Blob Storage, by the official SDK and by obstore, on Azurite, as payload store and as the authority."""

import uuid

from tests.conformance.tiers import ColdTier

from thermocline.blobs.heads import INLINE_LIMIT
from thermocline.keys import head_path
from thermocline.model import Key, Pointer
from thermocline.testing.conformance import PayloadsConformance, VersionsConformance
from thermocline.tiers.cold import ColdMemory


class TestColdVersions(ColdTier, VersionsConformance):
    oversize = INLINE_LIMIT

    async def damage(self, tier: ColdMemory, key: Key) -> None:
        await self.flip(head_path(key))


class TestColdPayloads(ColdTier, PayloadsConformance):
    async def damage(self, tier: ColdMemory, key: Key, pointer: Pointer) -> None:
        await self.flip(pointer.path)


class TestFastVersions(TestColdVersions):
    container = f"conformance-fast-{uuid.uuid4().hex[:12]}"
    transfer = "obstore"


class TestFastPayloads(TestColdPayloads):
    container = f"conformance-fast-{uuid.uuid4().hex[:12]}"
    transfer = "obstore"
