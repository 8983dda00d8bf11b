"""The codec: values to envelopes and bytes, and back. Bytes in, bytes out: no SDK, no asyncio, no clock.

A value is encoded once and decoded once; between that its `Envelope` moves as it is. docs/envelope.md describes the bytes.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar, overload

from thermocline import configured
from thermocline.codec.compress import LEVELS, Compression, compress, decompress
from thermocline.codec.dictionary import LATEST, LEAST, MOST, Dictionary, Known, id_of, id_text
from thermocline.codec.envelope import (
    BYTES,
    FORMAT,
    HEADER_LENGTH,
    JSON,
    MAGIC,
    MEDIA_TYPES,
    RAW_LIMIT,
    TEXT,
    UNCOMPRESSED,
    ZSTD,
    check_header,
    is_marker,
    pack,
    pack_pointer,
    unpack,
    unpack_pointer,
)
from thermocline.codec.serialise import Serialised, deserialise, serialise, shown_json, to_json
from thermocline.codec.training import LEAST_SAMPLES, Measured, Sample, measure, train
from thermocline.codec.typed import as_type
from thermocline.errors import CorruptRecord, InvalidArgument, TooLarge, TypeMismatch
from thermocline.model import MAX_VERSION, Envelope, Flags, Header, Key, Pointer

__all__ = [
    "BYTES",
    "FORMAT",
    "HEADER_LENGTH",
    "JSON",
    "LATEST",
    "LEAST",
    "LEAST_SAMPLES",
    "LEGACY_TEXT",
    "MAGIC",
    "MEDIA_TYPES",
    "MEDIA_TYPE_BYTES",
    "MOST",
    "RAW_LIMIT",
    "TAGS",
    "TAG_BYTES",
    "TEXT",
    "UNCOMPRESSED",
    "Codec",
    "Dictionary",
    "Measured",
    "Sample",
    "Serialised",
    "decompress",
    "id_of",
    "id_text",
    "measure",
    "shown_json",
    "train",
]

TAGS: Final = 10  # as many as a blob's index holds
TAG_BYTES: Final = 256  # of a tag's name, and of its value
MEDIA_TYPE_BYTES: Final = 255
LEGACY_TEXT: Final = "text/vnd.thermocline.plain"
"""The media type of text that stood under a plain name: it may be JSON that its writer encoded himself, and is read as such where a type is asked for."""

_LEVEL: Final = 3  # of zstd, where a codec has a level of gzip

_T = TypeVar("_T")


class Codec:
    """Encodes and decodes. Has no state of its own beside its settings and the dictionaries that it was taught; safe to use from several threads.

    ``compression`` is what new values are written with (both kinds are always readable), None: nothing is compressed. ``threshold``: values
    shorter than this, in bytes, are not compressed. ``level``: 1 to 22 of zstd, 1 to 9 of gzip; zstd's 3 has about the ratio of gzip's 6
    at six times its speed (20 kB of JSON, a kept context). ``raw_limit``: bytes of a serialised value; a larger one is `TooLarge` to
    write, and corrupt to inflate.

    ``dictionaries``: with which dictionary a client writes values of 64 bytes to 64 kB: None, none; ``"latest"``, the newest of the key's tenant; or the id
    of one, which then no other tenant uses. What was written with any is always readable, once the client has fetched it (docs/dictionaries.md).
    """

    __slots__ = ("compression", "dictionaries", "known", "level", "raw_limit", "threshold")

    def __init__(
        self,
        *,
        compression: Compression | None = "zstd",
        threshold: int = 1024,
        level: int = _LEVEL,
        raw_limit: int = RAW_LIMIT,
        dictionaries: str | None = None,
    ) -> None:
        if compression is not None:
            if compression not in tuple(LEVELS):  # a tuple, for what cannot be hashed
                raise InvalidArgument(f'compression is "zstd", "gzip" or None, not {compression!r:.80}')
            least, most = LEVELS[compression]
            configured.whole(level, f"Codec: level of {compression}", least=least, most=most, raises=InvalidArgument)
        configured.whole(threshold, "Codec: threshold", least=0, unit="bytes", raises=InvalidArgument)
        configured.whole(raw_limit, "Codec: raw_limit", least=1, unit="bytes", raises=InvalidArgument)
        if dictionaries is not None:
            if compression != "zstd":
                raise InvalidArgument(
                    f"dictionaries are zstd's, and compression is {compression!r}: leave one of them out"
                )
            try:
                dictionaries = dictionaries if dictionaries == LATEST else id_text(id_of(dictionaries))
            except InvalidArgument as error:
                raise InvalidArgument(f'dictionaries is "latest", None, or an id: {error}') from error
        self.dictionaries = dictionaries
        self.known = Known()
        self.compression = compression
        self.threshold = threshold
        self.level = level
        self.raw_limit = raw_limit

    # --- writing -----------------------------------------------------------------------------------------------------

    def prepare(self, value: Any) -> Serialised:
        """The value as bytes; cheap beside `seal` when they are many. Raises `NotSerialisable`, `TooLarge`."""
        serialised = serialise(value)
        if len(serialised.raw) > self.raw_limit:
            raise TooLarge(
                f"a value has {len(serialised.raw)} bytes when serialised, at most {self.raw_limit} are allowed"
            )
        return serialised

    def seal(
        self,
        key: Key,
        serialised: Serialised,
        *,
        now_ms: int,
        expires_ms: int = 0,
        media_type: str | None = None,
        tags: Mapping[str, str] | None = None,
        dictionary: Dictionary | None = None,
    ) -> Envelope:
        """The envelope of a new record, compressed where that pays; version and authority are the authority's to stamp. ``dictionary``: one that is stored
        with the key's authority under its tenant; it is used from 64 bytes to 64 kB, below ``threshold`` too.

        Pure, so it may run in a thread. Times are milliseconds since 1970 UTC. At most 10 tags, of 256 bytes each for name and value.
        Raises `InvalidArgument`, `TooLarge`.
        """
        _check_time("now_ms", now_ms)
        _check_time("expires_ms", expires_ms)
        media_type = MEDIA_TYPES[serialised.serialiser] if media_type is None else _checked_media_type(media_type)
        kept_tags = {} if tags is None else _checked_tags(tags)
        raw = serialised.raw
        compressor, payload, used = UNCOMPRESSED, raw, 0
        if dictionary is not None and LEAST <= len(raw) <= MOST:
            if not self.known.knows(key.tenant, dictionary.id):
                self.known.learn(key.tenant, dictionary)
            packed = dictionary.compress(raw, self.level)
            if len(packed) < len(raw):
                compressor, payload, used = ZSTD, packed, dictionary.id
        elif self.compression is not None and raw and len(raw) >= self.threshold:
            compressor, payload = compress(raw, self.compression, self.level)
        header = Header(
            serialiser=serialised.serialiser,
            compressor=compressor,
            dictionary=used,
            expires_ms=expires_ms,
            created_ms=now_ms,
            modified_ms=now_ms,
            raw_length=len(raw),
        )
        return Envelope(key, header, payload, media_type, kept_tags, raw)

    def encode(
        self,
        key: Key,
        value: Any,
        *,
        now_ms: int,
        expires_ms: int = 0,
        media_type: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Envelope:
        """`prepare` and `seal` in one."""
        return self.seal(
            key, self.prepare(value), now_ms=now_ms, expires_ms=expires_ms, media_type=media_type, tags=tags
        )

    def tombstone(self, key: Key, *, now_ms: int) -> Envelope:
        """The record of a deleted key."""
        _check_time("now_ms", now_ms)
        return Envelope(key, Header(flags=Flags.TOMBSTONE, created_ms=now_ms, modified_ms=now_ms))

    # --- reading -----------------------------------------------------------------------------------------------------

    @overload
    def decode(self, envelope: Envelope) -> Any: ...

    @overload
    def decode(self, envelope: Envelope, type: type[_T]) -> _T: ...

    @overload
    def decode(self, envelope: Envelope, type: Any) -> Any: ...

    def decode(self, envelope: Envelope, type: Any = None) -> Any:
        """The value; with ``type``, validated and made one of these.

        Raises `CorruptRecord`, `UnreadableRecord`, `TypeMismatch`, and `InvalidArgument` for a tombstone or a pointer that was not followed.
        """
        header = envelope.header
        if header.flags != 0:  # a flag's own truth costs more than the rest
            raise InvalidArgument("an envelope that is a tombstone or a pointer has no value to decode")
        whole = not header.compressor and header.raw_length == len(envelope.payload)
        value = deserialise(header.serialiser, envelope.payload if whole else self.raw(envelope))
        if type is None:
            return value
        if envelope.media_type == LEGACY_TEXT and isinstance(value, str):
            return _plain_text(value, type)
        return as_type(value, type)

    def raw(self, envelope: Envelope) -> bytes:
        """The serialised bytes behind a payload, decompressed to exactly what the header says. Raises `CorruptRecord`, `UnreadableRecord`, and
        `UnknownDictionary` where it needs a dictionary that this codec was not taught (`known`)."""
        header = envelope.header
        check_header(header, len(envelope.payload), self.raw_limit)
        number = header.dictionary
        dictionary = self.known.get(envelope.key.tenant, number) if number else None
        return decompress(envelope.payload, header.compressor, header.raw_length, dictionary)

    def without_dictionary(self, envelope: Envelope) -> Envelope:
        """The same record, to be stored where its dictionary is not: compressed anew without one. One that has none is returned as it is."""
        header = envelope.header
        if not header.dictionary:
            return envelope
        raw = self.raw(envelope)
        compressor, payload = UNCOMPRESSED, raw
        if len(raw) >= self.threshold:
            compressor, payload = compress(raw, "zstd", self.level if self.compression == "zstd" else _LEVEL)
        header = replace(header, compressor=compressor, dictionary=0)
        return replace(envelope, header=header, payload=payload, raw=raw)

    # --- values that a tier keeps as JSON of its own -----------------------------------------------------------------

    def native(self, envelope: Envelope) -> Any:
        """The plain JSON value of an envelope whose serialiser is `JSON`, for a tier that stores JSON as JSON."""
        raw = self.raw(envelope) if envelope.raw is None else envelope.raw
        return deserialise(JSON, raw)

    def from_native(self, value: Any) -> bytes:
        """What such a tier gives back, as the payload of an uncompressed `JSON` envelope. Raises `CorruptRecord` if it is no JSON."""
        return to_json(value)

    # --- bytes -------------------------------------------------------------------------------------------------------

    def pack(self, envelope: Envelope) -> bytes:
        """Format v1. Raises `InvalidArgument` if a field is out of its range."""
        return pack(envelope)

    def unpack(self, data: bytes | memoryview, key: Key) -> Envelope:
        """The envelope of ``key``. Raises `CorruptRecord` for what is cut, altered or another key's, and for a marker; `UnreadableRecord`
        for what is whole and of a newer format."""
        return unpack(data, key, self.raw_limit)

    @staticmethod
    def is_marker(data: bytes) -> bool:
        """Whether these bytes are a hot marker, and no value."""
        return is_marker(data)

    # --- pointers ----------------------------------------------------------------------------------------------------

    def point(self, envelope: Envelope, pointer: Pointer) -> Envelope:
        """The same record with a pointer to its payload in place of the payload. Raises `InvalidArgument`.

        What is not compressed may have been streamed into the blob instead: its raw length is then the pointer's size.
        """
        if envelope.header.flags:
            raise InvalidArgument("only a value's payload can be replaced by a pointer")
        raw_length = envelope.header.raw_length if envelope.header.compressor else pointer.size
        header = replace(envelope.header, flags=Flags.POINTER, raw_length=raw_length)
        return replace(envelope, header=header, payload=pack_pointer(pointer), raw=None)

    def pointer_of(self, envelope: Envelope) -> Pointer:
        """Where the payload lies. Raises `CorruptRecord`, and `InvalidArgument` for what is no pointer."""
        if not envelope.pointer:
            raise InvalidArgument("this envelope holds its payload itself")
        return unpack_pointer(envelope.payload)

    def with_payload(self, envelope: Envelope, payload: bytes) -> Envelope:
        """A pointer's record with the payload that it leads to. Raises `CorruptRecord` if the payload cannot be the header's."""
        header = replace(envelope.header, flags=envelope.header.flags & ~Flags.POINTER)
        check_header(header, len(payload), self.raw_limit)
        return replace(envelope, header=header, payload=payload, raw=None)


def _plain_text(text: str, type: Any) -> Any:
    """Text as the type that is asked for: as it is, or else what it says as JSON."""
    try:
        return as_type(text, type)
    except TypeMismatch:
        try:
            value = deserialise(JSON, text.encode())
        except CorruptRecord:
            value = text
        return as_type(value, type)


def _check_time(what: str, ms: int) -> None:
    if type(ms) is not int or not 0 <= ms <= MAX_VERSION:
        raise InvalidArgument(f"{what} is whole milliseconds since 1970 UTC, from 0 to 2**53 - 1, not {ms!r}")


def _checked_media_type(media_type: str) -> str:
    if not isinstance(media_type, str):
        raise InvalidArgument(f"a media type is a string, not {type(media_type).__name__}")
    if not media_type.isascii() or not media_type.isprintable():
        raise InvalidArgument(f"a media type is printable ASCII, such as text/plain, not {media_type!r}")
    if len(media_type) > MEDIA_TYPE_BYTES:
        raise TooLarge(f"a media type has at most {MEDIA_TYPE_BYTES} characters, not {len(media_type)}")
    return media_type


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(tags, Mapping):
        raise InvalidArgument(f"tags are a mapping of strings to strings, not {type(tags).__name__}")
    if len(tags) > TAGS:
        raise TooLarge(f"a record has at most {TAGS} tags, not {len(tags)}")
    for name, value in tags.items():
        if not name:
            raise InvalidArgument("a tag's name must not be empty")
        for text in (name, value):
            if not isinstance(text, str):
                raise InvalidArgument(f"a tag's name and value are strings, not {type(text).__name__}")
            try:
                size = len(text.encode())
            except UnicodeEncodeError as error:
                raise InvalidArgument("a tag holds a lone surrogate, which UTF-8 cannot hold") from error
            if size > TAG_BYTES:
                raise TooLarge(f"a tag's name and value have at most {TAG_BYTES} bytes each, not {size}")
    return dict(tags)
