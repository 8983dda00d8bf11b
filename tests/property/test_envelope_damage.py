"""Damaged bytes are `CorruptRecord`: never a crash, never a value. Every place of an envelope is damaged in turn."""

import random
import zlib
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, UnreadableRecord
from thermocline.model import Authority, Key, Pointer

KEY = Key("acme", "user/42", "näme")
OTHER = Key("acme", "user/42", "name")
CODEC = Codec(threshold=0)


def envelopes() -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    methods: list[Literal["zstd", "gzip"] | None] = [None, "zstd", "gzip"]
    for method in methods:
        codec = Codec(compression=method, threshold=0)
        for name, value in {
            "bytes": b"\x00\x01" * 60,
            "text": "Grüße " * 20,
            "json": {"words": ["the same again"] * 8},
            "msgpack": [(n, 1.0, b"again") for n in range(9)],
        }.items():
            envelope = codec.encode(KEY, value, now_ms=5, expires_ms=9, tags={"kind": "x"})
            made[f"{name}-{method}"] = codec.pack(envelope.stamped(version=77, authority=Authority.WARM))
    made["none"] = CODEC.pack(CODEC.encode(KEY, None, now_ms=1))
    made["empty"] = CODEC.pack(CODEC.encode(KEY, b"", now_ms=1))
    made["tombstone"] = CODEC.pack(CODEC.tombstone(KEY, now_ms=1))
    pointing = CODEC.point(CODEC.encode(KEY, "x" * 100, now_ms=1), Pointer("tc1/p/x", "ab" * 32, 50, 1))
    made["pointer"] = CODEC.pack(pointing)
    return made


ENVELOPES = envelopes()


@pytest.mark.parametrize("name", ENVELOPES)
def test_every_truncation_is_corrupt(name: str) -> None:
    data = ENVELOPES[name]
    CODEC.unpack(data, KEY)
    for length in range(len(data)):
        with pytest.raises(CorruptRecord):
            CODEC.unpack(data[:length], KEY)
        with pytest.raises(CorruptRecord):
            CODEC.unpack(data[length + 1 :], KEY)


@pytest.mark.parametrize("name", ENVELOPES)
def test_every_flipped_bit_is_corrupt(name: str) -> None:
    data = ENVELOPES[name]
    for place in range(len(data)):
        for bit in range(8):
            with pytest.raises(CorruptRecord):
                CODEC.unpack(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :], KEY)


@pytest.mark.parametrize("name", ENVELOPES)
def test_every_byte_replaced_removed_or_doubled_is_corrupt(name: str) -> None:
    data = ENVELOPES[name]
    chance = random.Random(name)
    for place in range(len(data)):
        other = (data[place] + chance.randrange(1, 256)) % 256
        for damaged in (
            data[:place] + bytes([other]) + data[place + 1 :],
            data[:place] + data[place + 1 :],
            data[: place + 1] + data[place:],
        ):
            with pytest.raises(CorruptRecord):
                CODEC.unpack(damaged, KEY)


@pytest.mark.parametrize("name", ENVELOPES)
def test_another_keys_envelope_is_corrupt(name: str) -> None:
    with pytest.raises(CorruptRecord, match="another key"):
        CODEC.unpack(ENVELOPES[name], OTHER)


@pytest.mark.parametrize("name", ENVELOPES)
def test_two_envelopes_run_together_are_corrupt(name: str) -> None:
    for other in ENVELOPES.values():
        with pytest.raises(CorruptRecord):
            CODEC.unpack(ENVELOPES[name] + other, KEY)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=400))
@example(data=b"")
@example(data=b"\x89TC\1" + bytes(84))
def test_arbitrary_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptRecord):
        CODEC.unpack(data, KEY)


@settings(deadline=None, max_examples=1500)
@given(
    name=st.sampled_from(sorted(ENVELOPES)),
    edits=st.lists(st.tuples(st.integers(0, 83), st.integers(0, 255)), max_size=4),
    payload=st.none() | st.binary(max_size=60),
)
def test_a_header_that_lies_under_a_valid_checksum_is_never_a_crash(
    name: str, edits: list[tuple[int, int]], payload: bytes | None
) -> None:
    """What only a bug or malice makes: checksums are right, fields are not. Refused, or read as whatever the fields say; nothing else."""
    data = bytearray(ENVELOPES[name])
    for place, byte in edits:
        data[place] = byte
    if payload is not None:
        data[88:] = payload
        data[12:16] = bytes(4)
        data[56:64] = len(payload).to_bytes(8)
    body = bytes(data[88:])
    data[80:84] = zlib.crc32(body).to_bytes(4)
    data[84:88] = zlib.crc32(data[:84]).to_bytes(4)
    try:
        envelope = CODEC.unpack(bytes(data), KEY)
        if envelope.pointer:
            CODEC.pointer_of(envelope)
        elif not envelope.tombstone:
            CODEC.decode(envelope)
    except (CorruptRecord, UnreadableRecord):
        return
    assert CODEC.unpack(CODEC.pack(envelope), KEY) == envelope


@settings(deadline=None, max_examples=500)
@given(serialiser=st.integers(1, 4), raw=st.binary(max_size=80))
def test_payloads_that_no_writer_made_are_refused_or_read(serialiser: int, raw: bytes) -> None:
    envelope = CODEC.encode(KEY, b"", now_ms=1)
    header: dict[str, Any] = {name: getattr(envelope.header, name) for name in envelope.header.__dataclass_fields__}
    lying = type(envelope.header)(**(header | {"serialiser": serialiser, "raw_length": len(raw)}))
    made = type(envelope)(KEY, lying, raw)
    try:
        value = CODEC.decode(made)
    except (CorruptRecord, UnreadableRecord):
        return
    if serialiser == 1:
        assert value == raw
    elif serialiser == 2:
        assert value == raw.decode()
    else:
        repr(value)
