"""Hot entries: their operations, and the tier that holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.model import Envelope, Key
from thermocline.protocols.tier import Tier


@dataclass(frozen=True, slots=True)
class Leased:
    """The reader now holds the lease: ask the authority, heed ``floor``, and settle."""

    floor: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Another reader or a writer is under way: ask the authority, heed ``floor``, and settle. ``last`` is the envelope that a marker
    carries for callers who accept stale answers while the authority is down. ``leased``: it is a reader, whose lease it is (``holder`` its token, where the
    tier tells): his answer may be waited for. A tier that leaves both out is asked past as if writers were under way."""

    floor: int
    last: Envelope | None = None
    leased: bool = False
    holder: str | None = None


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


@dataclass(frozen=True, slots=True)
class Renew:
    """The lease of ``reader`` is to last ``lasting_ms`` from now. One that is gone stays gone."""

    key: Key
    reader: str
    lasting_ms: int


EntryOperation = Look | Renew | Announce | Publish | Withdraw | Settle


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
        """One of the operations. `Look` answers an Envelope, `Leased` or `Busy`; `Renew` answers `Leased` while the lease is still held, else None; an
        `Announce` answers `Busy` with the floor that was known; the others None. A publish or settle whose envelope the tier cannot hold (too large,
        out of memory) acts without a value."""
        ...

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        """The same for many, each atomic by itself, pipelined per node; each answers for itself (P8)."""
        ...

    async def drop(self, keys: Sequence[Key], *, deadline: Deadline) -> None:
        """UNLINK the entries, whatever they are (for other writers under way: a lost announcement)."""
        ...
