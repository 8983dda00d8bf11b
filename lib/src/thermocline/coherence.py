"""The hot entry's states and its operations (COHERENCE section 3), as pure functions.

An entry is absent (None), a `Lease`, `Announced` or a `Value`. Each operation takes an entry and the time and gives the entry that follows; the
caller makes that one atomic step (process memory by not awaiting, Redis by a script that is shown equal to these functions).

Deadlines stand in the entry and are applied lazily: an operation first lets `run out` what is past, at the moment it ran out, so that it makes no
difference when anybody looked. All times are milliseconds since 1970, by the clock of whoever holds the entry.

==============  ===========================================================================================================
an entry ends   when
==============  ===========================================================================================================
lease           its deadline passes (its owner may put that off, `renew`), or a writer announces or publishes: the
                floor rests for `Times.rest_ms` more
announcement    its deadline passes: a mark stays, and the entry never becomes a value; the last one: the floor rests
rest            a lease without an owner, its deadline passes: absent
value           its record expires or hot's ceiling is reached: absent; but never sooner than a rest after it was put, so that
                a short-lived record keeps its floor as long as others do. Till then the expired record answers as its own
                tombstone: whoever reads it looks at its expiry.
==============  ===========================================================================================================

`Announced.last` is the envelope of the floor's version where hot has it, for callers who accept stale answers while the authority is down.
"""

from dataclasses import dataclass, replace
from typing import Final, Generic, NamedTuple, TypeVar

V = TypeVar("V")

REST_MS: Final = 10_000  # how long replicas of the authority may lag; a Session account's are within it
CEILING_MS: Final = 3_600_000  # the longest life of a value in hot: heals what nobody reported


@dataclass(frozen=True, slots=True)
class Times:
    """How long floors rest after everyone left, and how long a value lives at most."""

    rest_ms: int = REST_MS
    ceiling_ms: int = CEILING_MS


TIMES: Final = Times()


class Announcement(NamedTuple):
    """A writer under way, until ``deadline``."""

    writer: str
    deadline: int


class Offer(NamedTuple, Generic[V]):
    """What a publish or settle brings along: the envelope and its record's expiry (0: never)."""

    envelope: V
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A reader is on its way to the authority; or, without an owner, the floor rests."""

    owner: str | None
    floor: int
    deadline: int


@dataclass(frozen=True, slots=True)
class Value(Generic[V]):
    """May be served until ``deadline`` (a tombstone and an expired record too: as what they are)."""

    version: int
    envelope: V
    deadline: int


@dataclass(frozen=True, slots=True)
class Announced(Generic[V]):
    """Writes are under way; ``marked``: one of them ran out and may have been made."""

    writers: frozenset[Announcement]
    marked: bool
    floor: int
    last: Value[V] | None = None


Entry = Lease | Announced[V] | Value[V] | None


def floor_of(entry: Entry[V]) -> int:
    """The highest version that the entry knows to exist; 0 where none is known."""
    if entry is None:
        return 0
    return entry.version if isinstance(entry, Value) else entry.floor


def deadline_of(entry: Entry[V], times: Times = TIMES) -> int:
    """The moment from which the entry is absent if nobody touches it: what a store may forget it at. 0 for absent."""
    if entry is None:
        return 0
    if isinstance(entry, Announced):
        return max(a.deadline for a in entry.writers) + times.rest_ms
    if isinstance(entry, Lease) and entry.owner is not None:
        return entry.deadline + times.rest_ms
    return entry.deadline


def value(version: int, offer: Offer[V], now: int, times: Times = TIMES) -> Value[V]:
    """A value as it enters hot."""
    lifetime = now + times.ceiling_ms
    if 0 < offer.expires_ms < lifetime:
        lifetime = offer.expires_ms
    return Value(version, offer.envelope, max(lifetime, now + times.rest_ms))


def rest(floor: int, now: int, times: Times = TIMES) -> Lease | None:
    """Nobody is under way and there is no value. Without the floor the next reader could fill an older version from a lagging replica."""
    return Lease(None, floor, now + times.rest_ms) if floor else None


# --- deadlines -------------------------------------------------------------------------------------------------------


def run_out(entry: Entry[V], owner: str | None, now: int, times: Times = TIMES) -> Entry[V]:
    """The deadline of ``owner``'s lease or announcement passes at ``now``; None: that of a rest or a value."""
    if isinstance(entry, Announced):
        others = frozenset(a for a in entry.writers if a.writer != owner)
        if len(others) == len(entry.writers):
            return entry
        return Announced(others, True, entry.floor, entry.last) if others else rest(entry.floor, now, times)
    if isinstance(entry, Lease) and entry.owner is not None:
        return rest(entry.floor, now, times) if owner == entry.owner else entry
    return None if owner is None else entry


def current(entry: Entry[V], now: int, times: Times = TIMES) -> Entry[V]:
    """The entry as it is at ``now``: everything whose deadline is at or before it has run out, each at its own moment."""
    if isinstance(entry, Announced):
        due = [announcement for announcement in entry.writers if announcement.deadline <= now]
        for announcement in sorted(due, key=_when) if len(due) > 1 else due:
            entry = run_out(entry, announcement.writer, announcement.deadline, times)
    if isinstance(entry, Lease) and entry.owner is not None and entry.deadline <= now:
        entry = run_out(entry, entry.owner, entry.deadline, times)
    if isinstance(entry, (Lease, Value)) and entry.deadline <= now:
        return run_out(entry, None, now, times)
    if isinstance(entry, Announced) and entry.last is not None and entry.last.deadline <= now:
        return replace(entry, last=None)
    return entry


