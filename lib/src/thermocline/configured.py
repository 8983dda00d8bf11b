"""What a part of the configuration may be: each function gives back what was given, or says what it is not and what is wanted.

``what`` names the setting, as "Limits: open_for"; ``raises`` is the error, a `ConfigurationError` if left out. Pure. bool is no number here.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, TypeVar

from thermocline.errors import ConfigurationError, InvalidArgument, ThermoclineError

Part = TypeVar("Part")
Error = type[ThermoclineError]


def duration(
    given: Any,
    what: str,
    *,
    least: timedelta | None = None,
    most: timedelta | None = None,
    raises: Error = ConfigurationError,
) -> timedelta:
    """A timedelta, or a number of seconds; from ``least`` (None: longer than zero) to ``most``, both included."""
    span: timedelta | None = None
    if isinstance(given, timedelta):
        span = given
    elif isinstance(given, int | float) and not isinstance(given, bool):
        try:
            span = timedelta(seconds=given)
        except (OverflowError, ValueError):  # without end, or no number at all
            span = None
    too_short = span is None or (span <= timedelta(0) if least is None else span < least)
    if span is None or too_short or (most is not None and span > most):
        low = "longer than zero" if least is None else f"at least {_shown(least)}"
        high = "" if most is None else f" and at most {_shown(most)}"
        raise raises(f"{what} is a timedelta or a number of seconds, {low}{high}, not {_given(given)}")
    return span


def seconds_of(span: timedelta | float) -> float:
    """The seconds of a duration that was checked."""
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


def whole(
    given: Any, what: str, *, least: int, most: int | None = None, unit: str = "", raises: Error = ConfigurationError
) -> int:
    """A whole number from ``least`` to ``most``, both included."""
    if isinstance(given, bool) or not isinstance(given, int) or given < least or (most is not None and given > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise raises(f"{what} is a whole number{f' of {unit}' if unit else ''}, {span}, not {_given(given)}")
    return given


def share(given: Any, what: str, *, zero: bool = False, one: bool = True, raises: Error = ConfigurationError) -> float:
    """A number from 0 to 1; 0 itself only with ``zero``, 1 itself only with ``one``."""
    fits = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1
    if not fits or (given == 0 and not zero) or (given == 1 and not one):
        low = "from 0" if zero else "over 0"
        raise raises(f"{what} is a number {low} {'up to' if one else 'and below'} 1, not {_given(given)}")
    return float(given)


def switch(given: Any, what: str, *, raises: Error = ConfigurationError) -> bool:
    """True or False, and nothing that is only true or false."""
    if not isinstance(given, bool):
        raise raises(f"{what} is True or False, not {_given(given)}")
    return given


def switches(**given: Any) -> None:
    """Arguments of one call that are each True or False. Raises `InvalidArgument`: None, 0 or "no" are neither, whatever is to be done with them."""
    for name, one in given.items():
        switch(one, name, raises=InvalidArgument)


def part(given: Any, what: str, kind: type[Part], *, raises: Error = ConfigurationError) -> Part:
    """An object of that kind."""
    if not isinstance(given, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise raises(f"{what} is {article} {kind.__name__}, not {_given(given)}")
    return given


def many(given: Any, what: str, kind: type[Part], *, raises: Error = ConfigurationError) -> tuple[Part, ...]:
    """Several objects of that kind. A string is none, though it can be gone through."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise raises(f"{what} are a list of {kind.__name__}s, not {_given(given)}")
    found = tuple(given)
    for one in found:
        if not isinstance(one, kind):
            raise raises(f"{what} are a list of {kind.__name__}s, and one of it is {_given(one)}")
    return found


def text(given: Any, what: str, *, raises: Error = ConfigurationError) -> str:
    """A string that is not empty. What is given is not repeated, for it may be a secret."""
    if not isinstance(given, str) or not given:
        raise raises(
            f"{what} is a string that is not empty, not {'an empty one' if given == '' else type(given).__name__}"
        )
    return given


def function(given: Any, what: str, *, raises: Error = ConfigurationError) -> None:
    """Something that can be called, or None."""
    if given is not None and not callable(given):
        raise raises(f"{what} is a function or None, not {_given(given)}")


def clock(given: Any, what: str, *, raises: Error = ConfigurationError) -> None:
    """What tells the time: `thermocline.clock.Clock`."""
    if not callable(getattr(given, "wall_ms", None)) or not callable(getattr(given, "monotonic", None)):
        raise raises(f"{what} is a Clock, with wall_ms() and monotonic(), not {_given(given)}")


def executor(given: Any, what: str, *, raises: Error = ConfigurationError) -> None:
    """A concurrent.futures.Executor, or None."""
    if given is not None and not isinstance(given, Executor):
        raise raises(f"{what} is a concurrent.futures.Executor or None, not {_given(given)}")


def not_both(method: str, one: str, others: Mapping[str, Any]) -> None:
    """Where ``method`` was given ``one``, each of the others is None: by the names of those that are not."""
    given = [name for name, other in others.items() if other is not None]
    if given:
        raise ConfigurationError(f"{method} takes {one} or {' and '.join(given)}, not both: leave one of them out")


def _given(given: Any) -> str:
    return f"{given!r:.80}"


def _shown(span: timedelta) -> str:
    total = span.total_seconds()
    if total >= 86_400:
        return "a day" if total == 86_400 else f"{total / 86_400:,g} days"
    return "zero" if not total else f"{total * 1000:g} ms" if total < 1 else f"{total:g} s"
