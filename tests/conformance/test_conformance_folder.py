"""A folder as payload store and as the authority."""

import asyncio

from tests.conformance.tiers import FolderTier, flip_in_file

from thermocline.blobs.heads import INLINE_LIMIT
from thermocline.model import Key, Pointer
from thermocline.testing.conformance import PayloadsConformance, VersionsConformance
from thermocline.tiers.local.folder import FolderMemory


class TestFolderVersions(FolderTier, VersionsConformance):
    oversize = INLINE_LIMIT


class TestFolderPayloads(FolderTier, PayloadsConformance):
    async def damage(self, tier: FolderMemory, key: Key, pointer: Pointer) -> None:  # type: ignore[override]
        await asyncio.to_thread(flip_in_file, tier.path / pointer.path)
