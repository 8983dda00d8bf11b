"""What the codec stores how, and what it refuses."""

import datetime as dt
import enum
import math
import uuid
from collections import OrderedDict, defaultdict, namedtuple
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, InvalidArgument, NotSerialisable, UnreadableRecord
from thermocline.model import Envelope, Header, Key, Pointer

CODEC = Codec()
KEY = Key("t", "s", "n")
BYTES, TEXT, JSON, MSGPACK = 1, 2, 3, 4


def through(value: Any, codec: Codec = CODEC) -> Any:
    envelope = codec.encode(KEY, value, now_ms=1)
    return codec.decode(codec.unpack(codec.pack(envelope), KEY))


@pytest.mark.parametrize(
    ("value", "serialiser"),
    [
        (b"", BYTES),
        (b"\x89TC\x01", BYTES),
        ("", TEXT),
        ('{"a": 1}', TEXT),
        ("\0 \ufeff 🌊", TEXT),
        (None, JSON),
        (False, JSON),
        (0, JSON),
        ({}, JSON),
        ([], JSON),
        (0.5, JSON),
        (2**53 - 1, JSON),
        ({"a": [1, None, {"": "x"}]}, JSON),
        (1.0, MSGPACK),
        (-0.0, MSGPACK),
        (1e300, MSGPACK),
        (math.inf, MSGPACK),
        (2**53, MSGPACK),
        (2**70, MSGPACK),
        (-(2**70), MSGPACK),
        ((), MSGPACK),
        ([(1,)], MSGPACK),
        ({1: 2}, MSGPACK),
        ({"a": b""}, MSGPACK),
        (set(), MSGPACK),
        (dt.timedelta.min, MSGPACK),
        (dt.timedelta.max, MSGPACK),
        (dt.datetime.max, MSGPACK),  # noqa: DTZ901 - naive ones are values too
        (dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=23))), MSGPACK),
        (uuid.UUID(int=0), MSGPACK),
        (Decimal("-0.00"), MSGPACK),
    ],
)
def test_a_value_decides_its_serialiser_and_comes_back(value: Any, serialiser: int) -> None:
    assert CODEC.prepare(value).serialiser == serialiser
    back = through(value)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_nan_comes_back_as_nan() -> None:
    assert math.isnan(through(math.nan))
    assert through(Decimal("sNaN12")).as_tuple() == Decimal("sNaN12").as_tuple()


def test_a_datetime_keeps_its_zone_and_fold() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    twice = dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=berlin)
    never = dt.datetime(2026, 3, 29, 2, 30, tzinfo=berlin)  # in the gap when clocks go forward
    for value in (twice, never, twice.replace(fold=0)):
        back = through(value)
        assert (back.replace(tzinfo=None), back.fold, back.tzinfo) == (value.replace(tzinfo=None), value.fold, berlin)
    odd = dt.datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))  # an offset with seconds
    assert through(odd).utcoffset() == odd.utcoffset()


class Named(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[1:3], b"bc"),
        (memoryview(b"abcd")[::2], b"ac"),
        ([bytearray(b"x")], [b"x"]),
        (Named("x"), "x"),
        ([Named("x")], ["x"]),
        ({Named("k"): 1}, {"k": 1}),
        (Colour.RED, "red"),
        ({"c": Colour.RED, "l": Level.LOW}, {"c": "red", "l": 1}),
        ({Colour.RED: 1}, {"red": 1}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Point(1, 2), (1, 2)),
    ],
)
def test_kinds_that_come_back_as_plainer_ones(value: Any, plain: Any) -> None:
    back = through(value)
    assert back == plain
    assert type(back) is type(plain)
    if isinstance(plain, list | tuple):
        assert [type(item) for item in back] == [type(item) for item in plain]


def nested(levels: int, kind: type[list[Any]] | type[tuple[Any, ...]] = list) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = kind([value])
    return value


def ring() -> list[Any]:
    ring: list[Any] = []
    ring += [ring, ring]
    return ring


def ring_of_dicts() -> dict[str, Any]:
    ring: dict[str, Any] = {"bytes": b""}
    ring["again"] = {"ring": ring}
    return ring


