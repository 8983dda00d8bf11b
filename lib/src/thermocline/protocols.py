"""What a tier must be able to do, as small Protocols. The client sees these and nothing else of a tier.

A tier plays one or more parts: `Entries` (the hot tier's coherent cache entries), `Versions` (the authority over keys) and `Payloads` (immutable
blobs). An authority can also play `Census`, `Relocates`, `Purges`, `Notes` and `Atomic`, which those need who keep the tiers in order. All methods
raise only `thermocline.errors`; an outage is a `TierUnavailable`, never an empty answer. All are safe to cancel at any await (P10). ``deadline`` is
the call's share for this tier: a method ends by then, with `TierTimeout` if it must. `thermocline.testing.conformance` states the rest as tests and
runs on any tier.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.model import Authority, Envelope, Header, Key, MemoryTier, Pointer


class Tier(Protocol):
    """What every tier has. ``connect`` is idempotent and binds to the running loop; ``close`` closes only what the tier opened itself. One that
    has ``connected`` (a bool) and is so when a client connects stays open when that client closes."""

    tier: MemoryTier

    async def connect(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self, *, deadline: Deadline) -> None:
        """Ask the service for the cheapest thing that shows it reachable and usable. Raises what is wrong, in plain words."""
        ...


# --- hot entries -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leased:
    """The reader now holds the lease: ask the authority, heed ``floor``, and settle."""

    floor: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Another reader or a writer is under way: ask the authority, heed ``floor``, and settle. ``last`` is the envelope that a marker
    carries for callers who accept stale answers while the authority is down."""

    floor: int
    last: Envelope | None = None


Found = Envelope | Leased | Busy


@dataclass(frozen=True, slots=True)
class Announce:
    key: Key
    writer: str  # the write's id
    lasting_ms: int  # until the announcement runs out, by the tier's own clock


@dataclass(frozen=True, slots=True)
class Publish:
    key: Key
    writer: str
    version: int
    envelope: Envelope | None  # None: without a value
    lasting_ms: int | None = None  # the value's lifetime in hot, besides the record's expiry; None: hot's ceiling


@dataclass(frozen=True, slots=True)
class Withdraw:
    key: Key
    writer: str


@dataclass(frozen=True, slots=True)
class Settle:
    key: Key
    reader: str | None  # None: the change feed or a recovery queue, which never fills
    version: int
    envelope: Envelope | None
    lasting_ms: int | None = None  # as of `Publish`


@dataclass(frozen=True, slots=True)
class Look:
    key: Key
    reader: str  # a token, new for every look
    lasting_ms: int  # how long the lease holds, by the tier's own clock


EntryOperation = Look | Announce | Publish | Withdraw | Settle


@runtime_checkable
class Entries(Tier, Protocol):
    """The hot entry's operations (COHERENCE section 3), each atomic on one key; `thermocline.coherence` defines them.

    An entry that is damaged answers as `CorruptRecord` from ``peek`` and as absent to every other operation, which replace it.
    """

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        """The plain GET: an envelope (a tombstone too), or None for absent and for a marker. One command.
        Raises `CorruptRecord`, `UnreadableRecord`, `TierUnavailable`."""
        ...

    async def peek_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        """The same for many keys, in their order, by one MGET per slot or node; a sick shard fails only its own keys (P8)."""
        ...

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        """One of the six operations. `Look` answers an Envelope, `Leased` or `Busy`; `Announce` answers `Busy` with the floor that was known;
        the others None. A publish or settle whose envelope the tier cannot hold (too large, out of memory) acts without a value."""
        ...

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        """The same for many, each atomic by itself, pipelined per node; each answers for itself (P8)."""
        ...

    async def drop(self, keys: Sequence[Key], *, deadline: Deadline) -> None:
        """UNLINK the entries, whatever they are (for other writers under way: a lost announcement)."""
        ...


# --- the authority ---------------------------------------------------------------------------------------------------


class Verb(Enum):
    PUT = "put"
    DELETE = "delete"
    TOUCH = "touch"  # a new expiry (``envelope.header.expires_ms``) for the live record, its value unchanged; raises the version


