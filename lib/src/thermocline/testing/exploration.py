"""Explores every order of steps of a small world over the functions of `thermocline.coherence` themselves.

One key, one authority that gives out versions 1, 2, 3..., one hot entry, a few writers and readers; whatever can happen next is tried next. The promise: a
read that begins after a version was acknowledged to a writer, or returned to a reader, returns at least that version.
tests/unit/test_coherence_exploration.py has the worlds in which it must hold, and rules with one part left out that must be caught.
"""

import gc
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from thermocline import coherence
from thermocline.coherence import Announced, Entry, Lease, Offer, Value

E = Entry[int]

NOW = 0  # deadlines stand far off; the explorer lets owners run out whenever it likes
LASTING = 10**9


def offer(version: int) -> Offer[int]:
    return Offer(version, 0)


class Designed:
    """The rules as they are; the broken ones override a part."""

    announces: ClassVar[bool] = True
    announces_anew: ClassVar[bool] = True  # if its announcement ran out before it wrote
    withdraws_unknown: ClassVar[bool] = False  # also a write that may have been made
    takes_leases: ClassVar[bool] = True
    heeds_floors: ClassVar[bool] = True  # that look gave
    joins_read_flights: ClassVar[bool] = False  # not only those whose read is yet to be sent
    joins_with_floor: ClassVar[bool] = True  # which the flight then heeds

    def look(self, entry: E, reader: str) -> E:
        return coherence.look(entry, reader, LASTING, NOW).entry

    def renew(self, entry: E, reader: str) -> E:
        return coherence.renew(entry, reader, LASTING, NOW).entry

    def announce(self, entry: E, writer: str) -> E:
        return coherence.announce(entry, writer, LASTING, NOW)

    def publish(self, entry: E, writer: str, version: int, valued: bool) -> E:
        return coherence.publish(entry, writer, version, offer(version) if valued else None, NOW)

    def withdraw(self, entry: E, writer: str) -> E:
        return coherence.withdraw(entry, writer, NOW)

    def settle(self, entry: E, reader: str | None, version: int) -> E:
        return coherence.settle(entry, reader, version, offer(version), NOW)

    def run_out(self, entry: E, owner: str) -> E:
        return coherence.run_out(entry, owner, NOW)


@dataclass(frozen=True)
class World:
    """Who is there and what may go wrong, how often. ``lag``: how many versions a replica may be behind; ``late``: writes reach the authority after
    their announcement ran out. ``exact``: each acknowledged or returned version counts; else only one that hot was told of while no replica lagged."""

    writers: int = 2
    reads: tuple[int, ...] = (2, 1)  # of each reader, one after the other
    losses: int = 0
    failures: int = 0
    feeds: int = 0
    lag: int = 0
    late: bool = False
    exact: bool = True


NEW, ANNOUNCED, WRITTEN, DONE = range(4)
IDLE, LOOKED, READ, JOINED = range(4)

Writer = tuple[int, int]  # phase, version
Reader = tuple[
    int, int, int, int, int
]  # phase, version read (or reader joined), floor given, version promised, reads left
Failed = tuple[
    int, int, int
]  # of a call that was not confirmed: writer (or -1 - reader), reads left of that reader, version


class State(NamedTuple):
    authority: int  # its newest version
    replica: int  # the oldest version that may still be read from it
    entry: int  # index in `Explorer.entries`
    known: int  # the highest version that counts for the promise, besides those in ``failed``
    failed: frozenset[Failed]
    losses: int
    failures: int
    feeds: int
    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]


Steps = Iterator[tuple[str, State | None]]


