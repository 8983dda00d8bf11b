"""The order of one key's operations, as far as its history tells: versions give the order of writes, and who was told of which when gives the floors."""

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from typing import Final

from thermocline.testing.history.events import READS, Event, Outcome, Verb

NEVER: Final = math.inf


@dataclass(slots=True)
class Reveal:
    """From ``at`` on somebody knew that ``version`` exists. ``hot``: hot has it, too."""

    at: float
    version: int
    by: Event


class Timeline:
    """One key. ``acked`` are the acknowledged writes by version, ``open`` those of unknown outcome, ``pins`` the versions of values.

    A value of unknown outcome is pinned to the lowest version that a reader saw it at; its true version can only be lower if a touch of unknown outcome came
    between.
    """

    def __init__(self, key: str, events: list[Event]) -> None:
        self.key = key
        self.events = events
        self.acked: dict[int, Event] = {}
        self.twice: list[tuple[Event, Event]] = []
        self.open: list[Event] = []
        self.pins: dict[str, int] = {}
        self.values: dict[int, str] = {}  # by version, as writers and readers were told
        self.ends: dict[int, int] = {}  # of versions that readers saw: their expiry in ms, 0 never
        for event in events:
            if event.verb not in READS:
                self._wrote(event)
        for event in events:
            if event.outcome is Outcome.HIT and event.version:
                self._saw(event)
        self.solid = self._solid()
        self._versions = [version for version, _ in self.solid]
        self.reveals = self._reveals()
        self._moments = [reveal.at for reveal in self.reveals]
        self._floors: list[int] = []
        highest = 0
        for reveal in self.reveals:
            highest = max(highest, reveal.version)
            self._floors.append(highest)

    def _wrote(self, event: Event) -> None:
        if event.outcome is Outcome.UNKNOWN:
            self.open.append(event)
        elif event.outcome is Outcome.TOOK:
            if event.version in self.acked:
                self.twice.append((self.acked[event.version], event))
            self.acked[event.version] = event
            if event.verb is Verb.PUT:
                self.pins[event.value] = event.version
                self.values[event.version] = event.value

    def _saw(self, event: Event) -> None:
        self.ends.setdefault(event.version, event.expires_ms)
        self.values.setdefault(event.version, event.value)
        at = self.pins.get(event.value)
        # Who came later may have seen an earlier version: before a touch, where the write itself has told none.
        if at is None or (at > event.version and not self.exactly(event.value)):
            self.pins[event.value] = event.version

    def _solid(self) -> list[tuple[int, Event]]:
        """The puts and deletes whose versions are known, in order."""
        known = [(version, event) for version, event in self.acked.items() if event.verb is not Verb.TOUCH]
        for event in self.open:
            pin = self.pins.get(event.value) if event.verb is Verb.PUT else None
            if pin is not None and pin not in self.acked:
                known.append((pin, event))
        return sorted(known, key=_first)

    def _reveals(self) -> list[Reveal]:
        found: list[Reveal] = []
        for event in self.events:
            if event.end == NEVER:
                continue
            version = event.version
            if event.outcome is Outcome.HIT and not version:
                version = self.exactly(event.value)
            if version and event.outcome in (Outcome.TOOK, Outcome.HIT, Outcome.MISS):
                insort(found, Reveal(event.end, version, event), key=_at)
        return found

    def exactly(self, value: str) -> int:
        """The version that a value was acknowledged as; 0: its write's outcome is unknown."""
        pin = self.pins.get(value, 0)
        write = self.acked.get(pin)
        return pin if write is not None and write.verb is Verb.PUT and write.value == value else 0

    # --- questions ---------------------------------------------------------------------------------------------------

    def floor(self, moment: float) -> int:
        """The highest version that anybody knew before ``moment``; 0: none."""
        count = bisect_left(self._moments, moment)
        return self._floors[count - 1] if count else 0

    def known_before(self, moment: float) -> list[Reveal]:
        return self.reveals[: bisect_left(self._moments, moment)]

    def newest(self, version: int) -> tuple[int, Event] | None:
        """The newest put or delete at or below ``version``."""
        at = bisect_right(self._versions, version)
        return self.solid[at - 1] if at else None

    def between(self, low: int, high: int) -> bool:
        """Whether a put or delete is known above ``low`` and at or below ``high``."""
        return bisect_right(self._versions, high) > bisect_right(self._versions, low)

    def dead(self, version: int, now_ms: int) -> bool:
        """Whether the record of ``version`` may be deleted or expired at ``now_ms``."""
        event = self.acked.get(version)
        if event is None:
            end = self.ends.get(version)
            if end is not None:
                return 0 < end <= now_ms
            return any(may_end(writer, now_ms) for writer in self.open)
        return event.verb is Verb.DELETE or 0 < event.expires_ms <= now_ms

    def later_dead(self, floor: int, until: Event) -> bool:
        """Whether some version at or above ``floor`` that was on its way before ``until`` ended may be deleted or expired by then."""
        now = until.end_ms
        if floor and self.dead(floor, now):
            return True
        for version, event in self.acked.items():
            if version >= floor and event.begin < until.end and self.dead(version, now):
                return True
        for event in self.open:
            pin = self.pins.get(event.value, NEVER) if event.verb is Verb.PUT else NEVER
            if pin >= floor and event.begin < until.end and may_end(event, now):
                return True
        return False

    def last_dead(self, floor: int, until: Event) -> int:
        """The highest version below ``floor`` that was deleted or had expired before ``until`` ended; 0: none."""
        return max((v for v in self.acked if v < floor and self.dead(v, until.end_ms)), default=0)

    def reach(self, pin: int) -> int:
        """The last version that holds the value of version ``pin``: that of the last touch before the next put or delete."""
        at = bisect_right(self._versions, pin)
        end = self._versions[at] if at < len(self._versions) else NEVER
        return max(version for version in self.acked if pin <= version < end)

    def open_touch(self, before: float) -> bool:
        return any(event.verb is Verb.TOUCH and event.begin < before for event in self.open)


def may_end(event: Event, now_ms: int) -> bool:
    """Whether a write of unknown outcome may leave no live record behind at ``now_ms``."""
    if event.verb is Verb.DELETE:
        return True
    return 0 < event.ttl_ms <= now_ms - event.begin_ms


def _first(pair: tuple[int, Event]) -> int:
    return pair[0]


def _at(reveal: Reveal) -> float:
    return reveal.at
