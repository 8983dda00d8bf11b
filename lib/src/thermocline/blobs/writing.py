"""A write and a move on a store of heads: `thermocline.blobs.heads` decides, a tier's two functions send, and this waits and judges failures between them."""

import asyncio
import math
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from thermocline.blobs import heads
from thermocline.clock import Deadline
from thermocline.errors import AccessDenied, ThermoclineError, TierUnavailable, UnknownOutcome
from thermocline.model import Authority, Envelope
from thermocline.protocols import Verb, Write, Written
from thermocline.writes import check_pointer

PATIENCE: Final = 60.0  # seconds that a write without a deadline tries to learn its outcome
_FIRST_WAIT: Final = 0.02  # seconds before a write tries again; doubled each time, with jitter
_LONGEST_WAIT: Final = 1.0
_LEAST_ATTEMPT: Final = 0.1  # seconds that a request gets of the deadline, if so much is left

ReadHead = Callable[[Deadline], Awaitable[heads.Found | heads.Missing]]
StoreHead = Callable[[heads.Head, str | None, Deadline], Awaitable[bool]]
"""Store a head in place of the one with that mark (None: only where there is none). False: that does not hold."""


async def write_head(
    write: Write,
    *,
    read: ReadHead,
    store: StoreHead,
    authority: Authority,
    now_ms: Callable[[], int],
    tier: str,
    deadline: Deadline,
) -> Written:
    """A compare-and-set on the head: one request for a new key, two for one that is known, three for one that exists and was not known.

    Atomic; made again with jitter while others write the same key. A request without an answer is sent again, and when it is refused the
    head tells whether an earlier copy took effect. Raises `UnknownOutcome` at the deadline (or after a minute, where there is none) if a copy may
    have taken effect; any other error: it certainly did not.
    """
    heads.check(write)
    deadline = bounded(deadline)

    async def ask(state: heads.State) -> heads.Answer:
        if isinstance(state, heads.Reading):
            return await read(share(deadline))
        if write.verb is Verb.PUT:
            check_pointer(write.envelope, now_ms(), tier=tier)
        return heads.Stored() if await store(state.sent.head, state.sent.etag, share(deadline)) else heads.Refused()

    state: heads.State | heads.Ended = heads.begin(write, authority=authority, now_ms=now_ms())
    tries = 0
    while isinstance(state, heads.Sending | heads.Reading):
        try:
            answer = await ask(state)
        except ThermoclineError as error:
            answer = _survived(state, error, deadline)
        lost = isinstance(answer, heads.Lost)
        contended = isinstance(answer, heads.Refused) and not state.open
        state = heads.step(state, answer, authority=authority, now_ms=now_ms())
        if lost or (contended and tries > 0):
            await pause(write.id, tries, deadline)
        tries += lost or contended
    if isinstance(state, heads.Doubt):
        raise UnknownOutcome(f"{write.key}: more was written since than the head remembers", write_id=write.id)
    return state


async def move_head(old: Envelope, new: Envelope, *, read: ReadHead, store: StoreHead, deadline: Deadline) -> bool:
    """A read and a compare-and-set of the head; the ids of its last writes stay with it. After a lost answer the head is read again. False: it is no
    longer ``old``."""
    found = await read(deadline)
    if not isinstance(found, heads.Found) or found.etag != old.etag:
        return False
    head = replace(found.head, envelope=replace(new, etag=None, raw=None))
    try:
        return await store(head, found.etag, deadline)
    except TierUnavailable as error:
        if not error.sent:
            raise
        again = await read(deadline)
        if isinstance(again, heads.Found) and again.head == head:
            return True
        raise


def bounded(deadline: Deadline) -> Deadline:
    """The deadline, or a minute from now where there is none."""
    return deadline.within(PATIENCE) if math.isinf(deadline.at) else deadline


def share(deadline: Deadline) -> Deadline:
    """Half of what is left, so that a lost answer leaves time to ask what became of the write."""
    return deadline.within(max(deadline.remaining() / 2, _LEAST_ATTEMPT))


async def pause(write_id: str, tries: int, deadline: Deadline) -> None:
    """Between half and the whole of an exponential wait. The jitter comes from the write's id, so that a run can be replayed."""
    longest: float = min(_FIRST_WAIT * 2.0 ** min(tries, 10), _LONGEST_WAIT)
    wait = longest * (0.5 + (zlib.crc32(f"{write_id}{tries}".encode()) % 1024) / 2048)
    await asyncio.sleep(min(wait, deadline.remaining()))


def harmless(error: ThermoclineError) -> ThermoclineError:
    """The error of a read or of a refused request as the write's own: that was certainly not taken."""
    if isinstance(error, TierUnavailable) and error.sent:
        return type(error)(str(error), tier=error.tier, sent=False, retry_after=error.retry_after)
    return error


def _survived(state: heads.State, error: ThermoclineError, deadline: Deadline) -> heads.Lost:
    """What a failure means for a write: it goes on only where a copy may have taken effect."""
    sent = isinstance(error, TierUnavailable) and error.sent
    if not state.open and not (sent and isinstance(state, heads.Sending)):
        raise harmless(error)
    if deadline.expired() or isinstance(error, AccessDenied) or not isinstance(error, TierUnavailable):
        raise UnknownOutcome(
            f"{state.write.key}: the write may have taken effect, and may still: {error}", write_id=state.write.id
        ) from error
    return heads.Lost()
