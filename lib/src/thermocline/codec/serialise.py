"""Values to bytes and back: bytes and text as they are, JSON where it keeps everything, MessagePack with extensions for the rest.

What a value is decides the serialiser, never an option, and everything comes back equal and of the same type. Of the other types:
subclasses of the builtin ones, enums, dataclasses, msgspec Structs and pydantic models are stored as the plain data they hold
(`thermocline.codec.typed` makes them again); ``bytearray`` and ``memoryview`` come back as bytes.
"""

import math
import uuid
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import msgspec
from msgspec import json, msgpack
from msgspec.msgpack import Ext

from thermocline.codec.envelope import BYTES, JSON, MSGPACK, TEXT
from thermocline.codec.typed import is_pydantic, plain_model, plain_pydantic
from thermocline.errors import CorruptRecord, NotSerialisable, UnreadableRecord

MAX_DEPTH: Final = 128  # levels of a value; each costs the reader up to three frames of Python's stack of 1,000
JSON_DEPTH: Final = (
    100  # levels of a value that is stored as JSON: Cosmos nests at most 128, and its item is around the value
)
SAFE_INTEGER: Final = 2**53 - 1  # the largest that a double, and so Cosmos, keeps exactly together with its neighbours

# Codes of MessagePack extensions: part of the wire format.
INTEGER: Final = 1  # signed big-endian, of integers that MessagePack cannot hold
DATETIME: Final = 2
DATE: Final = 3
TIME: Final = 4
TIMEDELTA: Final = 5  # microseconds, signed big-endian
UUID: Final = 6
DECIMAL: Final = 7
TUPLE: Final = 8
SET: Final = 9
FROZENSET: Final = 10
PAIRS: Final = 11  # a dict with keys other than text: key, value, key, value

