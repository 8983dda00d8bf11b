"""The table of COHERENCE section 3, cell by cell, and the deadlines, of `thermocline.coherence`."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.coherence import (
    CEILING_MS,
    REST_MS,
    Announced,
    Announcement,
    Entry,
    Lease,
    Offer,
    Times,
    Value,
    announce,
    current,
    deadline_of,
    floor_of,
    look,
    publish,
    renew,
    rest,
    run_out,
    settle,
    value,
    withdraw,
)

E = Entry[str]

NOW = 1_000_000
LATER = NOW + 5_000
NEW = Offer("new", 0)


def announced(*writers: str, marked: bool = False, floor: int = 4, last: Value[str] | None = None) -> Announced[str]:
    return Announced(frozenset(Announcement(w, LATER) for w in writers), marked, floor, last)


def resting(floor: int) -> Lease:
    return Lease(None, floor, NOW + REST_MS)


def fresh(version: int) -> Value[str]:
    return Value(version, "new", NOW + CEILING_MS)


LEASED = Lease("r", 4, LATER)
RESTING = Lease(None, 4, LATER)
ONE = announced("w")
TWO = announced("w", "x")
MARKED = announced("w", marked=True)
VALUE = Value(4, "old", LATER)


@pytest.mark.parametrize(
    ("entry", "after", "leased"),
    [
        (None, Lease("me", 0, NOW + 7), True),
        (RESTING, Lease("me", 4, NOW + 7), True),
        (LEASED, LEASED, False),
        (ONE, ONE, False),
        (VALUE, VALUE, False),
    ],
)
def test_look(entry: E, after: E, leased: bool) -> None:
    assert look(entry, "me", 7, NOW) == (after, leased)


def test_look_by_the_holder_of_the_lease_is_busy() -> None:
    assert look(LEASED, "r", 7, NOW) == (LEASED, False)


@pytest.mark.parametrize(
    ("entry", "after", "held"),
    [
        (None, None, False),
        (RESTING, RESTING, False),
        (LEASED, Lease("r", 4, NOW + 9_000), True),
        (Lease("other", 4, LATER), Lease("other", 4, LATER), False),
        (Lease("r", 4, NOW), Lease(None, 4, NOW + REST_MS), False),  # it has run out this moment
        (Lease("r", 0, NOW), None, False),
        (ONE, ONE, False),
        (MARKED, MARKED, False),
        (VALUE, VALUE, False),
    ],
)
def test_renew(entry: E, after: E, held: bool) -> None:
    assert renew(entry, "r", 9_000, NOW) == (after, held)


def test_a_renewal_does_not_shorten_a_lease() -> None:
    assert renew(LEASED, "r", 1, NOW) == (LEASED, True)


def test_a_lease_is_given_back_by_settling_nothing() -> None:
    assert settle(LEASED, "r", 0, None, NOW) == run_out(LEASED, "r", NOW)
    assert settle(Lease("r", 0, LATER), "r", 0, None, NOW) is None
    for entry in (None, RESTING, ONE, MARKED, VALUE, Lease("other", 4, LATER)):
        after = settle(entry, "r", 0, None, NOW)
        assert after == (resting(4) if entry == RESTING else entry)  # of all others, nothing changes


@pytest.mark.parametrize(
    ("entry", "after"),
    [
        (None, Announced(frozenset({Announcement("me", LATER)}), False, 0)),
        (LEASED, announced("me")),
        (RESTING, announced("me")),
        (TWO, announced("w", "x", "me")),
        (MARKED, announced("w", "me", marked=True)),
        (VALUE, announced("me", last=VALUE)),
    ],
)
def test_announce(entry: E, after: E) -> None:
    assert announce(entry, "me", 5_000, NOW) == after


@pytest.mark.parametrize(("lasting", "deadline"), [(9_000, NOW + 9_000), (1_000, LATER)])
def test_announced_again_the_longer_counts(lasting: int, deadline: int) -> None:
    after = announce(TWO, "w", lasting, NOW)
    assert after == replace(TWO, writers=frozenset({Announcement("w", deadline), Announcement("x", LATER)}))


@pytest.mark.parametrize(
    ("entry", "version", "offer", "after"),
    [
        (None, 5, NEW, resting(5)),
        (None, 5, None, resting(5)),
        (LEASED, 5, NEW, resting(5)),
        (LEASED, 3, NEW, resting(4)),
        (RESTING, 5, NEW, resting(5)),
        (RESTING, 3, None, resting(4)),
        (ONE, 5, NEW, fresh(5)),
        (ONE, 4, NEW, fresh(4)),
        (ONE, 3, NEW, resting(4)),
        (ONE, 5, None, resting(5)),
        (MARKED, 5, NEW, resting(5)),
        (TWO, 5, NEW, announced("x", floor=5, last=fresh(5))),
        (TWO, 5, None, announced("x", floor=5)),
        (TWO, 3, NEW, announced("x")),
        (announced("x"), 5, NEW, announced("x", floor=5, last=fresh(5))),  # its own announcement was lost
        (announced("w", "x", marked=True), 5, NEW, announced("x", marked=True, floor=5, last=fresh(5))),
        (VALUE, 5, NEW, fresh(5)),
        (VALUE, 4, NEW, VALUE),
        (VALUE, 3, NEW, VALUE),
        (VALUE, 5, None, resting(5)),
        (VALUE, 4, None, VALUE),
        (VALUE, 3, None, VALUE),
    ],
)
def test_publish(entry: E, version: int, offer: Offer[str] | None, after: E) -> None:
    assert publish(entry, "w", version, offer, NOW) == after


@pytest.mark.parametrize(
    ("entry", "after"),
    [
        (None, None),
        (LEASED, LEASED),
        (RESTING, RESTING),
        (ONE, resting(4)),
        (announced("w", floor=0), None),
        (MARKED, resting(4)),
        (TWO, announced("x")),
        (announced("x"), announced("x")),
        (VALUE, VALUE),
    ],
)
def test_withdraw(entry: E, after: E) -> None:
    assert withdraw(entry, "w", NOW) == after


@pytest.mark.parametrize(
    ("entry", "version", "offer", "after"),
    [
        (None, 5, NEW, resting(5)),
        (None, 0, NEW, None),
        (LEASED, 5, NEW, fresh(5)),
        (LEASED, 4, NEW, fresh(4)),
        (LEASED, 3, NEW, resting(4)),
        (LEASED, 5, None, resting(5)),
        (Lease("other", 4, LATER), 5, NEW, Lease("other", 5, LATER)),
        (Lease("other", 4, LATER), 3, NEW, Lease("other", 4, LATER)),
        (RESTING, 5, NEW, resting(5)),
        (RESTING, 3, NEW, resting(4)),
        (TWO, 5, NEW, announced("w", "x", floor=5, last=fresh(5))),
        (TWO, 3, NEW, TWO),
        (MARKED, 5, None, announced("w", marked=True, floor=5)),
        (VALUE, 5, NEW, fresh(5)),
        (VALUE, 4, NEW, VALUE),
        (VALUE, 5, None, resting(5)),
        (VALUE, 4, None, VALUE),
    ],
)
def test_settle_by_a_reader(entry: E, version: int, offer: Offer[str] | None, after: E) -> None:
    assert settle(entry, "r", version, offer, NOW) == after


@pytest.mark.parametrize(
    ("entry", "version", "offer", "after"),
    [
        (None, 5, NEW, None),
        (LEASED, 5, NEW, Lease("r", 5, LATER)),
        (LEASED, 3, NEW, LEASED),
        (RESTING, 5, NEW, resting(5)),
        (TWO, 5, NEW, announced("w", "x", floor=5, last=fresh(5))),
        (VALUE, 5, NEW, fresh(5)),
        (VALUE, 3, NEW, VALUE),
        (VALUE, 5, None, resting(5)),
        (VALUE, 4, None, VALUE),
    ],
)
def test_settle_by_the_feed_or_a_queue(entry: E, version: int, offer: Offer[str] | None, after: E) -> None:
    assert settle(entry, None, version, offer, NOW) == after


@pytest.mark.parametrize(
    ("entry", "owner", "after"),
    [
        (None, None, None),
        (LEASED, "r", resting(4)),
        (LEASED, "other", LEASED),
        (Lease("r", 0, LATER), "r", None),
        (RESTING, None, None),
        (TWO, "w", announced("x", marked=True)),
        (TWO, "nobody", TWO),
        (ONE, "w", resting(4)),
        (announced("w", floor=0), "w", None),
        (VALUE, None, None),
    ],
)
def test_run_out(entry: E, owner: str | None, after: E) -> None:
    assert run_out(entry, owner, NOW) == after


# --- what is kept for stale answers ----------------------------------------------------------------------------------


def test_the_last_envelope_goes_with_the_floor() -> None:
    entry = announce(VALUE, "w", 5_000, NOW)
    assert isinstance(entry, Announced)
    assert entry.last == VALUE
    assert settle(entry, "r", 4, NEW, NOW) == entry
    known = settle(entry, "r", 5, NEW, NOW)
    assert isinstance(known, Announced)
    assert known.last == fresh(5)
    unknown = settle(entry, "r", 5, None, NOW)
    assert isinstance(unknown, Announced)
    assert unknown.last is None
    found = settle(unknown, "r", 5, NEW, NOW)
    assert isinstance(found, Announced)
    assert found.last == fresh(5)


def test_the_last_envelope_lives_no_longer_than_as_a_value() -> None:
    entry = announce(Value(4, "old", NOW + 10), "w", 5_000, NOW)
    assert current(entry, NOW + 9) == entry
    assert current(entry, NOW + 10) == announced("w")


# --- lifetimes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires", "deadline"),
    [
        (0, NOW + CEILING_MS),
        (NOW + CEILING_MS + 1, NOW + CEILING_MS),
        (NOW + REST_MS + 1, NOW + REST_MS + 1),
        (NOW + 1, NOW + REST_MS),  # its floor is kept as long as others
        (NOW - 1, NOW + REST_MS),
    ],
)
def test_a_value_lives_until_its_record_expires_but_as_long_as_a_rest(expires: int, deadline: int) -> None:
    assert value(4, Offer("new", expires), NOW) == Value(4, "new", deadline)


def test_rests_and_ceilings_can_be_set() -> None:
    times = Times(rest_ms=5, ceiling_ms=50)
    assert value(4, NEW, NOW, times) == Value(4, "new", NOW + 50)
    assert rest(4, NOW, times) == Lease(None, 4, NOW + 5)
    assert deadline_of(LEASED, times) == LATER + 5
    assert publish(None, "w", 4, NEW, NOW, times) == Lease(None, 4, NOW + 5)


# --- deadlines are applied lazily ------------------------------------------------------------------------------------

owners = st.sampled_from(["a", "b", "c"])
versions = st.integers(0, 6)
moments = st.integers(NOW, NOW + 30)
TIMES = Times(rest_ms=7, ceiling_ms=20)
offers = st.none() | st.builds(Offer, st.text("xyz", min_size=1, max_size=1), st.just(0) | moments)
values = st.builds(Value, st.integers(1, 6), st.just("old"), moments)
writers = st.dictionaries(owners, moments, min_size=1).map(lambda d: frozenset(Announcement(*i) for i in d.items()))


@st.composite
def entries(draw: st.DrawFn) -> E:
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return None
    if kind == 1:
        return Lease(draw(owners), draw(versions), draw(moments))
    if kind == 2:
        return Lease(None, draw(st.integers(1, 6)), draw(moments))
    if kind == 3:
        return draw(values)
    floor = draw(versions)
    last = draw(st.none() | values)
    return Announced(draw(writers), draw(st.booleans()), floor, None if last is None else replace(last, version=floor))


def explicitly(entry: E, now: int) -> E:
    """One moment after the other, whoever's deadline it is runs out at that moment."""
    for moment in range(NOW, now + 1):
        if isinstance(entry, Announced):
            for a in entry.writers:
                if a.deadline == moment:
                    entry = run_out(entry, a.writer, moment, TIMES)
            if isinstance(entry, Announced) and entry.last is not None and entry.last.deadline == moment:
                entry = replace(entry, last=None)
        if isinstance(entry, Lease) and entry.deadline == moment:
            entry = run_out(entry, entry.owner, moment, TIMES)
        elif isinstance(entry, Value) and entry.deadline == moment:
            entry = run_out(entry, None, moment, TIMES)
    return entry


