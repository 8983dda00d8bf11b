"""Keeping head blobs in order: counting them, moving their payloads, removing the dead."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from thermocline.blobs import heads, wire
from thermocline.blobs.batch import each
from thermocline.blobs.upkeep import check_census, check_limit, check_move, pack_census, stored_of, unpack_census
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidKey, ThermoclineError, TierUnavailable, TooLarge, UnreadableRecord
from thermocline.keys import HEAD_ROOT, blob_prefix, from_head_path, head_path, tenant_prefix
from thermocline.model import Envelope
from thermocline.protocols import Inventory, Stored
from thermocline.tiers.cold.blobs import Entry
from thermocline.tiers.cold.door import TIER
from thermocline.tiers.cold.notes import BlobNotes
from thermocline.tiers.cold.versions import HeadVersions
from thermocline.writes import PAYLOAD_GRACE_MS, check_pointer

PAGE: Final = 5000  # heads of one listing request, the service's most


class HeadUpkeep(HeadVersions, BlobNotes):
    """The parts `Census`, `Relocates` and `Purges`."""

    _grace_ms = PAYLOAD_GRACE_MS
    _swept: str | None = None  # where the last purge stopped

    @property
    def grace(self) -> timedelta:
        """How long a head outlives its record, at least: T."""
        return timedelta(milliseconds=self._grace_ms)

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
        inventory = Inventory([], None if following is None else pack_census(tenant, scope, following))
        for entry, found in zip(entries, await each(entries, lambda one: self._stored(one, deadline)), strict=True):
            if isinstance(found, CorruptRecord | UnreadableRecord):
                inventory.damaged.append(f"the head {entry.name}: {found}")
            elif isinstance(found, ThermoclineError):
                raise found
            elif found is not None and tenant in (None, found.key.tenant) and scope in (None, found.key.scope):
                inventory.items.append(found)
        return inventory

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
        key = old.key
        path = head_path(key)
        found = await self._read_head(key, path, deadline)
        if not isinstance(found, heads.Found) or found.etag != old.etag:
            return False
        head = replace(found.head, envelope=replace(new, etag=None, raw=None))
        metadata = wire.metadata_of(head, path)
        try:
            put = await self._service.put(
                path, wire.pack_head(head), etag=found.etag, metadata=metadata, deadline=deadline
            )
        except TierUnavailable as error:
            if not error.sent:
                raise
            again = await self._read_head(key, path, deadline)
            if isinstance(again, heads.Found) and again.head == head:
                return True
            raise
        return put is not None

    async def purge(self, *, dead_before_ms: int, limit: int, deadline: Deadline) -> int:
        """By path, from where the last call stopped (in this process), each head under the ETag that was listed. One listing request for 5,000 heads and one
        for each that is removed. At the end of the listing notes whose time is over are removed too, uncounted."""
        check_limit(limit)
        before = min(dead_before_ms, self._service.now_ms() - self._grace_ms)
        began, token = self._swept, self._swept
        while True:
            entries, following = await self._service.page(HEAD_ROOT, limit=PAGE, token=token, deadline=deadline)
            old = [entry for entry in entries if _died(entry) < before]
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

    async def _remove(self, old: list[Entry], deadline: Deadline) -> int:
        done = await each(old, lambda entry: self._service.delete(entry.name, etag=entry.etag, deadline=deadline))
        for result in done:
            if isinstance(result, ThermoclineError):
                raise result
        return sum(result is True for result in done)


def _died(entry: Entry) -> float:
    """When the record died by its metadata, or was written after that; never: infinite."""
    since = wire.dead_since(entry.metadata)
    return max(since, entry.modified_ms) if since else float("inf")
