"""The judgement: which answers of a history no legal order of its operations explains.

Per key: versions give the order of writes. A read that begins after a version was acknowledged or returned to anybody answers with that version or a later
one, or with a deletion or expiry at or above it. A write of unknown outcome stays open for ever. Expiry is an operation that happens by itself, at the moment
that the record bears. No version is given twice; a write that was refused or failed is never seen; what is read is what was written.

A stale answer is excused only with a `Bound`, and only as far as the design calls it bounded (docs/consistency.md): hot had not been told of any newer version
that was known, its reader had not seen one itself, and a fault of the log explains it and is not over for longer than the bound.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from thermocline.testing.history.events import READS, Event, History, Outcome, Verb
from thermocline.testing.history.excuses import Excuses
from thermocline.testing.history.timeline import Timeline


class Kind(StrEnum):
    """What is wrong."""

    STALE = "stale"  # older than what was known when the read began
    RESURRECTED = "resurrected"  # a value although a later deletion or its expiry was known
    TORN = "torn"  # not what was written: damaged, of another key, of no writer, under a version that is another's
    LOST = "lost"  # no value, although a live one was known
    TWICE = "twice"  # one version for two writes, or a condition that cannot have held
    PHANTOM = "phantom"  # a write was seen that certainly had no effect


@dataclass(frozen=True, slots=True)
class Bound:
    """What excuses a stale answer: one of the ``causes`` in the fault log, not longer than ``lasting`` before it; or that its reader has a near cache
    and nobody knew of a newer version for longer than ``near``, the cache's own bound."""

    causes: frozenset[str]
    lasting: timedelta
    rollbacks: frozenset[str] = frozenset()  # causes after which hot no longer knows what it was told
    near: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Problem:
    kind: Kind
    event: Event
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.event}: {self.why}"


@dataclass(slots=True)
class Verdict:
    """``problems`` empty: some legal order explains everything. ``excused`` counts stale answers by the fault that explains them; ``behind`` is the longest
    time (seconds) that something newer had been known when the read of such an answer began, and ``last`` when the last of them began."""

    operations: int = 0
    reads: int = 0
    unknown: int = 0
    failed: int = 0
    keys: int = 0
    problems: list[Problem] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    behind: float = 0.0
    last: float = 0.0

    def count(self, kind: Kind) -> int:
        return sum(problem.kind is kind for problem in self.problems)

    def bad_keys(self) -> set[str]:
        return {problem.event.key for problem in self.problems}

    def __str__(self) -> str:
        words = [f"{self.operations} operations on {self.keys} keys, {self.reads} reads"]
        words += [f"{self.count(kind)} {kind}" for kind in Kind]
        words += [f"{self.unknown} of unknown outcome, {self.failed} without an answer"]
        words += [f"excused: {dict(self.excused)}" if self.excused else "0 excused"]
        return ", ".join(words)


def check(history: History, bound: Bound | None = None) -> Verdict:
    """Judge a history. Takes about 20 µs for each operation."""
    verdict = Verdict()
    by_key: dict[str, list[Event]] = defaultdict(list)
    writers: dict[str, Event] = {}
    for event in history.events:
        by_key[event.key].append(event)
        verdict.operations += 1
        verdict.reads += event.verb in READS
        verdict.unknown += event.outcome is Outcome.UNKNOWN
        verdict.failed += event.outcome is Outcome.FAILED
        if event.verb is Verb.PUT:
            if event.value in writers:
                verdict.problems.append(Problem(Kind.TWICE, event, "two writes of one value: values must be unique"))
            writers[event.value] = event
    verdict.keys = len(by_key)
    for key, events in by_key.items():
        timeline = Timeline(key, events)
        excuses = None if bound is None else Excuses(timeline, history, bound)
        _Judge(timeline, writers, excuses, verdict).all()
    return verdict


