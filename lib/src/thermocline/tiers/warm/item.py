"""The Cosmos item of a key: envelopes to items and back. Pure.

::

    {"id": "tc1.…", "tenant", "scope", "n": the full name,
     "v": version, "w": ids of the last eight writes, newest first, "b": id of the write that created it, "c": when (ms), "ttl": seconds,
     "r": {"z": 1, the format, "f": flags, "a": authority, "s": serialiser, "c": compressor, "d": dictionary,
           "t": when the value was written (ms), "l": length of the serialised value, "u": bytes of the stored value,
           "y": media type, "g": tags (both left out when empty),
           "j": a JSON value as it is, or "p": any other payload in base64,
           "h": checksum of the header and the key, "k": checksum of "y", "g" and the value,
           "e": {"x": expiry (ms, 0: none), "m": modified (ms), "k": checksum of both and the key}}}

A write sets ``r`` as a whole and a touch ``r.e`` alone, which therefore has its own checksum; ``v``, ``w`` and ``ttl`` belong to the server. Nothing sets
``c`` again, for a write does not know the record that it replaces: a record that follows a deleted or expired one is as old as the item. Checksums are
CRC-32 over canonical JSON (sorted names, no spaces, numbers as the same doubles), so they bear a service that writes numbers or the order of names
anew, and nothing else. The full key is compared on each read.
"""

import base64
import binascii
import math
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from thermocline.codec import JSON, UNCOMPRESSED, Codec, decompress
from thermocline.errors import CorruptRecord, UnreadableRecord
from thermocline.keys import cosmos_id
from thermocline.model import MAX_VERSION, Authority, Envelope, Flags, Header, Key
from thermocline.protocols import Stored
from thermocline.writes import RULES, Seen

FORMAT: Final = 1
LONGEST_TTL: Final = 2**31 - 1  # seconds; the service's limit
NO_TTL: Final = -1  # the service's word for "stays"

_canonical = msgspec.json.Encoder(order="sorted").encode
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_CODEC: Final = Codec()


# --- writing ---------------------------------------------------------------------------------------------------------


def record_of(envelope: Envelope) -> dict[str, Any]:
    """The item's ``r``. A JSON value is put in natively, from ``Envelope.raw`` or the inflated payload; any other payload in base64.

    Raises `CorruptRecord` if the payload of a JSON value is not what its header says.
    """
    key, header = envelope.key, envelope.header
    native = header.serialiser == JSON and not header.flags & (Flags.POINTER | Flags.TOMBSTONE)
    r: dict[str, Any] = {
        "z": FORMAT,
        "f": int(header.flags),
        "a": int(Authority.WARM),
        "s": header.serialiser,
        "c": UNCOMPRESSED if native else header.compressor,
        "d": 0 if native else header.dictionary,
        "t": header.created_ms,
        "l": header.raw_length,
    }
    if envelope.media_type:
        r["y"] = envelope.media_type
    if envelope.tags:
        r["g"] = dict(envelope.tags)
    if native:
        raw = envelope.raw
        if raw is None:
            raw = decompress(envelope.payload, header.compressor, header.raw_length)
        r["j"], r["u"] = _value(raw), len(raw)
    else:
        r["p"], r["u"] = base64.b64encode(envelope.payload).decode(), len(envelope.payload)
    r["h"] = _crc(_header_parts(r, key))
    r["k"] = _crc(_body_parts(r))
    r["e"] = expiry_of(key, header.expires_ms, header.modified_ms)
    return r


def expiry_of(key: Key, expires_ms: int, modified_ms: int) -> dict[str, Any]:
    """The item's ``r.e``."""
    return {"x": expires_ms, "m": modified_ms, "k": _crc([expires_ms, modified_ms, *_key_parts(key)])}


def body_of(key: Key, r: dict[str, Any], *, write_id: str, version: int, ttl: int) -> dict[str, Any]:
    """A new item, as the write ``write_id`` creates it."""
    return {
        "id": cosmos_id(key),
        "tenant": key.tenant,
        "scope": key.scope,
        "n": key.name,
        "v": version,
        "w": [write_id, *[""] * (RULES.ring - 1)],
        "b": write_id,
        "c": r["t"],
        "ttl": ttl,
        "r": r,
    }


def size_of(item: Mapping[str, Any]) -> int:
    """The item's bytes as compact UTF-8 JSON, without what the service adds."""
    return len(_encode(item))


def ttl_of(header: Header, now_ms: int, grace_ms: int) -> int:
    """Seconds that an item lives from its write on: to its record's expiry (a tombstone: none) and the grace; -1 for ever.

    Rounded up, and one more, because the service counts from whole seconds. What is longer than the service can count stays for ever.
    """
    if header.flags & Flags.TOMBSTONE:
        left = 0
    elif header.expires_ms == 0:
        return NO_TTL
    else:
        left = max(0, header.expires_ms - now_ms)
    seconds = math.ceil((left + grace_ms) / 1000) + 1
    return seconds if seconds <= LONGEST_TTL else NO_TTL


# --- reading ---------------------------------------------------------------------------------------------------------


def envelope_of(item: Mapping[str, Any], key: Key) -> Envelope:
    """The record in an item that was read under ``key``. Raises `CorruptRecord`, `UnreadableRecord`."""
    r = _record(item, key)
    header = _header(item, r, key)
    r = _whole(r, key)
    payload = _payload(r, key)
    if "j" in r:
        header = replace(header, raw_length=len(payload))
    return Envelope(key, header, payload, r.get("y", ""), r.get("g", {}), etag=item.get("_etag"))


