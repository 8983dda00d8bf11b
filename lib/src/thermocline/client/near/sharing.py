"""Which decoded values may be given to several callers: those that nobody can change, through and through."""

import sys
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

_PLAIN: Final = frozenset({str, bytes, int, float, bool, type(None), datetime, date, time, timedelta, UUID, Decimal})
_CHANGEABLE: Final = (list, dict, set, bytearray)


def size_if_immutable(value: Any) -> int | None:
    """The bytes of memory that a value takes which cannot be changed, nor anything within it; None: it can be, or nobody knows.

    These cannot: text, bytes, numbers, booleans, None, dates and times, UUIDs; tuples and frozensets of such; frozen msgspec Structs and dataclasses
    with such fields. Subclasses of them may have attributes of their own, and are not looked into.
    """
    kind = type(value)
    if kind in _PLAIN:
        return sys.getsizeof(value)
    if kind is tuple or kind is frozenset:
        return _of_all(value, sys.getsizeof(value))
    if isinstance(value, _CHANGEABLE):
        return None
    if isinstance(value, msgspec.Struct):
        if not value.__struct_config__.frozen:
            return None
        return _of_all([getattr(value, name) for name in value.__struct_fields__], sys.getsizeof(value))
    if is_dataclass(kind) and "__dataclass_params__" in kind.__dict__:
        return _of_dataclass(value, kind)
    return None


def _of_dataclass(value: Any, kind: Any) -> int | None:
    if not kind.__dataclass_params__.frozen:
        return None
    size = sys.getsizeof(value)
    own = getattr(value, "__dict__", None)
    if own is not None:
        if own.keys() - kind.__dataclass_fields__.keys():
            return None  # it keeps something beside its fields
        size += sys.getsizeof(own)
    return _of_all([getattr(value, name) for name in kind.__dataclass_fields__ if hasattr(value, name)], size)


def _of_all(parts: Any, size: int) -> int | None:
    for part in parts:
        found = size_if_immutable(part)
        if found is None:
            return None
        size += found
    return size
