"""The authority over keys: writes, listings, versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols.tier import Tier


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


@runtime_checkable
class AtOnce(Protocol):
    """An authority whose ``read_many`` is one call that takes hardly longer for many keys than for one."""

    at_once: bool
