"""Blob Storage keeping its heads in order, by the official SDK on Azurite."""

import uuid
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest
from azure.storage.blob.aio import ContainerClient

from thermocline.keys import head_path
from thermocline.model import Key
from thermocline.testing.conformance import (
    Capability,
    CensusConformance,
    NotesConformance,
    PurgesConformance,
    RelocatesConformance,
)
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.cold.blobs import Transfer


class Cold:
    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Blob Storage stamps by its own clock"}
    container = f"upkeep-{uuid.uuid4().hex[:12]}"
    transfer: ClassVar[Transfer] = "sdk"

    @pytest.fixture
    async def tier(self, azurite: Azurite) -> AsyncIterator[ColdMemory]:
        self.azurite = azurite
        async with ColdMemory.from_connection_string(
            azurite.connection_string, self.container, create=True, transfer=self.transfer
        ) as tier:
            yield tier

    async def reopen(self, tier: ColdMemory) -> ColdMemory:
        second = ColdMemory.from_connection_string(
            self.azurite.connection_string, self.container, transfer=self.transfer
        )
        await second.connect()
        return second

    async def damage(self, tier: ColdMemory, key: Key) -> None:
        """The content and the metadata, of which a listing tells."""
        async with (
            ContainerClient.from_connection_string(self.azurite.connection_string, self.container) as client,
            client.get_blob_client(head_path(key)) as blob,
        ):
            data = await (await blob.download_blob()).readall()
            await blob.upload_blob(data[:-1] + bytes([data[-1] ^ 1]), overwrite=True, metadata={"other": "1"})


class TestColdCensus(Cold, CensusConformance):
    pass


class TestColdRelocation(Cold, RelocatesConformance):
    pass


class TestColdPurging(Cold, PurgesConformance):
    pass


class TestColdNotes(Cold, NotesConformance):
    pass


class TestFastCensus(TestColdCensus):
    container = f"upkeep-fast-{uuid.uuid4().hex[:12]}"
    transfer = "obstore"
