"""The codec's settings, what it compresses, and what it does not believe."""

import gzip
import random
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import pytest

from thermocline.codec import RAW_LIMIT, Codec, Serialised
from thermocline.errors import CorruptRecord, InvalidArgument, TooLarge, UnreadableRecord
from thermocline.model import Authority, Envelope, Flags, Header, Key, Pointer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODEC = Codec()
KEY = Key("t", "s", "n")
NOISE = random.Random(1).randbytes(5000)


# --- compression -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "value", "compressor"),
    [
        (Codec(), b"a" * 1024, 1),
        (Codec(), b"a" * 1023, 0),
        (Codec(), NOISE, 0),
        (Codec(threshold=0), b"a", 0),
        (Codec(threshold=0), b"", 0),
        (Codec(threshold=0), b"a" * 99, 1),
        (Codec(compression="gzip"), b"a" * 1024, 2),
        (Codec(compression="gzip"), NOISE, 0),
        (Codec(compression=None), b"a" * 99_999, 0),
    ],
)
def test_compresses_from_the_threshold_on_and_only_what_shrinks(codec: Codec, value: bytes, compressor: int) -> None:
    envelope = codec.encode(KEY, value, now_ms=1)
    assert envelope.header.compressor == compressor
    assert envelope.header.raw_length == len(value)
    assert (len(envelope.payload) < len(value)) is (compressor != 0)
    assert envelope.raw == value
    assert Codec(compression=None).decode(CODEC.unpack(CODEC.pack(envelope), KEY)) == value


def test_the_payload_is_what_other_programs_read() -> None:
    value = b"the same words again" * 99
    zipped = Codec(compression="gzip").encode(KEY, value, now_ms=1)
    assert gzip.decompress(zipped.payload) == value
    assert zipped.payload[4:8] == bytes(4)  # mtime: the same value gives the same bytes
    assert zstd.decompress(CODEC.encode(KEY, value, now_ms=1).payload) == value


