"""What those need who keep an authority in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.model import Envelope, Header, Key, Pointer
from thermocline.protocols.versions import Write, Written


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