@dataclass(frozen=True, slots=True)
class Write:
    """One write, which takes effect at most once, whatever the network does with its copies.

    ``id`` is unique per write and carried by all its requests. ``envelope`` has version 0: the authority gives the version and stamps it. Of a delete it
    is the tombstone, of a touch only ``expires_ms`` and ``modified_ms`` of its header count. ``known`` is the highest version of the key that the
    writer knows to exist (its floor), None if it knows none. ``if_version`` n: only if the key's version is n. ``if_absent``: only if there
    is no live record (a tombstone and an expired record are none).
    """

    verb: Verb
    id: str
    envelope: Envelope
    known: int | None = None
    if_version: int | None = None
    if_absent: bool = False

    @property
    def key(self) -> Key:
        return self.envelope.key


class Effect(Enum):
    TOOK = "took"  # it took effect as ``version``
    REFUSED = "refused"  # its condition does not hold; certainly no effect
    NOTHING = "nothing"  # a delete or touch found no live or dead record to act on; certainly no effect, and no tombstone was written


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a write. ``version`` is the one it took effect as; of a refused one the version that is there now (0 unknown).

    ``envelope`` is the record as the authority now has it, stamped, where the answer told it without a further request (always for a put that took).
    """

    effect: Effect
    version: int
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One key of a listing: live when the page was read. ``size`` is the stored payload's bytes, ``pointer`` whether it lies in cold."""

    key: Key
    version: int
    expires_ms: int
    modified_ms: int
    size: int
    raw_size: int
    pointer: bool = False
    tags: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; ``cursor`` None: the last one. A page may be short or empty and still have a cursor."""

    items: list[Listed]
    cursor: str | None


@runtime_checkable
class Versions(Tier, Protocol):
    """The authority over its keys: gives out versions that only grow per key, over deletion and re-creation too, for the stated grace T."""

    authority: Authority

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        """The newest record: a tombstone and an expired one too (the caller judges); None: nothing is known of the key.
        Raises `CorruptRecord`, `UnreadableRecord`, `TierUnavailable`."""
        ...

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        """The same for many, in their order, in as few requests as the service allows; each answers for itself (P8)."""
        ...

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        """COHERENCE section 4. Raises `UnknownOutcome` if by the deadline it cannot tell whether the write took effect; `TierUnavailable` only if it
        certainly did not; `TooLarge`, `AccessDenied`, `Throttled`, `TierFull` likewise certainly without effect."""
        ...

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        """Many writes, each for itself (P8), with bounded concurrency."""
        ...

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        """Live keys of one scope whose names start with ``prefix`` (by code point, case-sensitive), at most ``limit`` a page. A key that exists
        throughout the listing appears exactly once. A cursor belongs to its tenant, scope and prefix: any other is `InvalidArgument`."""
        ...


# --- payloads --------------------------------------------------------------------------------------------------------


@runtime_checkable
class Payloads(Tier, Protocol):
    """Immutable payloads, named by key and content (COHERENCE section 5). Nothing here removes a payload but ``sweep_payload``."""

    async def put_payload(self, key: Key, data: bytes | AsyncIterator[bytes], *, deadline: Deadline) -> Pointer:
        """Store it, or renew what is there already under that name; atomic: a reader sees all or nothing. An iterator is streamed in bounded memory."""
        ...

    async def get_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> bytes | None:
        """The payload, its digest checked; None: there is none of that name. Raises `CorruptRecord` if the content does not fit the digest."""
        ...

    def stream_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> AsyncIterator[bytes]:
        """The payload in chunks, digest checked at the end (`CorruptRecord` instead of the last chunk). A missing one raises `CorruptRecord`.
        ``deadline`` holds for each chunk's wait, not for the whole."""
        ...

    async def renew_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> Pointer | None:
        """Give the blob a new ETag and ``written_ms``, so that the sweeper leaves it alone; None: it is gone."""
        ...


# --- epochs ----------------------------------------------------------------------------------------------------------


@runtime_checkable
class HasEpoch(Protocol):
    """An authority whose versions can turn back by a fail-over or a restore, which the runbook for it says by raising the epoch."""

    async def epoch(self) -> int:
        """The number of the epoch, 0 until it was first raised. Raises `TierUnavailable`."""
        ...


@runtime_checkable
class OfEpoch(Protocol):
    """Entries that belong to an epoch: those of every other one are void."""

    def enter_epoch(self, epoch: int) -> None:
        """From now on only entries of this epoch count. Makes no request."""
        ...


# --- keeping an authority in order -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as its authority holds it, without its value: live, expired or a tombstone (its header says). ``size`` is the payload's bytes there (of
    one in cold, its pointer's), ``pointer`` where a payload in cold lies. ``etag`` as of `Envelope`."""

    key: Key
    header: Header
    size: int
    pointer: Pointer | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    media_type: str = ""
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """One page of a census. ``damaged`` names records that could not be read, in words; they do not end it. ``cursor`` None: the last page; a page may be
    short or empty and still have one."""

    items: list[Stored]
    cursor: str | None
    damaged: list[str] = field(default_factory=list)