def test_many_threads_share_a_codec() -> None:
    codec = Codec(threshold=0)

    def there_and_back(seed: int) -> bool:
        chance = random.Random(seed)
        value = [chance.choice(["some", "words"]) * chance.randrange(50) for _ in range(chance.randrange(1, 400))]
        envelope = codec.encode(KEY, value, now_ms=1)
        return bool(codec.decode(codec.unpack(codec.pack(envelope), KEY)) == value)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(there_and_back, range(400)))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"compression": "lz4"}, "zstd"),
        ({"level": 0}, "1 to 22"),
        ({"level": 23}, "1 to 22"),
        ({"compression": "gzip", "level": 10}, "1 to 9"),
        ({"threshold": -1}, "threshold"),
        ({"raw_limit": 0}, "raw_limit"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        Codec(**settings)


# --- what is not believed --------------------------------------------------------------------------------------------


def made(payload: bytes, **fields: Any) -> Envelope:
    """An envelope whose header says what the test wants, as nobody but a broken or hostile writer makes it."""
    header = Header(**({"serialiser": 1, "raw_length": len(payload)} | fields))
    return Envelope(KEY, header, payload)


METHODS: list[Literal["zstd", "gzip"]] = ["zstd", "gzip"]


@pytest.mark.parametrize("method", METHODS)
def test_a_bomb_is_not_inflated_beyond_its_raw_length(method: Literal["zstd", "gzip"]) -> None:
    bomb = Codec(compression=method).encode(KEY, bytes(200_000_000), now_ms=1)
    lying = replace(bomb, header=replace(bomb.header, raw_length=1000), raw=None)
    del bomb
    tracemalloc.start()
    try:
        with pytest.raises(CorruptRecord):
            CODEC.decode(lying)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("said", [0, 4999, 5001, 500_000_000])
def test_a_raw_length_that_is_not_the_values_is_corrupt(method: Literal["zstd", "gzip"], said: int) -> None:
    envelope = Codec(compression=method).encode(KEY, b"a" * 5000, now_ms=1)
    with pytest.raises(CorruptRecord):
        CODEC.decode(replace(envelope, header=replace(envelope.header, raw_length=said)))


def test_a_raw_length_above_the_limit_is_corrupt_and_too_large_to_write() -> None:
    small = Codec(raw_limit=100)
    envelope = Codec(threshold=0).encode(KEY, b"a" * 101, now_ms=1)
    with pytest.raises(CorruptRecord, match="101 bytes"):
        small.unpack(CODEC.pack(envelope), KEY)
    with pytest.raises(CorruptRecord, match="101 bytes"):
        small.decode(envelope)
    there_already = CODEC.encode(KEY, b"a" * 101, now_ms=1)
    assert small.decode(small.unpack(CODEC.pack(there_already), KEY)) == b"a" * 101
    with pytest.raises(TooLarge, match="at most 100"):
        small.prepare(b"a" * 101)
    assert small.decode(small.encode(KEY, b"a" * 100, now_ms=1)) == b"a" * 100
    with pytest.raises(CorruptRecord):
        CODEC.unpack(CODEC.pack(made(b"x", compressor=1, raw_length=RAW_LIMIT + 1)), KEY)


@pytest.mark.parametrize("compressor", [1, 2])
@pytest.mark.parametrize("payload", [b"", b"no frame", NOISE[:100]])
def test_a_payload_that_is_no_frame_is_corrupt(compressor: int, payload: bytes) -> None:
    with pytest.raises(CorruptRecord):
        CODEC.decode(made(payload, compressor=compressor, raw_length=50))


@pytest.mark.parametrize("method", METHODS)
def test_a_frame_that_is_cut_or_followed_by_something_is_corrupt(method: Literal["zstd", "gzip"]) -> None:
    good = Codec(compression=method).encode(KEY, b"a" * 5000, now_ms=1)
    for payload in (good.payload[:-1], good.payload + b"\0", good.payload * 2):
        with pytest.raises(CorruptRecord):
            CODEC.decode(replace(good, payload=payload))


@pytest.mark.parametrize(
    "fields", [{"serialiser": 5}, {"serialiser": 255}, {"compressor": 3}, {"dictionary": 1}, {"dictionary": 2**32 - 1}]
)
def test_ids_of_a_newer_format_are_unreadable(fields: dict[str, Any]) -> None:
    envelope = made(b"value", **fields)
    packed = Codec().pack(replace(envelope, media_type="x/y"))
    with pytest.raises(UnreadableRecord, match="upgrade"):
        CODEC.unpack(packed, KEY)
    with pytest.raises(UnreadableRecord, match="upgrade"):
        CODEC.raw(envelope)


@pytest.mark.parametrize(("place", "byte"), [(3, 2), (3, 255), (4, 8), (4, 0x80), (5, 5), (5, 255)])
def test_formats_flags_and_authorities_of_a_newer_format_are_unreadable(place: int, byte: int) -> None:
    data = bytearray(CODEC.pack(made(b"value")))
    data[place] = byte
    with pytest.raises(CorruptRecord):
        CODEC.unpack(bytes(data), KEY)
    data[84:88] = zlib.crc32(data[:84]).to_bytes(4)
    with pytest.raises(UnreadableRecord):
        CODEC.unpack(bytes(data), KEY)


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (b"", {"serialiser": 0}),
        (b"x", {"serialiser": 0}),
        (b"x", {"flags": Flags.TOMBSTONE, "serialiser": 0}),
        (b"", {"flags": Flags.TOMBSTONE}),
        (b"", {"flags": Flags.TOMBSTONE, "serialiser": 0, "compressor": 1}),
        (b"", {"flags": Flags.TOMBSTONE | Flags.POINTER, "serialiser": 0}),
        (b"x", {"flags": Flags.MARKER}),
        (b"x", {"flags": Flags.POINTER, "serialiser": 0}),
        (b"xy", {"raw_length": 1}),
        (b"", {"raw_length": 1}),
    ],
)
def test_fields_that_contradict_each_other_are_corrupt(payload: bytes, fields: dict[str, Any]) -> None:
    envelope = replace(made(payload, **fields), media_type="x/y")
    with pytest.raises(CorruptRecord):
        CODEC.unpack(CODEC.pack(envelope), KEY)


