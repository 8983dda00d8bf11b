"""The part `Versions` on head blobs (COHERENCE sections 1 and 4): `thermocline.blobs.heads` decides, this sends."""

from collections.abc import Sequence
from dataclasses import replace

from thermocline.blobs import heads, wire
from thermocline.blobs.batch import all_of, each
from thermocline.blobs.writing import write_head
from thermocline.clock import Clock, Deadline
from thermocline.cursors import pack_cursor, unpack_cursor
from thermocline.errors import (
    CorruptRecord,
    InvalidArgument,
    InvalidKey,
    ThermoclineError,
    UnreadableRecord,
)
from thermocline.keys import HEAD_ROOT, blob_prefix, from_head_path, head_path
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Listed, Page, Write, Written
from thermocline.telemetry import CORRUPT
from thermocline.tiers.cold.blobs import Entry
from thermocline.tiers.cold.door import TIER
from thermocline.tiers.cold.service import BlobService


class HeadVersions:
    """The authority over keys where no warm tier is: one head blob per key."""

    authority = Authority.COLD
    _service: BlobService
    _clock: Clock

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        """The newest record, a tombstone or expired one too; None: there is no head. One request."""
        found = await self._read_head(key, head_path(key), deadline)
        return replace(found.head.envelope, etag=found.etag) if isinstance(found, heads.Found) else None

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        """The same for many, sixteen requests at once; each answers for itself."""
        return await each(keys, lambda key: self.read(key, deadline=deadline))

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        """A compare-and-set on the head: one request for a new key, two for one that is known, three for one that exists and was not known.

        Atomic; made again with jitter while others write the same key. A request without an answer is sent again, and when it is refused the
        head tells whether an earlier copy took effect. Raises `UnknownOutcome` at the deadline (or after a minute, where there is none) if a copy may
        have taken effect; any other error: it certainly did not.
        """
        path = head_path(write.key)

        return await write_head(
            write,
            read=lambda share: self._read_head(write.key, path, share),
            store=lambda head, etag, share: self._store_head(path, head, etag, share),
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
        """Live keys of a scope by path, one listing request a page; heads are read only where their metadata does not tell.
        A damaged one is left out, and counted."""
        if type(limit) is not int or limit < 1:
            raise InvalidArgument(f"a page's limit is a whole number from 1 on, not {limit!r}")
        start = blob_prefix(tenant, scope, prefix)
        token = None
        if cursor is not None:
            token = unpack_cursor(tenant, scope, prefix, cursor)
        entries, following = await self._service.page(start, limit=limit, token=token, deadline=deadline)
        now = self._service.now_ms()
        live = [entry for entry in entries if not wire.dead(entry.metadata, now)]
        items: list[Listed] = []
        for line in await each(live, lambda entry: self._line(entry, deadline)):
            if isinstance(line, CorruptRecord | UnreadableRecord):
                self._service.stats.count(CORRUPT, TIER)
                continue
            if isinstance(line, ThermoclineError):
                raise line
            if line is None or 0 < line.expires_ms <= now:
                continue
            if (line.key.tenant, line.key.scope) == (tenant, scope) and line.key.name.startswith(prefix):
                items.append(line)
        return Page(items, None if following is None else pack_cursor(tenant, scope, prefix, following))

    async def sweep_heads(
        self, *, dead_before_ms: int, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[int, str | None]:
        """Remove the heads of one page whose record was deleted or expired before that moment, each under the ETag that was listed.

        How many were removed, and the cursor of the next page. The moment must lie the grace T (COHERENCE section 2) in the past: a head that goes
        earlier takes the ids of its last writes with it.
        """
        entries, following = await self._service.page(HEAD_ROOT, limit=limit, token=cursor, deadline=deadline)
        old = [
            e
            for e in entries
            if 0 < (wire.dead_since(e.metadata) or 0) < dead_before_ms and e.modified_ms < dead_before_ms
        ]
        done = await all_of(old, lambda e: self._service.delete(e.name, etag=e.etag, deadline=deadline))
        return sum(done), following

    # --- one request -------------------------------------------------------------------------------------------------

    async def _read_head(self, key: Key, path: str, deadline: Deadline) -> heads.Found | heads.Missing:
        blob = await self._service.fetch(path, deadline)
        if blob is None:
            return heads.Missing()
        return heads.Found(wire.unpack_head(blob.data, key), blob.etag)

    async def _store_head(self, path: str, head: heads.Head, etag: str | None, deadline: Deadline) -> bool:
        data, metadata = wire.pack_head(head), wire.metadata_of(head, path)
        return await self._service.put(path, data, etag=etag, metadata=metadata, deadline=deadline) is not None

    async def _line(self, entry: Entry, deadline: Deadline) -> Listed | None:
        """What a listing says of a head; None: it is dead, gone, or nothing of ours."""
        try:
            from_head_path(entry.name)
        except InvalidKey:
            return None
        if entry.metadata.get("hdi_isfolder") == "true":  # a folder of a hierarchical account
            return None
        told = wire.listed_of(entry.metadata, entry.name)
        if told is not None:
            return told
        blob = await self._service.fetch(entry.name, deadline)
        if blob is None:
            return None
        head = wire.unpack_any_head(blob.data)
        return wire.listed(head) if head_path(head.envelope.key) == entry.name and not head.envelope.tombstone else None
