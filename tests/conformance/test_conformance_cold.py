"""Blob Storage, by the official SDK and by obstore, on Azurite, as payload store and as the authority."""

import uuid
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest
from azure.storage.blob.aio import ContainerClient

from thermocline.blobs.heads import INLINE_LIMIT
from thermocline.keys import head_path
from thermocline.model import Key, Pointer
from thermocline.testing.conformance import Capability, PayloadsConformance, VersionsConformance
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.cold.blobs import Transfer


async def flip_last_byte(azurite: Azurite, container: str, path: str) -> None:
    async with (
        ContainerClient.from_connection_string(
            azurite.connection_string, container, max_single_put_size=2**20, max_block_size=2**20
        ) as client,
        client.get_blob_client(path) as blob,
    ):
        stream = await blob.download_blob()
        data = await stream.readall()
        await blob.upload_blob(data[:-1] + bytes([data[-1] ^ 1]), overwrite=True, metadata=stream.properties.metadata)


class ColdTier:
    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Blob Storage stamps by its own clock"}
    container = f"conformance-{uuid.uuid4().hex[:12]}"
    transfer: ClassVar[Transfer] = "sdk"

    @pytest.fixture
    async def tier(self, azurite: Azurite) -> AsyncIterator[ColdMemory]:
        self.azurite = azurite
        async with ColdMemory.from_connection_string(
            azurite.connection_string, self.container, create=True, transfer=self.transfer
        ) as tier:
            yield tier


class TestColdVersions(ColdTier, VersionsConformance):
    oversize = INLINE_LIMIT

    async def reopen(self, tier: ColdMemory) -> ColdMemory:
        second = ColdMemory.from_connection_string(
            self.azurite.connection_string, self.container, transfer=self.transfer
        )
        await second.connect()
        return second

    async def damage(self, tier: ColdMemory, key: Key) -> None:
        await flip_last_byte(self.azurite, self.container, head_path(key))


class TestColdPayloads(ColdTier, PayloadsConformance):
    async def damage(self, tier: ColdMemory, key: Key, pointer: Pointer) -> None:
        await flip_last_byte(self.azurite, self.container, pointer.path)


class TestFastVersions(TestColdVersions):
    container = f"conformance-fast-{uuid.uuid4().hex[:12]}"
    transfer = "obstore"


class TestFastPayloads(TestColdPayloads):
    container = f"conformance-fast-{uuid.uuid4().hex[:12]}"
    transfer = "obstore"
