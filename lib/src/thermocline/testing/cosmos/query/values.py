"""JSON values as Cosmos compares them, and `undefined`."""

from __future__ import annotations

import math
from functools import cmp_to_key
from typing import Any, Final

import msgspec


class Undefined:
    """The value of what is not there. It is not null, and no test of it is true."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = Undefined()


def is_number(value: Any) -> bool:
    """A JSON number (Python's bool is not one)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def type_order(value: Any) -> int:
    """ORDER BY across types: undefined, null, bool, number, string, array, object."""
    if value is UNDEFINED:
        return 0
    if value is None:
        return 1
    if isinstance(value, bool):
        return 2
    if isinstance(value, (int, float)):
        return 4
    if isinstance(value, str):
        return 5
    return 6 if isinstance(value, list) else 7


def equals(a: Any, b: Any) -> bool:
    """Deep equality without coercion: 1 and "1" differ, 1 and 1.0 are the same, 1 and true are not."""
    ta, tb = type(a), type(b)
    if ta is tb and (ta is str or ta is int or ta is float):
        return bool(a == b)
    if type_order(a) != type_order(b):
        return False
    if ta is list:
        return len(a) == len(b) and all(equals(x, y) for x, y in zip(a, b, strict=True))
    if ta is dict:
        return len(a) == len(b) and all(k in b and equals(v, b[k]) for k, v in a.items())
    return bool(a == b)


def compare(a: Any, b: Any) -> int:
    """Total order for ORDER BY, MIN and MAX. Strings go by code point."""
    oa, ob = type_order(a), type_order(b)
    if oa != ob:
        return -1 if oa < ob else 1
    if oa in (0, 1):
        return 0
    if oa >= 6:
        a, b = canonical(a), canonical(b)
    return -1 if a < b else 1 if a > b else 0


sort_key: Final = cmp_to_key(compare)


def canonical(value: Any) -> str:
    """A text that is equal for equal values, for DISTINCT and GROUP BY."""
    return "u" if value is UNDEFINED else msgspec.json.encode(_normal(value)).decode()


def _normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _normal(value[k]) for k in sorted(value)}
    if isinstance(value, list):
        return [_normal(v) for v in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def number(value: float) -> Any:
    """A computed number: whole ones without a point, and undefined for what JSON cannot hold."""
    if isinstance(value, int):
        return value if abs(value) <= 2**53 else number(float(value))
    if not math.isfinite(value):
        return UNDEFINED
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value
