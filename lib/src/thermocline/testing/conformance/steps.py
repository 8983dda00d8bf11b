"""A hot entry's histories, written short: what actors do, and what the next reader then finds.

``R1`` and the like are readers, ``W1`` and the like writers; versions are small numbers. A reader who looks finds one of three things, and the suite
writes them as `Finds`: a value of a version, ``FREE`` with a floor (the reader got the lease), or ``BUSY`` with a floor.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from thermocline.model import Envelope, Key
from thermocline.protocols import Announce, Busy, EntryOperation, Leased, Look, Publish, Settle, Withdraw
from thermocline.testing.conformance.samples import record, tombstone

LASTING_MS = 60_000  # of leases and announcements that shall not run out in a test


class Found(Enum):
    VALUE = "value"
    TOMBSTONE = "tombstone"
    FREE = "free"
    BUSY = "busy"


@dataclass(frozen=True)
class Finds:
    """What a reader finds: a value's version, or a floor."""

    what: Found
    number: int

    @property
    def served(self) -> bool:
        """Whether hot itself answers."""
        return self.what in (Found.VALUE, Found.TOMBSTONE)

    def __str__(self) -> str:
        return f"{self.what.value}({self.number})"


def finds_value(version: int) -> Finds:
    return Finds(Found.VALUE, version)


def finds_tombstone(version: int) -> Finds:
    return Finds(Found.TOMBSTONE, version)


def free(floor: int = 0) -> Finds:
    return Finds(Found.FREE, floor)


def busy(floor: int = 0) -> Finds:
    return Finds(Found.BUSY, floor)


@dataclass(frozen=True)
class Does:
    """One step of an actor; ``of`` makes it an operation on a key. ``valued``: with an envelope along."""

    kind: str
    actor: str | None
    version: int = 0
    valued: bool = True
    dead: bool = False  # the envelope is a tombstone

    def of(self, key: Key, lasting_ms: int = LASTING_MS) -> EntryOperation:
        actor = "" if self.actor is None else self.actor
        if self.kind == "look":
            return Look(key, actor, lasting_ms)
        if self.kind == "announce":
            return Announce(key, actor, lasting_ms)
        if self.kind == "withdraw":
            return Withdraw(key, actor)
        if self.kind == "publish":
            return Publish(key, actor, self.version, self._envelope(key))
        return Settle(key, self.actor, self.version, self._envelope(key))

    def _envelope(self, key: Key) -> Envelope | None:
        if not self.valued:
            return None
        return tombstone(key, self.version) if self.dead else record(key, value_at(self.version), self.version)

    def __str__(self) -> str:
        what = f"v{self.version}" if self.version else ""
        extra = "" if self.valued else " without a value"
        return f"{self.actor or 'feed'} {self.kind}s {what}{' tombstone' if self.dead else ''}{extra}".strip()


def value_at(version: int) -> str:
    """The value that every history has at a version."""
    return f"value {version}"


def look(reader: str) -> Does:
    return Does("look", reader)


def announce(writer: str) -> Does:
    return Does("announce", writer)


def withdraw(writer: str) -> Does:
    return Does("withdraw", writer)


def publish(writer: str, version: int, *, valued: bool = True, dead: bool = False) -> Does:
    return Does("publish", writer, version, valued, dead)


def settle(reader: str | None, version: int, *, valued: bool = True, dead: bool = False) -> Does:
    return Does("settle", reader, version, valued, dead)


def told(found: Any) -> Finds:
    """What an answer to a look says."""
    if isinstance(found, Leased):
        return free(found.floor)
    if isinstance(found, Busy):
        return busy(found.floor)
    assert isinstance(found, Envelope), f"a look answers an Envelope, Leased or Busy, not {found!r}"
    return Finds(Found.TOMBSTONE if found.tombstone else Found.VALUE, found.version)


# Histories that lead to each state of COHERENCE section 3, by name.
RESTS = (settle("R0", 5, valued=False),)  # a lease without an owner, floor 5
LEASED = (look("R1"),)
LEASED_5 = (*RESTS, look("R1"))
VALUE = (announce("W0"), publish("W0", 5))
ANNOUNCED = (announce("W1"),)
ANNOUNCED_5 = (*VALUE, announce("W1"))
TWO_WRITERS = (*ANNOUNCED_5, announce("W2"))
DEAD = (announce("W0"), publish("W0", 5, dead=True))

