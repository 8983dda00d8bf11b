"""What is the same, and what follows from a difference. Pure but for the payloads that have to be fetched."""

import hashlib
import json
from dataclasses import replace
from enum import Enum
from typing import Any, Final

from thermocline.codec import JSON, Codec
from thermocline.model import Authority, Envelope, Flags

SKEW_MS: Final = 5_000  # by which the clocks of a source's writers may differ: clients correct theirs beyond a second
LEFT_MS: Final = 2_000  # by which two readings of what is left of a life may differ
FENCE_MS: Final = 2_000  # what was written so shortly after a fence may have been erased with the rest
_MARKS: Final = ~(Flags.TOMBSTONE | Flags.MARKER)


class Act(Enum):
    """What is to be done with a record of the target."""

    NOTHING = "nothing"
    PUT = "put"
    DELETE = "delete"
    KEEP = "keep"  # the target's is newer, or none of the source's
    FORGOTTEN = "forgotten"  # its scope was erased in the target after it was written


def carried(copy: Envelope, key: Any) -> Envelope:
    """The record as it is written anew: everything but version, authority and the marks of the tier that it was read from."""
    header = replace(copy.header, version=0, authority=Authority.NONE, flags=copy.header.flags & _MARKS)
    return replace(copy, key=key, header=header, raw=None, etag=None)


def aligned(wanted: Envelope, there: Envelope) -> Envelope:
    """Of an old copy, whose end is known by what is left of its life, the end that was worked out when it was copied."""
    mine, other = wanted.header, there.header
    if mine.modified_ms or not mine.expires_ms or abs(mine.expires_ms - other.expires_ms) > LEFT_MS:
        return wanted
    return replace(wanted, header=replace(mine, expires_ms=other.expires_ms))


def same_metadata(wanted: Envelope, there: Envelope) -> bool:
    """Expiry, time of writing, media type, tags and kind of value. When a record was first created is kept, and not compared: a target that knew the key
    before has its own."""
    mine, other = aligned(wanted, there).header, there.header
    return (
        (mine.expires_ms, mine.modified_ms, mine.serialiser) == (other.expires_ms, other.modified_ms, other.serialiser)
        and wanted.media_type == there.media_type
        and dict(wanted.tags) == dict(there.tags)
    )


def stored_digest(copy: Envelope, codec: Codec) -> tuple[int, str]:
    """Of the stored bytes, and how they are compressed: equal ones are equal values."""
    sha = codec.pointer_of(copy).sha256 if copy.pointer else hashlib.sha256(copy.payload).hexdigest()
    return copy.header.compressor, sha


def stored_size(copy: Envelope, codec: Codec) -> int:
    """Bytes of the payload, wherever it lies."""
    return codec.pointer_of(copy).size if copy.pointer else len(copy.payload)


def canonical(copy: Envelope, codec: Codec) -> bytes:
    """The decoded value as bytes that do not depend on how it is stored: JSON with its names in order, all else as it is serialised."""
    raw = codec.raw(copy)
    if copy.header.serialiser != JSON:
        return raw
    return json.dumps(codec.decode(copy), sort_keys=True, separators=(",", ":"), allow_nan=True).encode()


def fingerprint(copy: Envelope, value: str) -> str:
    """SHA-256 of a record's metadata and of ``value``, the digest of its decoded value, in hexadecimal."""
    header = copy.header
    told = [header.serialiser, header.expires_ms, header.modified_ms, copy.media_type, sorted(copy.tags.items()), value]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def decide(
    source: Envelope | None,
    target: Envelope | None,
    *,
    same: bool,
    now_ms: int,
    fence_ms: int = 0,
    erased_ms: int = 0,
    grace_ms: int,
    merge: bool = False,
    source_wins: bool = False,
) -> Act:
    """What is to be done so that the target has what the source has. ``same``: both live, and equal.

    Until the cut-over the source has the word, and nobody but the move writes the target; so a difference is an older copy, unless the target's record says
    that it was written later than the clocks of writers can differ: that is kept, and told. With ``merge`` the target had records of its own: then the
    later one counts, and nothing is deleted that the source does not itself know to be deleted. A source that knows nothing of a key never had it within
    ``grace_ms``, for which it keeps tombstones: what the target wrote since is its own. ``fence_ms``, ``erased_ms``: when the scope was forgotten in the
    target, in the source; what was written before that goes there, and comes from nowhere.
    """
    there = target is not None and target.live(now_ms)
    if source is not None and source.live(now_ms):
        if fence_ms and source.header.modified_ms <= fence_ms + FENCE_MS:
            return Act.FORGOTTEN
        if there and same:
            return Act.NOTHING
        counts = there or (merge and target is not None and target.tombstone)
        return Act.KEEP if counts and not source_wins and _later(target, source, merge) else Act.PUT
    if target is None or not there:
        return Act.NOTHING
    if erased_ms and target.header.modified_ms <= erased_ms + FENCE_MS:
        return Act.DELETE
    if source_wins:
        return Act.DELETE
    if source is not None:
        return Act.KEEP if _later(target, source, merge) else Act.DELETE
    return Act.KEEP if merge or target.header.modified_ms > now_ms - grace_ms else Act.DELETE


def _later(target: Envelope | None, source: Envelope, merge: bool) -> bool:
    slack = 0 if merge else SKEW_MS
    return target is not None and target.header.modified_ms > source.header.modified_ms + slack
