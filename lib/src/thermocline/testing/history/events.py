"""What a history is made of."""

import math
from dataclasses import dataclass, field
from enum import StrEnum


class Verb(StrEnum):
    """``GET`` answers a value, ``LOOKUP`` a value and its version, ``EXISTS`` neither."""

    GET = "get"
    LOOKUP = "lookup"
    EXISTS = "exists"
    PUT = "put"
    DELETE = "delete"
    TOUCH = "touch"


READS = frozenset({Verb.GET, Verb.LOOKUP, Verb.EXISTS})


class Outcome(StrEnum):
    HIT = "hit"  # a read found a value
    MISS = "miss"  # a read found none
    TOOK = "took"  # a write was acknowledged
    NOTHING = "nothing"  # a delete or touch was told that there was nothing to act on
    REFUSED = "refused"  # the condition of a write did not hold; certainly no effect
    FAILED = "failed"  # an error; of a write: it certainly had no effect
    UNKNOWN = (
        "unknown"  # a write that may take effect, then or at any later time: no answer, cancelled, its process killed
    )


@dataclass(slots=True)
class Event:
    """One operation on one key. ``begin`` and ``end`` are seconds of CLOCK_MONOTONIC (``end`` infinity: it never ended), ``begin_ms`` and ``end_ms``
    the same moments in milliseconds since 1970.

    ``client`` names the process that did it, and is another one after a restart. ``version`` 0: not told. ``value`` is the unique id of the value that was
    written or read. ``expires_ms`` is the end of the record as the answer told it (0: never or not told), ``ttl_ms`` the lifetime that a write asked
    for (0: for ever). ``told``: a write's answer said that hot knows of it. ``torn``: what was read was not what any writer makes.
    ``number`` counts the writes of a client, from 1; the recorder sets it.
    """

    client: str
    verb: Verb
    key: str
    begin: float
    outcome: Outcome
    end: float = math.inf
    begin_ms: int = 0
    end_ms: int = 0
    version: int = 0
    value: str = ""
    expires_ms: int = 0
    ttl_ms: int = 0
    if_version: int | None = None
    if_absent: bool = False
    told: bool = True
    torn: bool = False
    tier: str = ""
    error: str = ""
    number: int = 0

    def __str__(self) -> str:
        words = [f"[{self.begin:.6f} {self.end:.6f}]", self.client, self.verb, self.key, self.outcome]
        words += [f"version {self.version}"] if self.version else []
        words += [f"value {self.value}"] if self.value else []
        words += [f"expires {self.expires_ms}"] if self.expires_ms else []
        words += [f"if_version={self.if_version}"] if self.if_version is not None else []
        words += ["if_absent"] if self.if_absent else []
        words += [] if self.told else ["hot not told"]
        words += [word for word in (self.tier, self.error) if word]
        return " ".join(words)


@dataclass(slots=True)
class Fault:
    """Something that was broken from ``begin`` to ``end`` (seconds of CLOCK_MONOTONIC)."""

    cause: str
    begin: float
    end: float = math.inf


@dataclass(slots=True)
class History:
    """``settled``: by client, the moments at which its recovery queue was seen to be empty, in order."""

    events: list[Event] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    settled: dict[str, list[float]] = field(default_factory=dict)