@pytest.mark.parametrize(
    "meta",
    [
        b"\0",
        b"\0\5text",
        b"\0\0\0",
        b"\0\1\xff",
        b"\0\0\0\1k",
        b"\0\0\0\1k\0\1v\0\1k\0\1w",
        b"\xff\xff" + b"x" * 100,
    ],
)
def test_metadata_that_does_not_parse_is_corrupt(meta: bytes) -> None:
    data = bytearray(CODEC.pack(made(b"v")))[:88] + meta + b"v"
    data[12:16] = len(meta).to_bytes(4)
    data[80:84] = zlib.crc32(meta + b"v").to_bytes(4)
    data[84:88] = zlib.crc32(data[:84]).to_bytes(4)
    with pytest.raises(CorruptRecord, match=r"metadata|tags"):
        CODEC.unpack(bytes(data), KEY)


# --- pointers and markers --------------------------------------------------------------------------------------------

POINTER = Pointer("tc1/p/t/s/n", "0b" * 32, 70_000, 1_790_000_000_000)


def test_a_pointer_stands_for_the_payload() -> None:
    envelope = CODEC.encode(KEY, "words " * 999, now_ms=1, tags={"a": "b"}).stamped(version=3, authority=Authority.WARM)
    pointing = CODEC.unpack(CODEC.pack(CODEC.point(envelope, POINTER)), KEY)
    assert pointing.pointer
    assert pointing.header == replace(envelope.header, flags=Flags.POINTER)
    assert CODEC.pointer_of(pointing) == POINTER
    back = CODEC.with_payload(pointing, envelope.payload)
    assert back == envelope
    assert CODEC.decode(back) == "words " * 999
    with pytest.raises(InvalidArgument):
        CODEC.pointer_of(back)
    with pytest.raises(InvalidArgument):
        CODEC.point(pointing, POINTER)
    with pytest.raises(InvalidArgument):
        CODEC.point(CODEC.tombstone(KEY, now_ms=1), POINTER)


def test_a_pointer_to_a_stream_says_its_length() -> None:
    """Its bytes went into the blob and were never in one piece here, and they may be more than any codec inflates."""
    content = b"chunk " * 1000
    empty = CODEC.encode(KEY, b"", now_ms=1, media_type="text/plain")
    pointing = CODEC.unpack(CODEC.pack(CODEC.point(empty, replace(POINTER, size=len(content)))), KEY)
    assert pointing.header.raw_length == len(content)
    assert CODEC.decode(CODEC.with_payload(pointing, content)) == content
    with pytest.raises(CorruptRecord):
        CODEC.with_payload(pointing, content[:-1])
    huge = CODEC.point(empty, replace(POINTER, size=RAW_LIMIT * 9))
    assert CODEC.unpack(CODEC.pack(huge), KEY) == huge


def test_a_payload_that_cannot_be_the_pointers_is_corrupt() -> None:
    pointing = CODEC.point(CODEC.encode(KEY, b"abc", now_ms=1), POINTER)
    with pytest.raises(CorruptRecord):
        CODEC.with_payload(pointing, b"ab")


@pytest.mark.parametrize("payload", [b"", bytes(47), bytes(48), bytes(48) + b"\xff"])
def test_a_pointer_that_does_not_parse_is_corrupt(payload: bytes) -> None:
    with pytest.raises(CorruptRecord, match="pointer"):
        CODEC.pointer_of(made(payload, flags=Flags.POINTER, raw_length=5))


