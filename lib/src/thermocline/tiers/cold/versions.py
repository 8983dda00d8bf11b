"""The part `Versions` on head blobs (COHERENCE sections 1 and 4): `thermocline.blobs.heads` decides, this sends."""

import asyncio
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from thermocline.blobs import heads, wire
from thermocline.blobs.batch import each
from thermocline.clock import Clock, Deadline
from thermocline.cursors import pack_cursor, unpack_cursor
from thermocline.errors import (
    AccessDenied,
    CorruptRecord,
    InvalidArgument,
    InvalidKey,
    ThermoclineError,
    TierUnavailable,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.keys import HEAD_ROOT, blob_prefix, from_head_path, head_path
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Listed, Page, Verb, Write, Written
from thermocline.telemetry import CORRUPT
from thermocline.tiers.cold.door import TIER
from thermocline.tiers.cold.service import BlobService, Entry
from thermocline.writes import check_pointer

PATIENCE: Final = 60.0  # seconds that a write without a deadline tries to learn its outcome
_FIRST_WAIT: Final = 0.02  # seconds before a write tries again; doubled each time, with jitter
_LONGEST_WAIT: Final = 1.0
_LEAST_ATTEMPT: Final = 0.1  # seconds that a request gets of the deadline, if so much is left


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
        heads.check(write)
        deadline = deadline.within(PATIENCE) if math.isinf(deadline.at) else deadline
        path = head_path(write.key)
        state: heads.State | heads.Ended = heads.begin(write, authority=self.authority, now_ms=self._service.now_ms())
        tries = 0
        while isinstance(state, heads.Sending | heads.Reading):
            try:
                answer = await self._ask(state, path, deadline)
            except ThermoclineError as error:
                answer = self._survived(state, error, deadline)
            lost = isinstance(answer, heads.Lost)
            contended = isinstance(answer, heads.Refused) and not state.open
            state = heads.step(state, answer, authority=self.authority, now_ms=self._service.now_ms())
            if lost or (contended and tries > 0):
                await asyncio.sleep(min(_wait(write.id, tries), deadline.remaining()))
            tries += lost or contended
        if isinstance(state, heads.Doubt):
            raise UnknownOutcome(f"{write.key}: more was written since than the head remembers", write_id=write.id)
        return state

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
        done = await each(old, lambda e: self._service.delete(e.name, etag=e.etag, deadline=deadline))
        for result in done:
            if isinstance(result, ThermoclineError):
                raise result
        return sum(result is True for result in done), following

    # --- one request -------------------------------------------------------------------------------------------------

    async def _read_head(self, key: Key, path: str, deadline: Deadline) -> heads.Found | heads.Missing:
        blob = await self._service.get(path, deadline)
        if blob is None:
            return heads.Missing()
        return heads.Found(wire.unpack_head(blob.data, key), blob.etag)

    async def _ask(self, state: heads.State, path: str, deadline: Deadline) -> heads.Answer:
        # Half of what is left, so that a lost answer leaves time to ask what became of the write.
        share = deadline.within(max(deadline.remaining() / 2, _LEAST_ATTEMPT))
        if isinstance(state, heads.Reading):
            return await self._read_head(state.write.key, path, share)
        head = state.sent.head
        if state.write.verb is Verb.PUT:
            check_pointer(state.write.envelope, self._service.now_ms(), tier=TIER)
        data = wire.pack_head(head)
        put = await self._service.put(
            path, data, etag=state.sent.etag, metadata=wire.metadata_of(head, path), deadline=share
        )
        if put is None:
            return heads.Refused()
        return heads.Stored()

    def _survived(self, state: heads.State, error: ThermoclineError, deadline: Deadline) -> heads.Lost:
        """What a failure means for a write: it goes on only where a copy may have taken effect."""
        sent = isinstance(error, TierUnavailable) and error.sent
        if not state.open and not (sent and isinstance(state, heads.Sending)):
            raise _harmless(error) if isinstance(error, TierUnavailable) and sent else error
        if deadline.expired() or isinstance(error, AccessDenied) or not isinstance(error, TierUnavailable):
            raise UnknownOutcome(
                f"{state.write.key}: the write may have taken effect, and may still: {error}", write_id=state.write.id
            ) from error
        return heads.Lost()

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
        blob = await self._service.get(entry.name, deadline)
        if blob is None:
            return None
        head = wire.unpack_any_head(blob.data)
        return wire.listed(head) if head_path(head.envelope.key) == entry.name and not head.envelope.tombstone else None


def _harmless(error: TierUnavailable) -> TierUnavailable:
    """The same error of a read or of a refused request: the write itself was certainly not taken."""
    return type(error)(str(error), tier=error.tier, sent=False, retry_after=error.retry_after)


def _wait(write_id: str, tries: int) -> float:
    """Between half and the whole of an exponential wait. The jitter comes from the write's id, so that a run can be replayed."""
    longest: float = min(_FIRST_WAIT * 2.0 ** min(tries, 10), _LONGEST_WAIT)
    return longest * (0.5 + (zlib.crc32(f"{write_id}{tries}".encode()) % 1024) / 2048)
