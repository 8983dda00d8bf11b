"""A write to a head takes effect at most once, as the version that is reported: every order of steps of small worlds.

One head, writers with one write each, and a network that loses requests, delivers them late (after the sender gave up and sent again) and loses
answers; the clock may tick between any two steps. A rule that is left out must be caught.
"""

from dataclasses import dataclass, replace
from itertools import product

import pytest

from thermocline.blobs import heads
from thermocline.blobs.heads import (
    RULES,
    Doubt,
    Found,
    Head,
    Lost,
    Missing,
    Reading,
    Refused,
    Rules,
    Sending,
    Stamp,
    Stored,
)
from thermocline.model import Authority, Envelope, Flags, Header, Key
from thermocline.protocols import Effect, Verb, Write, Written

KEY = Key("t", "s", "n")
START = 1000  # ms
TICKS = 1

HEADS = {
    "absent": None,
    "live": Head(
        Envelope(KEY, Header(version=START * 1000 + 5, created_ms=1)),
        (Stamp("old", START * 1000 + 5),),
        Stamp("old", START * 1000 + 5),
    ),
    "deleted": Head(
        Envelope(KEY, Header(flags=Flags.TOMBSTONE, version=7)), (Stamp("old2", 7), Stamp("old", 5)), Stamp("old", 5)
    ),
    "expiring": Head(Envelope(KEY, Header(version=9, expires_ms=START + 1)), (Stamp("old", 9),), Stamp("old", 9)),
}


def the_write(kind: str, who: int, head: Head | None) -> Write:
    version = 0 if head is None else head.version
    flags = Flags.TOMBSTONE if kind == "delete" else Flags.NONE
    envelope = Envelope(KEY, Header(flags=flags, created_ms=START), payload=bytes([who]))
    verb = {"delete": Verb.DELETE, "touch": Verb.TOUCH}.get(kind, Verb.PUT)
    return Write(
        verb,
        f"w{who}",
        envelope,
        known=version if kind == "known" else None,
        if_version=version if kind == "if_version" else None,
        if_absent=kind == "if_absent",
    )


@dataclass(frozen=True)
class Copy:
    """A request under way. ``etag`` 0: only where there is no head."""

    who: int
    etag: int
    head: Head

    @property
    def mark(self) -> tuple[int, int, int]:
        return self.who, self.etag, self.head.version


@dataclass(frozen=True)
class World:
    head: Head | None
    etag: int
    now: int
    late: tuple[Copy, ...]
    writers: tuple[heads.State | heads.Ended, ...]
    faults: tuple[int, ...]
    took: tuple[tuple[int, ...], ...]  # as which versions each write took effect

    def mark(self) -> tuple[object, ...]:
        """What tells worlds apart, cheaper than all of it."""
        late = tuple(sorted(copy.mark for copy in self.late))
        writers = tuple(mark_of(writer) for writer in self.writers)
        return self.etag, mark_of_head(self.head), self.now, late, writers, self.faults, self.took


def mark_of_head(head: Head | None) -> tuple[object, ...] | None:
    return None if head is None else (head.ring, head.envelope.header.flags, head.envelope.header.expires_ms)


def mark_of(writer: heads.State | heads.Ended) -> tuple[object, ...]:
    if isinstance(writer, Sending):
        return "sending", writer.sent.etag, mark_of_head(writer.sent.head), writer.open
    if isinstance(writer, Reading):
        sent = None if writer.sent is None else (writer.sent.etag, mark_of_head(writer.sent.head))
        return "reading", sent, writer.open
    return (writer.effect, writer.version) if isinstance(writer, Written) else ("doubt",)


class Broken(Exception):
    """A promise does not hold."""


def arrive(world: World, copy: Copy) -> tuple[World, bool]:
    """The world after a request has reached the store, and whether it was let in."""
    if copy.etag != (0 if world.head is None else world.etag):
        return world, False
    if world.head is not None and copy.head.version <= world.head.version:
        raise Broken(f"v{copy.head.version} after v{world.head.version}")
    took = list(world.took)
    took[copy.who] += (copy.head.version,)
    if len(took[copy.who]) > 1:
        raise Broken(f"w{copy.who} took effect twice: {took[copy.who]}")
    ended = world.writers[copy.who]
    if isinstance(ended, Written) and ended.effect is not Effect.TOOK:
        raise Broken(f"w{copy.who} took effect after {ended.effect}")
    return replace(world, head=copy.head, etag=world.etag + 1, took=tuple(took)), True


