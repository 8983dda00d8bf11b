"""The checker on forged histories: each kind of violation is caught, and what is odd but legal is accepted."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline.testing.history import (
    Bound,
    Event,
    Fault,
    History,
    Kind,
    Outcome,
    Recorder,
    Verb,
    Verdict,
    check,
    read_history,
)

K = "k"
A, B, C = "a.0", "b.0", "c.0"


def event(verb: Verb, outcome: Outcome, begin: float, end: float, client: str = A, **fields: Any) -> Event:
    moments = {"begin_ms": int(begin * 1000), "end_ms": 0 if end == float("inf") else int(end * 1000)}
    return Event(client, verb, fields.pop("key", K), begin, outcome, end, **moments | fields)


def put(begin: float, end: float, version: int, value: str, client: str = A, **fields: Any) -> Event:
    return event(Verb.PUT, Outcome.TOOK, begin, end, client, version=version, value=value, **fields)


def lost_put(begin: float, value: str, client: str = A, **fields: Any) -> Event:
    return event(Verb.PUT, Outcome.UNKNOWN, begin, float("inf"), client, value=value, **fields)


def delete(begin: float, end: float, version: int, client: str = A, **fields: Any) -> Event:
    return event(Verb.DELETE, Outcome.TOOK, begin, end, client, version=version, **fields)


def touch(begin: float, end: float, version: int, client: str = A, **fields: Any) -> Event:
    return event(Verb.TOUCH, Outcome.TOOK, begin, end, client, version=version, **fields)


def hit(begin: float, end: float, version: int, value: str, client: str = B, **fields: Any) -> Event:
    return event(Verb.LOOKUP, Outcome.HIT, begin, end, client, version=version, value=value, **fields)


def got(begin: float, end: float, value: str, client: str = B, **fields: Any) -> Event:
    return event(Verb.GET, Outcome.HIT, begin, end, client, value=value, **fields)


def miss(begin: float, end: float, version: int = 0, client: str = B, verb: Verb = Verb.LOOKUP, **fields: Any) -> Event:
    return event(verb, Outcome.MISS, begin, end, client, version=version, **fields)


def there(begin: float, end: float, client: str = B) -> Event:
    return event(Verb.EXISTS, Outcome.HIT, begin, end, client)


def judge(*events: Event, bound: Bound | None = None, faults: list[Fault] | None = None, **settled: float) -> Verdict:
    moments = {f"{client}.0": [moment] for client, moment in settled.items()}
    return check(History(sorted(events, key=lambda e: e.begin), faults or [], moments), bound)


ONE, TWO = put(1, 2, 10, "x"), put(3, 4, 11, "y")

WRONG = {
    "older than acknowledged": (Kind.STALE, [ONE, TWO, hit(5, 6, 10, "x")]),
    "older than another reader saw": (Kind.STALE, [ONE, lost_put(3, "y"), hit(4, 5, 11, "y"), hit(6, 7, 10, "x", C)]),
    "an older value alone": (Kind.STALE, [ONE, TWO, got(5, 6, "x")]),
    "older than a value alone": (Kind.STALE, [ONE, put(3, 9, 11, "y"), got(4, 5, "y"), hit(6, 7, 10, "x", C)]),
    "older than a touch": (Kind.STALE, [ONE, touch(3, 4, 11), hit(5, 6, 10, "x")]),
    "the deletion before the last write": (Kind.STALE, [ONE, delete(3, 4, 11), put(5, 6, 12, "z"), miss(7, 8, 11)]),
    "after a deletion": (Kind.RESURRECTED, [ONE, delete(3, 4, 11), hit(5, 6, 10, "x")]),
    "after a deletion, a value alone": (Kind.RESURRECTED, [ONE, delete(3, 4, 11), got(5, 6, "x")]),
    "after a deletion, merely there": (Kind.RESURRECTED, [ONE, delete(3, 4, 11), there(5, 6)]),
    "after a deletion that a reader saw": (
        Kind.RESURRECTED,
        [ONE, delete(3, 9, 11), miss(4, 5, 11), hit(6, 7, 10, "x", C)],
    ),
    "a value under a deletion's version": (Kind.RESURRECTED, [ONE, delete(3, 4, 11), hit(3.5, 6, 11, "x")]),
    "after its expiry": (Kind.RESURRECTED, [put(1, 2, 10, "x", expires_ms=3000), hit(4, 5, 10, "x")]),
    "after its expiry, as the reader was told": (
        Kind.RESURRECTED,
        [lost_put(1, "x", ttl_ms=10), hit(4, 5, 10, "x", expires_ms=3000)],
    ),
    "merely there after its expiry": (Kind.RESURRECTED, [put(1, 2, 10, "x", expires_ms=3000), there(4, 5)]),
    "after the expiry that a touch set": (
        Kind.RESURRECTED,
        [ONE, touch(3, 4, 11, expires_ms=5000), hit(6, 7, 11, "x")],
    ),
    "damaged": (Kind.TORN, [ONE, hit(3, 4, 10, "x", torn=True)]),
    "written by nobody": (Kind.TORN, [ONE, hit(3, 4, 10, "?")]),
    "another key's": (Kind.TORN, [ONE, put(1, 2, 20, "o", key="other"), hit(3, 4, 20, "o")]),
    "another's version": (Kind.TORN, [ONE, put(3, 9, 11, "y"), hit(4, 5, 10, "y")]),
    "an old value under a new version": (Kind.TORN, [ONE, put(3, 9, 11, "y"), hit(5, 6, 11, "x")]),
    "a version that nobody gave": (Kind.TORN, [ONE, hit(3, 4, 12, "x")]),
    "two values without an answer under one version": (
        Kind.TORN,
        [lost_put(1, "x"), lost_put(1, "y"), hit(3, 4, 10, "x"), hit(3, 4, 10, "y", C)],
    ),
    "two values under one version": (Kind.TORN, [ONE, lost_put(1, "y"), hit(3, 4, 10, "y", C)]),
    "before it was written": (Kind.TORN, [ONE, put(6, 7, 11, "y"), hit(3, 4, 11, "y")]),
    "a version before it was given": (Kind.TORN, [ONE, touch(6, 7, 11), hit(3, 4, 11, "x")]),
    "a deletion before it was made": (Kind.TORN, [ONE, delete(6, 7, 11), miss(3, 4, 11)]),
    "nothing known, though acknowledged": (Kind.LOST, [ONE, miss(3, 4)]),
    "nothing found, though acknowledged": (Kind.LOST, [ONE, miss(3, 4, verb=Verb.GET)]),
    "not there, though acknowledged": (Kind.LOST, [ONE, miss(3, 4, verb=Verb.EXISTS)]),
    "a miss of a live version": (Kind.LOST, [ONE, miss(3, 4, 10)]),
    "a miss before the expiry": (Kind.LOST, [put(1, 2, 10, "x", expires_ms=9000), miss(3, 4, 10)]),
    "a delete that found no record": (Kind.LOST, [ONE, event(Verb.DELETE, Outcome.NOTHING, 3, 4)]),
    "a touch that found no value": (Kind.LOST, [ONE, event(Verb.TOUCH, Outcome.NOTHING, 3, 4)]),
    "one version twice": (Kind.TWICE, [ONE, put(1, 2, 10, "y", B)]),
    "a version that does not grow": (Kind.TWICE, [ONE, put(3, 4, 9, "y")]),
    "a condition that did not hold": (Kind.TWICE, [ONE, TWO, put(1.5, 6, 12, "z", B, if_version=10)]),
    "absent, and it was there": (Kind.TWICE, [ONE, put(3, 4, 11, "y", B, if_absent=True)]),
    "one value by two writers": (Kind.TWICE, [ONE, put(3, 4, 11, "x")]),
    "a refusal without a cause": (Kind.LOST, [ONE, event(Verb.PUT, Outcome.REFUSED, 3, 4, value="y", if_version=10)]),
    "a refused write was seen": (
        Kind.PHANTOM,
        [ONE, event(Verb.PUT, Outcome.REFUSED, 3, 4, value="y", if_absent=True), hit(5, 6, 11, "y")],
    ),
    "a failed write was seen": (Kind.PHANTOM, [event(Verb.PUT, Outcome.FAILED, 3, 4, value="y"), got(5, 6, "y")]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_violation_is_caught(name: str) -> None:
    kind, events = WRONG[name]
    verdict = judge(*(replace(e) for e in events))
    assert kind in {problem.kind for problem in verdict.problems}, "\n".join(map(str, verdict.problems))


LEGAL = {
    "the newest": [ONE, TWO, hit(5, 6, 11, "y"), got(7, 8, "y"), there(9, 10)],
    "the older one while the newer is written": [ONE, TWO, hit(3.5, 5, 10, "x")],
    "older than a read that had not ended": [ONE, put(3, 9, 11, "y"), hit(4, 6, 11, "y"), hit(5, 7, 10, "x", C)],
    "a write before it is acknowledged": [ONE, put(3, 9, 11, "y"), hit(4, 5, 11, "y")],
    "a write without an answer, seen late": [lost_put(1, "x"), miss(2, 3), miss(90, 91), hit(99, 100, 10, "x")],
    "a write without an answer, late, over a newer one": [
        ONE,
        lost_put(1, "z"),
        TWO,
        hit(5, 6, 11, "y"),
        hit(7, 8, 12, "z"),
    ],
    "a killed writer's delete": [
        ONE,
        event(Verb.DELETE, Outcome.UNKNOWN, 2, float("inf")),
        hit(3, 4, 10, "x"),
        miss(5, 6, 11),
    ],
    "the same, told without a version": [
        ONE,
        event(Verb.DELETE, Outcome.UNKNOWN, 2, float("inf")),
        miss(5, 6, verb=Verb.GET),
    ],
    "a killed writer's touch": [
        ONE,
        event(Verb.TOUCH, Outcome.UNKNOWN, 2, float("inf"), ttl_ms=2500),
        hit(3, 4, 11, "x", expires_ms=4500),
        miss(5, 6, 11, C),
    ],
    "a value without an answer, read alone before it was touched": [
        ONE,
        lost_put(2, "y"),
        got(3, 4, "y"),
        touch(5, 6, 12),
        hit(7, 8, 12, "y"),
        got(9, 10, "y"),
    ],
    "an expiry while it is read": [put(1, 2, 10, "x", expires_ms=4500), hit(4, 6, 10, "x"), miss(4, 6, 10)],
    "an expired record as its own tombstone": [
        put(1, 2, 10, "x", expires_ms=3000),
        miss(4, 5, 10),
        miss(4, 5, verb=Verb.GET),
    ],
    "made again after a deletion": [ONE, delete(3, 4, 11), put(5, 6, 12, "z"), hit(7, 8, 12, "z")],
    "a touch keeps the value": [ONE, touch(3, 4, 11), hit(5, 6, 11, "x"), got(5, 6, "x")],
    "a touch lengthens the life": [
        put(1, 2, 10, "x", expires_ms=3000),
        touch(2, 2.5, 11, expires_ms=9000),
        hit(4, 5, 11, "x"),
    ],
    "a read without an answer": [ONE, TWO, event(Verb.LOOKUP, Outcome.FAILED, 5, 6, B)],
    "a deletion of nothing": [event(Verb.DELETE, Outcome.NOTHING, 1, 2), miss(3, 4)],
    "a refusal by a write without an answer": [
        ONE,
        lost_put(2, "z", B),
        event(Verb.PUT, Outcome.REFUSED, 3, 4, value="y", if_version=10),
    ],
    "absent after its expiry": [put(1, 2, 10, "x", expires_ms=2500), put(3, 4, 11, "y", if_absent=True)],
    "a condition that held": [ONE, put(3, 4, 11, "y", B, if_version=10)],
    "a missing key's neighbour": [ONE, miss(3, 4, key="other")],
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_legal_is_accepted(name: str) -> None:
    verdict = judge(*(replace(e) for e in LEGAL[name]))
    assert verdict.problems == []
    assert verdict.operations == len(LEGAL[name])


def test_a_write_of_unknown_outcome_may_be_seen_before_its_touch_by_who_began_later() -> None:
    touched = touch(2.1, 3.0, 11)
    verdict = judge(lost_put(1, "x"), hit(2.0, 3.1, 11, "x"), touched, hit(2.05, 2.1, 10, "x", client=C))
    assert verdict.problems == []


# --- excuses -------------------------------------------------------------------------------------------------------------

BOUND = Bound(frozenset({"cut", "rollback"}), timedelta(seconds=60), frozenset({"rollback"}))
CUT = Fault("cut", 2.9, 4.5)
UNTOLD = replace(TWO, told=False)
OLD = hit(5, 6, 10, "x", tier="hot")


def test_hot_that_was_not_told_is_excused_by_the_fault() -> None:
    verdict = judge(ONE, UNTOLD, OLD, bound=BOUND, faults=[CUT])
    assert verdict.problems == []
    assert verdict.excused == {"cut": 1}
    assert (verdict.behind, verdict.last) == (1.0, 5.0)


def test_a_near_cache_may_be_behind_as_long_as_it_says() -> None:
    """``TWO`` is known from its end on; nobody who knew it himself is excused."""
    near = Bound(frozenset(), timedelta(), near=timedelta(seconds=1))
    known = TWO.end
    within = hit(known + 0.9, known + 0.95, 10, "x", tier="near")
    beyond = hit(known + 1.1, known + 1.2, 10, "x", tier="near")
    assert judge(ONE, TWO, within, bound=near).excused == {"near": 1}
    assert judge(ONE, TWO, within).count(Kind.STALE) == 1
    assert judge(ONE, TWO, beyond, bound=near).count(Kind.STALE) == 1
    assert judge(ONE, TWO, replace(within, client=TWO.client), bound=near).count(Kind.STALE) == 1


NO_EXCUSE: dict[str, dict[str, Any]] = {
    "no bound": {"bound": None},
    "no fault": {"faults": []},
    "a fault of another cause": {"faults": [Fault("throttled", 2.9, 4.5)]},
    "a fault that came later": {"faults": [Fault("cut", 5.5, 9)]},
    "a fault that was long over": {"faults": [Fault("cut", -90, -80)]},
    "hot was told by the queue": {"a": 4.6},
}


@pytest.mark.parametrize("name", NO_EXCUSE)
def test_without_its_reasons_it_is_not_excused(name: str) -> None:
    given: dict[str, Any] = {"bound": BOUND, "faults": [CUT]} | NO_EXCUSE[name]
    assert judge(ONE, UNTOLD, OLD, **given).count(Kind.STALE) == 1


def test_an_answer_without_a_version_is_excused_by_the_last_that_explains_it() -> None:
    gone, again = delete(3, 4, 11), put(4, 4.4, 12, "z", told=False)
    assert judge(ONE, gone, again, miss(5, 6, verb=Verb.GET), bound=BOUND, faults=[CUT]).excused == {"cut": 1}
    assert judge(ONE, touch(3, 4, 11), again, got(5, 6, "x"), bound=BOUND, faults=[CUT]).excused == {"cut": 1}
    assert judge(ONE, gone, again, got(5, 6, "x"), bound=BOUND, faults=[CUT]).count(Kind.STALE) == 1
    assert judge(ONE, again, miss(5, 6, verb=Verb.EXISTS), bound=BOUND, faults=[CUT]).count(Kind.LOST) == 1


def test_a_queue_that_was_empty_before_the_write_tells_nothing() -> None:
    assert judge(ONE, UNTOLD, OLD, bound=BOUND, faults=[CUT], a=3.5).problems == []


def test_the_bound_ends() -> None:
    late = hit(70, 71, 10, "x", tier="hot")
    assert judge(ONE, UNTOLD, late, bound=BOUND, faults=[CUT]).count(Kind.STALE) == 1


def test_a_told_write_is_never_excused() -> None:
    assert judge(ONE, TWO, OLD, bound=BOUND, faults=[CUT]).count(Kind.STALE) == 1


def test_a_clients_own_write_is_never_excused() -> None:
    assert judge(ONE, UNTOLD, replace(OLD, client=A), bound=BOUND, faults=[CUT]).count(Kind.STALE) == 1


def test_what_a_client_has_read_is_never_excused() -> None:
    newer = hit(4.1, 4.2, 11, "y", B, tier="warm")
    assert judge(ONE, UNTOLD, newer, OLD, bound=BOUND, faults=[CUT]).count(Kind.STALE) == 1
    assert judge(ONE, UNTOLD, replace(newer, client=C), OLD, bound=BOUND, faults=[CUT]).problems == []


def test_what_hot_itself_answered_is_never_excused() -> None:
    newer = hit(4.1, 4.2, 11, "y", C, tier="hot")
    assert judge(ONE, UNTOLD, newer, OLD, bound=BOUND, faults=[CUT]).count(Kind.STALE) == 1


def test_the_authority_is_never_excused() -> None:
    assert judge(ONE, UNTOLD, replace(OLD, tier="warm"), bound=BOUND, faults=[CUT]).count(Kind.STALE) == 1


def test_a_rolled_back_hot_has_forgotten_what_it_was_told() -> None:
    back = Fault("rollback", 4.5, 4.6)
    assert judge(ONE, TWO, OLD, bound=BOUND, faults=[back]).excused == {"rollback": 1}
    during = Fault("rollback", 2.5, 4.5)  # told after the snapshot, and before the crash
    assert judge(ONE, TWO, OLD, bound=BOUND, faults=[during]).excused == {"rollback": 1}
    before = Fault("rollback", 2.5, 3.5)
    assert judge(ONE, TWO, OLD, bound=BOUND, faults=[before]).count(Kind.STALE) == 1
    told_again = hit(4.7, 4.8, 11, "y", C, tier="hot")
    assert judge(ONE, TWO, told_again, OLD, bound=BOUND, faults=[back]).count(Kind.STALE) == 1


# --- the recorder --------------------------------------------------------------------------------------------------------


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    with Recorder(tmp_path / "one", A) as recorder:
        write = recorder.write(Verb.PUT, K, value="x", ttl_ms=50, if_absent=True)
        write.version, write.expires_ms, write.told = 10, write.begin_ms + 60_000, False
        recorder.end(write, Outcome.TOOK)
        recorder.settled()
        read = recorder.read(Verb.LOOKUP, K)
        read.value, read.version, read.tier = "x", 10, "hot"
        recorder.end(read, Outcome.HIT)
        recorder.write(Verb.DELETE, K)  # and its process is killed

    history = read_history([tmp_path / "one"], [CUT])

    *done, open_ = history.events
    assert done == [write, read]
    assert (open_.verb, open_.outcome, open_.end) == (Verb.DELETE, Outcome.UNKNOWN, float("inf"))
    assert write.begin < write.end < history.settled[A][0] < read.begin < read.end < open_.begin
    assert history.faults == [CUT]
    assert check(history).problems == []


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    with Recorder(tmp_path / "one", A) as recorder:
        recorder.end(recorder.read(Verb.GET, K), Outcome.MISS)
        recorder.write(Verb.PUT, K, value="x")
    data = (tmp_path / "one").read_bytes()
    (tmp_path / "one").write_bytes(data[:-5])

    assert [e.verb for e in read_history([tmp_path / "one"]).events] == [Verb.GET]

    (tmp_path / "one").write_bytes(data[5:])
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        read_history([tmp_path / "one"])


def test_a_verdict_says_what_it_found() -> None:
    verdict = judge(ONE, TWO, OLD)
    assert "1 stale" in str(verdict)
    assert "0 torn" in str(verdict)
    assert verdict.bad_keys() == {K}
    assert "11 was known when it began" in str(verdict.problems[0])
    assert "a.0 put k took version 11 value y" in str(verdict.problems[0])
