"""The records of process memory where it is the authority itself (hot alone): versions, write ids, tombstones, listings. No I/O, no awaiting."""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from thermocline.errors import InvalidArgument
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Effect, Listed, Verb, Write, Written

GRACE_MS: Final = 86_400_000  # T: an expired record and a tombstone outlive their end by a day
RING: Final = 8  # so many of a record's last write ids are known


@dataclass(slots=True)
class Stored:
    """A record, what it weighs in bytes, and its last writes as (id, version), newest first."""

    envelope: Envelope
    weight: int
    ids: tuple[tuple[str, int], ...]


class Records:
    """All records of one process memory, least recently used first."""

    def __init__(self) -> None:
        self._records: OrderedDict[Key, Stored] = OrderedDict()
        self._names: dict[tuple[str, str], list[str]] = {}
        self._scopes: list[tuple[str, str]] = []  # those of `_names`, in order
        self._highest = 0  # version of any record that was dropped: what is created anew goes on from there

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: Key) -> Envelope | None:
        stored = self._records.get(key)
        if stored is None:
            return None
        self._records.move_to_end(key)
        return stored.envelope

    def ended(self, key: Key, now_ms: int) -> bool:
        """Whether there is a record whose grace is over."""
        stored = self._records.get(key)
        if stored is None:
            return False
        header = stored.envelope.header
        end = header.modified_ms if stored.envelope.tombstone else header.expires_ms
        return 0 < end <= now_ms - GRACE_MS

    def drop(self, key: Key) -> int:
        """Forget a record; returns the weight that is free now."""
        stored = self._records.pop(key, None)
        if stored is None:
            return 0
        self._highest = max(self._highest, stored.envelope.version)
        names = self._names[key.tenant, key.scope]
        del names[bisect_left(names, key.name)]
        if not names:
            del self._names[key.tenant, key.scope]
            del self._scopes[bisect_left(self._scopes, (key.tenant, key.scope))]
        return stored.weight

    def oldest(self) -> Key | None:
        """The record that was not used for the longest time."""
        return next(iter(self._records), None)

    def put(self, write: Write, envelope: Envelope, weight: int) -> int:
        """Store what a write made; returns by how much the weight grew."""
        key = envelope.key
        before = self._records.get(key)
        ids = () if before is None else before.ids
        self._records[key] = Stored(envelope, weight, ((write.id, envelope.version), *ids)[:RING])
        self._records.move_to_end(key)
        if before is None:
            scope = (key.tenant, key.scope)
            if scope not in self._names:
                self._names[scope] = []
                insort(self._scopes, scope)
            insort(self._names[scope], key.name)
        return weight - (0 if before is None else before.weight)

    def judge(self, write: Write, now_ms: int) -> Written:
        """What becomes of a write. If it takes effect, the envelope is the record to `put`; None if an earlier copy of the write made it.

        Raises `InvalidArgument` for conditions that exclude each other.
        """
        if write.if_absent and (write.if_version is not None or write.verb is not Verb.PUT):
            raise InvalidArgument("if_absent goes with a put, and not with if_version")
        stored = self._records.get(write.key)
        for id_, version in () if stored is None else stored.ids:
            if id_ == write.id:
                return Written(Effect.TOOK, version)
        there = None if stored is None else stored.envelope
        version = 0 if there is None else there.version
        live = there is not None and there.live(now_ms)
        if (write.if_version is not None and write.if_version != version) or (write.if_absent and live):
            return Written(Effect.REFUSED, version)
        if (write.verb is Verb.DELETE and there is None) or (write.verb is Verb.TOUCH and not live):
            return Written(Effect.NOTHING, version)
        after = max(version or self._highest, write.known or 0) + 1
        after = max(after, now_ms * 1000)
        return Written(Effect.TOOK, after, made(write, there if live else None, after))

    def count(
        self, tenant: str | None, scope: str | None, after: tuple[str, str, str] | None, limit: int
    ) -> list[Envelope]:
        """At most ``limit`` records of a scope, a tenant or all, dead ones too, behind ``after`` in the order of the keys."""
        found: list[Envelope] = []
        first = after[:2] if after is not None else ("" if tenant is None else tenant, "" if scope is None else scope)
        for at in range(bisect_left(self._scopes, first), len(self._scopes)):
            here = self._scopes[at]
            if tenant is not None and (here[0] != tenant or (scope is not None and here[1] != scope)):
                break
            names = self._names[here]
            start = bisect_right(names, after[2]) if after is not None and here == after[:2] else 0
            some = names[start : start + limit - len(found)]
            found += [self._records[Key(*here, name)].envelope for name in some]
            if len(found) == limit:
                break
        return found

    def scan(self, tenant: str, scope: str, prefix: str, after: str | None, limit: int, now_ms: int) -> list[Listed]:
        """At most ``limit`` live keys whose names come after ``after``."""
        names = self._names.get((tenant, scope), [])
        start = bisect_left(names, prefix) if after is None else bisect_right(names, after)
        found: list[Listed] = []
        for at in range(start, len(names)):
            name = names[at]
            if len(found) == limit or not name.startswith(prefix):
                break
            envelope = self._records[Key(tenant, scope, name)].envelope
            if envelope.live(now_ms):
                found.append(listed(envelope))
        return found


def listed(envelope: Envelope) -> Listed:
    """One key of a listing."""
    header = envelope.header
    return Listed(
        envelope.key,
        header.version,
        header.expires_ms,
        header.modified_ms,
        len(envelope.payload),
        header.raw_length,
        envelope.pointer,
        dict(envelope.tags) or None,
    )


def made(write: Write, there: Envelope | None, version: int) -> Envelope:
    """The record that a write makes of the live record that is there, if one is."""
    if write.verb is Verb.TOUCH and there is not None:
        new = write.envelope.header
        header = replace(there.header, version=version, expires_ms=new.expires_ms, modified_ms=new.modified_ms)
        return replace(there, header=header)
    created = None if there is None else there.header.created_ms
    stamped = write.envelope.stamped(version=version, authority=Authority.HOT, created_ms=created)
    return replace(stamped, raw=None, etag=None)
