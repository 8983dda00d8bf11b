"""The write path's decisions (COHERENCE section 4) as pure functions: what a writer sends next, and what it makes of the answer. No I/O.

The authority's item of a key holds a version ``v``, the ids of its last `Rules.ring` writes ``w`` (newest first) and the id of the write that created it
``b`` (for good). Three requests are enough, each atomic there:

* `Create`: make the item, with the version that is given; answered `Took`, or `Plain.EXISTS`;
* `Patch`: put the write's record, raise ``v`` by one and put the write's id in front of ``w``, if the conditions hold and the id is not in ``w``;
  answered `Took` with the new version, `Plain.REFUSED`, or `Plain.MISSING`;
* `Read`: answered `Seen`, or `Plain.MISSING`. It may lag; a write's requests never do.

A request that is not answered (dropped, timed out, cancelled, 408, 500, 503) is `Plain.LOST`: it may take effect now, later, or never. A request that the
service certainly did not carry out (429, 449, 410) is no answer at all: send it again, without asking here.

`begin` gives the first step; `after` the next one, or what became of the write. However the copies of the requests fare, the write takes effect at most once:
the ring keeps a copy out that comes after one that was let in, and the window keeps a copy out that comes after more than `Rules.window` other writes, when
the ring has forgotten. tests/unit/test_writes_explored.py explores every order of steps, and breaks it with any part left out.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from thermocline.codec import Codec
from thermocline.errors import InvalidArgument, PointerTooOld
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Verb, Write, Written


@dataclass(frozen=True, slots=True)
class Rules:
    """The parts of the protocol. Everything but `RULES` is for the exploration, which shows what each part is needed for."""

    ring: int = 8  # the item keeps the ids of so many last writes
    window: int = (
        8  # a patch is let in up to so many versions after the one its writer knew; never more than the ring holds
    )
    birth: bool = True  # who created the item is heeded
    rereads: bool = True  # a read that is older than what the writer knows is made again
    counts_back: bool = True  # a write at position p of the ring took effect as version - p (else: as the version read)
    reads_refusals: bool = True  # a refused condition is followed by a read before anything is concluded
    owns_doubt: bool = (
        True  # where the ring no longer reaches back the outcome is unknown (else: not in the ring is not taken)
    )


RULES: Final = Rules()


# --- requests and answers --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Create:
    """Make the item with this first version."""

    version: int


@dataclass(frozen=True, slots=True)
class Patch:
    """Let in if ``v <= limit`` (``exact``: if ``v = limit``) and the write's id is not in ``w``; with ``live`` only onto a record that is neither a
    tombstone nor expired."""

    limit: int
    exact: bool = False
    live: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Read the item's ``v``, ``w``, ``b``, and whether its record is live."""


Request = Create | Patch | Read