@given(entries(), st.integers(NOW, NOW + 40))
def test_lazily_is_the_same_as_at_the_moment(entry: E, now: int) -> None:
    assert current(entry, now, TIMES) == explicitly(entry, now)


@given(entries(), st.integers(NOW, NOW + 40), st.integers(0, 20))
def test_in_two_steps_is_the_same_as_in_one(entry: E, now: int, more: int) -> None:
    assert current(current(entry, now, TIMES), now + more, TIMES) == current(entry, now + more, TIMES)


@given(entries(), st.integers(NOW, NOW + 40))
def test_nothing_is_left_after_the_deadline_and_something_before(entry: E, now: int) -> None:
    absent = current(entry, now, TIMES) is None
    if now >= deadline_of(entry, TIMES):
        assert absent
    elif floor_of(entry):
        assert not absent


@given(entries(), st.integers(NOW, NOW + 40), owners, versions, offers, st.integers(0, 6))
def test_every_operation_first_lets_run_out(
    entry: E, now: int, owner: str, version: int, offer: Offer[str] | None, operation: int
) -> None:
    def operate(entry: E) -> E:
        operations = (
            lambda: look(entry, owner, 3, now, TIMES).entry,
            lambda: announce(entry, owner, 3, now, TIMES),
            lambda: renew(entry, owner, 3, now, TIMES).entry,
            lambda: publish(entry, owner, version, offer, now, TIMES),
            lambda: withdraw(entry, owner, now, TIMES),
            lambda: settle(entry, owner, version, offer, now, TIMES),
            lambda: settle(entry, None, version, offer, now, TIMES),
        )
        return operations[operation]()

    after = operate(entry)
    assert after == operate(current(entry, now, TIMES))
    known = floor_of(current(entry, now, TIMES))
    assert floor_of(after) >= known  # no operation forgets a floor
    if after != current(entry, now, TIMES):  # nor will it be forgotten sooner than a rest from now
        assert after is None or deadline_of(after, TIMES) >= now + TIMES.rest_ms