def stored_of(item: Mapping[str, Any], key: Key) -> Stored:
    """What an item says that was read without its value (but for a pointer). Its header and expiry are checked, and a pointer as well.

    Raises `CorruptRecord`, `UnreadableRecord`.
    """
    r = _record(item, key)
    header = _header(item, r, key)
    pointer, size = None, r["u"]
    if header.flags & Flags.POINTER:
        pointer = _CODEC.pointer_of(Envelope(key, header, _payload(_whole(r, key), key)))
        size = pointer.size
    try:
        tags = msgspec.convert(r.get("g", {}), dict[str, str])
    except msgspec.ValidationError as error:
        raise _corrupt(key, "its tags are of the wrong kind") from error
    return Stored(key, header, size, pointer, tags, str(r.get("y", "")), item.get("_etag"))


def seen_of(
    item: Mapping[str, Any], key: Key, now_ms: int, *, judge_life: bool, valueless: bool = False
) -> Seen | None:
    """What a writer needs to know of the item; None if it has no whole ring, as an item that other code wrote.

    ``judge_life``: whether it matters that the record is live; if not, a damaged record can be overwritten. ``valueless``: the item was read
    without its value. Raises `CorruptRecord`, and `UnreadableRecord` for one of a newer format, which is never overwritten.
    """
    r = _record(item, key, whole=judge_life)
    version = version_of(item, key)
    ring = item.get("w")
    if not isinstance(ring, list) or len(ring) != RULES.ring or not all(isinstance(one, str) for one in ring):
        return None
    live = False
    if judge_life:
        header = _header(item, r, key) if valueless else envelope_of(item, key).header
        live = not header.flags & Flags.TOMBSTONE and not header.expired(now_ms)
    elif r:
        live = r.get("f") != Flags.TOMBSTONE
    return Seen(version, tuple(ring), str(item.get("b", "")), live)


def version_of(item: Mapping[str, Any], key: Key) -> int:
    """The item's ``v``. Raises `CorruptRecord`."""
    version = item.get("v")
    if isinstance(version, float) and version.is_integer():
        version = int(version)
    if type(version) is not int or not 0 < version <= MAX_VERSION:
        raise _corrupt(key, "it has no version")
    return version


def created_of(item: Mapping[str, Any], written_ms: int) -> int:
    """The item's ``c``; of an item that has none, when its value was written."""
    created = item.get("c")
    if isinstance(created, float) and created.is_integer():
        created = int(created)
    return created if type(created) is int and 0 < created <= MAX_VERSION else written_ms


def _record(item: Mapping[str, Any], key: Key, *, whole: bool = True) -> dict[str, Any]:
    r = item.get("r")
    if not isinstance(r, dict):
        if whole:
            raise _corrupt(key, "it has no record")
        return {}
    z = r.get("z")
    if isinstance(z, int | float) and z > FORMAT:
        raise UnreadableRecord(f"the record of {key} has format {z}: upgrade this program to read it")
    if whole and (item.get("tenant"), item.get("scope"), item.get("n")) != (key.tenant, key.scope, key.name):
        raise _corrupt(key, "it is of another key")
    return r


def _header(item: Mapping[str, Any], r: Mapping[str, Any], key: Key) -> Header:
    e = r.get("e")
    if not isinstance(e, dict) or e.get("k") != _crc([e.get("x"), e.get("m"), *_key_parts(key)]):
        raise _corrupt(key, "its expiry does not fit its checksum")
    if r.get("h") != _crc(_header_parts(r, key)):
        raise _corrupt(key, "its header does not fit its checksum")
    try:
        return Header(
            flags=Flags(r["f"]),
            authority=Authority(r["a"]),
            serialiser=r["s"],
            compressor=r["c"],
            dictionary=r["d"],
            version=version_of(item, key),
            expires_ms=e["x"],
            created_ms=created_of(item, r["t"]),
            modified_ms=e["m"],
            raw_length=r["l"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise _corrupt(key, "a field of it is of the wrong kind") from error


def _payload(r: Mapping[str, Any], key: Key) -> bytes:
    try:
        return _encode(r["j"]) if "j" in r else base64.b64decode(r["p"], validate=True)
    except (KeyError, ValueError, TypeError, binascii.Error) as error:
        raise _corrupt(key, "its value cannot be read") from error


def _whole(r: dict[str, Any], key: Key) -> dict[str, Any]:
    """The record if its value fits the checksum, where the service may have written integers as 1.0."""
    if ("j" in r) != ("p" not in r):
        raise _corrupt(key, "it has no value")
    try:
        if r.get("k") == _crc(_body_parts(r)):
            return r
        if "j" in r:
            again = {**r, "j": _whole_numbers(r["j"])}
            if again.get("k") == _crc(_body_parts(again)):
                return again
    except (TypeError, ValueError, RecursionError) as error:
        raise _corrupt(key, "its value cannot be read") from error
    raise _corrupt(key, "its value does not fit its checksum")


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {name: _whole_numbers(one) for name, one in value.items()}
    return [_whole_numbers(one) for one in value] if isinstance(value, list) else value


def _value(raw: bytes) -> Any:
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptRecord(f"a value that its header calls JSON is not: {error}") from error


def _key_parts(key: Key) -> list[str]:
    return [key.tenant, key.scope, key.name]


def _header_parts(r: Mapping[str, Any], key: Key) -> list[Any]:
    return [*(r.get(name) for name in ("z", "f", "a", "s", "c", "d", "t", "l", "u")), *_key_parts(key)]


def _body_parts(r: Mapping[str, Any]) -> list[Any]:
    return [r.get("y", ""), r.get("g", {}), r["j"] if "j" in r else r.get("p")]


def _crc(parts: list[Any]) -> int:
    return zlib.crc32(_canonical(parts))


def _corrupt(key: Key, why: str) -> CorruptRecord:
    return CorruptRecord(f"the record of {key} in Cosmos DB is damaged: {why}")
