"""Partition key values and their hashes (effective partition keys, EPK).

The hash is MurmurHash3 x64 128 (Austin Appleby's public-domain algorithm) with seed 0. For `Hash` version 2 one hash is
taken over all components, for `MultiHash` one per component; the result is written big-endian in upper-case hex with the top
two bits cleared. EPKs are compared as strings, ranges are [min, max) between "" and "FF".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

from thermocline.testing.cosmos.failures import bad_request

MAX_KEY_BYTES: Final = 2048
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_C1: Final = 0x87C37B91114253D5
_C2: Final = 0x4CF5AD432745937F


class _UndefinedKey:
    """A partition key path that the item does not have; `{}` on the wire."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED_KEY: Final = _UndefinedKey()


def _rotl(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK


def _mix(k: int) -> int:
    k ^= k >> 33
    k = k * 0xFF51AFD7ED558CCD & _MASK
    k ^= k >> 33
    k = k * 0xC4CEB9FE1A85EC53 & _MASK
    return k ^ (k >> 33)


def murmur3_128(data: bytes) -> tuple[int, int]:
    """MurmurHash3 x64 128 with seed 0: the two 64-bit halves."""
    h1 = h2 = 0
    whole = len(data) // 16 * 16
    for k1, k2 in struct.iter_unpack("<QQ", data[:whole]):
        h1 ^= _rotl(k1 * _C1 & _MASK, 31) * _C2 & _MASK
        h1 = ((_rotl(h1, 27) + h2) * 5 + 0x52DCE729) & _MASK
        h2 ^= _rotl(k2 * _C2 & _MASK, 33) * _C1 & _MASK
        h2 = ((_rotl(h2, 31) + h1) * 5 + 0x38495AB5) & _MASK
    tail = data[whole:]
    if len(tail) > 8:
        h2 ^= _rotl(int.from_bytes(tail[8:], "little") * _C2 & _MASK, 33) * _C1 & _MASK
    if tail:
        h1 ^= _rotl(int.from_bytes(tail[:8], "little") * _C1 & _MASK, 31) * _C2 & _MASK
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    h1, h2 = _mix(h1), _mix(h2)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    return h1, h2


def _component_bytes(value: Any) -> bytes:
    if value is UNDEFINED_KEY:
        return b"\x00"
    if value is None:
        return b"\x01"
    if value is False:
        return b"\x02"
    if value is True:
        return b"\x03"
    if isinstance(value, (int, float)):
        return b"\x05" + struct.pack("<d", value)
    return b"\x08" + str(value).encode() + b"\xff"


def _hash_hex(data: bytes) -> str:
    h1, h2 = murmur3_128(data)
    raw = bytearray((h1.to_bytes(8, "little") + h2.to_bytes(8, "little"))[::-1])
    raw[0] &= 0x3F
    return raw.hex().upper()


def effective_key(components: Sequence[Any], kind: str) -> str:
    """The EPK of a whole key or, for MultiHash, of a prefix of it."""
    if not components:
        return ""
    if kind == "MultiHash":
        return "".join(_hash_hex(_component_bytes(c)) for c in components)
    return _hash_hex(b"".join(_component_bytes(c) for c in components))


@dataclass(frozen=True, slots=True)
class PartitionValue:
    """One logical partition: its components, a text that is equal only for equal keys, and its EPK."""

    components: tuple[Any, ...]
    text: str
    epk: str


def make_value(components: Sequence[Any], kind: str) -> PartitionValue:
    """Check a key's components and hash them. 1, "1", true, null and undefined are five keys; 1 and 1.0 are one."""
    shown: list[Any] = []
    size = 0
    for c in components:
        if isinstance(c, (dict, list)):
            raise bad_request("Partition key components must be null, bool, number or string.")
        if isinstance(c, str):
            size += len(c.encode())
        shown.append({} if c is UNDEFINED_KEY else float(c) if isinstance(c, int) and not isinstance(c, bool) else c)
    if size > MAX_KEY_BYTES:
        raise bad_request(f"Partition key value is {size} bytes long, the limit is {MAX_KEY_BYTES}.")
    return PartitionValue(tuple(components), msgspec.json.encode(shown).decode(), effective_key(components, kind))


@lru_cache(maxsize=65536)
def parse_header(header: str, paths: int, kind: str) -> PartitionValue:
    """The key of an `x-ms-documentdb-partitionkey` header. Raises 400 for anything but a whole key."""
    try:
        raw = msgspec.json.decode(header)
    except (msgspec.DecodeError, UnicodeEncodeError) as e:
        raise bad_request(f"Partition key {header} is invalid.") from e
    if not isinstance(raw, list):
        raise bad_request(f"Partition key {header} is invalid: it must be a JSON array.")
    if len(raw) != paths:
        raise bad_request("Partition key provided either doesn't correspond to definition in the collection.", 1001)
    return make_value([UNDEFINED_KEY if c == {} and isinstance(c, dict) else c for c in raw], kind)