def _when(announcement: Announcement) -> int:
    return announcement.deadline


# --- operations ------------------------------------------------------------------------------------------------------


class Looked(NamedTuple, Generic[V]):
    """What a reader found: ``entry`` a `Value`: a hit; else the lease if ``leased``, else busy. Unless it is a hit, the reader heeds the floor."""

    entry: Entry[V]
    leased: bool


def look(entry: Entry[V], reader: str, lasting_ms: int, now: int, times: Times = TIMES) -> Looked[V]:
    """A reader asks; where there is neither a value nor anybody under way, it gets the lease for ``lasting_ms``."""
    entry = current(entry, now, times)
    if entry is None or (isinstance(entry, Lease) and entry.owner is None):
        return Looked(Lease(reader, floor_of(entry), now + lasting_ms), True)
    return Looked(entry, False)


def renew(entry: Entry[V], reader: str, lasting_ms: int, now: int, times: Times = TIMES) -> Looked[V]:
    """The holder of a lease is still on its way: the lease ends no sooner than ``lasting_ms`` from now. One that has run out or was revoked is not
    revived, and nothing else changes: since a lease may run out at any moment, this makes no state that there was not before."""
    entry = current(entry, now, times)
    if isinstance(entry, Lease) and entry.owner == reader:
        return Looked(replace(entry, deadline=max(entry.deadline, now + lasting_ms)), True)
    return Looked(entry, False)


def announce(entry: Entry[V], writer: str, lasting_ms: int, now: int, times: Times = TIMES) -> Entry[V]:
    """A write is about to reach the authority: from now on hot does not answer. Announced again, it lasts as long as the longer."""
    entry = current(entry, now, times)
    deadline = now + lasting_ms
    if isinstance(entry, Announced):
        mine = [a.deadline for a in entry.writers if a.writer == writer]
        others = frozenset(a for a in entry.writers if a.writer != writer)
        joined = others | {Announcement(writer, max(deadline, *mine) if mine else deadline)}
        return Announced(joined, entry.marked, entry.floor, entry.last)
    last = entry if isinstance(entry, Value) else None
    return Announced(frozenset({Announcement(writer, deadline)}), False, floor_of(entry), last)


def publish(
    entry: Entry[V], writer: str, version: int, offer: Offer[V] | None, now: int, times: Times = TIMES
) -> Entry[V]:
    """The authority took the write as ``version``. Without an offer its value is not for hot (touch, write-around, tags)."""
    entry = current(entry, now, times)
    floor = max(floor_of(entry), version)
    if isinstance(entry, Announced):
        others = frozenset(a for a in entry.writers if a.writer != writer)
        if others:
            return Announced(others, entry.marked, floor, _last(entry, version, offer, now, times))
        if offer is not None and not entry.marked and version == floor:
            return value(version, offer, now, times)
        return rest(floor, now, times)
    if isinstance(entry, Value):
        return _newer(entry, version, offer, now, times)
    return rest(floor, now, times)  # a lease is revoked; onto nothing, no value is put


def withdraw(entry: Entry[V], writer: str, now: int, times: Times = TIMES) -> Entry[V]:
    """The authority certainly refused the write. What was known is not a value again: what hot lost meanwhile may have been newer."""
    entry = current(entry, now, times)
    if not isinstance(entry, Announced):
        return entry
    others = frozenset(a for a in entry.writers if a.writer != writer)
    if len(others) == len(entry.writers):
        return entry
    return Announced(others, entry.marked, entry.floor, entry.last) if others else rest(entry.floor, now, times)


def settle(
    entry: Entry[V], reader: str | None, version: int, offer: Offer[V] | None, now: int, times: Times = TIMES
) -> Entry[V]:
    """A reader saw ``version`` in the authority; or (None) the change feed or a recovery queue, which never fill."""
    entry = current(entry, now, times)
    floor = max(floor_of(entry), version)
    if entry is None:
        return None if reader is None else rest(floor, now, times)
    if isinstance(entry, Announced):
        return Announced(entry.writers, entry.marked, floor, _last(entry, version, offer, now, times))
    if isinstance(entry, Value):
        return _newer(entry, version, offer, now, times)
    if entry.owner is not None and entry.owner != reader:
        return Lease(entry.owner, floor, entry.deadline)
    if entry.owner is not None and offer is not None and version == floor:
        return value(version, offer, now, times)
    return rest(floor, now, times)


def _newer(entry: Value[V], version: int, offer: Offer[V] | None, now: int, times: Times) -> Entry[V]:
    """A version is told to a value: the newer of both stays; a newer one that has no value at hand leaves its floor."""
    if version <= entry.version:
        return entry
    return rest(version, now, times) if offer is None else value(version, offer, now, times)


def _last(entry: Announced[V], version: int, offer: Offer[V] | None, now: int, times: Times) -> Value[V] | None:
    """The envelope of the floor's version after ``version`` was told, where it is known."""
    if version < entry.floor or (version == entry.floor and entry.last is not None):
        return entry.last
    return None if offer is None else value(version, offer, now, times)
