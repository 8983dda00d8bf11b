"""Values that say who wrote them, and show when they were torn or belong to another key."""

import hashlib
import random
from collections.abc import Iterable
from typing import Any

from thermocline.model import Key

SMALL = range(200)
LARGE = range(40_000, 60_000)  # these go to cold


def make(value_id: str, key: Key, sizes: range) -> Any:
    """A value of this id, of a size (bytes) that the id decides: JSON where it is small, else bytes that do not shrink."""
    size = sizes[int.from_bytes(hashlib.blake2b(value_id.encode(), digest_size=4).digest()) % len(sizes)]
    if sizes is SMALL:
        return {"id": value_id, "key": str(key), "size": size, "fill": _fill(value_id, size).hex()}
    return f"{value_id}|{key}|{size}|".encode() + _fill(value_id, size)


def identify(value: Any, key: Key, large: Iterable[range] = (LARGE,)) -> tuple[str, bool]:
    """The id of a value that was read under ``key``, and whether it is torn: not, bit by bit, what the writer of that id makes for this key.
    ``large``: the sizes of which it may have made one that is bytes."""
    if isinstance(value, dict):
        found = str(value.get("id", "?"))
        return found, value != make(found, key, SMALL)
    if not isinstance(value, bytes):
        return "?", True
    found = value[:200].split(b"|", 1)[0].decode(errors="replace")
    return found, not any(value == make(found, key, sizes) for sizes in large)


def _fill(value_id: str, size: int) -> bytes:
    return random.Random(value_id).randbytes(size)
