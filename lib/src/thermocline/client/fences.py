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
from thermocline.errors import CorruptRecord, Forgotten
from thermocline.model import Authority, Key
from thermocline.protocols import Notes

FENCES: Final = "fence/"
HEEDED_AFTER: Final = (
    5.0  # seconds from the start of a call to the sending of its write; later than that, fences are read first
)
LONGEST_WRITE: Final = 20.0  # seconds that one write to an authority may take
SLACK: Final = 5.0  # seconds: after its deadline a copy may be let in for so long (tiers.warm.change.LATE_MS), and clocks differ by less
WAIT: Final = (
    HEEDED_AFTER + LONGEST_WRITE + SLACK
)  # seconds after which nothing that began before a fence can take effect
_CLOCKS_MS: Final = 2000  # clocks that are corrected by the server's differ by less


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
        """The authorities that can keep a fence."""
        return [(stamp, tier) for stamp, tier in self._engine.authorities.items() if isinstance(tier, Notes)]

    async def put(self, fence: Fence, deadline: Deadline) -> None:
        """In each authority. Raises `TierUnavailable`."""
        data = msgspec.json.encode(fence)
        for _, notes in self.keepers():
            await notes.write_note(fence_name(fence.tenant, fence.scope), data, deadline=deadline)

    async def of(self, authority: Authority, tenant: str, scope: str, deadline: Deadline) -> int:
        """When this scope or its whole tenant was last forgotten; 0: never. Raises `TierUnavailable`, `CorruptRecord`."""
        notes: object = self._engine.authorities.get(authority)
        if not isinstance(notes, Notes):
            return 0
        latest = 0
        for name in (fence_name(tenant, scope), fence_name(tenant, None)):
            note = await notes.read_note(name, deadline=deadline)
            if note is not None:
                latest = max(latest, _read(note.data).at_ms)
        return latest

    async def heed(self, key: Key, authority: Authority, begun_ms: int, deadline: Deadline) -> None:
        """Raise `Forgotten` for a write that began before its scope was forgotten, if it is one that nobody waited for."""
        if self._engine.now_ms() - begun_ms <= HEEDED_AFTER * 1000:
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


def _digest(part: str) -> str:
    return hashlib.blake2b(part.encode(), digest_size=16).hexdigest()
