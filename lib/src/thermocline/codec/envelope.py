"""Envelope v1 on the wire, as docs/envelope.md has it byte by byte: packs and unpacks, and guesses nothing.

`CorruptRecord` is for what is cut, altered or of another key; `UnreadableRecord` for what is whole and of a newer format.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from zlib import crc32

from thermocline.errors import CorruptRecord, InvalidArgument, UnreadableRecord
from thermocline.keys import key_digest
from thermocline.model import Authority, Envelope, Flags, Header, Key, Pointer

MAGIC: Final = b"\x89TC"
FORMAT: Final = 1
HEADER_LENGTH: Final = 88
RAW_LIMIT: Final = 512 * 2**20  # bytes; a compressed value with a raw length above it is not believed

NO_VALUE: Final = 0  # serialisers; the id of a tombstone
BYTES: Final = 1
TEXT: Final = 2
JSON: Final = 3
MSGPACK: Final = 4

UNCOMPRESSED: Final = 0  # compressors
ZSTD: Final = 1
GZIP: Final = 2

MEDIA_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        NO_VALUE: "",
        BYTES: "application/octet-stream",
        TEXT: "text/plain",
        JSON: "application/json",
        MSGPACK: "application/vnd.msgpack",
    }
)
"""The media type of a value for which none was given, by serialiser."""

_FIELDS = struct.Struct(">3s5BII6Q16sI")  # the header but for its own checksum
_CHECKSUM = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_POINTER = struct.Struct(">QQ32s")  # size, written_ms, SHA-256; the path follows
_FLAGS = [Flags(n) for n in range(8)]
_AUTHORITIES = list(Authority)  # numbered without gaps
_MARKER = Flags.MARKER.value
_TOMBSTONE = Flags.TOMBSTONE.value
_POINTED = Flags.POINTER.value


def is_marker(data: bytes) -> bool:
    """Whether hot holds a marker there and no value. Tests the magic and one flag, which every format keeps in place."""
    return len(data) > 4 and bool(data[4] & _MARKER) and data[:3] == MAGIC


def pack(envelope: Envelope) -> bytes:
    """The envelope's bytes. Raises `InvalidArgument` if a field is out of its range."""
    header = envelope.header
    meta = _pack_meta(envelope)
    try:
        fields = _FIELDS.pack(
            MAGIC,
            FORMAT,
            header.flags,
            header.authority,
            header.serialiser,
            header.compressor,
            header.dictionary,
            len(meta),
            header.version,
            header.expires_ms,
            header.created_ms,
            header.modified_ms,
            header.raw_length,
            len(envelope.payload),
            key_digest(envelope.key),
            crc32(envelope.payload, crc32(meta)),
        )
    except struct.error as error:
        raise InvalidArgument(f"an envelope's header field is out of its range: {error}") from error
    return b"".join((fields, _CHECKSUM.pack(crc32(fields)), meta, envelope.payload))


def unpack(data: bytes | memoryview, key: Key, raw_limit: int = RAW_LIMIT) -> Envelope:
    """The envelope of ``key``. Raises `CorruptRecord` or `UnreadableRecord`; a marker is corrupt here, see `is_marker`. A view's payload is copied once."""
    if len(data) < HEADER_LENGTH or data[:3] != MAGIC:
        raise CorruptRecord("not an envelope: it is too short or has another beginning")
    fields = data[:84]
    if crc32(fields) != int.from_bytes(data[84:88]):
        raise CorruptRecord("an envelope's header does not fit its checksum")
    (
        _,
        format_,
        flags,
        authority,
        serialiser,
        compressor,
        dictionary,
        meta_length,
        version,
        expires_ms,
        created_ms,
        modified_ms,
        raw_length,
        payload_length,
        digest,
        checksum,
    ) = _FIELDS.unpack(fields)
    if format_ != FORMAT:
        _other_format(format_)
    if len(data) != HEADER_LENGTH + meta_length + payload_length:
        raise CorruptRecord("an envelope has another length than its header says")
    if digest != key_digest(key):
        raise CorruptRecord("an envelope belongs to another key")
    if meta_length:
        start = HEADER_LENGTH + meta_length
        meta, payload = data[HEADER_LENGTH:start], data[start:]
        ok = crc32(payload, crc32(meta)) == checksum
    else:
        meta, payload = b"", data[HEADER_LENGTH:]
        ok = crc32(payload) == checksum
    if not ok:
        raise CorruptRecord("an envelope's payload does not fit its checksum")
    if flags > 7 or authority >= len(_AUTHORITIES):
        raise UnreadableRecord("an envelope has flags or an authority of a newer format: upgrade this program")
    header = Header(
        _FLAGS[flags],
        _AUTHORITIES[authority],
        serialiser,
        compressor,
        dictionary,
        version,
        expires_ms,
        created_ms,
        modified_ms,
        raw_length,
    )
    check_header(header, payload_length, raw_limit)
    if not meta_length:
        return Envelope(key, header, bytes(payload), MEDIA_TYPES[serialiser])
    media_type, tags = _unpack_meta(bytes(meta))
    return Envelope(key, header, bytes(payload), media_type, tags)


