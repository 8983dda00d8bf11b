"""What a write makes of its key's item: the record, its lifetime, and until when it may arrive. Pure."""

import json
from typing import Any, Final

from thermocline.errors import InvalidArgument, TooLarge
from thermocline.keys import cosmos_id, cosmos_partition
from thermocline.model import Flags, Header
from thermocline.protocols import Verb, Write
from thermocline.tiers.warm.item import FORMAT, body_of, expiry_of, record_of, size_of, ttl_of
from thermocline.tiers.warm.trouble import TIER
from thermocline.writes import RULES, Patch, pointable_until, too_old

LATE_MS: Final = 5_000  # a copy that reaches Cosmos DB so long after its call's deadline is let in no more; more than clocks are apart once skew is known
_KNOWN_FORMAT: Final = f"(NOT IS_NUMBER(c.r.z) OR c.r.z <= {FORMAT})"  # a newer one is never overwritten
_LIVE: Final = f"c.r.f != {int(Flags.TOMBSTONE)} AND (c.r.e.x = 0 OR c.r.e.x > GetCurrentTimestamp())"


class Change:
    """One write, as the create or the patch that carries it out."""

    def __init__(self, write: Write, *, now_ms: int, grace_ms: int, most_bytes: int) -> None:
        """``now_ms`` by the server's clock as far as it is known. Raises `InvalidArgument`, `TooLarge`."""
        key, header = write.key, write.envelope.header
        if not write.id.isascii() or not write.id.isalnum():
            raise InvalidArgument(f"a write's id is ASCII letters and digits, not {write.id[:50]!r}")
        if write.verb is Verb.DELETE and not write.envelope.tombstone:
            raise InvalidArgument("a delete carries a tombstone")
        self.write, self.key = write, key
        self.id, self.partition = cosmos_id(key), cosmos_partition(key)
        self.until: int | None = None  # from when on (ms, the server's clock) a pointer is too old to be set
        self.late: int | None = None  # from when on a copy comes too late
        self.size = 0  # bytes of the item, where the write sets all of it
        if write.verb is Verb.TOUCH:
            self._record: dict[str, Any] = {}
            self._set = {"op": "set", "path": "/r/e", "value": expiry_of(key, header.expires_ms, header.modified_ms)}
            self._ttl = ttl_of(Header(expires_ms=header.expires_ms), now_ms, grace_ms)
            return
        self._record = record_of(write.envelope)
        self.until = pointable_until(write.envelope)
        self._set = {"op": "set", "path": "/r", "value": self._record}
        self._ttl = ttl_of(header, now_ms, grace_ms)
        self.size = size = size_of(self.body(2**53 - 1))
        if size > most_bytes:
            raise TooLarge(
                f"the record of {str(key)[:100]} would be an item of {size} bytes in Cosmos DB, at most {most_bytes} are allowed: "
                "a larger value belongs in cold"
            )

    def ends(self, now_ms: int, remaining: float) -> None:
        """Let no copy in that comes long after ``remaining`` seconds: who erases a scope waits that out, and nothing comes after (COHERENCE section 7)."""
        if remaining < float("inf"):
            self.late = now_ms + int(remaining * 1000) + LATE_MS

    def check_pointer(self, now_ms: int) -> None:
        """Raises `PointerTooOld`."""
        if self.until is not None and now_ms >= self.until:
            raise too_old(self.key, TIER)

    def body(self, version: int) -> dict[str, Any]:
        """The item that a create makes."""
        return body_of(self.key, self._record, write_id=self.write.id, version=version, ttl=self._ttl)

    def operations(self) -> list[dict[str, Any]]:
        """The five operations of a patch onto an item that has a ring."""
        return [
            self._set,
            {"op": "set", "path": "/ttl", "value": self._ttl},
            {"op": "incr", "path": "/v", "value": 1},
            {"op": "add", "path": "/w/0", "value": self.write.id},
            {"op": "remove", "path": f"/w/{RULES.ring}"},
        ]

    def operations_without_ring(self) -> list[dict[str, Any]]:
        """Of a patch, conditional on the item's ETag, onto one that other code wrote, which has no ring."""
        return [
            *self.operations()[:3],
            {"op": "set", "path": "/w", "value": [self.write.id, *[""] * (RULES.ring - 1)]},
            {"op": "set", "path": "/b", "value": ""},
        ]

    def condition(self, patch: Patch | None) -> str | None:
        """What a patch is let in by; without one (its item's ETag is its condition) only by the time."""
        parts: list[str] = []
        if patch is not None:
            version = f"c.v {'=' if patch.exact else '<='} {patch.limit}"
            parts = [version, f"NOT ARRAY_CONTAINS(c.w, {json.dumps(self.write.id)})", _KNOWN_FORMAT]
        if self.write.verb is Verb.TOUCH if patch is None else patch.live:
            parts.append(_LIVE)
        if self.until is not None:  # a copy that arrives late must not set it either
            parts.append(f"GetCurrentTimestamp() < {self.until}")
        if self.late is not None:
            parts.append(f"GetCurrentTimestamp() < {self.late}")
        return "FROM c WHERE " + " AND ".join(parts) if parts else None
