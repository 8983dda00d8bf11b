"""The near cache in every order of what can happen to one key: questions, answers, changes, what is heard of them, and connections that break.

What is checked after every step: whatever the cache would serve now was the newest value at some moment of the last second. And each part of it
is needed: left out, some order serves what is older.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline.client import MemoryClient
from thermocline.client.near import Near, NearCache
from thermocline.client.near.cache import Ticket
from thermocline.client.near.shelf import Shelf
from thermocline.codec import Codec
from thermocline.model import Authority, Envelope, Key
from thermocline.testing import ManualClock
from thermocline.testing.telling import TellingMemory
from thermocline.tiers.local.sqlite import SqliteMemory

BOUND = 1  # second
KEY = Key("tenant", "scope", "name")
CODEC = Codec()
READERS = 2
Word = tuple[str, int]


@dataclass(frozen=True)
class State:
    """``left``: what may still happen. ``superseded[v]`` is when version v + 1 came. ``questions``: by reader None, "asked" or the version in its answer.
    ``line``: what the server has said over the connection and the cache has not heard; None: the connection is cut and the cache does not know."""

    now: int = 0
    superseded: tuple[int, ...] = ()
    questions: tuple[int | str | None, ...] = (None,) * READERS
    line: tuple[Word, ...] | None = ()
    stands: bool = True
    ping: int | None = None  # when the one was sent that the server has not had
    left: tuple[tuple[str, int], ...] = (("write", 1), ("ask", 2), ("ping", 2), ("tick", 2), ("cut", 1))

    @property
    def version(self) -> int:
        return len(self.superseded) + 1

    def has(self, what: str) -> bool:
        return dict(self.left)[what] > 0

    def less(self, what: str, **changes: Any) -> "State":
        left = tuple((name, count - (name == what)) for name, count in self.left)
        return replace(self, left=left, **changes)


class Steps(ManualClock):
    """Set by the exploration, which goes back and forth."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at


class World:
    """A `Near` in the middle of something."""

    def __init__(self, near: Near, client: MemoryClient, clock: Steps, state: State) -> None:
        self.near = near
        self.client = client
        self.clock = clock
        self.state = state
        self.plan = client._engine.routes.route(KEY)
        self.tickets: list[Ticket | None] = [None] * READERS

    def fork(self) -> "World":
        self.client._engine.floors.clear()  # all branches share them, and no floor is to hide what a near cache would serve
        other = World(_copy(self.near), self.client, self.clock, self.state)
        tickets = {id(ticket): _twin(ticket) for ticket in [*self.near._pending.values(), *self.tickets] if ticket}
        other.near._pending = {name: tickets[id(ticket)] for name, ticket in self.near._pending.items()}
        other.tickets = [None if ticket is None else tickets[id(ticket)] for ticket in self.tickets]
        return other

    def moves(self) -> Iterator[str]:
        state = self.state
        if state.has("write"):
            yield "write"
        if state.has("tick"):
            yield "tick"
        for reader, question in enumerate(state.questions):
            if question is None and state.has("ask"):
                yield f"ask {reader}"
            elif question == "asked":
                yield f"serve {reader}"
            elif question is not None:
                yield f"answer {reader}"
        if state.stands and state.has("ping") and state.ping is None:
            yield "ping"
        if state.line is None:
            yield "notice"
        elif state.ping is not None:
            yield "pong"
        if state.line:
            yield "hear"
        if state.stands and state.line is not None and state.has("cut"):
            yield "cut"
        if not state.stands:
            yield "mend"

    def move(self, move: str) -> None:
        state, near = self.state, self.near
        what, _, who = move.partition(" ")
        if what == "write":
            line = state.line if state.line is None or not state.stands else (*state.line, ("changed", 0))
            self.state = state.less("write", superseded=(*state.superseded, state.now), line=line)
        elif what == "tick":
            self.state = state.less("tick", now=state.now + 1)
        elif what == "ask":
            self.tickets[int(who)] = near.expect(KEY, self.plan)
            self.state = self._asked(state.less("ask"), int(who), "asked")
        elif what == "serve":
            self.state = self._asked(state, int(who), state.version)
        elif what == "answer":
            version = state.questions[int(who)]
            assert isinstance(version, int)
            ticket, self.tickets[int(who)] = self.tickets[int(who)], None
            near.keep(ticket, envelope(version))
            near.done(ticket)
            self.state = self._asked(state, int(who), None)
        elif what == "ping":
            self.state = state.less("ping", ping=state.now)
        elif what == "pong":
            assert state.line is not None
            assert state.ping is not None
            self.state = replace(state, ping=None, line=(*state.line, ("told", state.ping)))
        elif what == "hear":
            assert state.line
            (word, at), *rest = state.line
            self.state = replace(state, line=tuple(rest))
            if word == "changed":
                near.changed([NAME])
            else:
                near.told(float(at))
        elif what == "cut":
            self.state = state.less("cut", line=None)
        elif what == "notice":
            near.changed(None)
            self.state = replace(state, stands=False, line=(), ping=None)
        else:
            self.state = replace(state, stands=True)

    def _asked(self, state: State, reader: int, question: int | str | None) -> State:
        questions = list(state.questions)
        questions[reader] = question
        return replace(state, questions=tuple(questions))

    def served(self) -> int | None:
        """The version that the cache would serve now."""
        self.clock.at = self.state.now
        entry = self.near.find(KEY)
        return None if entry is None else entry.envelope.version

    def wrong(self) -> bool:
        version = self.served()
        if version is None or version == self.state.version:
            return False
        return self.state.now - self.state.superseded[version - 1] >= BOUND

    def digest(self) -> Any:
        near = self.near
        twins: dict[int, tuple[int, bool, int]] = {}
        for ticket in [*near._pending.values(), *self.tickets]:
            if ticket is not None:
                twins.setdefault(id(ticket), (len(twins), ticket.void, ticket.readers))
        entry = near._shelf.entries.get(NAME)
        return (
            self.state,
            None if entry is None else entry.envelope.version,
            near._fresh_until,
            near._heard,
            tuple(twins[id(ticket)] for ticket in near._pending.values()),
            tuple(None if ticket is None else twins[id(ticket)] for ticket in self.tickets),
        )