_MICROSECOND = timedelta(microseconds=1)
_BROKEN = (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class Serialised:
    """A value as bytes, before compression."""

    serialiser: int
    raw: bytes


# --- writing ---------------------------------------------------------------------------------------------------------


def serialise(value: Any) -> Serialised:
    """Raises `NotSerialisable` with what is wrong and where it can be seen."""
    kind = type(value)
    try:
        if kind is str:
            return Serialised(TEXT, value.encode())
        if kind is bytes:
            return Serialised(BYTES, value)
        if kind in _JSON_KINDS:
            try:
                raw = json.encode(value)
            except (TypeError, ValueError, OverflowError):
                pass  # something below is not JSON's
            else:
                # Encoded before it is looked at: this bounds the depth and the size of what is walked through.
                if survives_json(value):
                    return Serialised(JSON, raw)
        found = _plain(value, 0)
        if type(found) is str:
            return Serialised(TEXT, found.encode())
        if type(found) is bytes:
            return Serialised(BYTES, found)
        if survives_json(found):
            return Serialised(JSON, json.encode(found))
        return Serialised(MSGPACK, msgpack.encode(found))
    except NotSerialisable:
        raise
    except UnicodeEncodeError as error:
        raise NotSerialisable("text with a lone surrogate cannot be stored: UTF-8 has no form for it") from error
    except RecursionError as error:
        raise NotSerialisable("a value that holds itself, or is nested too deeply, cannot be stored") from error
    except (ValueError, TypeError, ArithmeticError, msgspec.MsgspecError) as error:
        raise NotSerialisable(f"a value of type {kind.__name__} cannot be stored: {error}") from error


def to_json(value: Any) -> bytes:
    """Plain JSON that a store gave back. Raises `CorruptRecord` if it is none."""
    try:
        return json.encode(value)
    except (*_BROKEN, OverflowError) as error:
        raise CorruptRecord(f"a record's JSON cannot be read: {error}") from error


def shown_json(value: Any) -> bytes:
    """The value as JSON, for readers who have nothing else: dates and decimals as text, bytes in Base64, sets as lists, NaN as null. Raises
    `NotSerialisable` for what even that cannot say."""
    try:
        return json.encode(value)
    except (*_BROKEN, OverflowError) as error:
        raise NotSerialisable(f"a value of type {type(value).__name__} cannot be said in JSON: {error}") from error


def survives_json(value: Any) -> bool:
    """Whether a value comes back from JSON unchanged, also through a store that keeps numbers as doubles and may write 1.0 as 1."""
    level: list[Any] = [value]
    for _ in range(JSON_DEPTH):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is int:
                if not -SAFE_INTEGER <= item <= SAFE_INTEGER:
                    return False
            elif kind is dict:
                for name in item:
                    if type(name) is not str:
                        return False
                below += item.values()
            elif kind is list:
                below += item
            elif kind is not float or not math.isfinite(item) or item.is_integer():
                return False
        if not below:
            return True
        level = below
    return False


def _plain(value: Any, depth: int) -> Any:
    """The value with everything that MessagePack does not hold put into an extension."""
    kind = type(value)
    if kind is str or kind is bytes or kind is bool or value is None or kind is float:
        return value
    if kind is int:
        return _integer(value, depth)
    if depth >= MAX_DEPTH:
        raise NotSerialisable(
            f"a value that holds itself, or is nested deeper than {MAX_DEPTH} levels, cannot be stored"
        )
    writer = _WRITERS.get(kind)
    if writer is None:
        for base, of_base in _WRITERS.items():
            if isinstance(value, base):
                writer = of_base
                break
        else:
            return _model(value, depth)
    return writer(value, depth)


def _model(value: Any, depth: int) -> Any:
    if not is_pydantic(type(value)):
        return _plain(plain_model(value), depth + 1)
    try:
        return _plain(plain_model(value), depth + 1)
    except NotSerialisable:
        return _plain(plain_pydantic(value), depth + 1)


def _integer(value: int, _: int) -> Any:
    value = int.__pos__(value)  # of a subclass too, whatever it overrides
    if -(2**63) <= value < 2**64:
        return value
    return Ext(INTEGER, _signed(value))


def _signed(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, signed=True)


def _items(value: Iterable[Any], depth: int) -> list[Any]:
    return [_plain(item, depth + 1) for item in value]


def _mapping(value: dict[Any, Any], depth: int) -> Any:
    if all(type(name) is str for name in value):
        return {name: _plain(item, depth + 1) for name, item in value.items()}
    flat = [part for pair in value.items() for part in pair]
    return _hashed(PAIRS, flat, value, depth)


def _hashed(code: int, items: Iterable[Any], value: dict[Any, Any] | Set[Any], depth: int) -> Ext:
    data = msgpack.encode(_items(items, depth))
    if not all(type(member) in _SCALARS for member in value):
        try:
            whole = len(_READERS[code](data)) == len(value)
        except TypeError:
            whole = False  # such as a frozen dataclass, whose plain data is a dict and cannot be hashed
        if not whole:
            raise NotSerialisable(
                "a set's member or a dict's key is of a kind that cannot be one again when it is read"
            )
    return Ext(code, data)


def _tuple(value: tuple[Any, ...], depth: int) -> Ext:
    return Ext(TUPLE, msgpack.encode(_items(value, depth)))


def _datetime(value: datetime, _: int) -> Ext:
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    return Ext(DATETIME, msgpack.encode([datetime.isoformat(value), value.fold, zone or ""]))


def _time(value: time, _: int) -> Ext:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise NotSerialisable(
            "a time of day in a zone without a fixed offset cannot be stored: give it an offset, or use a datetime"
        )
    return Ext(TIME, msgpack.encode([time.isoformat(value), value.fold]))


_JSON_KINDS = frozenset({dict, list, int, float, bool, type(None)})
_SCALARS = frozenset({str, bytes, int, float, bool, type(None), datetime, date, time, timedelta, uuid.UUID, Decimal})

# In the order in which subclasses are tried: a datetime is a date, an enum may be anything.
_WRITERS: dict[type, Callable[[Any, int], Any]] = {
    Enum: lambda value, depth: _plain(value.value, depth + 1),
    str: lambda value, _: str.__str__(value),
    bytes: lambda value, _: bytes.__getitem__(value, slice(None)),
    bytearray: lambda value, _: bytes(value),
    memoryview: lambda value, _: bytes(value),
    int: _integer,
    float: lambda value, _: float.__pos__(value),
    dict: _mapping,
    list: _items,
    tuple: _tuple,
    set: lambda value, depth: _hashed(SET, value, value, depth),
    frozenset: lambda value, depth: _hashed(FROZENSET, value, value, depth),
    datetime: _datetime,
    date: lambda value, _: Ext(DATE, date.isoformat(value).encode()),
    time: _time,
    timedelta: lambda value, _: Ext(TIMEDELTA, _signed(value // _MICROSECOND)),
    uuid.UUID: lambda value, _: Ext(UUID, value.bytes),
    Decimal: lambda value, _: Ext(DECIMAL, Decimal.__str__(value).encode()),
}


# --- reading ---------------------------------------------------------------------------------------------------------


def deserialise(serialiser: int, raw: bytes) -> Any:
    """The value. Raises `CorruptRecord`, and `UnreadableRecord` for a serialiser or an extension of a newer format."""
    try:
        if serialiser == JSON:
            return _json_decoder.decode(raw)
        if serialiser == BYTES:
            return raw
        if serialiser == TEXT:
            return raw.decode()
        if serialiser == MSGPACK:
            return _msgpack_decoder.decode(raw)
    except _BROKEN as error:
        raise CorruptRecord(f"a record's value cannot be read: {error}") from error
    raise UnreadableRecord(f"a record has serialiser {serialiser}, which is of a newer format: upgrade this program")


def _extension(code: int, data: memoryview) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        raise UnreadableRecord(f"a record holds an extension {code} of a newer format: upgrade this program")
    return reader(bytes(data))


def _from_signed(data: bytes) -> int:
    return int.from_bytes(data, signed=True)


def _list(data: bytes) -> list[Any]:
    items = _msgpack_decoder.decode(data)
    if type(items) is not list:
        raise ValueError("an extension holds no array")
    return items


def _pairs(data: bytes) -> dict[Any, Any]:
    flat = _list(data)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _read_datetime(data: bytes) -> datetime:
    text, fold, zone = _list(data)
    found = datetime.fromisoformat(text).replace(fold=fold)
    if not zone:
        return found
    try:
        named: tzinfo = ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        return found  # the zone is not known on this machine: the same moment at a fixed offset
    local = found.replace(tzinfo=named)
    return local if local.utcoffset() == found.utcoffset() else found.astimezone(named)  # the zone's rules have changed


def _read_time(data: bytes) -> time:
    text, fold = _list(data)
    return time.fromisoformat(text).replace(fold=fold)


_READERS: dict[int, Callable[[bytes], Any]] = {
    INTEGER: _from_signed,
    DATETIME: _read_datetime,
    DATE: lambda data: date.fromisoformat(data.decode()),
    TIME: _read_time,
    TIMEDELTA: lambda data: _from_signed(data) * _MICROSECOND,
    UUID: lambda data: uuid.UUID(bytes=data),
    DECIMAL: lambda data: Decimal(data.decode()),
    TUPLE: lambda data: tuple(_list(data)),
    SET: lambda data: set(_list(data)),
    FROZENSET: lambda data: frozenset(_list(data)),
    PAIRS: _pairs,
}

_json_decoder = json.Decoder()
_msgpack_decoder = msgpack.Decoder(ext_hook=cast("Callable[[int, memoryview], Any]", _extension))
