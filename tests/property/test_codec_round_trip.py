"""Whatever goes into the codec comes out equal and of the same type, through every compressor and through the bytes."""

import datetime as dt
import math
import struct
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thermocline.codec import JSON, MAGIC, Codec
from thermocline.codec.serialise import SAFE_INTEGER
from thermocline.model import Authority, Envelope, Key, Pointer

METHODS: list[Literal["zstd", "gzip"] | None] = [None, "zstd", "gzip"]
CODECS = {method: Codec(compression=method, threshold=0) for method in METHODS}

texts = st.text(st.characters(exclude_categories=["Cs"]))
parts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
keys = st.builds(Key, parts, parts, parts)
zones = st.one_of(
    st.none(),
    st.just(dt.UTC),
    st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia")]),
    st.integers(-86_399, 86_399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds))),
)
offsets = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.sampled_from([2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1]),
    st.floats(),
    texts,
    st.binary(),
    st.decimals(allow_nan=True).filter(lambda number: not number.is_snan()),  # nothing can hash one, see the unit tests
    st.uuids(),
    st.dates(),
    st.times(),
    st.times(timezones=offsets),
    st.timedeltas(),
    st.datetimes(timezones=zones, allow_imaginary=True),
)
hashables = st.recursive(
    scalars, lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)), max_leaves=4
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(texts, inner, max_size=5),
        st.dictionaries(hashables, inner, max_size=3),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
    ),
    max_leaves=25,
)
plain_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=5)),
    max_leaves=25,
)


def shape(value: Any) -> str:
    """A value written out so that two are written the same only if nothing tells them apart: types, order of keys, -0.0, folds, zones."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"float {struct.pack('>d', value).hex()}"
    if isinstance(value, dict):
        return f"dict {[(shape(name), shape(item)) for name, item in value.items()]}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} {[shape(item) for item in value]}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__} {sorted(shape(item) for item in value)}"
    if isinstance(value, dt.datetime | dt.time):
        zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else repr(value.tzinfo)
        return f"{type(value).__name__} {value.replace(tzinfo=None).isoformat()} {value.fold} {zone}"
    return f"{type(value).__name__} {value!r}"


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=300)
@given(key=keys, value=values)
@example(key=Key("t", "s", "n"), value=[None, 0, False, "", {}, [], b"", -0.0, 2**70, True, 1, 1.0, math.nan])
@example(key=Key("t", "s", "n"), value={True: 1, "True": 2, None: 3, b"": 4, (): 5, -0.5: 6})
def test_any_value_comes_back_as_it_went_in(method: Literal["zstd", "gzip"] | None, key: Key, value: Any) -> None:
    codec = CODECS[method]
    data = codec.pack(codec.encode(key, value, now_ms=1))
    assert shape(codec.decode(codec.unpack(data, key))) == shape(value)


@settings(deadline=None, max_examples=300)
@given(value=plain_json)
@example(value=[1e300])
@example(value={"a": [0.1, 5e-324, -1.5]})
@example(value={"": {"\x00": "\u2028"}})
def test_json_is_only_what_a_store_of_doubles_keeps(value: Any) -> None:
    """Such a store parses every number as a double, and writes those without a fraction as integers."""
    serialised = Codec().prepare(value)
    if serialised.serialiser == JSON:
        assert shape(through_doubles(value)) == shape(value)
    elif not isinstance(value, str):
        assert shape(through_doubles(value)) != shape(value)


def through_doubles(value: Any) -> Any:
    if type(value) is dict:
        return {name: through_doubles(item) for name, item in value.items()}
    if type(value) is list:
        return [through_doubles(item) for item in value]
    if type(value) is int and abs(value) > SAFE_INTEGER:
        return math.nan  # it may have been a neighbour
    if type(value) is int or type(value) is float:
        return int(float(value)) if float(value).is_integer() else float(value)
    return value


headers: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    now_ms=st.integers(0, 2**53 - 1),
    expires_ms=st.integers(0, 2**53 - 1),
    media_type=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=255),
    tags=st.none() | st.dictionaries(parts.filter(lambda t: len(t.encode()) <= 256), texts.filter(lambda t: len(t.encode()) <= 256), max_size=10),
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    key=keys,
    value=st.one_of(texts, st.binary(), plain_json),
    given_=headers,
    version=st.integers(0, 2**53 - 1),
    authority=st.sampled_from(Authority),
    size=st.integers(0, 2**64 - 1),
    path=parts,
)
def test_every_field_of_an_envelope_comes_back(
    key: Key, value: Any, given_: dict[str, Any], version: int, authority: Authority, size: int, path: str
) -> None:
    codec = CODECS["zstd"]
    envelope = codec.encode(key, value, **given_).stamped(version=version, authority=authority)
    assert unpacked(envelope) == envelope
    pointer = Pointer(path, "0a" * 32, size if envelope.header.compressor else len(envelope.payload), given_["now_ms"])
    pointing = codec.point(envelope, pointer)
    assert unpacked(pointing) == pointing
    assert codec.pointer_of(unpacked(pointing)) == pointer
    assert codec.with_payload(unpacked(pointing), envelope.payload) == envelope
    tombstone = codec.tombstone(key, now_ms=given_["now_ms"]).stamped(version=version, authority=authority)
    assert unpacked(tombstone) == tombstone


def unpacked(envelope: Envelope) -> Envelope:
    codec = Codec()
    data = codec.pack(envelope)
    assert data.startswith(MAGIC)
    assert not codec.is_marker(data)
    return codec.unpack(data, envelope.key)
