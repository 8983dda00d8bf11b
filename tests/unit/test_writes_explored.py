"""Every order of steps of a few writers, run over the very functions of `thermocline.writes`.

One key, one authority that serves each request atomically, up to four writers with one write each, and a network that loses requests, delivers copies late
and loses answers. Time passes in ticks (so that dead items are removed), and reads may come from a replica that lags. In each state that can be reached:

* a write reported as taken took effect, once, and as the version reported; one reported as refused or as having found nothing never takes effect, and there
  was a moment since its start at which its condition did not hold; one of unknown outcome takes effect at most once;
* versions only grow, over removal and creation anew as well, so nothing that was overwritten or deleted comes back.

Ring and window are two here, not eight. Each rule that is switched off must be caught, else this exploration would show nothing.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest

from thermocline.model import Envelope, Flags, Header, Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.writes import Answer, Create, Doubt, Patch, Plain, Read, Rules, Seen, Step, Took, after, begin

pytestmark = pytest.mark.timeout(300)  # it takes long, and longer where others have the machine

SCALE = 10  # versions per tick; a million per second in the real thing
FIRST = 5  # the version of an item that is there at the beginning
SMALL = Rules(ring=2, window=2)
PUT, BRIEF, DELETE, TOUCH, EQUAL, ABSENT = "put", "brief", "delete", "touch", "if_version", "if_absent"
VERBS = {PUT: Verb.PUT, BRIEF: Verb.PUT, DELETE: Verb.DELETE, TOUCH: Verb.TOUCH, EQUAL: Verb.PUT, ABSENT: Verb.PUT}
DEAD = (BRIEF, DELETE)  # what they leave is a record that is not live: one that expires at once, or a tombstone


@dataclass(frozen=True)
class World:
    kinds: tuple[str, ...]
    exists: bool = True
    floors: bool = True  # writers know the highest version that was given out, if there is one
    faults: int = 1  # lost requests or answers, for each writer
    delay: int = 1  # ticks that a copy can be under way
    call: int = 1  # ticks after its start during which a writer still sends
    horizon: int = 0  # ticks explored
    grace: int = 3  # ticks that an item outlives its end
    skew: tuple[int, ...] = ()  # each writer's clock against the authority's, in ticks
    lag: bool = False  # reads may come from a replica that is behind; costs a fault
    unseen: bool = False  # the network may double a request without the writer learning of it


class Item(NamedTuple):
    version: int
    live: bool
    ring: tuple[str, ...]
    birth: str
    until: int  # removed from this tick on; -1: stays


class Writer(NamedTuple):
    at: int  # the index of its step; -1 not begun; below: how it ended
    faults: int = 0
    since: int = 0
    cause: bool = False  # since its start there was a moment that justifies a refusal


class State(NamedTuple):
    now: int
    item: Item | None
    replica: Item | None
    late: tuple[tuple[int, int], ...]  # copies under way: (the step that sent it, when)
    high: int
    took: tuple[int, ...]
    writers: tuple[Writer, ...]


NOT_BEGUN, TAKEN, REFUSED, NOTHING, UNKNOWN = -1, -2, -3, -4, -5
ENDS = {Effect.TOOK: TAKEN, Effect.REFUSED: REFUSED, Effect.NOTHING: NOTHING}
Move = tuple[str, State, str | None]


class Exploration:
    """Breadth first, so that a history that breaks a promise is a shortest one. Steps are kept by number: states are then small and cheap to hash."""

    def __init__(self, rules: Rules, world: World) -> None:
        self.rules, self.world, self.kinds = rules, world, world.kinds
        self.steps: list[Step] = []
        self.numbers: dict[Step, int] = {}
        self.answers: dict[tuple[int, Answer], tuple[int, int]] = {}

    def run(self) -> tuple[int, list[str] | None]:
        """How many states there are, and the history that breaks a promise."""
        n = len(self.kinds)
        item = Item(FIRST, True, ("x", "x")[: self.rules.ring], "x", -1) if self.world.exists else None
        start = State(0, item, item if self.world.lag else None, (), FIRST if item else 0, (0,) * n, (Writer(-1),) * n)
        came_from: dict[State, tuple[State, str] | None] = {start: None}
        todo = deque([start])
        while todo:
            state = todo.popleft()
            for label, reached, problem in self.moves(state):
                if problem:
                    return len(came_from), [*history(came_from, state), f"{label} -- {problem}"]
                if reached not in came_from:
                    came_from[reached] = (state, label)
                    todo.append(reached)
        return len(came_from), None

    # --- the world's own moves

    def moves(self, s: State) -> Iterator[Move]:
        if s.now < self.world.horizon:
            late = tuple(copy for copy in s.late if s.now < copy[1] + self.world.delay)
            yield "a tick", s._replace(now=s.now + 1, late=late), None
        if s.item is not None and 0 <= s.item.until <= s.now:
            yield "the item is removed", self.witnessed(s._replace(item=None)), None
        if self.world.lag and s.replica != s.item:
            yield "the replica catches up", s._replace(replica=s.item), None
        for n, (step, _) in enumerate(s.late):
            if not n or s.late[n - 1] != s.late[n]:
                reached, _, problem = self.arrive(s, step)
                if reached is not s:  # a copy that changes nothing may as well stay under way
                    yield f"a late copy arrives: v{reached.high}", reached._replace(late=without(s.late, n)), problem
        for i, w in enumerate(s.writers):
            if w.at == NOT_BEGUN:
                yield from self.beginnings(s, i)
            elif w.at >= 0:
                yield from self.requests(s, i, w)

    def beginnings(self, s: State, i: int) -> Iterator[Move]:
        kind = self.kinds[i]
        if i and self.kinds[i - 1] == kind and not self.world.skew and s.writers[i - 1].at == NOT_BEGUN:
            return  # they are alike: the first begins first
        if kind == EQUAL and (s.item is None or not s.item.live):
            return
        clock = SCALE * (s.now + 2 + (self.world.skew[i] if self.world.skew else 0))
        known = s.high if self.world.floors and s.high else None
        expected = s.item.version if kind == EQUAL and s.item else None
        header = Header(flags=Flags.TOMBSTONE if kind == DELETE else Flags.NONE)
        envelope = Envelope(Key("t", "s", "n"), header)
        write = Write(VERBS[kind], str(i), envelope, known, expected, if_absent=kind == ABSENT)
        step = self.number(begin(write, clock, rules=self.rules))
        since = s.now if self.world.call < self.world.horizon else 0
        yield f"w{i} begins: {kind}", self.became(s, i, Writer(step, self.world.faults, since)), None

    def requests(self, s: State, i: int, w: Writer) -> Iterator[Move]:
        if s.now > w.since + self.world.call:
            yield f"w{i} gives up", self.became(s, i, w._replace(at=UNKNOWN)), self.given_up(s, i, w)
            return
        reached, answer, problem = self.arrive(s, w.at)
        yield self.answered(reached, i, w, answer, problem)
        if not w.faults:
            return
        less = w._replace(faults=w.faults - 1)
        request = self.steps[w.at].request
        if isinstance(request, Read):
            if self.world.lag and s.replica != s.item:
                yield self.answered(s, i, less, seen(s.replica), None, "(stale) ")
            return
        unanswered, _ = self.answer(w.at, Plain.LOST)
        again = less._replace(at=unanswered)
        yield f"w{i} {request}: answer lost", self.became(reached, i, again), problem
        sent = tuple(sorted((*s.late, (w.at, s.now))))
        yield f"w{i} {request}: under way", self.became(s, i, again)._replace(late=sent), None
        if self.world.unseen:
            twice, second, wrong = self.arrive(reached, w.at)
            yield self.answered(twice, i, less, second, problem or wrong, "(doubled unseen) ")

    # --- the authority

    def arrive(self, s: State, step: int) -> tuple[State, Answer, str | None]:
        """What a request finds and does; ``s`` itself if it changes nothing."""
        asked = self.steps[step]
        who, item = int(asked.id), s.item
        request, kind = asked.request, self.kinds[who]
        if isinstance(request, Read):
            return s, seen(item), None
        until = s.now + self.world.grace if kind in DEAD else -1
        if isinstance(request, Create):
            if item is not None:
                return s, Plain.EXISTS, None
            made = Item(request.version, kind not in DEAD, (asked.id, "-", "-")[: self.rules.ring], asked.id, until)
            return self.effect(s, who, made)
        if item is None:
            return s, Plain.MISSING, None
        if asked.id in item.ring or not let_in(item, request):
            return s, Plain.REFUSED, None
        ring = (asked.id, *item.ring)[: self.rules.ring]
        return self.effect(s, who, Item(item.version + 1, kind not in DEAD, ring, item.birth, until))

    def effect(self, s: State, who: int, item: Item) -> tuple[State, Answer, str | None]:
        problem = None
        if s.took[who]:
            problem = f"w{who} took effect twice, as v{s.took[who]} and as v{item.version}"
        elif s.writers[who].at in (REFUSED, NOTHING):
            problem = f"w{who} took effect after its end was reported"
        elif item.version <= s.high:
            problem = f"v{item.version} was given out after v{s.high}"
        took = (*s.took[:who], item.version, *s.took[who + 1 :])
        reached = s._replace(item=item, high=max(s.high, item.version), took=took)
        return self.witnessed(reached), Took(item.version), problem

    # --- the writers

    def number(self, step: Step) -> int:
        if step not in self.numbers:
            self.numbers[step] = len(self.steps)
            self.steps.append(step)
        return self.numbers[step]

    def answer(self, at: int, answer: Answer) -> tuple[int, int]:
        """The writer's next step (or how it ended), and the version that it reports."""
        if (at, answer) not in self.answers:
            result = after(self.steps[at], answer, rules=self.rules)
            if isinstance(result, Step):
                self.answers[at, answer] = self.number(result), 0
            elif isinstance(result, Written):
                self.answers[at, answer] = ENDS[result.effect], result.version
            else:
                assert result is Doubt.UNKNOWN
                self.answers[at, answer] = UNKNOWN, 0
        return self.answers[at, answer]

    def answered(self, s: State, i: int, w: Writer, answer: Answer, problem: str | None, note: str = "") -> Move:
        at, version = self.answer(w.at, answer)
        label = f"w{i} {note}{self.steps[w.at].request}: {answer}"
        if at < 0:
            problem = problem or self.judged(s, i, at, version)
            label += f", reports {at} v{version}"
        return label, self.became(s, i, s.writers[i]._replace(at=at, faults=w.faults)), problem

    def judged(self, s: State, i: int, end: int, version: int) -> str | None:
        took = s.took[i]
        if end == TAKEN and took != version:
            return f"reported as v{version}, took effect as v{took}"
        if end in (REFUSED, NOTHING) and took:
            return f"reported as without effect, took effect as v{took}"
        if end in (REFUSED, NOTHING) and not s.writers[i].cause and not self.world.lag:
            return "its condition held all the time"
        return None

    def given_up(self, s: State, i: int, w: Writer) -> str | None:
        step = self.steps[w.at]
        if step.in_doubt:
            return None
        return "it took effect, and the writer does not doubt" if s.took[i] else None

    def became(self, s: State, i: int, w: Writer) -> State:
        return self.witnessed(s._replace(writers=(*s.writers[:i], w, *s.writers[i + 1 :])))

    def witnessed(self, s: State) -> State:
        """Note for each writer under way whether its condition fails at this moment."""
        for i, w in enumerate(s.writers):
            if w.at >= 0 and not w.cause and self.fails(s.item, self.steps[w.at], s.took[i]):
                s = s._replace(writers=(*s.writers[:i], w._replace(cause=True), *s.writers[i + 1 :]))
        return s

    def fails(self, item: Item | None, step: Step, took: int) -> bool:
        if took:
            return False
        if step.if_version is not None:
            return item is None or item.version != step.if_version
        if step.if_absent:
            return item is not None and item.live
        if step.verb is Verb.TOUCH:
            return item is None or not item.live
        return step.verb is Verb.DELETE and item is None


