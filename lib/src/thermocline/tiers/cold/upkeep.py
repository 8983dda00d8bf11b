"""Keeping head blobs in order: counting them, moving their payloads, removing the dead."""

from dataclasses import replace
from typing import Final

from thermocline.blobs import heads, wire
from thermocline.blobs.batch import each
from thermocline.blobs.purging import Purging
from thermocline.blobs.upkeep import census_of, check_census, check_move, pack_census, stored_of, unpack_census
from thermocline.blobs.writing import move_head
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidKey, TooLarge
from thermocline.keys import HEAD_ROOT, blob_prefix, from_head_path, head_path, tenant_prefix
from thermocline.model import Envelope
from thermocline.protocols import Inventory, Stored
from thermocline.tiers.cold.blobs import Entry
from thermocline.tiers.cold.door import TIER
from thermocline.tiers.cold.notes import BlobNotes
from thermocline.tiers.cold.versions import HeadVersions
from thermocline.writes import check_pointer

PAGE: Final = 5000  # heads of one listing request, the service's most


class HeadUpkeep(HeadVersions, BlobNotes, Purging[Entry, str]):
    """The parts `Census`, `Relocates` and `Purges`. A purge goes by path; one listing request tells of 5,000 heads."""

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        """By path: one listing request a page, of at most 5,000 heads, whose metadata tells all; so 10,000 records take two requests. Heads whose
        metadata does not (a name or tags of many kilobytes) are read, sixteen at once, their values with them."""
        check_census(tenant, scope, limit)
        token = None if cursor is None else unpack_census(tenant, scope, cursor)
        start = HEAD_ROOT
        if tenant is not None:
            start = tenant_prefix(tenant) if scope is None else blob_prefix(tenant, scope)
        entries, following = await self._service.page(start, limit=limit, token=token, deadline=deadline)
        answers = await each(entries, lambda entry: self._stored(entry, deadline))
        place = None if following is None else pack_census(tenant, scope, following)
        return census_of(
            zip((f"the head {entry.name}" for entry in entries), answers, strict=True), tenant, scope, place
        )

    async def _stored(self, entry: Entry, deadline: Deadline) -> Stored | None:
        """None: it is gone, or nothing of ours."""
        try:
            from_head_path(entry.name)
        except InvalidKey:
            return None
        if entry.metadata.get("hdi_isfolder") == "true":  # a folder of a hierarchical account
            return None
        told = wire.stored_of(entry.metadata, entry.name, entry.etag)
        if told is not None:
            return told
        blob = await self._service.fetch(entry.name, deadline)
        if blob is None:
            return None
        envelope = wire.unpack_any_head(blob.data).envelope
        if head_path(envelope.key) != entry.name:
            raise CorruptRecord(f"it holds the record of another key, {envelope.key}")
        return stored_of(replace(envelope, etag=blob.etag))

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        """A read and a compare-and-set of the head; the ids of its last writes stay with it. After a lost answer the head is read again."""
        check_move(old, new)
        check_pointer(new, self._service.now_ms(), tier=TIER)
        if len(new.payload) > heads.INLINE_LIMIT:
            raise TooLarge(
                f"a payload of {len(new.payload)} bytes is too large for a head (at most {heads.INLINE_LIMIT})"
            )
        path = head_path(old.key)
        return await move_head(
            old,
            new,
            read=lambda share: self._read_head(old.key, path, share),
            store=lambda head, etag, share: self._store_head(path, head, etag, share),
            deadline=deadline,
        )

    # --- purging -----------------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return self._service.now_ms()

    async def _dead(self, before_ms: int, place: str | None, deadline: Deadline) -> tuple[list[Entry], str | None]:
        entries, following = await self._service.page(HEAD_ROOT, limit=PAGE, token=place, deadline=deadline)
        return [entry for entry in entries if _died(entry) < before_ms], following

    async def _drop(self, item: Entry, deadline: Deadline) -> bool:
        return await self._service.delete(item.name, etag=item.etag, deadline=deadline)


def _died(entry: Entry) -> float:
    """When the record died by its metadata, or was written after that; never: infinite."""
    since = wire.dead_since(entry.metadata)
    return max(since, entry.modified_ms) if since else float("inf")