# (what happened, what the next reader finds): the table of COHERENCE section 3, cell by cell.
TABLE: tuple[tuple[tuple[Does, ...], Finds], ...] = (
    # absent
    ((), free()),
    (LEASED, busy()),
    (ANNOUNCED, busy()),
    ((publish("W9", 7),), free(7)),
    ((publish("W9", 7, valued=False),), free(7)),
    ((withdraw("W9"),), free()),
    ((settle("R9", 7),), free(7)),
    ((settle(None, 7),), free()),
    ((settle(None, 7, valued=False),), free()),
    # a lease without an owner
    (RESTS, free(5)),
    ((*RESTS, look("R1")), busy(5)),
    ((*RESTS, announce("W1")), busy(5)),
    ((*RESTS, publish("W9", 7)), free(7)),
    ((*RESTS, publish("W9", 3)), free(5)),
    ((*RESTS, withdraw("W9")), free(5)),
    ((*RESTS, settle("R9", 7)), free(7)),
    ((*RESTS, settle("R9", 3)), free(5)),
    ((*RESTS, settle(None, 7)), free(7)),
    # leased
    ((*LEASED, look("R2")), busy()),
    ((*LEASED_5, announce("W1")), busy(5)),
    ((*LEASED, publish("W9", 7)), free(7)),
    ((*LEASED_5, publish("W9", 3)), free(5)),
    ((*LEASED_5, publish("W9", 7, valued=False)), free(7)),
    ((*LEASED_5, withdraw("W9")), busy(5)),
    ((*LEASED, settle("R1", 7)), finds_value(7)),
    ((*LEASED_5, settle("R1", 5)), finds_value(5)),
    ((*LEASED_5, settle("R1", 3)), free(5)),
    ((*LEASED_5, settle("R1", 7, valued=False)), free(7)),
    ((*LEASED, settle("R2", 7)), busy(7)),
    ((*LEASED_5, settle("R2", 3)), busy(5)),
    ((*LEASED, settle("R2", 7), settle("R1", 5)), free(7)),
    ((*LEASED, settle(None, 7)), busy(7)),
    ((*LEASED, settle(None, 7), settle("R1", 7)), finds_value(7)),
    ((*LEASED, settle("R1", 7, dead=True)), finds_tombstone(7)),
    # announced
    ((*ANNOUNCED, look("R2")), busy()),
    ((*ANNOUNCED_5, look("R2")), busy(5)),
    ((*ANNOUNCED, publish("W1", 7)), finds_value(7)),
    ((*ANNOUNCED_5, publish("W1", 7)), finds_value(7)),
    ((*ANNOUNCED_5, publish("W1", 3)), free(5)),
    ((*ANNOUNCED_5, publish("W1", 7, valued=False)), free(7)),
    ((*ANNOUNCED_5, withdraw("W1")), free(5)),
    ((*ANNOUNCED_5, withdraw("W9")), busy(5)),
    ((*ANNOUNCED_5, publish("W9", 7)), busy(7)),
    ((*ANNOUNCED_5, announce("W1"), publish("W1", 7)), finds_value(7)),
    ((*ANNOUNCED_5, settle("R9", 9)), busy(9)),
    ((*ANNOUNCED_5, settle("R9", 3)), busy(5)),
    ((*ANNOUNCED_5, settle(None, 9)), busy(9)),
    ((*ANNOUNCED_5, settle("R9", 9), publish("W1", 7)), free(9)),
    ((*TWO_WRITERS, publish("W1", 7)), busy(7)),
    ((*TWO_WRITERS, publish("W1", 7), publish("W2", 6)), free(7)),
    ((*TWO_WRITERS, publish("W1", 6), publish("W2", 7)), finds_value(7)),
    ((*TWO_WRITERS, withdraw("W1"), publish("W2", 7)), finds_value(7)),
    ((*TWO_WRITERS, publish("W2", 7), withdraw("W1")), free(7)),
    ((*LEASED, announce("W1"), publish("W1", 7), settle("R1", 5)), finds_value(7)),
    ((*LEASED, announce("W1"), settle("R1", 5), withdraw("W1")), free(5)),
    # value
    (VALUE, finds_value(5)),
    ((*VALUE, look("R2")), finds_value(5)),
    ((*VALUE, publish("W9", 7)), finds_value(7)),
    ((*VALUE, publish("W9", 3)), finds_value(5)),
    ((*VALUE, publish("W9", 5, valued=False)), finds_value(5)),
    ((*VALUE, publish("W9", 3, valued=False)), finds_value(5)),
    ((*VALUE, publish("W9", 7, valued=False)), free(7)),
    ((*VALUE, withdraw("W9")), finds_value(5)),
    ((*VALUE, settle("R9", 7)), finds_value(7)),
    ((*VALUE, settle("R9", 3)), finds_value(5)),
    ((*VALUE, settle(None, 7)), finds_value(7)),
    ((*VALUE, settle(None, 7, valued=False)), free(7)),
    ((*VALUE, settle(None, 5, valued=False)), finds_value(5)),
    # a tombstone is a value too
    (DEAD, finds_tombstone(5)),
    ((*DEAD, settle("R9", 3)), finds_tombstone(5)),
    ((*DEAD, publish("W9", 7)), finds_value(7)),
    ((*VALUE, publish("W9", 7, dead=True)), finds_tombstone(7)),
)