class _Judge:
    """One key's events, one after the other."""

    def __init__(
        self, timeline: Timeline, writers: Mapping[str, Event], excuses: Excuses | None, verdict: Verdict
    ) -> None:
        self.line = timeline
        self.writers = writers
        self.excuses = excuses
        self.verdict = verdict

    def all(self) -> None:
        for first, second in self.line.twice:
            self.bad(Kind.TWICE, second, f"its version was given to {first}")
        for event in self.line.events:
            if event.outcome is Outcome.HIT:
                self.hit(event)
            elif event.outcome in (Outcome.MISS, Outcome.NOTHING):
                self.miss(event)
            elif event.outcome is Outcome.TOOK:
                self.took(event)
            elif event.outcome is Outcome.REFUSED:
                self.refused(event)

    def bad(self, kind: Kind, event: Event, why: str) -> None:
        self.verdict.problems.append(Problem(kind, event, why))

    def behind(self, kind: Kind, event: Event, version: int, floor: int, why: str) -> None:
        """An answer that is older than ``floor``; unless it is excused."""
        cause = self.excuses.excuse(event, version) if self.excuses is not None else None
        if cause is None:
            self.bad(kind, event, f"{why}; {floor} was known when it began, by {self._who_knew(event, version)}")
        else:
            self.verdict.excused[cause] += 1
            newer = next(reveal for reveal in self.line.known_before(event.begin) if reveal.version > version)
            self.verdict.behind = max(self.verdict.behind, event.begin - newer.at)
            self.verdict.last = max(self.verdict.last, event.begin)

    def _who_knew(self, event: Event, version: int) -> str:
        return str(next(reveal.by for reveal in self.line.known_before(event.begin) if reveal.version > version))

    # --- reads that found a value --------------------------------------------------------------------------------------

    def hit(self, event: Event) -> None:
        if event.verb is Verb.EXISTS:
            self.exists(event)
            return
        writer = self.writers.get(event.value)
        if event.torn or writer is None or writer.key != event.key:
            self.bad(Kind.TORN, event, "no writer of this key made that value")
        elif writer.outcome in (Outcome.FAILED, Outcome.REFUSED):
            self.bad(Kind.PHANTOM, event, f"the write of its value had no effect: {writer}")
        elif writer.begin > event.end:
            self.bad(Kind.TORN, event, f"its value was written later: {writer}")
        elif event.version:
            self.versioned(event, self.line.pins[event.value])
        else:
            self.unversioned(event)

    def versioned(self, event: Event, pin: int) -> None:
        line, version = self.line, event.version
        floor = line.floor(event.begin)
        at = line.acked.get(version)
        if 0 < event.expires_ms <= event.begin_ms:
            self.bad(Kind.RESURRECTED, event, "it had expired when the read began")
        if version < pin:
            self.bad(Kind.TORN, event, f"its value came with version {pin}")
        elif at is not None and at.verb is Verb.DELETE:
            self.bad(Kind.RESURRECTED, event, f"its version is a deletion: {at}")
        elif line.values[version] != event.value:
            self.bad(Kind.TORN, event, f"its version was seen with the value {line.values[version]}")
        elif at is not None and at.begin > event.end:
            self.bad(Kind.TORN, event, f"its version was given later: {at}")
        elif at is not None and 0 < at.expires_ms <= event.begin_ms:
            self.bad(Kind.RESURRECTED, event, f"it had expired when the read began: {at}")
        elif line.between(pin, version):
            self.bad(Kind.TORN, event, f"its value came with version {pin}, and another put or delete came between")
        elif version > pin and at is None and not line.open_touch(event.end):
            self.bad(Kind.TORN, event, f"its value came with version {pin}, and nobody touched it")
        elif version < floor:
            kind = Kind.RESURRECTED if self._gone(floor, event.begin_ms) else Kind.STALE
            self.behind(kind, event, version, floor, "it is older than what was known")

    def _gone(self, floor: int, now_ms: int) -> bool:
        """Whether the record of ``floor`` is a deletion, or expired."""
        newest = self.line.newest(floor)
        return self.line.dead(floor, now_ms) or (newest is not None and newest[1].verb is Verb.DELETE)

    def unversioned(self, event: Event) -> None:
        """A value alone: its version, or a touch above it, has to reach the floor."""
        pin = self.line.exactly(event.value)
        floor = self.line.floor(event.begin)
        if not pin:
            return  # of unknown outcome: it may have taken effect at any time before
        if self.line.between(pin, floor):
            kind = Kind.RESURRECTED if self._gone(floor, event.begin_ms) else Kind.STALE
            self.behind(kind, event, self.line.reach(pin), floor, f"its value is of version {pin}")

    def exists(self, event: Event) -> None:
        """Something live must have been there: what was known, or a put or touch that was on its way."""
        line = self.line
        floor = line.floor(event.begin)
        newest = line.newest(floor)
        if newest is None or not self._surely_gone(floor, newest, event.begin_ms):
            return
        later = [v for v, e in line.acked.items() if v > floor and e.begin < event.end and e.verb is Verb.PUT]
        if later or any(e.verb is Verb.PUT and e.begin < event.end for e in line.open):
            return
        self.behind(Kind.RESURRECTED, event, newest[0] - 1, floor, "nothing live can have been there")

    def _surely_gone(self, floor: int, newest: tuple[int, Event], now_ms: int) -> bool:
        if newest[1].verb is Verb.DELETE:
            return True
        at = self.line.acked.get(floor)
        touched = any(e.verb is Verb.TOUCH for e in [*self.line.open, *self.line.acked.values()])
        return at is not None and 0 < at.expires_ms <= now_ms and not touched

    # --- reads that found none, and writes that found nothing -----------------------------------------------------------

    def miss(self, event: Event) -> None:
        line, version = self.line, event.version
        floor = line.floor(event.begin)
        if event.verb is Verb.DELETE:  # it found not even a tombstone
            if floor:
                self.bad(Kind.LOST, event, f"there was a record of version {floor}")
        elif version:
            at = line.acked.get(version)
            if at is not None and at.begin > event.end:
                self.bad(Kind.TORN, event, f"its version was given later: {at}")
            elif not line.dead(version, event.end_ms):
                self.bad(Kind.LOST, event, f"its version is a live value: {at}")
            elif version < floor:
                self.behind(Kind.STALE, event, version, floor, "it is older than what was known")
        elif event.verb is Verb.LOOKUP and floor:
            self.bad(Kind.LOST, event, f"nothing was known of the key, and there was a record of version {floor}")
        elif floor and not line.later_dead(floor, event):
            self.behind(Kind.LOST, event, line.last_dead(floor, event), floor, "nothing at or above that is dead")

    # --- writes ---------------------------------------------------------------------------------------------------------

    def took(self, event: Event) -> None:
        line, version = self.line, event.version
        floor = line.floor(event.begin)
        if version <= floor:
            self.bad(Kind.TWICE, event, f"version {floor} had been given before it began")
        if event.if_version is not None:
            between = [v for v in line.acked if event.if_version < v < version]
            if between or version <= event.if_version:
                self.bad(Kind.TWICE, event, f"its condition did not hold: {[str(line.acked[v]) for v in between]}")
        before = line.acked.get(version - 1)
        if event.if_absent and before is not None and self._live(before, event.end_ms):
            self.bad(Kind.TWICE, event, f"it found the key absent, and there was {before}")

    @staticmethod
    def _live(write: Event, now_ms: int) -> bool:
        return write.verb is not Verb.DELETE and not 0 < write.expires_ms <= now_ms

    def refused(self, event: Event) -> None:
        """Something must have come between."""
        line = self.line
        if event.if_version is None:
            return
        later = any(v > event.if_version and e.begin < event.end for v, e in line.acked.items())
        if not later and not any(e.begin < event.end for e in line.open):
            self.bad(Kind.LOST, event, "its condition was refused, and nobody else wrote")
