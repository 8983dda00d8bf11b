"""The words of the design as types: keys, records, envelopes, outcomes. Data only, no I/O."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, IntFlag, StrEnum
from functools import lru_cache
from typing import Any, Final

from thermocline.errors import InvalidKey

DEFAULT_TENANT: Final = "default"
NAME_BYTES: Final = 16 * 1024  # the longest name, in bytes of UTF-8
PART_BYTES: Final = 1000  # the longest tenant or scope; a Cosmos partition key value holds 2,048 bytes
_CACHED: Final = 512  # characters: the keys of longer strings are made anew each time
MAX_VERSION: Final = 2**53 - 1  # Cosmos numbers are doubles; microseconds since 1970 reach this in 2255


class MemoryTier(StrEnum):
    """The tiers by name. ``WARM_PLUS`` is an optional fourth one (Table Storage)."""

    HOT = "hot"
    WARM = "warm"
    WARM_PLUS = "warm_plus"
    COLD = "cold"


class Authority(IntEnum):
    """Which tier's word counts for a key; stamped into each envelope. ``NONE``: not yet written."""

    NONE = 0
    HOT = 1
    WARM = 2
    COLD = 3
    WARM_PLUS = 4


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """``tenant / scope / name``. Each part is text that UTF-8 can hold, not empty, and at most 1,000 (name: 16,384) bytes of it.

    Raises `InvalidKey` with the part's name. Any character is allowed; tiers escape what they cannot hold.
    """

    tenant: str
    scope: str
    name: str
    _hash: int = field(init=False, repr=False, compare=False)  # a read looks its key up in half a dozen dictionaries

    def __post_init__(self) -> None:
        _check_part("tenant", self.tenant, PART_BYTES)
        _check_part("scope", self.scope, PART_BYTES)
        _check_part("name", self.name, NAME_BYTES)
        object.__setattr__(self, "_hash", hash((self.tenant, self.scope, self.name)))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type["Key"], tuple[str, str, str]]:
        return Key, (self.tenant, self.scope, self.name)  # another process hashes strings otherwise

    @classmethod
    def of(cls, key: "Key | str") -> "Key":
        """A key as it is; a plain string is a name in the default tenant, spread over its 256 scopes by `plain_scope`."""
        if isinstance(key, Key):
            return key
        if not isinstance(key, str):
            raise InvalidKey(f"a key is a Key or a string, not {type(key).__name__}")
        return _plain_key(key) if type(key) is str and len(key) <= _CACHED else _make_plain_key(key)

    def __str__(self) -> str:
        return f"{self.tenant}/{self.scope}/{self.name}"


def _make_plain_key(name: str) -> Key:
    if not name.isascii():  # `Key` looks at all else; here a lone surrogate would not get that far
        _check_part("name", name, NAME_BYTES)
    return Key(DEFAULT_TENANT, plain_scope(name), name)


_plain_key = lru_cache(maxsize=4096)(_make_plain_key)


def plain_scope(name: str) -> str:
    """The scope of a plain string: ``~`` and the first byte of BLAKE2b-64 of its UTF-8, as two hexadecimal digits.

    256 scopes, so that a key space of plain strings does not pile up in one Cosmos partition. Part of the wire format.
    """
    return _PLAIN_SCOPES[hashlib.blake2b(name.encode(), digest_size=8).digest()[0]]


def plain_scopes() -> list[str]:
    """All 256 scopes of plain strings, in order."""
    return [*_PLAIN_SCOPES]


_PLAIN_SCOPES: Final = tuple(f"~{byte:02x}" for byte in range(256))  # made once, and shared by all keys


def _check_part(what: str, part: str, most: int) -> None:
    if not isinstance(part, str):
        raise InvalidKey(f"a key's {what} is a string, not {type(part).__name__}")
    if not part:
        raise InvalidKey(f"a key's {what} must not be empty")
    if len(part) * 4 > most:
        try:
            size = len(part.encode())
        except UnicodeEncodeError as error:
            raise InvalidKey(f"a key's {what} holds a lone surrogate, which UTF-8 cannot hold") from error
        if size > most:
            raise InvalidKey(f"a key's {what} has {size} bytes of UTF-8, at most {most} are allowed")
    elif not part.isascii():
        try:
            part.encode()
        except UnicodeEncodeError as error:
            raise InvalidKey(f"a key's {what} holds a lone surrogate, which UTF-8 cannot hold") from error


class Flags(IntFlag):
    """What an envelope is, if not simply a value."""

    NONE = 0
    TOMBSTONE = 1  # a deleted key's record
    MARKER = 2  # a hot entry without a value: leased or announced
    POINTER = 4  # the payload names a blob in cold that holds the value's payload


# An IntFlag's own `&` makes a new flag, which costs more than all else that is asked of a header: plain integers here
_TOMBSTONE: Final = Flags.TOMBSTONE.value
_POINTER: Final = Flags.POINTER.value