def let_in(item: Item, patch: Patch) -> bool:
    fits = item.version == patch.limit if patch.exact else item.version <= patch.limit
    return fits and (item.live or not patch.live)


def seen(item: Item | None) -> Answer:
    return Plain.MISSING if item is None else Seen(item.version, item.ring, item.birth, item.live)


def without(late: tuple[tuple[int, int], ...], n: int) -> tuple[tuple[int, int], ...]:
    return (*late[:n], *late[n + 1 :])


def history(came_from: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    labels = []
    while (before := came_from[state]) is not None:
        state = before[0]
        labels.append(before[1])
    return labels[::-1]


HOLDS = [
    World((PUT, PUT, PUT), faults=2),
    World((PUT, PUT, DELETE), floors=False, lag=True),
    World((PUT, PUT, DELETE), floors=False, exists=False),
    World((PUT, PUT, DELETE, EQUAL)),
    World((PUT, EQUAL, EQUAL), lag=True),
    World((ABSENT, ABSENT, DELETE), exists=False, lag=True),
    World((PUT, DELETE), floors=False, exists=False, faults=2, horizon=5),
    World((PUT, BRIEF), floors=False, exists=False, grace=5, horizon=6, skew=(-1, 1)),
    World((PUT, DELETE, TOUCH)),
    World((PUT, DELETE, TOUCH), floors=False, lag=True),
    World((BRIEF, TOUCH), faults=2, horizon=5),
    World((EQUAL, DELETE, ABSENT), horizon=2),
    World((PUT, DELETE, DELETE), floors=False, exists=False, horizon=2),
    World((PUT, BRIEF), faults=2, horizon=4),
]
BREAKS: dict[str, tuple[Rules, World]] = {
    "a ring too short for the window": (replace(SMALL, window=3), World((PUT, PUT, PUT, PUT))),
    "no ring at all": (replace(SMALL, ring=0), World((PUT,))),
    "no mark of who created": (replace(SMALL, birth=False), World((PUT, PUT, PUT), exists=False)),
    "older reads are believed": (replace(SMALL, rereads=False), World((ABSENT, ABSENT, DELETE), exists=False, faults=2, lag=True)),
    "the version read is taken for its own": (replace(SMALL, counts_back=False), World((PUT, PUT))),
    "412 is a conflict": (replace(SMALL, reads_refusals=False), World((EQUAL,))),
    "409 is a conflict": (replace(SMALL, reads_refusals=False), World((ABSENT,), exists=False)),
    "not in the ring is not taken, put": (replace(SMALL, owns_doubt=False), World((PUT, PUT, PUT))),
    "not in the ring is not taken, if_version": (replace(SMALL, owns_doubt=False), World((EQUAL, PUT, PUT))),
    "not in the ring is not taken, touch": (replace(SMALL, owns_doubt=False), World((TOUCH, PUT, PUT))),
    "items outlive their end by call and delay only": (SMALL, World((PUT, BRIEF), exists=False, grace=2, horizon=4)),
    "... by less than a call": (SMALL, World((PUT, DELETE), exists=False, grace=1, horizon=4)),
    "... by too little for the clocks": (SMALL, World((PUT, BRIEF), floors=False, exists=False, grace=4, horizon=4, skew=(-1, 1))),
    "the SDK resends unseen, put": (SMALL, World((PUT, PUT, PUT), unseen=True)),
    "the SDK resends unseen, if_version": (SMALL, World((EQUAL, PUT, PUT), unseen=True)),
}  # fmt: skip


@pytest.mark.parametrize("world", HOLDS, ids=lambda w: f"{'-'.join(w.kinds)}-{HOLDS.index(w)}")
def test_every_order_of_steps_keeps_the_promises(world: World) -> None:
    states, broken = Exploration(SMALL, world).run()
    assert broken is None, "\n".join(broken)
    assert states > 1000


@pytest.mark.parametrize("name", BREAKS)
def test_each_part_left_out_is_caught(name: str) -> None:
    rules, world = BREAKS[name]
    _, broken = Exploration(rules, world).run()
    assert broken, "the exploration does not bite"


def test_the_whole_ring_is_as_wide_as_the_window() -> None:
    assert Rules().ring == Rules().window == 8


@pytest.mark.parametrize(
    ("exists", "floors", "writers", "requests"),
    [
        (True, True, 1, 1),
        (True, False, 1, 3),
        (False, True, 1, 1),
        (True, True, 8, 8),
        (True, False, 8, 24),
        (False, True, 8, 22),
    ],
)
def test_requests_of_writers_that_begin_at_once(exists: bool, floors: bool, writers: int, requests: int) -> None:
    """COHERENCE section 4, cost without faults; in turns, ring and window of eight."""
    e = Exploration(Rules(), World((PUT,) * writers, exists=exists, floors=floors, skew=(0,) * writers))
    item = Item(FIRST, True, ("x",) * 8, "x", -1) if exists else None
    s = State(0, item, None, (), FIRST if exists else 0, (0,) * writers, (Writer(-1),) * writers)
    for i in range(writers):
        [(_, s, _)] = e.beginnings(s, i)
    sent = 0
    while any(w.at >= 0 for w in s.writers):
        for i, w in enumerate(s.writers):
            if w.at >= 0:
                reached, answer, _ = e.arrive(s, w.at)
                _, s, problem = e.answered(reached, i, w, answer, None)
                assert problem is None
                sent += 1
    assert sent == requests
    assert len(set(s.took)) == writers
