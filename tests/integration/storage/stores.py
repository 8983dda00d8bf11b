"""The two tiers on Azure Storage as the tests of both see them: how one is opened, and what lies in its service, which no part of a tier tells."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from thermocline.blobs import wire
from thermocline.blobs.heads import Head
from thermocline.clock import Deadline
from thermocline.keys import HEAD_ROOT, head_path, table_partition, table_row
from thermocline.model import Key
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.cold.blobs import Transfer
from thermocline.tiers.cold.notes import NOTE_ROOT
from thermocline.tiers.table import TableMemory
from thermocline.tiers.table.notes import NOTES
from thermocline.tiers.table.rows import head_of, pack_token

Tier = ColdMemory | TableMemory


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


class Store(ABC):
    """A container or a table of its own on Azurite. What takes a ``tier`` reaches below it, past its parts."""

    counted: ClassVar[str]  # the tier's name in its counters
    page: ClassVar[int]  # records of one listing request at most
    url: str

    @abstractmethod
    def direct(self) -> Tier:
        """A tier that reaches the service itself, and makes what it is kept in."""

    @abstractmethod
    def behind(self, url: str) -> Tier:
        """Another over the same, through a proxy."""

    @abstractmethod
    async def head(self, tier: Any, key: Key) -> Head:
        """What is stored under a key."""

    @abstractmethod
    async def overwrite(self, tier: Any, key: Key, data: bytes) -> None:
        """Bytes in the place of a key's head."""

    @abstractmethod
    async def forget(self, tier: Any, key: Key) -> None:
        """Take away what lies beside a head for listings."""

    @abstractmethod
    async def heads(self, tier: Any, limit: int) -> tuple[list[Any], Any]:
        """A page of the service's listing, and the place of the next one."""

    @abstractmethod
    def written(self, place: Any) -> str:
        """A place as it stands in a cursor."""

    @abstractmethod
    async def notes(self, tier: Any) -> int:
        """How many notes are stored, be their time over or not."""

    async def requests(self, tier: Tier, call: Any) -> int:
        """How many a call sends."""
        before = tier.stats.get("requests", self.counted)
        await call
        return int(tier.stats.get("requests", self.counted) - before)


class Blobs(Store):
    counted = "cold"
    page = 5000

    def __init__(self, azurite: Azurite, name: str, transfer: Transfer = "sdk") -> None:
        self._container, self._key, self._transfer = name, azurite.key, transfer
        self.url = azurite.blob_url

    def direct(self) -> ColdMemory:
        return ColdMemory(self.url, self._container, credential=self._key, create=True)

    def behind(self, url: str) -> ColdMemory:
        return ColdMemory(url, self._container, credential=self._key, transfer=self._transfer)

    async def head(self, tier: Any, key: Key) -> Head:
        return wire.unpack_head((await tier._service.get(head_path(key), soon())).data, key)

    async def overwrite(self, tier: Any, key: Key, data: bytes) -> None:
        await tier._service.put(head_path(key), data, overwrite=True, deadline=soon())

    async def forget(self, tier: Any, key: Key) -> None:
        blob = await tier._service.get(head_path(key), soon())
        await tier._service.put(head_path(key), blob.data, overwrite=True, deadline=soon())

    async def heads(self, tier: Any, limit: int) -> tuple[list[Any], Any]:
        entries, place = await tier._service.page(HEAD_ROOT, limit=limit, token=None, deadline=soon())
        return entries, place

    def written(self, place: Any) -> str:
        return str(place)

    async def notes(self, tier: Any) -> int:
        entries, _ = await tier._service.page(NOTE_ROOT, limit=100, token=None, deadline=soon())
        return len(entries)


class Rows(Store):
    counted = "warm_plus"
    page = 1000

    def __init__(self, azurite: Azurite, name: str) -> None:
        self._table, self._key = name.replace("-", ""), azurite.key
        self.url = azurite.table_url

    def direct(self) -> TableMemory:
        return TableMemory(self.url, self._table, credential=self._key, create=True)

    def behind(self, url: str) -> TableMemory:
        return TableMemory(url, self._table, credential=self._key)

    async def _row(self, tier: Any, key: Key) -> Any:
        return await tier._service.get(table_partition(key), table_row(key), soon())

    async def head(self, tier: Any, key: Key) -> Head:
        return head_of(await self._row(tier, key))

    async def overwrite(self, tier: Any, key: Key, data: bytes) -> None:
        await tier._service.put(replace(await self._row(tier, key), data=data), soon())

    async def forget(self, tier: Any, key: Key) -> None:
        await tier._service.put(replace(await self._row(tier, key), columns={}), soon())

    async def heads(self, tier: Any, limit: int) -> tuple[list[Any], Any]:
        where = "PartitionKey ge 'tc1.' and PartitionKey lt 'tc1/'"
        rows, place = await tier._service.page(where, limit=limit, token=None, deadline=soon(), select=())
        return rows, place

    def written(self, place: Any) -> str:
        return pack_token(place)

    async def notes(self, tier: Any) -> int:
        rows, _ = await tier._service.page(f"PartitionKey eq '{NOTES}'", limit=100, token=None, deadline=soon())
        return len(rows)
