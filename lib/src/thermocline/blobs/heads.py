"""Head blobs: what a store without versions of its own keeps per key where cold has the word (COHERENCE sections 1 and 4). Pure.

A head is the record's envelope, the ring (ids and versions of the key's last eight writes, newest first) and the birth (id and version of the
write that created it). It is replaced as a whole, only under the mark (ETag) of the head that was read, or created only where there is none.

Why a write takes effect at most once: a mark never comes back, so of all the copies of a request that replaces the head with mark E at most one
is let in, and none once another write was. After no answer the same request goes out again; once a copy is refused, the head is read: the
write's id in the ring (or as the birth) says that it took effect, and as which version. An id that is missing says that it did not, as long as the ring
reaches back to the head that was replaced; else nobody can tell. The one gap is the store's purge of an old tombstone: a create that was under way for longer
than the tombstone's grace could be let in.

Versions are the larger of the old one plus one and the clock in microseconds: they grow over removal and re-creation too.
"""

from dataclasses import dataclass, replace
from typing import Final

from thermocline.errors import InvalidArgument, TooLarge
from thermocline.model import MAX_VERSION, Authority, Envelope
from thermocline.protocols import Effect, Verb, Write, Written

INLINE_LIMIT: Final = 4 * 2**20  # bytes of a payload in a head; more belongs into a payload blob, with a pointer to it


@dataclass(frozen=True, slots=True)
class Rules:
    """The parts of the protocol. Everything but `RULES` is for the exploration, which shows what each part is needed for."""

    ring: int = 8  # the head keeps the stamps of so many last writes
    asks: bool = True  # a refused write looks for itself in the head before it concludes anything
    birth: bool = True  # ... also as the one that created it
    owns_doubt: bool = (
        True  # where the ring no longer reaches back the outcome is unknown (else: not in the ring is not taken)
    )


RULES: Final = Rules()


@dataclass(frozen=True, slots=True)
class Stamp:
    """A write by its id, and the version as which it took effect."""

    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Head:
    """A key's record with its last writes. ``envelope.version`` is the version of ``ring[0]``."""

    envelope: Envelope
    ring: tuple[Stamp, ...]
    birth: Stamp

    @property
    def version(self) -> int:
        return self.envelope.version

    def find(self, write_id: str, rules: Rules = RULES) -> int | None:
        """The version as which a write took effect; None: not among those that the head remembers."""
        for stamp in (*self.ring, self.birth) if rules.birth else self.ring:
            if stamp.id == write_id and rules.asks:
                return stamp.version
        return None

    def reaches(self, base: "Head | None", rules: Rules = RULES) -> bool:
        """Whether the ring and the birth hold every write since ``base`` (None: every one that could have created it)."""
        if base is None:
            return True
        return self.birth == base.birth and (len(self.ring) < rules.ring or self.ring[-1].version <= base.version)


def check(write: Write) -> None:
    """Raise `InvalidArgument` or `TooLarge` for a write that no head can take, before anything is sent."""
    if write.if_absent and (write.if_version is not None or write.verb is not Verb.PUT):
        raise InvalidArgument("if_absent goes with a put, and not with if_version")
    size = len(write.envelope.payload)
    if size > INLINE_LIMIT:
        raise TooLarge(
            f"a payload of {size} bytes is too large for a head (at most {INLINE_LIMIT}):"
            " store it with put_payload, and write a pointer to it"
        )


def plan(write: Write, head: Head | None, *, authority: Authority, now_ms: int, rules: Rules = RULES) -> Head | Written:
    """What a write makes of the head as it was read: the new head, or the answer where nothing is to be stored."""
    version = 0 if head is None else head.version
    if head is not None:
        took = head.find(write.id, rules)
        if took is not None:
            return _took(write, took, authority, head)
    live = head is not None and head.envelope.live(now_ms)
    if (write.if_version is not None and (head is None or write.if_version != version)) or (write.if_absent and live):
        return Written(Effect.REFUSED, version, None if head is None else head.envelope)
    if (write.verb is Verb.DELETE and head is None) or (write.verb is Verb.TOUCH and not live):
        return Written(Effect.NOTHING, version)
    known = 0 if write.known is None else write.known
    new = max(version + 1, known + 1, now_ms * 1000)
    if new > MAX_VERSION:
        raise TooLarge(
            f"the next version of {write.key} would be {new}: the clock, or the version given as known, is wrong"
        )
    stamp = Stamp(write.id, new)
    envelope = _next(write, head, new, authority, live=live)
    if head is None:
        return Head(envelope, (stamp,), stamp)
    return Head(envelope, (stamp, *head.ring)[: rules.ring], head.birth)


