"""What goes into a dictionary: fragments that many scopes share, and nothing that is one scope's alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.dictionaries.messages import message, raw_of, samples

from thermocline.codec import Dictionary, Sample, measure, train
from thermocline.codec.training import _TOKEN, RUN, shared_fragments
from thermocline.errors import InvalidArgument

SECRET = "IBAN DE89370400440532013000 belongs to Grace"


def test_it_makes_values_that_it_never_saw_smaller() -> None:
    made = train(samples(30, 8), size=32 * 1024, shared_by=10, level=3)
    others = [raw_of(message(500 + n, f"user/{700 + n}")) for n in range(60)]
    found = measure(made, others, level=3, threshold=1024)
    assert found.raw / found.without < 1.8
    assert found.raw / found.packed > 2.5
    assert found.gain > 0.35


def test_the_same_samples_make_the_same_dictionary() -> None:
    one, other = (train(samples(20, 4), size=8192, shared_by=5, level=3) for _ in range(2))
    assert (one.content, one.id) == (other.content, other.id)


def test_what_one_scope_says_often_does_not_go_in() -> None:
    told = samples(20, 4) + [Sample("user/7", raw_of(message(n, "user/7", secret=SECRET))) for n in range(40)]
    shared = train(told, size=32 * 1024, shared_by=5, level=3)
    free = train(told, size=32 * 1024, shared_by=1, level=3)
    assert b"DE89370400440532013000" not in shared.content
    assert b"DE89370400440532013000" in free.content  # which is why shared_by=1 has to be asked for


def test_what_many_scopes_say_goes_in() -> None:
    made = train(samples(20, 4, secret="with kind regards from all of us"), size=32 * 1024, shared_by=10, level=3)
    assert b"with kind regards from all of us" in made.content


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "d"]),
            st.lists(st.sampled_from(["one", "two", "three", "four", "5", "ä"]), min_size=1, max_size=30),
        ),
        min_size=1,
        max_size=25,
    ),
    st.integers(2, 4),
)
def test_every_run_of_a_fragment_stands_in_so_many_scopes(told: list[tuple[str, list[str]]], shared_by: int) -> None:
    rows = [Sample(scope, " ".join(words).encode()) for scope, words in told]
    scopes: dict[bytes, set[str]] = {}
    for row in rows:
        tokens = _TOKEN.findall(row.raw)
        for length in range(1, RUN + 1):
            for at in range(len(tokens) - length + 1):
                scopes.setdefault(b"".join(tokens[at : at + length]), set()).add(row.scope)
    for fragment in shared_fragments(rows, shared_by):
        tokens = _TOKEN.findall(fragment)
        for at in range(max(1, len(tokens) - RUN + 1)):
            assert len(scopes[b"".join(tokens[at : at + RUN])]) >= shared_by


def test_nothing_that_is_shared_is_left_out() -> None:
    rows = [Sample(scope, f"unique{scope} the very same words here end{scope}".encode()) for scope in "abcd"]
    assert list(shared_fragments(rows, 4)) == [b" the very same words here "]


@pytest.mark.parametrize(
    ("given_samples", "options", "why"),
    [
        (samples(3, 4), {}, "too few"),
        (samples(4, 8), {"shared_by": 10}, "take samples of more scopes"),
        (samples(30, 2), {"size": 100}, "1024 to"),
        (samples(30, 2), {"size": 10**7}, "1024 to"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    given_samples: list[Sample], options: dict[str, int], why: str
) -> None:
    with pytest.raises(InvalidArgument, match=why):
        train(given_samples, **{"size": 8192, "shared_by": 5, "level": 3, **options})


def test_small_dictionaries_are_dictionaries() -> None:
    made = train(samples(20, 4), size=1024, shared_by=5, level=3)
    assert len(made.content) <= 1024
    assert Dictionary(made.content).id == made.id != 0
