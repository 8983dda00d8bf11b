"""docs/envelope.md is what the writer does: its tables are read, and the bytes compared with them one by one."""

import hashlib
import re
import zlib
from pathlib import Path

import pytest

from thermocline.codec import MEDIA_TYPE_BYTES, RAW_LIMIT, TAG_BYTES, TAGS, Codec
from thermocline.codec.envelope import MEDIA_TYPES
from thermocline.codec.serialise import MAX_DEPTH, Serialised
from thermocline.errors import CorruptRecord, UnreadableRecord
from thermocline.keys import cosmos_id, cosmos_partition, head_path, redis_key
from thermocline.model import NAME_BYTES, PART_BYTES, Authority, Envelope, Flags, Key, Pointer

PAGE = (Path(__file__).parents[2] / "docs" / "envelope.md").read_text(encoding="utf-8")
KEY = Key("acme", "user/42", "Profile.v2")


def table(first_heading: str) -> list[list[str]]:
    """The rows below the header that starts with ``first_heading``."""
    lines = PAGE.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def fields(envelope: Envelope) -> dict[str, bytes]:
    """The packed envelope cut up as the page's table says."""
    data = Codec().pack(envelope)
    found: dict[str, bytes] = {}
    at = 0
    for offset, size, field, _ in table("offset"):
        begin = sum(known(part, found) for part in offset.split(" + "))
        assert begin == at, f"{field} does not follow the field before it"
        at = begin + known(size, found)
        found[field] = data[begin:at]
    assert at == len(data)
    return found


def known(number: str, found: dict[str, bytes]) -> int:
    return int(number) if number.isdigit() else int.from_bytes(found[number])


def full_envelope() -> Envelope:
    codec = Codec(threshold=0)
    envelope = codec.encode(
        KEY, "text " * 50, now_ms=1_790_000_000_001, expires_ms=1_790_000_000_002, media_type="text/x", tags={"k": "é"}
    )
    return envelope.stamped(version=2**53 - 1, authority=Authority.COLD, created_ms=1_700_000_000_000)


def test_header_has_the_fields_of_the_table_in_their_places() -> None:
    envelope = full_envelope()
    found = fields(envelope)
    meta = b"\0\6text/x" + b"\0\1k" + b"\0\2\xc3\xa9"
    digest_of = b"\0\4acme" + b"\0\7user/42" + b"Profile.v2"
    expected = {
        "magic": bytes.fromhex("895443"),
        "format": b"\1",
        "flags": b"\0",
        "authority": b"\3",
        "serialiser": b"\2",
        "compressor": b"\1",
        "dictionary": bytes(4),
        "meta length": len(meta).to_bytes(4),
        "version": (2**53 - 1).to_bytes(8),
        "expires": (1_790_000_000_002).to_bytes(8),
        "created": (1_700_000_000_000).to_bytes(8),
        "modified": (1_790_000_000_001).to_bytes(8),
        "raw length": (250).to_bytes(8),
        "payload length": len(envelope.payload).to_bytes(8),
        "key digest": hashlib.blake2b(digest_of, digest_size=16).digest(),
        "body checksum": zlib.crc32(meta + envelope.payload).to_bytes(4),
        "header checksum": zlib.crc32(Codec().pack(envelope)[:84]).to_bytes(4),
        "metadata": meta,
        "payload": envelope.payload,
    }
    assert found == expected


def test_flags_are_the_documented_bits() -> None:
    text = " ".join(PAGE.split())
    for flag in (Flags.TOMBSTONE, Flags.MARKER, Flags.POINTER):
        name = str(flag.name).lower()
        assert re.search(rf"\b{flag.value} \*{name}\*", text), name
    tombstone = Codec().tombstone(KEY, now_ms=1)
    assert fields(tombstone)["flags"] == b"\1"
    assert Codec.is_marker(b"\x89TC\1\2") is True
    assert Codec.is_marker(Codec().pack(tombstone)) is False


@pytest.mark.parametrize("authority", Authority)
def test_authorities_are_the_documented_numbers(authority: Authority) -> None:
    (content,) = (row[3] for row in table("offset") if row[2] == "authority")
    name = "not yet written" if authority is Authority.NONE else str(authority.name).lower().replace("_", "-")
    assert f"{authority.value} {name}" in content
    envelope = Codec().encode(KEY, 1, now_ms=1).stamped(version=1, authority=authority)
    assert fields(envelope)["authority"] == bytes([authority.value])


def test_serialisers_are_the_documented_ids() -> None:
    rows = {int(row[0]): row for row in table("id")}
    assert {n: row[3].strip("`") for n, row in rows.items()} == dict(MEDIA_TYPES)
    for value, name in ((b"x", "bytes"), ("x", "text"), ({"x": 0.5}, "JSON"), ({"x": 1.0}, "MessagePack")):
        assert rows[Codec().prepare(value).serialiser][1] == name


def test_a_pointer_is_packed_as_documented() -> None:
    pointer = Pointer("tc1/p/a", "0f" * 32, 258, 772)
    envelope = Codec().point(Codec().encode(KEY, 1, now_ms=1), pointer)
    assert fields(envelope)["flags"] == b"\4"
    assert fields(envelope)["payload"] == (258).to_bytes(8) + (772).to_bytes(8) + b"\x0f" * 32 + b"tc1/p/a"


def test_limits_are_the_documented_ones() -> None:
    limits = {row[0]: row[1] for row in table("what")}
    assert limits["tenant, scope"] == f"{PART_BYTES:,} bytes of UTF-8 each"
    assert limits["name"] == f"{NAME_BYTES:,} bytes of UTF-8"
    assert limits["value, serialised"].startswith(f"{RAW_LIMIT >> 20} MB")
    assert limits["levels of a value"] == str(MAX_DEPTH)
    assert limits["tags"] == f"{TAGS}; {TAG_BYTES} bytes each for name and value"
    assert limits["media type"].startswith(f"{MEDIA_TYPE_BYTES} ")


def test_names_are_as_in_the_pages_examples() -> None:
    assert f"- Redis: `{redis_key(KEY).decode()}`" in PAGE
    partition = str(cosmos_partition(KEY)).replace("'", '"')
    assert f"- Cosmos DB: `{cosmos_id(KEY)}` in `{partition}`" in PAGE
    assert f"- blob: `{head_path(KEY)}`" in PAGE


def test_a_later_format_is_told_by_what_every_format_keeps() -> None:
    """Only magic, format byte and header checksum are looked at: the rest of the later format is unknown."""
    later = b"\x89TC\2" + bytes(range(80))
    data = later + zlib.crc32(later).to_bytes(4) + b"whatever"
    with pytest.raises(UnreadableRecord):
        Codec().unpack(data, KEY)
    with pytest.raises(CorruptRecord):
        Codec().unpack(data[:50] + b"\0" + data[51:], KEY)


def test_a_later_serialiser_is_unreadable() -> None:
    envelope = Codec().seal(KEY, Serialised(9, b"later"), now_ms=1, media_type="x/y")
    with pytest.raises(UnreadableRecord):
        Codec().unpack(Codec().pack(envelope), KEY)
