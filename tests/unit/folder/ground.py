"""Writes to a `FolderMemory`, numbered, as the tests of it make them."""

from typing import Any

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.protocols import Verb, Write
from thermocline.tiers.local.folder import FolderMemory

CODEC = Codec()
KEY = Key("t", "s", "name")


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


def put(tier: FolderMemory, value: object, number: int, key: Key = KEY, **options: Any) -> Write:
    encode = {name: options.pop(name) for name in ("expires_ms",) if name in options}
    return Write(
        Verb.PUT, f"{number:026d}", CODEC.encode(key, value, now_ms=tier._clock.wall_ms(), **encode), **options
    )


def deletion(tier: FolderMemory, number: int, key: Key = KEY) -> Write:
    return Write(Verb.DELETE, f"{number:026d}", CODEC.tombstone(key, now_ms=tier._clock.wall_ms()))