@dataclass(frozen=True, slots=True)
class Header:
    """An envelope's header. Times are milliseconds since 1970 UTC; ``expires_ms`` 0 means never.

    ``serialiser``, ``compressor`` and ``dictionary`` are ids of the codec; with `Flags.POINTER` they speak of the blob's content.
    ``raw_length`` is the value's length in bytes, serialised and before compression.
    """

    flags: Flags = Flags.NONE
    authority: Authority = Authority.NONE
    serialiser: int = 0
    compressor: int = 0
    dictionary: int = 0
    version: int = 0
    expires_ms: int = 0
    created_ms: int = 0
    modified_ms: int = 0
    raw_length: int = 0

    def expired(self, now_ms: int) -> bool:
        return 0 < self.expires_ms <= now_ms


@dataclass(frozen=True, slots=True)
class Envelope:
    """A record on its way: header, metadata and one payload. Moved between tiers as it is, encoded and decoded once.

    ``payload`` is what the header says (serialised, perhaps compressed; of a pointer: the packed `Pointer`). ``raw`` is the serialised value
    before compression where the writer still has it, so that a tier with a native form (JSON in Cosmos) need not decompress; it is
    not part of the record. ``etag`` is the authority's own mark of the copy that was read, for conditional moves; not part of it either.
    """

    key: Key
    header: Header
    payload: bytes = b""
    media_type: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = field(default=None, compare=False, repr=False)
    etag: str | None = field(default=None, compare=False, repr=False)

    @property
    def version(self) -> int:
        return self.header.version

    @property
    def tombstone(self) -> bool:
        return int.__and__(self.header.flags, _TOMBSTONE) != 0

    @property
    def pointer(self) -> bool:
        return int.__and__(self.header.flags, _POINTER) != 0

    def live(self, now_ms: int) -> bool:
        """Whether it is a value that may be returned at ``now_ms``: no tombstone, and not past its expiry."""
        header = self.header
        return not int.__and__(header.flags, _TOMBSTONE) and not 0 < header.expires_ms <= now_ms

    def stamped(
        self, *, version: int, authority: Authority, created_ms: int | None = None, bare: bool = False
    ) -> "Envelope":
        """The same record as the authority took it: its version and name in the header, the payload untouched. ``bare``: see `bare`."""
        old = self.header
        created = old.created_ms if created_ms is None else created_ms
        header = Header(
            old.flags,
            authority,
            old.serialiser,
            old.compressor,
            old.dictionary,
            version,
            old.expires_ms,
            created,
            old.modified_ms,
            old.raw_length,
        )
        if bare:
            return Envelope(self.key, header, self.payload, self.media_type, self.tags)
        return self.under(header)

    def under(self, header: Header) -> "Envelope":
        """The same record with another header. (`replace` of a dataclass costs three times as much.)"""
        return Envelope(self.key, header, self.payload, self.media_type, self.tags, self.raw, self.etag)

    def bare(self) -> "Envelope":
        """The record alone, without what only accompanies it: ``raw`` and ``etag``."""
        if self.raw is None and self.etag is None:
            return self
        return Envelope(self.key, self.header, self.payload, self.media_type, self.tags)


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a payload lies in cold. ``path`` is the blob's name, ``sha256`` the hex digest of its content, ``size`` its bytes,
    ``written_ms`` when it was uploaded or last renewed (the cold tier's clock)."""

    path: str
    sha256: str
    size: int
    written_ms: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored under a key, decoded. ``expires`` None means never."""

    key: Key
    value: Any
    version: int
    expires: datetime | None = None
    media_type: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    modified: datetime | None = None


def instant(ms: int) -> datetime | None:
    """Milliseconds since 1970 as an aware UTC datetime; 0 is None."""
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None


# --- outcomes of asking --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hit:
    """The key has a value. ``age_ms`` is the time since it was last written. ``stale`` only where stale answers were asked for and the
    authority is down; ``bound`` names why this answer may be older than the newest (empty: it is not)."""

    record: Record
    tier: MemoryTier
    age_ms: int = 0
    stale: bool = False
    bound: str = ""

    @property
    def value(self) -> Any:
        return self.record.value

    @property
    def version(self) -> int:
        return self.record.version


@dataclass(frozen=True, slots=True)
class Miss:
    """The authority (or a copy of its word) says: there is no value. ``version`` is that of the tombstone or the expired record, 0 if none."""

    key: Key
    tier: MemoryTier
    version: int = 0


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The authority could not be asked, and nothing above it answered. Says nothing about the key."""

    key: Key
    tier: MemoryTier
    error: Exception


@dataclass(frozen=True, slots=True)
class Corrupt:
    """The authority's copy is damaged, or (``unreadable``) of a newer format."""

    key: Key
    tier: MemoryTier
    error: Exception
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class NotAsked:
    """``read_fallback=False`` and hot had no value: the authority was not asked, so this is not a miss."""

    key: Key


Outcome = Hit | Miss | Unavailable | Corrupt | NotAsked