def _next(write: Write, head: Head | None, version: int, authority: Authority, *, live: bool) -> Envelope:
    new = write.envelope.header
    if head is None or not live:
        return write.envelope.stamped(version=version, authority=authority)
    old = head.envelope
    if write.verb is Verb.TOUCH:
        header = replace(old.header, expires_ms=new.expires_ms, modified_ms=new.modified_ms)
        old = replace(old, header=header, raw=None, etag=None)
        return old.stamped(version=version, authority=authority)
    return write.envelope.stamped(version=version, authority=authority, created_ms=old.header.created_ms)


def _took(write: Write, version: int, authority: Authority, head: Head) -> Written:
    if head.version == version:
        return Written(Effect.TOOK, version, head.envelope)
    if write.verb is Verb.TOUCH:  # overwritten since, and with it the value that it had touched
        return Written(Effect.TOOK, version)
    return Written(Effect.TOOK, version, write.envelope.stamped(version=version, authority=authority))


# --- the write as a machine without I/O: what to ask next, and what to make of the answer --------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that stores ``head`` in place of ``base``, which had the mark ``etag`` (None: where there is none)."""

    head: Head
    base: Head | None
    etag: str | None


@dataclass(frozen=True, slots=True)
class Sending:
    """Next: store ``sent.head`` under its condition. ``open``: an earlier copy of it was not answered."""

    write: Write
    sent: Sent
    open: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Next: read the head. ``sent`` is the request that was refused, ``open``: one of its copies was not answered."""

    write: Write
    sent: Sent | None = None
    open: bool = False


@dataclass(frozen=True, slots=True)
class Doubt:
    """More has been written since than the ring remembers: nobody can tell whether the write took effect."""


@dataclass(frozen=True, slots=True)
class Found:
    """Answer to a read: the head with its mark."""

    head: Head
    etag: str


class Missing:
    """Answer to a read: there is no head."""


class Stored:
    """Answer to a store: it was let in."""


class Refused:
    """Answer to a store: its condition does not hold."""


class Lost:
    """No answer, to either: dropped, timed out, or the service does not know itself."""


Answer = Found | Missing | Stored | Refused | Lost
State = Sending | Reading
Ended = Written | Doubt


def begin(write: Write, *, authority: Authority, now_ms: int, rules: Rules = RULES) -> State | Written:
    """A write that may be the key's first is sent as a create; one that needs the old head, or knows of one, reads first."""
    known = write.known is not None and write.known > 0
    if known or write.verb is not Verb.PUT or write.if_version is not None:
        return Reading(write)
    return _to_send(write, None, None, authority, now_ms, rules)


def step(state: State, answer: Answer, *, authority: Authority, now_ms: int, rules: Rules = RULES) -> State | Ended:
    """The state after an answer."""
    if isinstance(answer, Lost):
        return replace(state, open=True) if isinstance(state, Sending) else state
    if isinstance(state, Sending):
        if isinstance(answer, Stored):
            return Written(Effect.TOOK, state.sent.head.version, state.sent.head.envelope)
        return Reading(state.write, state.sent, state.open)
    if isinstance(answer, Found):
        return _conclude(state, answer, authority, now_ms, rules)
    return _to_send(state.write, None, None, authority, now_ms, rules)


def _conclude(state: Reading, found: Found, authority: Authority, now_ms: int, rules: Rules) -> State | Ended:
    write, sent = state.write, state.sent
    out_of_sight = state.open and sent is not None and not found.head.reaches(sent.base, rules)
    if out_of_sight and rules.owns_doubt and found.head.find(write.id, rules) is None:
        return Doubt()
    return _to_send(write, found.head, found.etag, authority, now_ms, rules)


def _to_send(
    write: Write, head: Head | None, etag: str | None, authority: Authority, now_ms: int, rules: Rules
) -> Sending | Written:
    planned = plan(write, head, authority=authority, now_ms=now_ms, rules=rules)
    return planned if isinstance(planned, Written) else Sending(write, Sent(planned, head, etag))