NAME = TellingMemory().name_of(KEY, record=False)


def envelope(version: int) -> Envelope:
    return CODEC.encode(KEY, version, now_ms=1).stamped(version=version, authority=Authority.WARM)


def _twin(ticket: Ticket) -> Ticket:
    twin = Ticket(ticket.name, ticket.plan)
    twin.readers, twin.void = ticket.readers, ticket.void
    return twin


def _copy(near: Near) -> Near:
    other = object.__new__(type(near))
    other.__dict__.update(near.__dict__)
    other._shelf = shelf = object.__new__(Shelf)
    shelf.__dict__.update(near._shelf.__dict__)
    shelf.entries, shelf.given = near._shelf.entries.copy(), near._shelf.given.copy()
    other._given, other._pending = shelf.given, {}
    return other


# --- what is left out in turn ----------------------------------------------------------------------------------------


class NoTickets(Near):
    """Remembers whatever comes."""

    def keep(self, ticket: Ticket | None, envelope: Envelope | None) -> None:
        if ticket is not None:
            ticket.void = False
        super().keep(ticket, envelope)


class TicketsAtTheAnswer(Near):
    """Asks for a ticket when the answer is there, as one who promotes what he has just read."""

    def keep(self, ticket: Ticket | None, envelope: Envelope | None) -> None:
        assert envelope is not None
        late = self.expect(envelope.key, self._engine.routes.route(envelope.key))
        super().keep(late, envelope)
        self.done(late)


class OneTicketForAll(Near):
    """The first reader's answer ends the ticket of all who ask for the key."""

    def done(self, ticket: Ticket | None) -> None:
        if ticket is not None:
            self._pending.pop(ticket.name, None)


class TicketsSurviveABreak(Near):
    def clear(self) -> None:
        for ticket in self._pending.values():
            ticket.readers += 0
        self._shelf.entries.clear()
        self._shelf.given.clear()
        self._pending.clear()


class FullAfterABreak(Near):
    def changed(self, names: Any) -> None:
        if names is not None:
            super().changed(names)
            return
        for ticket in self._pending.values():
            ticket.void = True
        self._pending.clear()
        self._fresh_until = -1.0


class DeafAndContent(Near):
    """Serves without asking whether it is heard."""

    def told(self, until: float) -> None:
        super().told(1e9)


class FreshFromTheAnswer(Near):
    """Counts from when the pong arrived, not from when the ping was sent."""

    def told(self, until: float) -> None:
        super().told(self._engine.clock.monotonic())


MUTANTS = [
    NoTickets,
    TicketsAtTheAnswer,
    OneTicketForAll,
    TicketsSurviveABreak,
    FullAfterABreak,
    DeafAndContent,
    FreshFromTheAnswer,
]


async def explore(kind: type[Near], folder: Path) -> tuple[int, list[str] | None, int]:
    """How many states there are, the moves to the first that serves too old a value, and in how many something is served."""
    clock = Steps()
    memory = TellingMemory(clock=clock)
    client = MemoryClient(hot=memory, warm=SqliteMemory(folder / "warm.sqlite3"), clock=clock)
    near = kind(client._engine, NearCache(stale_at_most=timedelta(seconds=BOUND)), lambda key: False)
    near.begin()
    memory.listeners.clear()
    start = World(near, client, clock, State())
    seen = {start.digest()}
    line: list[tuple[World, tuple[str, ...]]] = [(start, ())]
    serving = 0
    while line:
        world, path = line.pop()
        for move in world.moves():
            after = world.fork()
            clock.at = world.state.now
            after.move(move)
            digest = after.digest()
            if digest in seen:
                continue
            seen.add(digest)
            if after.wrong():
                return len(seen), [*path, move], serving
            serving += after.served() is not None
            line.append((after, (*path, move)))
    return len(seen), None, serving


async def test_nothing_older_than_the_bound_is_served_in_any_order(tmp_path: Path) -> None:
    states, path, serving = await explore(Near, tmp_path)

    assert path is None, f"served too old a value after: {path}"
    assert states > 10_000
    assert serving > 1_000


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_no_part_can_be_left_out(mutant: type[Near], tmp_path: Path) -> None:
    _, path, _ = await explore(mutant, tmp_path)

    assert path is not None
