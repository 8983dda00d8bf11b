"""Keys, headers, envelopes: the words of the design as types."""

import pickle
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from thermocline.errors import InvalidArgument, InvalidKey
from thermocline.model import Authority, Envelope, Flags, Header, Hit, Key, MemoryTier, Record, instant, plain_scope

KEY = Key("t", "s", "n")


@pytest.mark.parametrize("part", ["tenant", "scope", "name"])
@pytest.mark.parametrize(
    ("value", "why"),
    [("", "empty"), (None, "string"), (b"x", "string"), (1, "string"), ("\ud800", "surrogate"), ("x\udfff" * 900, "surrogate")],
)  # fmt: skip
def test_a_part_that_cannot_be_used_is_refused_by_name(part: str, value: Any, why: str) -> None:
    with pytest.raises(InvalidKey, match=f"{part}.*{why}"):
        Key(**({"tenant": "t", "scope": "s", "name": "n"} | {part: value}))


@pytest.mark.parametrize(("part", "most"), [("tenant", 1000), ("scope", 1000), ("name", 16_384)])
@pytest.mark.parametrize("unit", ["x", "é", "🌊"])
def test_parts_are_limited_in_bytes(part: str, most: int, unit: str) -> None:
    longest = unit * (most // len(unit.encode()))
    fields = {"tenant": "t", "scope": "s", "name": "n"}
    assert getattr(Key(**(fields | {part: longest})), part) == longest
    with pytest.raises(InvalidKey, match=f"at most {most}"):
        Key(**(fields | {part: longest + unit}))


def test_invalid_keys_are_invalid_arguments_and_value_errors() -> None:
    for error in (InvalidKey, InvalidArgument, ValueError):
        with pytest.raises(error):
            Key("", "s", "n")


def test_a_key_of_anything_else_is_refused() -> None:
    assert Key.of(KEY) is KEY
    for wrong in (None, 1, b"n", ("t", "s", "n")):
        with pytest.raises(InvalidKey, match="a Key or a string"):
            Key.of(wrong)  # type: ignore[arg-type]
    for wrong_text in ("", "\ud800", "x" * 16_385):
        with pytest.raises(InvalidKey):
            Key.of(wrong_text)


def test_keys_are_values() -> None:
    assert Key("t", "s", "n") == KEY
    assert hash(Key("t", "s", "n")) == hash(KEY)
    assert sorted([Key("b", "a", "a"), Key("a", "b", "a"), Key("a", "a", "b")])[0] == Key("a", "a", "b")
    assert pickle.loads(pickle.dumps(KEY)) == KEY
    assert str(KEY) == "t/s/n"
    assert Key("t", "s", "e\u0301") != Key("t", "s", "é")


def test_the_plain_scope_is_frozen() -> None:
    assert [plain_scope(name) for name in ("a", "profile", "世界")] == ["~40", "~48", "~9e"]


@pytest.mark.parametrize(
    ("expires_ms", "now_ms", "expired"), [(0, 0, False), (0, 2**53, False), (5, 4, False), (5, 5, True), (5, 6, True)]
)
def test_expiry_is_absolute_and_zero_is_never(expires_ms: int, now_ms: int, expired: bool) -> None:
    envelope = Envelope(KEY, Header(expires_ms=expires_ms, serialiser=1))
    assert envelope.header.expired(now_ms) is expired
    assert envelope.live(now_ms) is not expired
    tombstone = replace(envelope, header=replace(envelope.header, flags=Flags.TOMBSTONE))
    assert tombstone.live(now_ms) is False


def test_stamping_leaves_the_payload_and_the_writers_times() -> None:
    written = Envelope(
        KEY, Header(serialiser=1, created_ms=5, modified_ms=6, raw_length=1), b"x", "a/b", {"k": "v"}, b"x"
    )
    stamped = written.stamped(version=9, authority=Authority.COLD)
    assert (stamped.version, stamped.header.authority, stamped.header.created_ms) == (9, Authority.COLD, 5)
    assert stamped.payload is written.payload
    assert (stamped.media_type, stamped.tags, stamped.raw) == ("a/b", {"k": "v"}, b"x")
    assert written.version == 0
    assert written.stamped(version=9, authority=Authority.COLD, created_ms=1).header.created_ms == 1


def test_what_is_not_part_of_the_record_does_not_make_envelopes_differ() -> None:
    one = Envelope(KEY, Header(), b"", raw=b"x", etag="1")
    assert one == Envelope(KEY, Header(), b"")


def test_instants() -> None:
    assert instant(0) is None
    assert instant(1_790_000_000_123) == datetime(2026, 9, 21, 14, 13, 20, 123_000, tzinfo=UTC)


def test_a_hit_shows_its_record() -> None:
    hit = Hit(Record(KEY, None, 7), MemoryTier.HOT)
    assert hit.value is None
    assert hit.version == 7
