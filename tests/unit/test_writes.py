"""The write path's decisions, one history at a time. tests/unit/test_writes_explored.py tries all of them."""

from dataclasses import replace
from typing import Any

import pytest

from thermocline.errors import InvalidArgument
from thermocline.model import Envelope, Flags, Header, Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.writes import Answer, Create, Doubt, Patch, Plain, Read, Seen, Step, Took, after, begin

CLOCK = 1_700_000_000_000_000  # microseconds
V = CLOCK - 5_000_000  # the version that the writer knows


def write(verb: Verb = Verb.PUT, **fields: Any) -> Write:
    flags = Flags.TOMBSTONE if verb is Verb.DELETE else Flags.NONE
    return Write(verb, "me", Envelope(Key("t", "s", "n"), Header(flags=flags)), **fields)


def told(step: Step, *answers: Answer) -> Step | Written | Doubt:
    """What follows from these answers, one after another."""
    result: Step | Written | Doubt = step
    for answer in answers:
        assert isinstance(result, Step), f"{answer} came after the end: {result}"
        result = after(result, answer)
    return result


def asked(step: Step | Written | Doubt) -> object:
    return step.request if isinstance(step, Step) else step


def ring(*newest: str) -> tuple[str, ...]:
    return (*newest, *["other"] * 8)[:8]


@pytest.mark.parametrize(("given", "request_"), [
    (write(), Create(CLOCK)),
    (write(known=0), Create(CLOCK)),
    (write(known=V), Patch(V + 8)),
    (write(if_version=V), Patch(V, exact=True)),
    (write(if_version=V, known=V + 3), Patch(V, exact=True)),
    (write(if_absent=True), Create(CLOCK)),
    (write(if_absent=True, known=V), Create(CLOCK)),
    (write(if_absent=True, known=CLOCK + 7), Create(CLOCK + 8)),
    (write(Verb.DELETE), Read()),
    (write(Verb.DELETE, known=V), Patch(V + 8)),
    (write(Verb.TOUCH), Read()),
    (write(Verb.TOUCH, known=V), Patch(V + 8, live=True)),
    (write(Verb.TOUCH, if_version=V), Patch(V, exact=True, live=True)),
], ids=str)  # fmt: skip
def test_first_request(given: Write, request_: object) -> None:
    assert begin(given, CLOCK).request == request_


@pytest.mark.parametrize("given", [
    write(if_absent=True, if_version=V),
    write(Verb.DELETE, if_absent=True),
    write(Verb.TOUCH, if_absent=True),
], ids=str)  # fmt: skip
def test_conditions_that_exclude_each_other(given: Write) -> None:
    with pytest.raises(InvalidArgument):
        begin(given, CLOCK)


def test_version_of_a_create_is_above_what_is_known_and_chosen_once() -> None:
    step = told(begin(write(known=CLOCK + 5), CLOCK), Plain.MISSING)
    assert asked(step) == Create(CLOCK + 6)
    assert isinstance(step, Step)
    seen = Seen(CLOCK + 900, ring(), "other", live=True)
    again = told(step, Plain.EXISTS, seen, Plain.MISSING)
    assert asked(again) == Create(CLOCK + 6)


@pytest.mark.parametrize(("given", "answers", "end"), [
    (write(known=V), [Took(V + 3)], Written(Effect.TOOK, V + 3)),
    (write(), [Took(CLOCK)], Written(Effect.TOOK, CLOCK)),
    (write(Verb.DELETE, known=V), [Plain.MISSING], Written(Effect.NOTHING, 0)),
    (write(Verb.TOUCH, known=V), [Plain.MISSING], Written(Effect.NOTHING, 0)),
    (write(if_version=V), [Plain.MISSING], Written(Effect.REFUSED, 0)),
    (write(Verb.DELETE, if_version=V), [Plain.MISSING], Written(Effect.REFUSED, 0)),
    (write(Verb.DELETE), [Plain.MISSING, Plain.MISSING], Written(Effect.NOTHING, 0)),
    (write(if_version=V), [Plain.REFUSED, Seen(V + 1, ring(), "b", True)], Written(Effect.REFUSED, V + 1)),
    (write(if_version=V), [Plain.REFUSED, Plain.MISSING], Written(Effect.REFUSED, 0)),
    (write(if_absent=True), [Plain.EXISTS, Seen(V, ring(), "b", True)], Written(Effect.REFUSED, V)),
    (write(known=V), [Plain.LOST, Plain.REFUSED, Seen(V + 1, ring("me"), "b", True)], Written(Effect.TOOK, V + 1)),
    (write(known=V), [Plain.LOST, Plain.REFUSED, Seen(V + 5, ring("x", "y", "me"), "b", True)], Written(Effect.TOOK, V + 3)),
    (write(), [Plain.LOST, Plain.EXISTS, Seen(CLOCK + 40, ring(), "me", True)], Written(Effect.TOOK, CLOCK)),
    (write(known=V), [Plain.LOST, Plain.REFUSED, Seen(V + 9, ring(), "b", True)], Doubt.UNKNOWN),
    (write(if_version=V), [Plain.LOST, Plain.REFUSED, Seen(V + 9, ring(), "b", True)], Doubt.UNKNOWN),
    (write(if_version=V), [Plain.LOST, Plain.REFUSED, Plain.MISSING], Doubt.UNKNOWN),
    (write(if_version=V), [Plain.LOST, Plain.REFUSED, Seen(V + 8, ring(), "b", True)], Written(Effect.REFUSED, V + 8)),
    (write(if_version=V), [Plain.REFUSED, Seen(V - 1, ring(), "b", True)], Written(Effect.REFUSED, 0)),
    (write(Verb.TOUCH, known=V), [Plain.REFUSED, Seen(V, ring(), "b", False)], Written(Effect.NOTHING, V)),
    (write(Verb.TOUCH, known=V), [Plain.LOST, Plain.REFUSED, Seen(V, ring(), "b", False)], Doubt.UNKNOWN),
    (write(Verb.TOUCH, if_version=V), [Plain.LOST, Plain.REFUSED, Seen(V, ring(), "b", False)], Written(Effect.NOTHING, V)),
], ids=str)  # fmt: skip
def test_ends(given: Write, answers: list[Answer], end: object) -> None:
    assert told(begin(given, CLOCK), *answers) == end


