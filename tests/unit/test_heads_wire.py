"""A head's bytes and metadata: frozen, whole or corrupt, and never of another key."""

import base64
from zlib import crc32

import pytest

from thermocline.blobs import wire
from thermocline.blobs.heads import Head, Stamp
from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, UnreadableRecord
from thermocline.keys import head_path
from thermocline.model import Authority, Envelope, Key, Pointer
from thermocline.protocols import Listed

KEY = Key("tenant", "user/42", "Profil é")
CODEC = Codec()
NOW = 1_800_000_000_000


def head_of(envelope: Envelope, writes: int = 3) -> Head:
    ring = tuple(Stamp(f"{number:026d}", NOW * 1000 + number) for number in range(writes, 0, -1))
    stamped = envelope.stamped(version=ring[0].version, authority=Authority.COLD)
    return Head(stamped, ring, ring[-1])


def sample(key: Key = KEY, **options: object) -> Head:
    return head_of(CODEC.encode(key, {"a": [1, 2.5, None]}, now_ms=NOW, **options))  # type: ignore[arg-type] # one per test


# Format 1, written by this program's first version: every later one must read it.
FROZEN = base64.b64decode(
    "iVRIAQAAAK1UdhbLeyJrIjpbInQiLCJzIiwibiJdLCJiIjpbImFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhIiwxODAwMDAwMDAw"
    "MDAwMDAwXSwidyI6W1siYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmIiLDE4MDAwMDAwMDAwMDAwMDFdLFsiYWFhYWFhYWFhYWFh"
    "YWFhYWFhYWFhYWFhYWEiLDE4MDAwMDAwMDAwMDAwMDBdXX2JVEMBAAMBAAAAAAAAAAAAAAZlFyiYgAEAAAAAAAAAAAAAAaMYXFAA"
    "AAABoxhcUAAAAAAAAAAABgAAAAAAAAAGH6WLvFpaiz1Gde+VbbC0JWTeJyWMA/wnZnJvemVu"
)


def test_head_is_read_as_written() -> None:
    for head in (
        sample(),
        sample(expires_ms=NOW + 1, tags={"colour": "grün"}, media_type="application/json"),
        head_of(CODEC.tombstone(KEY, now_ms=NOW), 8),
    ):
        assert wire.unpack_head(wire.pack_head(head), KEY) == head
        assert wire.unpack_any_head(wire.pack_head(head)) == head


def test_frozen_sample_is_still_read_and_written() -> None:
    head = wire.unpack_head(FROZEN, Key("t", "s", "n"))

    assert [stamp.id for stamp in head.ring] == ["b" * 26, "a" * 26]
    assert (head.birth, head.version) == (Stamp("a" * 26, NOW * 1000), NOW * 1000 + 1)
    assert CODEC.decode(head.envelope) == b"frozen"
    assert wire.pack_head(head) == FROZEN


def test_every_cut_and_every_flipped_byte_is_noticed() -> None:
    data = wire.pack_head(sample(tags={"a": "b"}))

    for end in range(len(data)):
        with pytest.raises(CorruptRecord):
            wire.unpack_head(data[:end], KEY)
    for place in range(len(data)):
        with pytest.raises((CorruptRecord, UnreadableRecord)):
            wire.unpack_head(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :], KEY)
    with pytest.raises(CorruptRecord):
        wire.unpack_head(data + b"\0", KEY)


def test_newer_format_is_unreadable_and_not_corrupt() -> None:
    data = bytearray(wire.pack_head(sample()))
    data[3] = 2

    with pytest.raises(UnreadableRecord, match="upgrade"):
        wire.unpack_head(bytes(data), KEY)


def test_head_of_another_key_is_corrupt() -> None:
    data = wire.pack_head(sample())

    with pytest.raises(CorruptRecord, match="another key"):
        wire.unpack_head(data, Key(KEY.tenant, KEY.scope, KEY.name + "x"))


def test_ring_of_another_record_is_corrupt() -> None:
    head = sample()
    mixed = Head(head.envelope.stamped(version=7, authority=Authority.COLD), head.ring, head.birth)

    with pytest.raises(CorruptRecord, match="does not belong"):
        wire.unpack_head(wire.pack_head(mixed), KEY)


@pytest.mark.parametrize("name", ["plain", "é" * 900, "n" * 16_000], ids=["short", "hashed", "longest"])
@pytest.mark.parametrize("tags", [None, {"b": "ü", "a": ""}], ids=["untagged", "tagged"])
def test_metadata_tells_what_a_listing_needs(name: str, tags: dict[str, str] | None) -> None:
    key = Key("t", "s", name)
    head = sample(key, tags=tags, expires_ms=NOW + 5)
    path = head_path(key)

    metadata = wire.metadata_of(head, path)

    assert all(part.isascii() and part.isprintable() for pair in metadata.items() for part in pair)
    assert sum(len(name) + len(value) for name, value in metadata.items()) < 8000
    assert wire.dead_since(metadata) == NOW + 5
    told = wire.listed_of(metadata, path)
    assert told == (None if name.startswith("nn") else wire.listed(head))


def test_metadata_of_a_pointer_tells_the_size_of_its_payload() -> None:
    envelope = CODEC.encode(KEY, "x" * 5000, now_ms=NOW)
    head = head_of(CODEC.point(envelope, Pointer("tc1/p/t", "0" * 64, len(envelope.payload), NOW)))

    told = wire.listed_of(wire.metadata_of(head, head_path(KEY)), head_path(KEY))

    assert told == Listed(KEY, head.version, 0, NOW, len(envelope.payload), 5000, pointer=True)


def test_metadata_of_a_tombstone_tells_since_when() -> None:
    head = head_of(CODEC.tombstone(KEY, now_ms=NOW))

    assert wire.dead_since(wire.metadata_of(head, head_path(KEY))) == NOW


def test_metadata_that_somebody_changed_is_not_believed() -> None:
    path = head_path(KEY)
    metadata = wire.metadata_of(sample(), path)

    for name in metadata:
        assert wire.stored_of({**metadata, name: "?"}, path, "e") is None
        assert wire.stored_of({k: v for k, v in metadata.items() if k != name}, path, "e") is None
        if name == "tch":  # only a census reads it
            continue
        assert wire.listed_of({**metadata, name: "?"}, path) is None
        assert wire.listed_of({k: v for k, v in metadata.items() if k != name}, path) is None
    long = Key("t", "s", "é" * 900)
    other = wire.metadata_of(sample(Key("t", "s", "è" * 900)), head_path(Key("t", "s", "è" * 900)))
    assert wire.listed_of(other, head_path(long)) is None
    assert wire.dead_since({}) is None


def test_ids_of_the_ring_are_text_and_versions_numbers() -> None:
    head = sample()
    for ledger in (
        "[]",
        '{"k":["t","s","n"],"b":["x",1.5],"w":[["x",1.5]]}',
        '{"k":["","s","n"],"b":["x",1],"w":[["x",1]]}',
    ):
        raw = ledger.encode()
        start = wire.MAGIC + bytes([wire.FORMAT]) + len(raw).to_bytes(4) + crc32(raw).to_bytes(4)
        with pytest.raises(CorruptRecord):
            wire.unpack_any_head(start + raw + CODEC.pack(head.envelope))
