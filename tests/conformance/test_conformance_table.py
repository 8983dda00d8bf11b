"""Table Storage, by the official SDK on Azurite, as the authority over its keys, and keeping them in order."""

import uuid
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from thermocline.keys import table_partition, table_row
from thermocline.model import Key
from thermocline.testing.conformance import (
    AtomicConformance,
    Capability,
    CensusConformance,
    NotesConformance,
    PurgesConformance,
    RelocatesConformance,
    VersionsConformance,
)
from thermocline.testing.rig import Azurite
from thermocline.tiers.table import TableMemory
from thermocline.tiers.table.rows import INLINE_LIMIT


class Table:
    gaps: ClassVar[Mapping[Capability, str]] = {Capability.MOVABLE_CLOCK: "Table Storage stamps by its own clock"}
    oversize: ClassVar[int] = INLINE_LIMIT
    table: ClassVar[str] = "unnamed"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.table = f"t{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    async def tier(self, azurite: Azurite) -> AsyncIterator[TableMemory]:
        self.azurite = azurite
        async with TableMemory(azurite.table_url, self.table, credential=azurite.key, create=True) as tier:
            yield tier

    async def reopen(self, tier: TableMemory) -> TableMemory:
        second = TableMemory(self.azurite.table_url, self.table, credential=self.azurite.key)
        await second.connect()
        return second

    async def damage(self, tier: TableMemory, key: Key) -> None:
        """The content, and the columns, of which a listing tells."""
        credential = AzureNamedKeyCredential(self.azurite.account, self.azurite.key)
        async with TableClient(self.azurite.table_url, self.table, credential=credential) as client:
            entity = await client.get_entity(table_partition(key), table_row(key))
            data = entity["p00"]
            kept = {name: entity[name] for name in ("PartitionKey", "RowKey")}
            await client.upsert_entity({**kept, "p00": data[:-1] + bytes([data[-1] ^ 1])}, UpdateMode.REPLACE)


class TestTableVersions(Table, VersionsConformance):
    pass


class TestTableCensus(Table, CensusConformance):
    pass


class TestTableRelocation(Table, RelocatesConformance):
    pass


class TestTablePurging(Table, PurgesConformance):
    pass


class TestTableNotes(Table, NotesConformance):
    pass


class TestTableAtomic(Table, AtomicConformance):
    pass
