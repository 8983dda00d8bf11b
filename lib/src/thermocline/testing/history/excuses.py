"""What the design calls bounded: an answer that is behind what hot was never told of, while a fault explains that it was not."""

import math
from bisect import bisect_right
from collections.abc import Set
from datetime import timedelta
from typing import Final, Protocol

from thermocline.testing.history.events import Event, History, Outcome, Verb
from thermocline.testing.history.timeline import Reveal, Timeline

NEAR: Final = "near"  # the tier of what a near cache answered, and the cause that excuses it


class Allowed(Protocol):
    """What of a `Bound` is asked here."""

    @property
    def causes(self) -> Set[str]: ...

    @property
    def lasting(self) -> timedelta: ...

    @property
    def rollbacks(self) -> Set[str]: ...

    @property
    def near(self) -> timedelta: ...


class Excuses:
    """For one key. A version counts from the moment that hot knew it: the writer's answer said so, or its recovery queue was seen empty, or hot
    itself answered with it; unless hot was rolled back since."""

    def __init__(self, timeline: Timeline, history: History, bound: Allowed) -> None:
        self._line = timeline
        self._settled = history.settled
        self._faults = [fault for fault in history.faults if fault.cause in bound.causes]
        # What hot was told while it was being rolled back may be lost as well: it came after the snapshot, and before the crash.
        self._turned = [(fault.begin, fault.end) for fault in history.faults if fault.cause in bound.rollbacks]
        self._lasting = bound.lasting.total_seconds()
        self._near = bound.near.total_seconds()

    def excuse(self, event: Event, version: int) -> str | None:
        """The cause that explains why ``event`` was answered with ``version``, or None."""
        if event.verb is Verb.LOOKUP and event.tier not in ("hot", NEAR):
            return None
        known = [reveal for reveal in self._line.known_before(event.begin) if reveal.version > version]
        for reveal in known:
            if reveal.by.client == event.client:
                return None  # a client's own knowledge counts at once (P6)
        if self._near and event.begin - min((reveal.at for reveal in known), default=math.inf) <= self._near:
            return NEAR
        for reveal in known:
            told = self._told(reveal)
            if told + self._near < event.begin and not any(
                told <= end and begin < event.begin for begin, end in self._turned
            ):
                return None
        first = min((reveal.by.begin for reveal in known), default=math.inf)
        if event.begin - first > self._lasting + self._near:
            return None
        for fault in self._faults:
            if fault.begin <= event.begin and fault.end >= first - self._lasting:
                return fault.cause
        return None

    def _told(self, reveal: Reveal) -> float:
        """When hot knew the version, as far as this reveal shows; infinity: never."""
        by = reveal.by
        if by.outcome is Outcome.TOOK:
            return by.end if by.told else self._queue_empty(by)
        if by.outcome is Outcome.HIT and by.tier in ("hot", NEAR):
            return by.end
        return math.inf

    def _queue_empty(self, write: Event) -> float:
        moments = self._settled.get(write.client, [])
        at = bisect_right(moments, write.end)
        return moments[at] if at < len(moments) else math.inf