def stepped(world: World, who: int, answer: heads.Answer, rules: Rules) -> World:
    state = world.writers[who]
    assert isinstance(state, Sending | Reading)
    after = heads.step(state, answer, authority=Authority.COLD, now_ms=world.now, rules=rules)
    if isinstance(after, Written) and after.effect is Effect.TOOK and world.took[who] != (after.version,):
        raise Broken(f"w{who} was reported as v{after.version}, took effect as {world.took[who]}")
    if isinstance(after, Written) and after.effect is not Effect.TOOK and world.took[who]:
        raise Broken(f"w{who} was reported as {after.effect}, took effect as {world.took[who]}")
    writers = list(world.writers)
    writers[who] = after
    return replace(world, writers=tuple(writers))


def following(world: World, rules: Rules) -> list[World]:
    worlds = []
    if world.now < START + TICKS:
        worlds.append(replace(world, now=world.now + 1))
    for number, copy in enumerate(world.late):
        rest = world.late[:number] + world.late[number + 1 :]
        worlds.append(arrive(replace(world, late=rest), copy)[0])
    for who, state in enumerate(world.writers):
        if not isinstance(state, Sending | Reading):
            continue
        faulty = replace(world, faults=tuple(f - (w == who) for w, f in enumerate(world.faults)))
        may_fail = world.faults[who] > 0
        if isinstance(state, Reading):
            seen: heads.Answer = Missing() if world.head is None else Found(world.head, str(world.etag))
            worlds.append(stepped(world, who, seen, rules))
            if may_fail:
                worlds.append(stepped(faulty, who, Lost(), rules))
            continue
        copy = Copy(who, 0 if state.sent.etag is None else int(state.sent.etag), state.sent.head)
        after, let_in = arrive(world, copy)
        worlds.append(stepped(after, who, Stored() if let_in else Refused(), rules))
        if may_fail:
            worlds.append(stepped(arrive(faulty, copy)[0], who, Lost(), rules))  # the answer is lost
            worlds.append(stepped(replace(faulty, late=(*world.late, copy)), who, Lost(), rules))  # late, or never
    return worlds


def explore(
    head: Head | None, kinds: tuple[str, ...], faults: tuple[int, ...], rules: Rules = RULES
) -> tuple[int, set[str]]:
    """Every reachable world; how many, and how writes ended. Raises `Broken`."""
    writers = []
    for who, kind in enumerate(kinds):
        writers.append(heads.begin(the_write(kind, who, head), authority=Authority.COLD, now_ms=START, rules=rules))
    start = World(head, 1, START, (), tuple(writers), faults, tuple(() for _ in kinds))
    seen, todo = {start.mark()}, [start]
    ends: set[str] = set()
    while todo:
        world = todo.pop()
        for writer in world.writers:
            if isinstance(writer, Written | Doubt):
                ends.add(writer.effect.value if isinstance(writer, Written) else "doubt")
        for after in following(world, rules):
            mark = after.mark()
            if mark not in seen:
                seen.add(mark)
                todo.append(after)
    return len(seen), ends


KINDS = ("put", "known", "delete", "touch", "if_version", "if_absent")


@pytest.mark.parametrize("there", HEADS)
def test_two_writers_with_a_fault_each(there: str) -> None:
    count = 0
    ends: set[str] = set()
    for kinds in product(KINDS, repeat=2):
        number, ended = explore(HEADS[there], kinds, (1, 1))
        count, ends = count + number, ends | ended

    assert count > 1000
    assert ends >= {"took"}
    assert "doubt" not in ends  # the ring reaches back over so few writes


@pytest.mark.parametrize(
    "kinds", [("put", "delete"), ("if_absent", "delete"), ("touch", "put"), ("if_version", "known")]
)
def test_two_faults_of_one_writer(kinds: tuple[str, str]) -> None:
    for head in HEADS.values():
        assert explore(head, kinds, (2, 1))[0] > 10


@pytest.mark.parametrize("there", ["absent", "live"])
def test_short_ring_leads_to_doubt_and_to_nothing_worse(there: str) -> None:
    ends: set[str] = set()
    for kinds in [("known", "put", "delete"), ("put", "put", "put"), ("if_version", "known", "known")]:
        ends |= explore(HEADS[there], kinds, (1, 0, 0), Rules(ring=1))[1]

    assert ends >= {"took"}
    assert "doubt" in ends


@pytest.mark.parametrize(
    ("rules", "there", "kinds"),
    [
        (Rules(asks=False), "live", ("put", "put")),
        (Rules(birth=False, ring=1), "absent", ("put", "put")),
        (Rules(ring=1, owns_doubt=False), "live", ("known", "known", "known")),
    ],
    ids=["asks", "birth", "owns-doubt"],
)
def test_each_rule_is_needed(rules: Rules, there: str, kinds: tuple[str, ...]) -> None:
    with pytest.raises(Broken):
        explore(HEADS[there], kinds, (1,) * len(kinds), rules)
