"""Models to plain data and back: dataclasses, msgspec Structs, attrs classes, pydantic models, and any type that msgspec or pydantic reads.

pydantic takes long to import, so it is only imported where a caller's type needs it.
"""

import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec

from thermocline.errors import InvalidArgument, NotSerialisable, TypeMismatch

_KEPT: Final = (bytes, bytearray, datetime, date, time, timedelta, uuid.UUID, Decimal)  # not turned into text


def is_pydantic(kind: Any) -> bool:
    """Whether it is a pydantic model class; asked without importing pydantic."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_dump")


def plain_model(value: Any) -> Any:
    """What a model holds, as plain data of one level or more. Raises `NotSerialisable` for what is no model."""
    kind = type(value)
    if is_pydantic(kind):
        return value.model_dump(mode="python", by_alias=False, round_trip=True)
    if isinstance(value, msgspec.Struct) or hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__attrs_attrs__"):
        return msgspec.to_builtins(value, builtin_types=_KEPT, enc_hook=plain_model)
    raise NotSerialisable(
        f"a value of type {kind.__module__}.{kind.__qualname__} cannot be stored: give plain data, bytes, "
        "a dataclass, a msgspec Struct or a pydantic model"
    )


def plain_pydantic(value: Any) -> Any:
    """A model with fields of types that only pydantic knows (a URL, a path) in its JSON form, if that gives the same model again: a secret's
    does not. Raises `NotSerialisable`."""
    written = value.model_dump(mode="json", by_alias=False, round_trip=True)
    try:
        same = type(value).model_validate(written, by_alias=True, by_name=True) == value
    except ValueError:
        same = False
    if not same:
        raise NotSerialisable(f"a field of {type(value).__qualname__} cannot be stored so that it comes back as it was")
    return written


def as_type(value: Any, kind: Any) -> Any:
    """Plain data as a ``kind``, validated. Raises `TypeMismatch`, and `InvalidArgument` if ``kind`` is nothing that values can be read as."""
    try:
        if _needs_pydantic(kind):
            return _by_pydantic(kind, value)
        return msgspec.convert(value, kind, builtin_types=_KEPT, dec_hook=_by_pydantic)
    except _MISFITS as error:
        if isinstance(error, InvalidArgument):
            raise
        if isinstance(error.__cause__, InvalidArgument):  # msgspec wraps what its hook raises
            raise error.__cause__ from None
        raise TypeMismatch(f"a stored {type(value).__name__} does not fit {_name(kind)}: {error}") from error


# What msgspec, pydantic and a model's own checks raise.
_MISFITS = (msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def _needs_pydantic(kind: Any) -> bool:
    if hasattr(kind, "__pydantic_validator__"):  # a model, or a pydantic dataclass
        return True
    return not _cached(_msgspec_reads, kind)


def _msgspec_reads(kind: Any) -> bool:
    try:
        msgspec.msgpack.Decoder(kind)
    except TypeError:
        return False  # such as a union of two models
    return True


def _by_pydantic(kind: Any, value: Any) -> Any:
    """Also msgspec's hook for a class, inside another type, that it does not know."""
    from pydantic import PydanticUserError

    try:
        return _cached(_adapter, kind).validate_python(value, by_alias=True, by_name=True)
    except PydanticUserError as error:
        raise _no_type(kind, error) from error


def _adapter(kind: Any) -> Any:
    from pydantic import PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(kind)
    except (PydanticUserError, NameError, TypeError) as error:
        raise _no_type(kind, error) from error


@lru_cache(maxsize=512)
def _kept(function: Callable[[Any], Any], kind: Any) -> Any:
    return function(kind)


def _cached(function: Callable[[Any], Any], kind: Any) -> Any:
    try:
        hash(kind)
    except TypeError:  # as Annotated with a list in it
        return function(kind)
    return _kept(function, kind)


def _no_type(kind: Any, error: Exception) -> InvalidArgument:
    return InvalidArgument(f"type={_name(kind)} is nothing that a value can be read as: {error}")


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)
