"""Keeping rows in order: counting them, moving their payloads, removing the dead."""

from dataclasses import replace
from datetime import timedelta

from thermocline.blobs import heads
from thermocline.blobs.batch import each
from thermocline.blobs.upkeep import check_census, check_limit, check_move, pack_census, unpack_census
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, ThermoclineError, TierUnavailable, UnreadableRecord
from thermocline.keys import table_partition, table_partitions
from thermocline.model import Envelope, Key
from thermocline.protocols import Inventory
from thermocline.tiers.table.door import TIER
from thermocline.tiers.table.notes import RowNotes
from thermocline.tiers.table.rows import COLUMNS, pack_token, row_of, unpack_token
from thermocline.tiers.table.service import PAGE, Placing, Row
from thermocline.tiers.table.versions import RowVersions
from thermocline.writes import PAYLOAD_GRACE_MS, check_pointer


class RowUpkeep(RowVersions, RowNotes):
    """The parts `Census`, `Relocates` and `Purges`."""

    _grace_ms = PAYLOAD_GRACE_MS
    _swept: dict[str, str] | None = None  # where the last purge stopped

    @property
    def grace(self) -> timedelta:
        """How long a row outlives its record, at least: T."""
        return timedelta(milliseconds=self._grace_ms)

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
        inventory = Inventory([], place)
        for row, found in zip(rows, await self._told(rows, deadline), strict=True):
            if isinstance(found, CorruptRecord | UnreadableRecord):
                inventory.damaged.append(f"the row {row.row} of {row.partition}: {found}")
            elif isinstance(found, ThermoclineError):
                raise found
            elif found is not None and tenant in (None, found.key.tenant) and scope in (None, found.key.scope):
                inventory.items.append(found)
        return inventory

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        """A read and a compare-and-set of the row; the ids of its last writes stay with it. After a lost answer the row is read again.
        Raises `TooLarge` for a payload that no row holds."""
        check_move(old, new)
        check_pointer(new, self._service.now_ms(), tier=TIER)
        found = await self._find(old.key, deadline)
        if not isinstance(found, heads.Found) or found.etag != old.etag:
            return False
        head = replace(found.head, envelope=replace(new, etag=None, raw=None))
        try:
            return await self._service.place(Placing(row_of(head), found.etag), deadline) is not None
        except TierUnavailable as error:
            if not error.sent:
                raise
            again = await self._find(old.key, deadline)
            if isinstance(again, heads.Found) and again.head == head:
                return True
            raise

    async def purge(self, *, dead_before_ms: int, limit: int, deadline: Deadline) -> int:
        """By partition and row, from where the last call stopped (in this process), each row under the ETag that was listed. The service looks through the
        table and tells the dead alone, 1,000 a request; one more for each that is removed. At its end notes whose time is over are removed too, uncounted."""
        check_limit(limit)
        before = min(dead_before_ms, self._service.now_ms() - self._grace_ms)
        where = f"{_within(None)} and tcd gt 0L and tcd lt {max(before, 0)}L"
        began, token = self._swept, self._swept
        while True:
            rows, following = await self._service.page(where, limit=PAGE, token=token, deadline=deadline, select=())
            old = [row for row in rows if row.modified_ms < before]  # later, where it was dead when it was written
            removed = await self._remove(old[:limit], deadline)
            if removed or len(old) > limit:
                self._swept = token if len(old) > limit else following
                return removed
            if following is None:
                await self.purge_notes(deadline=deadline)
                self._swept = token = None
                if began is None:
                    return 0
                began = None  # what lies before where this call began was not looked at
                continue
            token = following

    async def _remove(self, old: list[Row], deadline: Deadline) -> int:
        done = await each(
            old, lambda row: self._service.delete(row.partition, row.row, etag=row.etag, deadline=deadline)
        )
        for result in done:
            if isinstance(result, ThermoclineError):
                raise result
        return sum(result is True for result in done)


def _within(tenant: str | None) -> str:
    """The filter of a tenant's rows, or of everybody's."""
    return "PartitionKey ge '{}' and PartitionKey lt '{}'".format(*table_partitions(tenant))
