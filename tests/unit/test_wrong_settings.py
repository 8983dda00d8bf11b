"""Every argument of what users configure, given wrongly: an error of our own tree that names the argument, where it is given."""

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final, NamedTuple

import pytest

from thermocline import Hedging, Limits, NearCache, Resilience
from thermocline.errors import ThermoclineError


class Odd:
    """Of no kind that anything takes."""

    def __repr__(self) -> str:
        return "<odd>"


ODD = Odd()
DURATION: Final[tuple[Any, ...]] = (ODD, "2", b"2", [], True, -1, 0, math.nan, math.inf, timedelta(-1), 1e300)
WHOLE: Final[tuple[Any, ...]] = (ODD, "2", b"2", [], True, -1, 2.5, math.nan, math.inf, timedelta(1))
SHARE: Final[tuple[Any, ...]] = (ODD, "0.5", b"0", [], True, -0.1, 1.1, math.nan, math.inf, timedelta(1))
PART: Final[tuple[Any, ...]] = (ODD, "fast", 3, [], True)
SWITCH: Final[tuple[Any, ...]] = (ODD, "no", 1, None, [])


class Subject(NamedTuple):
    """``good``: arguments with which it can be made; ``wrong``: for each argument what it must refuse."""

    make: Callable[..., object]
    good: dict[str, Any]
    wrong: dict[str, tuple[Any, ...]]


SUBJECTS = {
    "Limits": Subject(
        Limits,
        {},
        dict.fromkeys(("at_once", "waiting", "failures", "slow_calls", "probes"), WHOLE)
        | dict.fromkeys(("window", "open_for", "open_at_most"), DURATION)
        | {"slow_after": SHARE},
    ),
    "Hedging": Subject(Hedging, {}, {"share": (*SHARE, 0), "quantile": (*SHARE, 0, 1), "samples": (*WHOLE, 0, 257)}),
    "Resilience": Subject(
        Resilience,
        {},
        {"retry_ratio": SHARE, "retry_burst": (*WHOLE, 0)} | dict.fromkeys(("hedge", "hot", "warm", "cold"), PART),
    ),
    "NearCache": Subject(
        NearCache,
        {},
        {"max_entries": (*WHOLE, 0), "max_bytes": (*WHOLE, 0), "stale_at_most": (*DURATION, 0.019, 60.1)},
    ),
}


def _cases() -> Iterator[Any]:
    for label, subject in SUBJECTS.items():
        for name, wrongs in subject.wrong.items():
            for wrong in wrongs:
                yield pytest.param(label, name, wrong, id=f"{label}-{name}-{wrong!r:.30}")


@pytest.mark.parametrize(("label", "name", "wrong"), [*_cases()])
def test_what_is_wrong_is_refused_by_its_name(label: str, name: str, wrong: Any) -> None:
    subject = SUBJECTS[label]
    with pytest.raises(ThermoclineError, match=rf"\b{name}\b"):
        subject.make(**{**subject.good, name: wrong})


def test_seconds_and_timedeltas_are_the_same() -> None:
    assert Limits(open_for=2, window=0.5, open_at_most=60) == Limits(
        open_for=timedelta(seconds=2), window=timedelta(milliseconds=500), open_at_most=timedelta(minutes=1)
    )


def test_two_that_do_not_fit_are_both_named() -> None:
    with pytest.raises(ThermoclineError, match=r"open_for .* open_at_most"):
        Limits(open_for=31)