class Custom:
    pass


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("\ud800", "surrogate"),
        ({"a": ["x\udfff"]}, "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ([b"", "\ud800"], "surrogate"),
        ({1: "\ud800"}, "surrogate"),
        (object(), "builtins.object"),
        ({"a": [Custom()]}, "Custom"),
        ([Custom], "type"),
        (lambda: 1, "function"),
        (1j, "complex"),
        ([open], "builtin"),
        (iter([1]), "iterator"),
        (nested(129), "128 levels"),
        (nested(129, tuple), "128 levels"),
        (nested(100_000), "nested"),
        (ring(), "holds itself"),
        (ring_of_dicts(), "holds itself"),
        ([dt.time(1, tzinfo=ZoneInfo("Europe/Berlin"))], "time of day"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "value",
)
def test_what_cannot_be_stored_is_refused_in_plain_words(value: Any, why: str) -> None:
    with pytest.raises(NotSerialisable, match=why):
        CODEC.prepare(value)


@pytest.mark.parametrize("kind", [list, tuple])
def test_the_deepest_value_comes_back(kind: type[list[Any]] | type[tuple[Any, ...]]) -> None:
    assert through(nested(128, kind)) == nested(128, kind)
    assert CODEC.prepare(nested(99)).serialiser == JSON
    assert CODEC.prepare(nested(100)).serialiser == MSGPACK


def raw_envelope(serialiser: int, raw: bytes) -> Envelope:
    return Envelope(KEY, Header(serialiser=serialiser, raw_length=len(raw)), raw)


def extension(code: int, data: bytes) -> bytes:
    return b"\xc8" + len(data).to_bytes(2) + bytes([code]) + data


@pytest.mark.parametrize(
    ("serialiser", "raw"),
    [
        (TEXT, b"\xff"),
        (JSON, b""),
        (JSON, b"{} {}"),
        (JSON, b"NaN"),
        (JSON, b"1e999"),
        (JSON, b'"\\ud800"'),
        (JSON, b"[" * 200_000),
        (JSON, b'{"a":' * 200_000),
        (MSGPACK, b""),
        (MSGPACK, b"\xc1"),
        (MSGPACK, b"\x01\x02"),
        (MSGPACK, b"\xa1\xff"),
        (MSGPACK, b"\x91" * 200_000),
        (MSGPACK, b"\xdd\xff\xff\xff\xff"),
        (MSGPACK, b"\xc6\xff\xff\xff\xff"),
        (MSGPACK, extension(2, b"\x93\xa1x\x00\xa0")),
        (MSGPACK, extension(2, b"\x91\xa1x")),
        (MSGPACK, extension(3, b"2026-02-30")),
        (MSGPACK, extension(4, b"\x92\xa1x\x00")),
        (MSGPACK, extension(5, b"\x7f" * 40)),
        (MSGPACK, extension(6, b"short")),
        (MSGPACK, extension(7, b"one")),
        (MSGPACK, extension(8, b"\x01")),
        (MSGPACK, extension(9, b"\x91\x80")),
        (MSGPACK, extension(11, b"\x93\x01\x02\x03")),
        (MSGPACK, extension(11, b"\x92\x90\x02")),
    ],
)
def test_a_payload_that_does_not_parse_is_corrupt(serialiser: int, raw: bytes) -> None:
    with pytest.raises(CorruptRecord):
        CODEC.decode(raw_envelope(serialiser, raw))


def test_a_bomb_of_nested_tuples_is_corrupt() -> None:
    bomb = b"\x90"
    while len(bomb) < 60_000:
        bomb = extension(8, b"\x91" + bomb)
    with pytest.raises(CorruptRecord):
        CODEC.decode(raw_envelope(MSGPACK, bomb))


@pytest.mark.parametrize("code", [12, 127])
def test_an_unknown_extension_is_unreadable(code: int) -> None:
    with pytest.raises(UnreadableRecord, match="upgrade"):
        CODEC.decode(raw_envelope(MSGPACK, b"\x91" + extension(code, b"x")))


def test_an_unknown_zone_comes_back_as_its_offset() -> None:
    known = CODEC.prepare(dt.datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))).raw
    moved = known.replace(b"Europe/Berlin", b"Europe/Nowher")
    assert moved != known
    back = CODEC.decode(raw_envelope(MSGPACK, moved))
    assert back == dt.datetime(2026, 7, 1, 10, tzinfo=dt.UTC)
    assert back.utcoffset() == dt.timedelta(hours=2)


def test_a_zone_whose_rules_have_changed_keeps_the_moment() -> None:
    known = CODEC.prepare(dt.datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))).raw
    back = CODEC.decode(raw_envelope(MSGPACK, known.replace(b"Europe/Berlin", b"Europe/London")))
    assert back == dt.datetime(2026, 7, 1, 10, tzinfo=dt.UTC)
    assert back.tzinfo == ZoneInfo("Europe/London")


def test_native_json_goes_out_and_comes_back() -> None:
    value = {"turns": ["the same words again"] * 100, "score": 0.25}
    envelope = CODEC.encode(KEY, value, now_ms=1)
    assert envelope.header.compressor == 1
    stored = CODEC.unpack(CODEC.pack(envelope), KEY)
    assert CODEC.native(envelope) == CODEC.native(stored) == value
    payload = CODEC.from_native(CODEC.native(stored))
    assert payload == envelope.raw
    assert len(payload) == stored.header.raw_length
    with pytest.raises(CorruptRecord):
        CODEC.from_native({"a": Custom()})


@pytest.mark.parametrize("kind", ["tombstone", "pointer"])
def test_decoding_what_has_no_value_is_the_callers_mistake(kind: str) -> None:
    envelope = CODEC.tombstone(KEY, now_ms=1)
    if kind == "pointer":
        envelope = CODEC.point(CODEC.encode(KEY, 1, now_ms=1), Pointer("p", "00" * 32, 1, 1))
    with pytest.raises(InvalidArgument):
        CODEC.decode(envelope)