@runtime_checkable
class Census(Protocol):
    """An authority that can count all that it holds."""

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        """One page of all records (dead ones too, as long as they are held) of a scope, a tenant, or (None, None) the whole store; a scope needs its
        tenant. What exists throughout appears at least once, whatever is written meanwhile. A cursor is text that outlives the process, and
        belongs to its tenant and scope: any other is `InvalidArgument`."""
        ...


@runtime_checkable
class Relocates(Protocol):
    """An authority whose record can be moved between itself and cold."""

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        """Replace exactly the copy that was read as ``old`` (by its ``etag``) by ``new``, a pointer to its payload or the payload itself; version, write
        ids and expiry stay. False: it was replaced meanwhile, and nothing was done. Raises `PointerTooOld`, `TierUnavailable`."""
        ...


@runtime_checkable
class Purges(Protocol):
    """An authority that does not remove dead records by itself."""

    async def purge(self, *, dead_before_ms: int, limit: int, deadline: Deadline) -> int:
        """Remove at most ``limit`` records that were deleted or expired before that moment, but none that died less than the tier's grace T ago.
        Returns how many; 0: there are no more. Conditional on what was seen: a record that is written anew meanwhile stays."""
        ...


@dataclass(frozen=True, slots=True)
class Note:
    """A small document of the library's own. ``etag`` changes with each write."""

    name: str
    data: bytes
    etag: str


@runtime_checkable
class Notes(Protocol):
    """A place beside the cascade's records for checkpoints, fences and records of what was done; no key reaches it.

    A name has 1 to 200 characters of ``a-z 0-9 . _ - /``, data at most 32,768 bytes; else `InvalidArgument`.
    """

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None: ...

    async def write_note(
        self,
        name: str,
        data: bytes,
        *,
        if_etag: str | None = None,
        if_absent: bool = False,
        lasting: timedelta | None = None,
        deadline: Deadline,
    ) -> Note | None:
        """Store it, replacing what is there; with a condition only if that holds, else None and nothing is written. ``lasting``: how long it is kept at
        least (None: for ever). After a lost answer a conditional write may answer None though it took effect: read it again."""
        ...

    async def delete_note(self, name: str, *, if_etag: str | None = None, deadline: Deadline) -> bool:
        """Whether one was removed; False also if it is no longer the one of ``if_etag``."""
        ...

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        """One page of the names that start with ``prefix``, in their order, and the cursor of the next."""
        ...


@runtime_checkable
class Atomic(Protocol):
    """An authority that can take several writes of one scope as one."""

    atomic_most: int  # writes at most in one

    async def write_atomic(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written]:
        """All of them take effect, or none does; readers of the authority see none or all. They are of one tenant and scope, with different keys, else
        `InvalidArgument`. Where a condition does not hold, the answers of those are `Effect.REFUSED` and of the others `Effect.NOTHING`.
        Raises `UnknownOutcome` and certain refusals as `Versions.write` does."""
        ...


# --- plain names -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlainCopy:
    """What stands under a plain name; ``expires_ms`` 0: it stays."""

    value: Any
    expires_ms: int = 0


@runtime_checkable
class PlainCopies(Tier, Protocol):
    """A key space of plain names beside the cascade's, laid out as the code that this library replaces did. No versions, no conditions."""

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        """What stands there. Raises `InvalidKey` for a name that the tier cannot hold or keeps for itself, and what `Versions.read` raises."""
        ...

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        """Remove it; whether there was something. May be sent again."""
        ...


@runtime_checkable
class PlainNames(PlainCopies, Protocol):
    """One that can be written, too."""

    async def plain_set(self, name: str, value: Any, *, lasting_ms: int, deadline: Deadline) -> None:
        """Store a value of any kind that the codec takes, over what is there; ``lasting_ms`` 0: for good. May be sent again."""
        ...


@runtime_checkable
class PlainListing(PlainNames, Protocol):
    """One whose names can be found, too."""

    async def plain_list(self, prefix: str, *, deadline: Deadline) -> list[str]:
        """All names that begin with ``prefix`` (ASCII letters, digits, and ``. - _ = ~``), in no order. For rare calls: it may look at all that
        the tier holds."""
        ...