class Explorer:
    """Breadth first over all states. Entries are numbered, and what an operation makes of one is computed once."""

    def __init__(self, rules: Designed, world: World) -> None:
        self.rules = rules
        self.world = world
        self.entries: list[E] = [None]
        self.floors = [0]
        self._numbers: dict[E, int] = {None: 0}
        self._done: dict[tuple[Any, ...], int] = {}

    def run(self) -> tuple[int, list[str]]:
        """The number of states, and one of the shortest histories that break the promise (empty: none does)."""
        world = self.world
        readers = tuple((IDLE, 0, 0, 0, reads) for reads in world.reads)
        counts = (world.losses, world.failures, world.feeds)
        start = State(0, 0, 0, 0, frozenset(), *counts, ((NEW, 0),) * world.writers, readers)
        came_from: dict[State, State | None] = {start: None}
        todo = deque([start])
        while todo:
            state = todo.popleft()
            for label, after in self.steps(state):
                if after is None:
                    return len(came_from), [*self._history(state, came_from), label]
                if after not in came_from:
                    came_from[after] = state
                    todo.append(after)
        return len(came_from), []

    def _history(self, state: State, came_from: dict[State, State | None]) -> list[str]:
        labels: list[str] = []
        before = came_from[state]
        while before is not None:
            labels.insert(0, next(label for label, reached in self.steps(before) if reached == state))
            state, before = before, came_from[before]
        return labels

    def after(self, operation: Callable[..., E], entry: int, *arguments: Any) -> int:
        call = (operation.__name__, entry, *arguments)
        number = self._done.get(call)
        if number is None:
            result = operation(self.entries[entry], *arguments)
            if isinstance(result, Announced):
                assert result.last is None or result.last.version == result.floor
                result = replace(result, last=None)  # which nothing depends on
            number = self._numbers.setdefault(result, len(self.entries))
            if number == len(self.entries):
                self.entries.append(result)
                self.floors.append(coherence.floor_of(result))
            self._done[call] = number
        return number

    def steps(self, s: State) -> Steps:
        yield from self.hot_steps(s)
        for i, writer in enumerate(s.writers):
            yield from self.writer_steps(s, i, *writer)
        known = max([s.known, *(f[2] for f in s.failed if self.world.exact)])
        for i in range(len(s.readers)):
            yield from self.reader_steps(s, i, known)

    def hears(self, s: State, version: int, counts: bool) -> int:
        """What is known once hot was told of ``version``."""
        return max(s.known, version) if counts or version <= s.replica else s.known

    def hot_steps(self, s: State) -> Steps:
        """What happens without an actor."""
        rules, entry = self.rules, self.entries[s.entry]
        if isinstance(entry, Announced):
            for writer in sorted(a.writer for a in entry.writers):
                i = int(writer[1:])
                after = s._replace(entry=self.after(rules.run_out, s.entry, writer))
                unwritten = s.writers[i][0] == ANNOUNCED
                if unwritten and rules.announces_anew:
                    yield f"{writer}'s announcement runs out before it wrote", put_writer(after, i, NEW, 0)
                if not unwritten or self.world.late or not rules.announces_anew:
                    yield f"{writer}'s announcement runs out", after
        if isinstance(entry, Lease) and entry.owner is not None:
            yield "the lease runs out", s._replace(entry=self.after(rules.run_out, s.entry, entry.owner))
        free = not isinstance(entry, Announced) and self.floors[s.entry] <= s.replica
        if entry is not None and (free or s.losses):
            yield f"hot loses {type(entry).__name__}", s._replace(entry=0, losses=s.losses - (not free))
        yield from self.recovery_steps(s)
        if s.replica < s.authority:
            yield "the replicas catch up", s._replace(replica=s.authority)

    def recovery_steps(self, s: State) -> Steps:
        rules = self.rules
        for call in s.failed:
            caller, left, v = call
            told = s._replace(known=self.hears(s, v, False))
            yield f"recovery settles v{v}", told._replace(entry=self.after(rules.settle, s.entry, None, v))
            entry = (
                self.after(rules.settle, s.entry, token(-1 - caller, left), v)
                if caller < 0
                else self.after(rules.publish, s.entry, f"w{caller}", v, True)
            )
            yield f"the failed call of v{v} arrives", told._replace(entry=entry, failed=s.failed - {call})
        for v in range(1, s.authority + 1) if s.feeds else ():
            told = s._replace(known=self.hears(s, v, False), feeds=s.feeds - 1)
            yield f"feed settles v{v}", told._replace(entry=self.after(rules.settle, s.entry, None, v))

    def writer_steps(self, s: State, i: int, phase: int, v: int) -> Steps:
        rules, me = self.rules, f"w{i}"
        if phase == NEW and rules.announces:
            ready = put_writer(s, i, ANNOUNCED, 0)
            yield f"{me} announces", ready._replace(entry=self.after(rules.announce, s.entry, me))
            if s.losses:
                yield f"{me} cannot announce", ready._replace(losses=s.losses - 1)
        elif phase in (NEW, ANNOUNCED):
            v = s.authority + 1
            behind = max(s.replica, v - self.world.lag)
            yield f"{me} writes v{v}", put_writer(s, i, WRITTEN, v)._replace(authority=v, replica=behind)
            refused = put_writer(s, i, DONE, 0)
            yield f"{me} is refused, withdraws", refused._replace(entry=self.after(rules.withdraw, s.entry, me))
        elif phase == WRITTEN:
            done = put_writer(s, i, DONE, 0)
            told = done._replace(known=self.hears(s, v, self.world.exact))
            yield f"{me} publishes v{v}", told._replace(entry=self.after(rules.publish, s.entry, me, v, True))
            unvalued = self.after(rules.publish, s.entry, me, v, False)
            yield f"{me} publishes v{v} without a value", told._replace(entry=unvalued)
            if s.failures:
                failed = done._replace(failed=s.failed | {(i, 0, v)}, failures=s.failures - 1)
                yield f"{me} fails to publish v{v}, acknowledged", failed
            if rules.withdraws_unknown:
                withdrawn = self.after(rules.withdraw, s.entry, me)
                yield f"{me} has no answer, withdraws", done._replace(entry=withdrawn)

    def reader_steps(self, s: State, i: int, known: int) -> Steps:
        """A next state of None: that step breaks the promise."""
        phase, _, given, promised, left = s.readers[i]
        if phase == IDLE and left:
            yield from self.look_steps(s, i, left, known)
        elif phase == LOOKED:
            for v in range(max(s.replica, given), s.authority + 1):
                yield f"r{i} reads v{v}", put_reader(s, i, (READ, v, 0, promised, left))
            yield from self.join_steps(s, i)
        elif phase == READ:
            yield from self.answer_steps(s, i)
        if phase in (LOOKED, READ):  # until it settles
            renewed = self.after(self.rules.renew, s.entry, token(i, left))
            if (
                renewed != s.entry
            ):  # by the rules never: a lease may run out at any moment, so one that lasts longer is the same here
                yield f"r{i} renews its lease", s._replace(entry=renewed)

    def look_steps(self, s: State, i: int, left: int, known: int) -> Steps:
        rules = self.rules
        entry = s.entry
        if not isinstance(self.entries[entry], Value) and rules.takes_leases:
            entry = self.after(rules.look, entry, token(i, left))
        floor = self.floors[entry]
        if not isinstance(self.entries[entry], Value):
            given = floor if rules.heeds_floors and floor > s.replica else 0  # what every replica has needs no heeding
            yield f"r{i} looks, floor {floor}", put_reader(s, i, (LOOKED, 0, given, known, left))._replace(entry=entry)
        elif floor < known:
            yield f"r{i} hits v{floor} although v{known} was known", None
        else:
            hit = put_reader(s, i, (IDLE, 0, 0, 0, left - 1))
            yield f"r{i} hits v{floor}", hit._replace(known=self.hears(s, floor, self.world.exact))

    def join_steps(self, s: State, i: int) -> Steps:
        rules = self.rules
        if any(r[:2] == (JOINED, i) for r in s.readers):
            return
        _, _, given, promised, left = s.readers[i]
        for j, (flight, read, floor, *more) in enumerate(s.readers):
            if j != i and (flight == LOOKED or (flight == READ and rules.joins_read_flights)):
                heeded = max(floor, given if rules.joins_with_floor else 0)
                joined = put_reader(s, j, (flight, read, heeded, more[0], more[1]))
                yield f"r{i} joins r{j}", put_reader(joined, i, (JOINED, j, 0, promised, left))

    def answer_steps(self, s: State, i: int) -> Steps:
        _, seen, _, _, left = s.readers[i]
        together = [j for j, r in enumerate(s.readers) if j == i or r[:2] == (JOINED, i)]
        promised = max(s.readers[j][3] for j in together)
        if seen < promised:
            yield f"r{i} answers v{seen} although v{promised} was known", None
        done = s
        for j in together:
            done = put_reader(done, j, (IDLE, 0, 0, 0, s.readers[j][4] - 1))
        told = done._replace(known=self.hears(s, seen, self.world.exact))
        settled = self.after(self.rules.settle, s.entry, token(i, left), seen)
        yield f"r{i} settles v{seen}", told._replace(entry=settled)
        if s.failures:
            failed = done._replace(failed=s.failed | {(-1 - i, left, seen)}, failures=s.failures - 1)
            yield f"r{i} fails to settle v{seen}, answers", failed


def token(reader: int, left: int) -> str:
    return f"r{reader}.{left}"  # new for every look


def put_writer(s: State, i: int, phase: int, version: int) -> State:
    return s._replace(writers=(*s.writers[:i], (phase, version), *s.writers[i + 1 :]))


def put_reader(s: State, i: int, reader: Reader) -> State:
    return s._replace(readers=(*s.readers[:i], reader, *s.readers[i + 1 :]))


def explore(rules: type[Designed], world: World) -> tuple[int, list[str]]:
    gc.disable()  # a state refers to no other: there are no cycles
    try:
        return Explorer(rules(), world).run()
    finally:
        gc.enable()