@pytest.mark.parametrize(("given", "answers", "request_"), [
    (write(known=V), [Plain.MISSING], Create(CLOCK)),
    (write(known=V), [Plain.REFUSED], Read()),
    (write(), [Plain.EXISTS], Read()),
    (write(), [Plain.EXISTS, Seen(V, ring(), "b", True)], Patch(V + 8)),
    (write(), [Plain.EXISTS, Plain.MISSING], Create(CLOCK)),
    (write(known=V), [Plain.REFUSED, Seen(V + 20, ring(), "b", True)], Patch(V + 28)),
    (write(known=V), [Plain.REFUSED, Seen(V - 1, ring(), "b", True)], Read()),
    (write(known=V), [Plain.LOST, Plain.REFUSED, Seen(V + 8, ring(), "b", True)], Patch(V + 16)),
    (write(if_absent=True), [Plain.EXISTS, Seen(V, ring(), "b", False)], Patch(V, exact=True)),
    (write(Verb.DELETE), [Plain.MISSING], Patch(0)),
    (write(Verb.DELETE), [Seen(V, ring(), "b", False)], Patch(V + 8)),
    (write(Verb.TOUCH), [Seen(V, ring(), "b", False)], Patch(V + 8, live=True)),
    (write(Verb.TOUCH, known=V), [Plain.REFUSED, Seen(V + 9, ring(), "b", False)], Patch(V + 17, live=True)),
    (write(if_version=V), [Plain.LOST, Plain.REFUSED, Seen(V - 1, ring(), "b", True)], Read()),
], ids=str)  # fmt: skip
def test_next_requests(given: Write, answers: list[Answer], request_: object) -> None:
    assert asked(told(begin(given, CLOCK), *answers)) == request_


@pytest.mark.parametrize("given", [write(), write(known=V), write(Verb.DELETE), write(if_version=V)], ids=str)
def test_without_an_answer_the_same_goes_out_again(given: Write) -> None:
    step = begin(given, CLOCK)
    assert asked(told(step, Plain.LOST, Plain.LOST)) == step.request


def test_doubt_is_owned_from_the_first_lost_answer_on() -> None:
    create, patch, read = begin(write(), CLOCK), begin(write(known=V), CLOCK), begin(write(Verb.DELETE), CLOCK)
    assert not any(step.in_doubt for step in (create, patch, read))
    for step, doubtful in ((create, True), (patch, True), (read, False)):
        lost = after(step, Plain.LOST)
        assert isinstance(lost, Step)
        assert lost.in_doubt is doubtful


def test_asking_whether_there_is_an_item_can_take_no_effect() -> None:
    """The patch that confirms an absence carries the limit 0: no copy of it is ever let in."""
    step = told(begin(write(Verb.DELETE), CLOCK), Plain.MISSING, Plain.LOST)
    assert isinstance(step, Step)
    assert not step.in_doubt


def test_doubt_about_a_create_outlives_the_sight_of_anothers_item() -> None:
    """The item may be removed, and the late create arrive then."""
    step = told(begin(write(), CLOCK), Plain.LOST, Plain.EXISTS, Seen(V, ring(), "other", live=False))
    assert isinstance(step, Step)
    assert step.in_doubt


def test_steps_can_be_explored() -> None:
    step = begin(write(known=V), CLOCK)
    assert len({step, replace(step), begin(write(known=V), CLOCK)}) == 1
