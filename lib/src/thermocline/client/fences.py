"""Fences: what was erased stays so. A fence is a note in the authority that says when a scope, or a whole tenant, was last forgotten.

A write is short, and who forgets waits it out. One that reaches the authority more than `HEEDED_AFTER` seconds after its call began (a long stream, a
process that slept) reads the fence first, and is refused if it began before it. Restores and migrations read it for each scope.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec

from thermocline.client.engine import Engine
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, Forgotten, TierUnavailable
from thermocline.model import Authority, Key
from thermocline.protocols import Notes

FENCES: Final = "fence/"
HEEDED_AFTER: Final = (
    5.0  # seconds from the start of a call to the sending of its write; later than that, fences are read first
)
LONGEST_WRITE: Final = 18.0  # seconds that one write to an authority may take, from before the fence is read for it
SLACK: Final = 5.0  # seconds after its deadline for which a copy may be let in (tiers.warm.change.LATE_MS)
CLOCKS: Final = 2.0  # seconds; clocks that are corrected by the server's differ by less
WAIT: Final = (
    HEEDED_AFTER + LONGEST_WRITE + SLACK + CLOCKS
)  # seconds after which nothing that began before a fence can take effect
_CLOCKS_MS: Final = int(CLOCKS * 1000)
_TRIES: Final = 8  # of putting a fence, while others put theirs


@dataclass(frozen=True, slots=True)
class Fence:
    """When a scope (None: the whole tenant) was forgotten, in ms since 1970."""

    tenant: str
    scope: str | None
    at_ms: int
    id: str


def fence_name(tenant: str, scope: str | None) -> str:
    """The note's name. Digests, as a tenant may have any characters."""
    own = FENCES + _digest(tenant)
    return own if scope is None else f"{own}/{_digest(scope)}"


class Fences:
    """The fences of one client's authorities."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keepers(self) -> list[tuple[Authority, Notes]]:
        """The authorities that can keep a fence, those that outlive Redis first."""
        found = [(stamp, tier) for stamp, tier in self._engine.authorities.items() if isinstance(tier, Notes)]
        return sorted(found, key=lambda keeper: keeper[0] is Authority.HOT)

    async def put(self, fence: Fence, deadline: Deadline) -> None:
        """In each authority; a later one that is there stays. Raises `TierUnavailable`."""
        for stamp, notes in self.keepers():
            await self._put(stamp, notes, fence, deadline)

    async def _put(self, stamp: Authority, notes: Notes, fence: Fence, deadline: Deadline) -> None:
        name, data = fence_name(fence.tenant, fence.scope), msgspec.json.encode(fence)
        for _ in range(_TRIES):
            there = await notes.read_note(name, deadline=deadline)
            if there is None:
                put = await notes.write_note(name, data, if_absent=True, deadline=deadline)
            elif _at_ms(there.data) >= fence.at_ms:
                return
            else:
                put = await notes.write_note(name, data, if_etag=there.etag, deadline=deadline)
            if put is not None:
                return
        raise TierUnavailable(
            "the fence could not be put, as others put theirs at the same time: call forget again",
            tier=stamp.name.lower(),
            sent=False,
        )

    async def of(self, authority: Authority, tenant: str, scope: str, deadline: Deadline) -> int:
        """When this scope or its whole tenant was last forgotten; 0: never. Raises `TierUnavailable`, `CorruptRecord`."""
        keepers = dict(self.keepers())
        notes = keepers.get(authority, next(iter(keepers.values()), None))
        if notes is None:
            return 0
        latest = 0
        for name in (fence_name(tenant, scope), fence_name(tenant, None)):
            note = await notes.read_note(name, deadline=deadline)
            if note is not None:
                latest = max(latest, _read(note.data).at_ms)
        return latest

    async def heed(self, key: Key, authority: Authority, begun_ms: int, deadline: Deadline) -> None:
        """Raise `Forgotten` for a write that began before its scope was forgotten, if it is one that nobody waited for."""
        if 0 <= self._engine.now_ms() - begun_ms <= HEEDED_AFTER * 1000:  # less: the clock was set back meanwhile
            return
        at_ms = await self.of(authority, key.tenant, key.scope, deadline)
        if at_ms and begun_ms <= at_ms + _CLOCKS_MS:
            raise Forgotten(
                f"the scope of {key.name!r:.80} was forgotten after this write began, so it was not carried out; write again if it is meant to be"
            )


def _read(data: bytes) -> Fence:
    try:
        return msgspec.json.decode(data, type=Fence)
    except msgspec.DecodeError as error:
        raise CorruptRecord(
            f"a fence cannot be read ({error}): forget the scope again, which writes it anew"
        ) from error


def _at_ms(data: bytes) -> int:
    """Of a fence that is to be replaced; 0: it cannot be read, and is written anew."""
    try:
        return _read(data).at_ms
    except CorruptRecord:
        return 0


def _digest(part: str) -> str:
    return hashlib.blake2b(part.encode(), digest_size=16).hexdigest()
