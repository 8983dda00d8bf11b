"""A head's bytes, and what a listing may know of it without reading it.

A head blob or file, big-endian::

    0   magic, 3 bytes 89 54 48 ("\\x89TH")
    3   format version, u8 = 1
    4   length n of the ledger, u32
    8   checksum of the ledger, u32: CRC-32 of its bytes
    12  the ledger, n bytes of JSON: {"k": [tenant, scope, name], "b": [id, version], "w": [[id, version], ...]}
    ..  the packed envelope, which has checksums of its own

``w`` is the ring, newest first. A head blob also has metadata (`metadata_of`): copies of the envelope's fields for listings, set by the same
request as the content. They are never what a read returns.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

from thermocline import keys
from thermocline.blobs.heads import RULES, Head, Stamp
from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, InvalidKey, UnreadableRecord
from thermocline.model import Authority, Envelope, Flags, Header, Key
from thermocline.protocols import Listed, Stored

MAGIC: Final = b"\x89TH"
FORMAT: Final = 1
_START: Final = 12
_CODEC: Final = Codec()

METADATA_BYTES: Final = 6000  # of names and values together; the service allows 8 kB


def pack_head(head: Head) -> bytes:
    """The bytes of a head."""
    key = head.envelope.key
    ledger = _json(
        {
            "k": [key.tenant, key.scope, key.name],
            "b": [head.birth.id, head.birth.version],
            "w": [[stamp.id, stamp.version] for stamp in head.ring],
        }
    )
    start = MAGIC + bytes([FORMAT]) + len(ledger).to_bytes(4) + crc32(ledger).to_bytes(4)
    return b"".join((start, ledger, _CODEC.pack(head.envelope)))


def unpack_head(data: bytes | memoryview, key: Key) -> Head:
    """The head of ``key``. Raises `CorruptRecord` for what is cut, altered or of another key, `UnreadableRecord` for a newer format."""
    head = unpack_any_head(data)
    if head.envelope.key != key:
        raise CorruptRecord(f"the head of {key} belongs to another key")
    return head


def unpack_any_head(data: bytes | memoryview) -> Head:
    """A head of whatever key it says it has; raises as `unpack_head`. Check that it was found under that key's path."""
    if len(data) < _START or data[:3] != MAGIC:
        raise CorruptRecord("not a head: it is too short or has another beginning")
    if data[3] != FORMAT:
        raise UnreadableRecord(f"a head of format {data[3]}, this program reads format {FORMAT}: upgrade it")
    end = _START + int.from_bytes(data[4:8])
    ledger = bytes(data[_START:end])
    if end > len(data) or crc32(ledger) != int.from_bytes(data[8:12]):
        raise CorruptRecord("a head's ledger does not fit its checksum")
    try:
        read = json.loads(ledger)
        key = Key(*read["k"])
        birth, ring = _stamp(read["b"]), tuple(_stamp(pair) for pair in read["w"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRecord(f"a head's ledger cannot be read: {error}") from error
    envelope = _CODEC.unpack(memoryview(data)[end:], key)
    if not 0 < len(ring) <= RULES.ring or ring[0].version != envelope.version:
        raise CorruptRecord("a head's ledger does not belong to its record")
    return Head(envelope, ring, birth)


def _stamp(pair: Any) -> Stamp:
    write_id, version = pair
    if not isinstance(write_id, str) or type(version) is not int:
        raise TypeError("a stamp is an id and a version")
    return Stamp(write_id, version)


# --- listings --------------------------------------------------------------------------------------------------------


def listed(head: Head) -> Listed:
    """What a listing says of a head."""
    envelope = head.envelope
    header = envelope.header
    return Listed(
        envelope.key,
        header.version,
        header.expires_ms,
        header.modified_ms,
        _CODEC.pointer_of(envelope).size if envelope.pointer else len(envelope.payload),
        header.raw_length,
        envelope.pointer,
        dict(envelope.tags) or None,
    )


def metadata_of(head: Head, path: str) -> dict[str, str]:
    """The blob's metadata: decimal numbers, and base64 of JSON for the tags, for what only a census tells (``tch``), and for a key that its path does not tell.
    All ASCII.

    ``tcx`` stands where the metadata would be too long: then a listing reads the head itself.
    """
    line = listed(head)
    metadata = {
        "tcv": str(line.version),
        "tce": str(line.expires_ms),
        "tcm": str(line.modified_ms),
        "tcs": str(line.size),
        "tcr": str(line.raw_size),
        "tcf": str(int(head.envelope.header.flags)),
    }
    if keys.from_head_path(path) is None:
        metadata["tck"] = _encoded([line.key.tenant, line.key.scope, line.key.name])
    if line.tags is not None:
        metadata["tct"] = _encoded(line.tags)
    envelope, header = head.envelope, head.envelope.header
    metadata["tch"] = _encoded(
        [
            int(header.authority),
            header.serialiser,
            header.compressor,
            header.dictionary,
            header.created_ms,
            envelope.media_type,
            base64.b64encode(envelope.payload).decode() if envelope.pointer else "",
        ]
    )
    if sum(len(name) + len(value) for name, value in metadata.items()) > METADATA_BYTES:
        metadata = {"tcx": "1"} | {name: metadata[name] for name in ("tcv", "tce", "tcm", "tcf")}
    return metadata


def dead_since(metadata: Mapping[str, str]) -> int | None:
    """From when on, in ms since 1970, the head has no live record; 0 never. None: the metadata does not tell."""
    try:
        expires, modified, flags = (int(metadata[name]) for name in ("tce", "tcm", "tcf"))
    except (KeyError, ValueError):
        return None
    return modified if flags & Flags.TOMBSTONE else expires


def dead(metadata: Mapping[str, str], now_ms: int) -> bool:
    """Whether the metadata tells that there is no live record."""
    since = dead_since(metadata)
    return since is not None and (int(metadata["tcf"]) & Flags.TOMBSTONE > 0 or 0 < since <= now_ms)


def listed_of(metadata: Mapping[str, str], path: str) -> Listed | None:
    """What `listed` says, from the metadata alone. None: the metadata does not tell, read the head."""
    try:
        version, expires, modified, size, raw, flags = (
            int(metadata[name]) for name in ("tcv", "tce", "tcm", "tcs", "tcr", "tcf")
        )
        key = keys.from_head_path(path)
        if key is None:
            key = Key(*_decoded(metadata["tck"]))
            if keys.head_path(key) != path:
                return None
        tags = _decoded(metadata["tct"]) if "tct" in metadata else None
    except (KeyError, ValueError, TypeError, InvalidKey):
        return None
    return Listed(key, version, expires, modified, size, raw, bool(flags & Flags.POINTER), tags)


def stored_of(metadata: Mapping[str, str], path: str, etag: str) -> Stored | None:
    """What a census says of a head, from the metadata alone. None: the metadata does not tell, read the head."""
    line = listed_of(metadata, path)
    if line is None:
        return None
    try:
        authority, serialiser, compressor, dictionary, created, media_type, pointer = _decoded(metadata["tch"])
        header = Header(
            flags=Flags(int(metadata["tcf"])),
            authority=Authority(authority),
            serialiser=int(serialiser),
            compressor=int(compressor),
            dictionary=int(dictionary),
            version=line.version,
            expires_ms=line.expires_ms,
            created_ms=int(created),
            modified_ms=line.modified_ms,
            raw_length=line.raw_size,
        )
        payload = base64.b64decode(pointer, validate=True)
        told = _CODEC.pointer_of(Envelope(line.key, header, payload)) if line.pointer else None
    except (KeyError, ValueError, TypeError, CorruptRecord):
        return None
    return Stored(line.key, header, line.size, told, line.tags or {}, str(media_type), etag)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _encoded(value: Any) -> str:
    return base64.b64encode(_json(value)).decode()


def _decoded(text: str) -> Any:
    return json.loads(base64.b64decode(text, validate=True))
