"""The part `Versions` on rows of a table (COHERENCE sections 1 and 4): `thermocline.blobs.heads` decides, this sends."""

from collections.abc import Sequence
from dataclasses import replace

from thermocline.blobs import heads
from thermocline.blobs.batch import each
from thermocline.blobs.upkeep import stored_of as told_of
from thermocline.blobs.writing import write_head
from thermocline.clock import Deadline
from thermocline.cursors import pack_cursor, unpack_cursor
from thermocline.errors import CorruptRecord, InvalidArgument, InvalidKey, ThermoclineError, UnreadableRecord
from thermocline.keys import from_table, table_partition, table_row, table_rows
from thermocline.model import Authority, Envelope, Flags, Key
from thermocline.protocols import Listed, Page, Stored, Write, Written
from thermocline.telemetry import CORRUPT
from thermocline.tiers.table.door import TIER
from thermocline.tiers.table.rows import COLUMNS, check, head_of, pack_token, row_of, stored_of, unpack_token
from thermocline.tiers.table.service import Placing, Row, TableService


class RowVersions:
    """The authority over keys whose routes name it: one row per key."""

    authority = Authority.WARM_PLUS
    _service: TableService

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        """The newest record, a tombstone or expired one too; None: there is no row. One request."""
        found = await self._find(key, deadline)
        return replace(found.head.envelope, etag=found.etag) if isinstance(found, heads.Found) else None

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        """The same for many, sixteen requests at once; each answers for itself. A filter of many row keys would scan the partition."""
        return await each(keys, lambda key: self.read(key, deadline=deadline))

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        """A compare-and-set on the row: one request for a new key, two for one that is known, three for one that exists and was not known. Otherwise as
        `thermocline.blobs.writing.write_head` says. Raises `TooLarge` above 960 KiB of payload."""
        check(write)

        return await write_head(
            write,
            read=lambda share: self._find(write.key, share),
            store=self._store,
            authority=self.authority,
            now_ms=self._service.now_ms,
            tier=TIER,
            deadline=deadline,
        )

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        """Many writes, each for itself and atomic by itself, sixteen at once."""
        return await each(writes, lambda write: self.write(write, deadline=deadline))

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        """Live keys of a scope in the order of their names (`keys.table_row`), at most 1,000 a page, one request each; rows are read whole only where their
        columns do not tell. A damaged one is left out, and counted."""
        if type(limit) is not int or limit < 1:
            raise InvalidArgument(f"a page's limit is a whole number from 1 on, not {limit!r}")
        where = f"PartitionKey eq '{table_partition(Key(tenant, scope, prefix or 'x'))}'"
        if prefix:
            where += " and RowKey ge '{}' and RowKey lt '{}'".format(*table_rows(prefix))
        now = self._service.now_ms()
        where += f" and not (tcd gt 0L and tcd le {now}L)"  # so that the dead take no room on a page
        token = None if cursor is None else unpack_token(unpack_cursor(tenant, scope, prefix, cursor))
        rows, following = await self._service.page(where, limit=limit, token=token, deadline=deadline, select=COLUMNS)
        items: list[Listed] = []
        for found in await self._told(rows, deadline):
            if isinstance(found, CorruptRecord | UnreadableRecord):
                self._service.stats.count(CORRUPT, TIER)
            elif isinstance(found, ThermoclineError):
                raise found
            elif found is not None and _live(found, now):
                key = found.key
                if (key.tenant, key.scope) == (tenant, scope) and key.name.startswith(prefix):
                    items.append(_listed(found))
        return Page(items, None if following is None else pack_cursor(tenant, scope, prefix, pack_token(following)))

    async def _told(self, rows: Sequence[Row], deadline: Deadline) -> list[Stored | ThermoclineError | None]:
        """What rows of a listing say; None: it is gone meanwhile, or nothing of ours."""
        return await each(rows, lambda row: self._stored(row, deadline))

    async def _stored(self, row: Row, deadline: Deadline) -> Stored | None:
        try:
            from_table(row.partition, row.row)
        except InvalidKey:
            return None
        told = stored_of(row)
        if told is not None:
            return told
        whole = await self._service.get(row.partition, row.row, deadline)
        if whole is None:
            return None
        return told_of(replace(head_of(whole).envelope, etag=whole.etag))

    async def _store(self, head: heads.Head, etag: str | None, deadline: Deadline) -> bool:
        return await self._service.place(Placing(row_of(head), etag), deadline) is not None

    async def _find(self, key: Key, deadline: Deadline) -> heads.Found | heads.Missing:
        row = await self._service.get(table_partition(key), table_row(key), deadline)
        if row is None:
            return heads.Missing()
        head = head_of(row)
        if head.envelope.key != key:
            raise CorruptRecord(f"the row of {key} holds another key's record")
        return heads.Found(head, row.etag)


def _live(stored: Stored, now_ms: int) -> bool:
    return not stored.header.flags & Flags.TOMBSTONE and not stored.header.expired(now_ms)


def _listed(stored: Stored) -> Listed:
    header = stored.header
    return Listed(
        stored.key,
        header.version,
        header.expires_ms,
        header.modified_ms,
        stored.size,
        header.raw_length,
        stored.pointer is not None,
        dict(stored.tags) or None,
    )
