"""The sketch: how often and how lately, within its stated errors, in memory that does not grow."""

from collections import Counter

import pytest
from benchmarks.sketch import admitted, hit_ratios, lru, zipf
from hypothesis import given
from hypothesis import strategies as st

from thermocline.keys import key_digest
from thermocline.model import Key
from thermocline.sketch import FILTER_BYTES, Frequency, Windows, merged, noted, probability

HOUR_MS = 3_600_000


def digest(number: int) -> bytes:
    return key_digest(Key("tenant", "scope", f"name/{number}"))


@given(st.lists(st.integers(0, 40), max_size=400))
def test_no_estimate_is_below_the_truth_before_aging(trace: list[int]) -> None:
    sketch = Frequency(64)
    told = [sketch.note(item) for item in trace]
    counts = Counter(trace)
    for item, count in counts.items():
        assert sketch.estimate(item) >= min(count, 15)
    if trace:
        assert told[-1] == sketch.estimate(trace[-1])


def test_estimates_are_hardly_ever_too_high_within_the_capacity() -> None:
    sketch = Frequency(1000)
    for number in range(4000):
        sketch.note(number % 1000)
    over = [sketch.estimate(item) - 4 for item in range(1000)]
    assert sum(over) / len(over) < 1
    assert sum(sketch.estimate(item) > 1 for item in range(10_000, 11_000)) < 200


def test_what_was_popular_long_ago_is_forgotten() -> None:
    sketch = Frequency(100)
    for _ in range(15):
        sketch.note("old")
    before = sketch.estimate("old")
    for number in range(20_000):
        sketch.note(number)
    assert before >= 15
    assert sketch.estimate("old") < 6


def test_its_size_is_fixed() -> None:
    sketch = Frequency(10_000)
    size = sketch.size_bytes
    for number in range(50_000):
        sketch.note(number)
    assert sketch.size_bytes == size <= 120_000


@pytest.mark.parametrize("capacity", [0, 1, 3, 64, 100_000])
def test_any_capacity_works(capacity: int) -> None:
    sketch = Frequency(capacity)
    assert [sketch.estimate("x"), sketch.note("x"), sketch.note("x"), sketch.estimate("x")] == [0, 1, 2, 2]


def test_admission_beats_lru_where_popularity_lasts() -> None:
    """The benchmark's traces, shorter; they are seeded, so this is exact. Where all changes often LRU is ahead, as docs/performance.md says."""
    ratios = {line.trace: (line.sketch, line.lru) for line in hit_ratios(120_000)}
    for trace in ("Zipf", "Zipf and scans"):
        assert ratios[trace][0] > ratios[trace][1] + 0.03, trace
    assert ratios["Zipf, other keys every 20,000 reads"][0] < ratios["Zipf, other keys every 20,000 reads"][1]


def test_a_cache_that_holds_all_gains_nothing() -> None:
    trace = [number % 100 for number in zipf(reads=5000)]
    assert lru(trace, 100) == admitted(trace, 100)


# --- windows -----------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 10**6), max_size=200))
def test_every_noted_key_is_found(numbers: set[int]) -> None:
    windows = Windows(HOUR_MS)
    for number in numbers:
        windows.note(digest(number), 5 * HOUR_MS)
    (running, content), _ = windows.filters()
    assert running == 5 or not numbers
    assert all(noted(content, digest(number)) for number in numbers)


def test_strangers_are_found_as_seldom_as_is_said() -> None:
    windows = Windows(HOUR_MS, size=1000)
    for number in range(1000):
        windows.note(digest(number), 0)
    content = windows.filters()[0][1]
    share = sum(noted(content, digest(number)) for number in range(10_000, 14_000)) / 4000
    assert share == pytest.approx(probability(1000, size=1000), rel=0.3)


def test_the_stated_probabilities() -> None:
    assert probability(30_000) == pytest.approx(0.0196, abs=0.001)
    assert probability(100_000) == pytest.approx(0.39, abs=0.01)
    assert probability(0) == 0


def test_windows_turn_with_the_clock() -> None:
    windows = Windows(HOUR_MS)
    windows.note(digest(1), 10 * HOUR_MS)
    windows.note(digest(2), 11 * HOUR_MS)
    (number, running), (before, previous) = windows.filters()
    assert (number, before) == (11, 10)
    assert noted(running, digest(2))
    assert noted(previous, digest(1))
    assert not noted(running, digest(1))
    windows.note(digest(3), 20 * HOUR_MS)
    assert windows.filters()[1] == (19, bytes(FILTER_BYTES))


def test_a_clock_that_goes_back_loses_nothing() -> None:
    windows = Windows(HOUR_MS)
    windows.note(digest(1), 10 * HOUR_MS)
    windows.note(digest(2), 9 * HOUR_MS + 1)
    number, content = windows.filters()[0]
    assert number == 10
    assert noted(content, digest(1))
    assert noted(content, digest(2))


def test_filters_are_laid_over_each_other() -> None:
    filters = []
    for number in (1, 2):
        windows = Windows(HOUR_MS)
        windows.note(digest(number), 0)
        filters.append(windows.filters()[0][1])
    both = merged(*filters)
    assert noted(both, digest(1))
    assert noted(both, digest(2))
    with pytest.raises(ValueError, match="different sizes"):
        merged(filters[0], b"short")


@pytest.mark.parametrize(("span", "size"), [(0, 100), (-1, 100), (1, 0), (1, 7)])
def test_windows_that_cannot_be_are_refused(span: int, size: int) -> None:
    with pytest.raises(ValueError, match="window"):
        Windows(span, size=size)
