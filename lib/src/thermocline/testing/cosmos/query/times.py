"""Date and time functions. A date is text like `2026-11-21T10:00:00.0000000Z`; a timestamp counts milliseconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.values import UNDEFINED, is_number

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS_AT_EPOCH: Final = 0
_TEXT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,7}))?(Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
_UNITS: Final = {
    "day": ("day", "dd", "d"),
    "hour": ("hour", "hh"),
    "minute": ("minute", "mi", "n"),
    "second": ("second", "ss", "s"),
    "millisecond": ("millisecond", "ms"),
    "microsecond": ("microsecond", "mcs"),
    "nanosecond": ("nanosecond", "ns"),
    "month": ("month", "mm", "m"),
    "year": ("year", "yyyy", "yy"),
}
_UNIT: Final = {alias: unit for unit, aliases in _UNITS.items() for alias in aliases}
_MICROSECONDS: Final = {
    "day": 86_400_000_000,
    "hour": 3_600_000_000,
    "minute": 60_000_000,
    "second": 1_000_000,
    "millisecond": 1000,
    "microsecond": 1,
}


def arguments(name: str, given: int, wanted: int) -> None:
    """400 unless as many arguments were given as the function takes."""
    if given != wanted:
        raise bad_request(f"The {name} function requires {wanted} argument(s).")


def no_arguments(name: str, given: int) -> None:
    """400 if arguments were given."""
    arguments(name, given, 0)


def parse(text: Any) -> datetime | None:
    """A moment, or None for what is not a date."""
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(g) if g else 0 for g in match.groups()[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, int((match[7] or "0").ljust(6, "0")[:6]), UTC)
    except ValueError:
        return None
    zone = match[8]
    if zone and zone != "Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        moment += -shift if zone[0] == "+" else shift
    return moment


def _show(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}0Z"


def to_text(milliseconds: float) -> Any:
    """A timestamp as text."""
    try:
        return _show(_EPOCH + timedelta(milliseconds=milliseconds))
    except OverflowError:
        return UNDEFINED


def to_ticks(milliseconds: float) -> int:
    """Hundreds of nanoseconds since 1970."""
    return int(milliseconds * 10_000)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _to_timestamp(text: Any) -> Any:
    moment = parse(text)
    return UNDEFINED if moment is None else _micros(moment) // 1000


def _of_date(function: Callable[[datetime], Any]) -> Callable[[Any], Any]:
    def run(text: Any) -> Any:
        moment = parse(text)
        return UNDEFINED if moment is None else function(moment)

    return run


def _add(part: Any, amount: Any, text: Any) -> Any:
    moment, unit = parse(text), _UNIT.get(str(part).lower())
    if moment is None or unit is None or not is_number(amount) or amount != int(amount):
        return UNDEFINED
    try:
        if unit in ("month", "year"):
            months = moment.year * 12 + moment.month - 1 + int(amount) * (12 if unit == "year" else 1)
            year, month = divmod(months, 12)
            last = (datetime(year + (month == 11), (month + 1) % 12 + 1, 1, tzinfo=UTC) - timedelta(days=1)).day
            return _show(moment.replace(year=year, month=month + 1, day=min(moment.day, last)))
        if unit == "nanosecond":
            return _show(moment + timedelta(microseconds=int(amount) // 1000))
        return _show(moment + timedelta(microseconds=int(amount) * _MICROSECONDS[unit]))
    except (OverflowError, ValueError):
        return UNDEFINED


def _diff(part: Any, start: Any, end: Any) -> Any:
    a, b, unit = parse(start), parse(end), _UNIT.get(str(part).lower())
    if a is None or b is None or unit is None:
        return UNDEFINED
    if unit == "year":
        return b.year - a.year
    if unit == "month":
        return (b.year - a.year) * 12 + b.month - a.month
    if unit == "nanosecond":
        return (_micros(b) - _micros(a)) * 1000
    step = _MICROSECONDS[unit]
    return _micros(b) // step - _micros(a) // step  # boundaries crossed


def _part(part: Any, text: Any) -> Any:
    moment, unit = parse(text), _UNIT.get(str(part).lower())
    if moment is None or unit is None:
        return UNDEFINED
    if unit == "millisecond":
        return moment.microsecond // 1000
    if unit == "nanosecond":
        return moment.microsecond * 1000
    return getattr(moment, unit)


def _from_parts(*parts: Any) -> Any:
    if not all(is_number(p) and p == int(p) for p in parts):
        return UNDEFINED
    year, month, day, hour, minute, second, fraction = (*(int(p) for p in parts), 0, 0, 0, 0)[:7]
    try:
        return _show(datetime(year, month, day, hour, minute, second, fraction // 10, UTC))
    except ValueError:
        return UNDEFINED


FUNCTIONS: Final[dict[str, tuple[int, int, Callable[..., Any]]]] = {
    "DATETIMETOTIMESTAMP": (1, 1, _to_timestamp),
    "TIMESTAMPTODATETIME": (1, 1, lambda t: to_text(t) if is_number(t) else UNDEFINED),
    "DATETIMETOTICKS": (1, 1, _of_date(lambda m: _micros(m) * 10)),
    "TICKSTODATETIME": (1, 1, lambda t: to_text(t / 10_000) if is_number(t) else UNDEFINED),
    "DATETIMEADD": (3, 3, _add),
    "DATETIMEDIFF": (3, 3, _diff),
    "DATETIMEPART": (2, 2, _part),
    "DATETIMEFROMPARTS": (3, 7, _from_parts),
}