@pytest.mark.parametrize(
    "wrong",
    [{"path": ""}, {"path": "\ud800"}, {"sha256": "0b"}, {"sha256": "x" * 64}, {"size": -1}, {"written_ms": 2**64}],
)
def test_a_pointer_with_a_field_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        CODEC.point(CODEC.encode(KEY, 1, now_ms=1), replace(POINTER, **wrong))


def test_a_marker_is_told_from_a_value() -> None:
    marker = b"\x89TC\x01\x02 whatever the hot tier keeps here"
    assert Codec.is_marker(marker)
    assert Codec.is_marker(b"\x89TC\x07\x06")  # a later format's
    with pytest.raises(CorruptRecord):
        CODEC.unpack(marker, KEY)
    for other in (b"", b"\x89TC\x01", b"\x89TD\x01\x02", CODEC.pack(made(b"x")), b"plain text"):
        assert not Codec.is_marker(other)


# --- what a caller gives ---------------------------------------------------------------------------------------------


def test_media_type_follows_the_serialiser_unless_given() -> None:
    def media_type(value: Any, given: str | None = None) -> str:
        return CODEC.unpack(CODEC.pack(CODEC.encode(KEY, value, now_ms=1, media_type=given)), KEY).media_type

    assert media_type(b"") == "application/octet-stream"
    assert media_type("") == "text/plain"
    assert media_type(None) == "application/json"
    assert media_type(2**70) == "application/vnd.msgpack"
    assert media_type("# x", "text/markdown; charset=utf-8") == "text/markdown; charset=utf-8"
    assert media_type("x", "") == ""


def test_tags_at_their_limits_come_back_and_are_the_codecs_own_copy() -> None:
    tags = {f"{n}" + "k" * 255: "é" * 128 for n in range(10)}
    envelope = CODEC.encode(KEY, 1, now_ms=1, tags=tags)
    kept = dict(tags)
    tags.clear()
    assert envelope.tags == CODEC.unpack(CODEC.pack(envelope), KEY).tags == kept


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"tags": {str(n): "" for n in range(11)}}, TooLarge),
        ({"tags": {"k" * 257: ""}}, TooLarge),
        ({"tags": {"k": "é" * 129}}, TooLarge),
        ({"tags": {"": "v"}}, InvalidArgument),
        ({"tags": {"k": 1}}, InvalidArgument),
        ({"tags": {1: "v"}}, InvalidArgument),
        ({"tags": ["k"]}, InvalidArgument),
        ({"tags": {"k": "\ud800"}}, InvalidArgument),
        ({"media_type": "x" * 256}, TooLarge),
        ({"media_type": "text/plain\r\nX: y"}, InvalidArgument),
        ({"media_type": "téxt"}, InvalidArgument),
        ({"media_type": b"text/plain"}, InvalidArgument),
        ({"expires_ms": -1}, InvalidArgument),
        ({"expires_ms": 2**53}, InvalidArgument),
        ({"expires_ms": 1.5}, InvalidArgument),
        ({"expires_ms": True}, InvalidArgument),
        ({"now_ms": "1"}, InvalidArgument),
    ],
)
def test_bad_fields_are_refused(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        CODEC.seal(KEY, Serialised(3, b"1"), **({"now_ms": 1} | given))


def test_times_of_a_new_record() -> None:
    header = CODEC.encode(KEY, 1, now_ms=5, expires_ms=9).header
    assert (header.created_ms, header.modified_ms, header.expires_ms) == (5, 5, 9)
    assert (header.version, header.authority) == (0, Authority.NONE)
    tombstone = CODEC.tombstone(KEY, now_ms=5)
    assert tombstone.tombstone
    assert (tombstone.header.created_ms, tombstone.header.modified_ms, tombstone.header.expires_ms) == (5, 5, 0)


@pytest.mark.parametrize("fields", [{"version": -1}, {"version": 2**64}, {"serialiser": 256}, {"dictionary": 2**32}])
def test_packing_a_field_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="range"):
        CODEC.pack(made(b"", **fields))
