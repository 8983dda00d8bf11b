"""Keeping rows in order: counting them, moving their payloads, removing the dead."""

from thermocline.blobs.purging import Purging
from thermocline.blobs.upkeep import census_of, check_census, check_move, pack_census, unpack_census
from thermocline.blobs.writing import move_head
from thermocline.clock import Deadline
from thermocline.keys import table_partition, table_partitions
from thermocline.model import Envelope, Key
from thermocline.protocols import Inventory
from thermocline.tiers.table.door import TIER
from thermocline.tiers.table.notes import RowNotes
from thermocline.tiers.table.rows import COLUMNS, pack_token, unpack_token
from thermocline.tiers.table.service import PAGE, Row
from thermocline.tiers.table.versions import RowVersions
from thermocline.writes import check_pointer


class RowUpkeep(RowVersions, RowNotes, Purging[Row, dict[str, str]]):
    """The parts `Census`, `Relocates` and `Purges`. A purge goes by partition and row; the service looks through the table and tells the dead alone, 1,000 a
    request."""

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        """By partition and row: one request a page, of at most 1,000 rows, whose columns tell all. Rows whose columns do not (a name or tags of many
        kilobytes) are read, sixteen at once, their values with them."""
        check_census(tenant, scope, limit)
        token = None if cursor is None else unpack_token(unpack_census(tenant, scope, cursor))
        where = _within(tenant)
        if tenant is not None and scope is not None:
            where = f"PartitionKey eq '{table_partition(Key(tenant, scope, 'x'))}'"
        rows, following = await self._service.page(where, limit=limit, token=token, deadline=deadline, select=COLUMNS)
        place = None if following is None else pack_census(tenant, scope, pack_token(following))
        named = (f"the row {row.row} of {row.partition}" for row in rows)
        return census_of(zip(named, await self._told(rows, deadline), strict=True), tenant, scope, place)

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        """A read and a compare-and-set of the row; the ids of its last writes stay with it. After a lost answer the row is read again.
        Raises `TooLarge` for a payload that no row holds."""
        check_move(old, new)
        check_pointer(new, self._service.now_ms(), tier=TIER)
        return await move_head(
            old, new, read=lambda share: self._find(old.key, share), store=self._store, deadline=deadline
        )

    # --- purging -----------------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return self._service.now_ms()

    async def _dead(
        self, before_ms: int, place: dict[str, str] | None, deadline: Deadline
    ) -> tuple[list[Row], dict[str, str] | None]:
        where = f"{_within(None)} and tcd gt 0L and tcd lt {max(before_ms, 0)}L"
        rows, following = await self._service.page(where, limit=PAGE, token=place, deadline=deadline, select=())
        # A row may have been written later, where its record was dead when it was written.
        return [row for row in rows if row.modified_ms < before_ms], following

    async def _drop(self, item: Row, deadline: Deadline) -> bool:
        return await self._service.delete(item.partition, item.row, etag=item.etag, deadline=deadline)


def _within(tenant: str | None) -> str:
    """The filter of a tenant's rows, or of everybody's."""
    return "PartitionKey ge '{}' and PartitionKey lt '{}'".format(*table_partitions(tenant))