@dataclass(frozen=True, slots=True)
class Took:
    """The request took effect as ``version``."""

    version: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What a read found: ``ring`` is ``w``, ``birth`` is ``b``; ``live`` that the record is neither a tombstone nor expired."""

    version: int
    ring: tuple[str, ...]
    birth: str
    live: bool


class Plain(Enum):
    """The answers that say nothing more."""

    MISSING = "there is no item (404)"
    EXISTS = "a create found the item there (409)"
    REFUSED = "a patch's condition does not hold (412)"
    LOST = "no answer"


Answer = Took | Seen | Plain


class Doubt(Enum):
    """The end that is neither success nor failure: the write may or may not have taken effect, or may still."""

    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Step:
    """Where a writer stands: the request to send now, and what it knows. Comparable and hashable, so that it can be explored."""

    id: str
    verb: Verb
    if_version: int | None
    if_absent: bool
    request: Request
    base: int | None  # the newest version it knows of the key; 0: a read found nothing
    born: int  # the version of its create, chosen once
    open: bool = False  # a copy of its patch was never answered
    creating: bool = False  # a copy of its create was never answered
    refused: int = -1  # the limit of its last patch, if that was refused

    @property
    def in_doubt(self) -> bool:
        """Whether a copy was never answered, and may yet turn out to have taken effect. If not, giving up now leaves certainly nothing behind.

        What a read shows does not end the doubt about a create: the item may be removed, and the copy arrive then.
        """
        return self.open or self.creating


# --- decisions -------------------------------------------------------------------------------------------------------


def begin(write: Write, clock_us: int, *, rules: Rules = RULES) -> Step:
    """The first step. ``clock_us``: microseconds since 1970, corrected by the authority's clock; the version of the item if the write creates it.

    Raises `InvalidArgument` for conditions that exclude each other.
    """
    if write.if_absent and (write.if_version is not None or write.verb is not Verb.PUT):
        raise InvalidArgument("if_absent goes with a put, and not with if_version")
    known = write.if_version if write.if_version is not None else write.known or None
    born = max(clock_us, (known or 0) + 1)
    step = Step(write.id, write.verb, write.if_version, write.if_absent, Read(), known, born)
    if write.if_absent or (known is None and write.verb is Verb.PUT):
        return replace(step, request=Create(born))
    return step if known is None else _patch(step, known, rules)


def after(step: Step, answer: Answer, *, rules: Rules = RULES) -> Step | Written | Doubt:
    """What follows from the answer to ``step.request``."""
    if answer is Plain.LOST:
        return _unanswered(step)
    if isinstance(answer, Took):
        return Written(Effect.TOOK, answer.version)
    if isinstance(answer, Seen):
        return _conclude(step, answer, rules)
    if answer is Plain.MISSING:
        return _missing_at_read(step, rules) if isinstance(step.request, Read) else _missing_at_patch(step)
    if not rules.reads_refusals and _conditional(step):
        return Written(Effect.REFUSED, 0)
    refused = step.request.limit if isinstance(step.request, Patch) else -1
    return replace(step, request=Read(), refused=refused)


def _conditional(step: Step) -> bool:
    return step.if_version is not None or step.if_absent


def _patch(step: Step, base: int, rules: Rules) -> Step:
    """A patch by a writer who knows ``base``. Without a version (0) it asks whether there is an item, and can take no effect."""
    exact = _conditional(step)
    limit = base if exact or base == 0 else base + rules.window
    return replace(step, base=base, request=Patch(limit, exact, live=step.verb is Verb.TOUCH))


def _unanswered(step: Step) -> Step:
    """Send the same again, and remember that a copy is at large."""
    request = step.request
    if isinstance(request, Patch) and request.limit > 0:
        return replace(step, open=True)
    return replace(step, creating=True) if isinstance(request, Create) else step


def _missing_at_patch(step: Step) -> Step | Written:
    if step.if_version is not None:
        return Written(Effect.REFUSED, 0)
    if step.verb is Verb.PUT:
        return replace(step, request=Create(step.born))
    return Written(Effect.NOTHING, 0)


def _missing_at_read(step: Step, rules: Rules) -> Step | Written | Doubt:
    if step.if_version is not None:
        return Doubt.UNKNOWN if step.open else Written(Effect.REFUSED, 0)
    if step.verb is Verb.PUT:
        return replace(step, request=Create(step.born))
    return _patch(step, step.base or 0, rules)  # a read may lag: only the patch's 404 says that nothing is there


def _conclude(step: Step, seen: Seen, rules: Rules) -> Step | Written | Doubt:
    """After a read: has the write taken effect, and if not, what now?"""
    base = step.base
    if base is not None and seen.version < base and rules.rereads:
        if step.if_version is not None and step.refused >= 0 and not step.open:
            return Written(Effect.REFUSED, 0)  # each copy was answered, so only the version can have kept it out
        return step
    if step.id in seen.ring:
        position = seen.ring.index(step.id) if rules.counts_back else 0
        return Written(Effect.TOOK, seen.version - position)
    if rules.birth and seen.birth == step.id:
        return Written(Effect.TOOK, step.born)
    if step.open and rules.owns_doubt and (base is None or base < seen.version - rules.ring):
        return Doubt.UNKNOWN  # the ring no longer reaches back to what it knew
    return _not_taken(step, seen, rules)


def _not_taken(step: Step, seen: Seen, rules: Rules) -> Step | Written | Doubt:
    """Up to this read it has not taken effect: is its condition still worth a patch?"""
    if step.if_version is not None and seen.version > step.if_version:
        return Written(Effect.REFUSED, seen.version)
    if step.if_absent and seen.live:
        return Written(Effect.REFUSED, seen.version)
    if step.verb is Verb.TOUCH and not seen.live and seen.version <= step.refused:
        # The patch itself was refused for want of a live record. A copy at large could still be let in by the key's next write.
        return Doubt.UNKNOWN if step.open and step.if_version is None else Written(Effect.NOTHING, seen.version)
    return _patch(step, seen.version, rules)


# --- pointers --------------------------------------------------------------------------------------------------------

PAYLOAD_GRACE_MS: Final = 86_400_000  # how long an orphan in cold is left alone, at least
_CODEC: Final = Codec()


def pointable_until(envelope: Envelope) -> int | None:
    """Until when a write may set this pointer (ms): while its payload is younger than half the sweeper's grace (COHERENCE section 5). None: no pointer."""
    return _CODEC.pointer_of(envelope).written_ms + PAYLOAD_GRACE_MS // 2 if envelope.pointer else None


def check_pointer(envelope: Envelope, now_ms: int, *, tier: str) -> None:
    """Raise `PointerTooOld` where it is too late to set this pointer."""
    until = pointable_until(envelope)
    if until is not None and now_ms >= until:
        raise too_old(envelope.key, tier)


def too_old(key: Key, tier: str) -> PointerTooOld:
    """What a write is told whose payload the sweeper may have seen as an orphan already."""
    return PointerTooOld(
        f"the payload of {str(key)[:100]} was uploaded longer ago than half the sweeper's grace: upload it again, which renews it, and write again",
        tier=tier,
        sent=False,
    )
