"""Keys, values and writes for the suites to try."""

import secrets
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.codec import Codec
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Verb, Write

ALPHABET = "0123456789abcdefghijklmnopqrstuv"
CODEC = Codec()
NEVER = 0


class _Now:
    """The clock of the tier under test, which stamps the samples: what a client gives to a tier is not from another year."""

    clock: Clock = SYSTEM_CLOCK


def stamp_by(clock: Clock) -> None:
    """Make samples by this clock from now on; the suite says so before each test."""
    _Now.clock = clock


FALSY: Mapping[str, Any] = {
    "none": None,
    "false": False,
    "zero": 0,
    "float-zero": 0.0,
    "empty-text": "",
    "empty-bytes": b"",
    "empty-object": {},
    "empty-list": [],
}

VALUES: Mapping[str, Any] = {
    **FALSY,
    "text": "wärmer ☀ \x00 \u2028 end",
    "object": {"name": "Ada", "tags": ["a", "b"], "deep": {"n": [1, 2.5, None, True]}, "": "empty name"},
    "big-integer": {"n": 2**80, "m": -(2**63)},
    "beyond-doubles": [2**53 + 1, 1e308, 5e-324, -0.0],
    "infinity": [float("inf"), float("-inf")],
    "bytes": bytes(range(256)),
    "nested-bytes": {"raw": b"\x00\xff", "list": [b""]},
    "moment": datetime(2026, 11, 21, 14, 30, 1, 234567, tzinfo=UTC),
    "date": date(2026, 2, 28),
    "duration": timedelta(days=3, microseconds=7),
    "uuid": UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
    "decimal": Decimal("10.5000"),
    "number-keys": {1: "one", 2: "two"},
    "cosmos-words": {"id": "x", "_etag": "y", "_ts": 1, "tenant": "other", "ttl": -1, "$type": "z"},
}

NASTY_NAMES: Mapping[str, str] = {
    "slashes": "a/b//c/",
    "cosmos-refuses": "a/b\\c?d#e",
    "dots": "..",
    "dot-path": "../../other/./x",
    "percent": "100%25%2F",
    "braces": "{tag}{}}{",
    "wildcards": "*?[a-z]_%",
    "spaces": "  inner  and trailing ",
    "control": "tab\tnewline\r\nnull\x00bell\x07",
    "quotes": "'; DROP \"x\" -- \\'",
    "unicode": "日本語 🦊 é e\u0301 \u202e",
    "colons": "tc1:{x}:y",
    "tilde": "~00~~=",
    "case": "CamelCase",
    "long": "n" * 10_000,
    "long-unicode": "ü/" * 3_400,
    "longest": "x" * 16_384,
}

LOOKALIKES: tuple[tuple[Key, Key], ...] = (
    (Key("a", "b", "c"), Key("a", "b/c", "c")),
    (Key("a", "b/c", "d"), Key("a/b", "c", "d")),
    (Key("a", "b", "c/d"), Key("a", "b/c", "d")),
    (Key("a%2Fb", "s", "n"), Key("a/b", "s", "n")),
    (Key("A", "s", "n"), Key("a", "s", "n")),
    (Key("t", "s", "é"), Key("t", "s", "e\u0301")),
    (Key("t", "s", "n"), Key("t", "s", "n ")),
    (Key("t", "s", "n"), Key("t", "s", "n\x00")),
    (Key("t", "s", "x" * 9_999 + "1"), Key("t", "s", "x" * 9_999 + "2")),
    (Key("t}{u", "s", "n"), Key("t", "u}{s", "n")),
    (Key("*", "s", "n"), Key("t", "s", "n")),
)
"""Pairs of keys that a careless escape takes for one."""


def soon(clock: Clock = SYSTEM_CLOCK) -> Deadline:
    """A deadline that no healthy tier misses."""
    return Deadline.after(30, clock)


def new_id() -> str:
    """A write's id as the client makes them: 26 characters of [0-9a-v], the first eleven the time."""
    ms = time.time_ns() // 1_000_000
    head = "".join(ALPHABET[ms >> shift & 31] for shift in range(50, -1, -5))
    return head + "".join(secrets.choice(ALPHABET) for _ in range(15))


def new_word() -> str:
    return secrets.token_hex(8)


def new_key(name: str = "name") -> Key:
    """A key that no other test has: its tenant and scope are new, the name is as given."""
    word = new_word()
    return Key(f"tenant-{word}", f"scope/{word}", name)


def near(key: Key, word: str) -> Key:
    """The same key in a tenant whose name begins with ``word``: tests that run beside each other must not meet."""
    return Key(f"{word}{key.tenant}", key.scope, key.name)


def sealed(
    key: Key,
    value: Any,
    *,
    expires_ms: int = NEVER,
    media_type: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Envelope:
    """An envelope as the client gives it to a tier: without a version."""
    now = _Now.clock.wall_ms()
    return CODEC.encode(key, value, now_ms=now, expires_ms=expires_ms, media_type=media_type, tags=tags)


def record(key: Key, value: Any, version: int, *, expires_ms: int = NEVER) -> Envelope:
    """An envelope as an authority gave it out."""
    return sealed(key, value, expires_ms=expires_ms).stamped(version=version, authority=Authority.WARM)


def tombstone(key: Key, version: int) -> Envelope:
    return CODEC.tombstone(key, now_ms=_Now.clock.wall_ms()).stamped(version=version, authority=Authority.WARM)


def value_of(envelope: Envelope | None) -> Any:
    """The value of an envelope that has to be there."""
    assert envelope is not None
    assert not envelope.tombstone
    return CODEC.decode(envelope)


def same(one: object, other: object) -> bool:
    """Equal in type as well: ``0``, ``False`` and ``0.0`` are three values, and so are ``0.0`` and ``-0.0``."""
    return type(one) is type(other) and repr(one) == repr(other)


def put(
    key: Key,
    value: Any = "value",
    *,
    known: int | None = None,
    if_version: int | None = None,
    if_absent: bool = False,
    expires_ms: int = NEVER,
) -> Write:
    envelope = sealed(key, value, expires_ms=expires_ms)
    return Write(Verb.PUT, new_id(), envelope, known, if_version, if_absent)


def delete(key: Key, *, known: int | None = None, if_version: int | None = None, clock: Clock = SYSTEM_CLOCK) -> Write:
    return Write(Verb.DELETE, new_id(), CODEC.tombstone(key, now_ms=_Now.clock.wall_ms()), known, if_version)


def touch(
    key: Key,
    expires_ms: int,
    *,
    known: int | None = None,
    if_version: int | None = None,
) -> Write:
    envelope = sealed(key, None, expires_ms=expires_ms)
    return Write(Verb.TOUCH, new_id(), envelope, known, if_version)