def check_header(header: Header, payload_length: int, raw_limit: int = RAW_LIMIT) -> None:
    """What holds between a header's fields, however they came: raises `UnreadableRecord` for unknown ids, `CorruptRecord` for nonsense."""
    compressor = header.compressor
    if header.serialiser > MSGPACK or compressor > GZIP or (header.dictionary and compressor != ZSTD):
        raise UnreadableRecord(
            "a record has a serialiser, compressor or dictionary of a newer format: upgrade this program"
        )
    flags = int(header.flags)
    if flags & _MARKER:
        raise CorruptRecord("a marker stands where a record is expected")
    if flags & _TOMBSTONE:
        if flags & _POINTED or payload_length or header.serialiser or header.compressor or header.raw_length:
            raise CorruptRecord("a tombstone has a value")
    elif header.serialiser == NO_VALUE:
        raise CorruptRecord("a record without a value is no tombstone")
    elif compressor != UNCOMPRESSED:
        if header.raw_length > raw_limit:
            raise CorruptRecord(
                f"a record inflates to {header.raw_length} bytes, it says; at most {raw_limit} are believed"
            )
    elif not flags and header.raw_length != payload_length:
        raise CorruptRecord("a record's value has another length than its header says")


def _other_format(number: int) -> None:
    if number > FORMAT:
        raise UnreadableRecord(f"an envelope of format {number}, this program reads {FORMAT}: upgrade it")
    raise CorruptRecord(f"there is no envelope format {number}")


# --- media type and tags ---------------------------------------------------------------------------------------------


def _pack_meta(envelope: Envelope) -> bytes:
    if not envelope.tags and envelope.media_type == MEDIA_TYPES.get(envelope.header.serialiser):
        return b""
    media_type = envelope.media_type.encode()
    parts = [_LENGTH.pack(len(media_type)), media_type]
    for name, value in envelope.tags.items():
        for text in (name.encode(), value.encode()):
            parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def _unpack_meta(meta: bytes) -> tuple[str, dict[str, str]]:
    texts = []
    at = 0
    try:
        while at < len(meta):
            (length,) = _LENGTH.unpack_from(meta, at)
            at += 2 + length
            if at > len(meta):
                raise CorruptRecord("an envelope's metadata is cut")
            texts.append(meta[at - length : at].decode())
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptRecord("an envelope's metadata cannot be read") from error
    names, values = texts[1::2], texts[2::2]
    if len(names) != len(values) or len(set(names)) != len(names):
        raise CorruptRecord("an envelope's tags do not come in pairs")
    return texts[0], dict(zip(names, values, strict=True))


# --- pointers --------------------------------------------------------------------------------------------------------


def pack_pointer(pointer: Pointer) -> bytes:
    """A pointer as an envelope's payload. Raises `InvalidArgument` if a field is out of its range."""
    try:
        digest = bytes.fromhex(pointer.sha256)
        if len(digest) != 32 or not pointer.path:
            raise ValueError("a pointer has a path and the 32 bytes of a SHA-256")
        return _POINTER.pack(pointer.size, pointer.written_ms, digest) + pointer.path.encode()
    except (struct.error, ValueError) as error:
        raise InvalidArgument(f"a pointer's field is out of its range: {error}") from error


def unpack_pointer(payload: bytes) -> Pointer:
    """The inverse of `pack_pointer`; raises `CorruptRecord`."""
    try:
        size, written_ms, digest = _POINTER.unpack_from(payload)
        path = payload[_POINTER.size :].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptRecord("a record's pointer cannot be read") from error
    if not path:
        raise CorruptRecord("a record's pointer names no blob")
    return Pointer(path, digest.hex(), size, written_ms)
