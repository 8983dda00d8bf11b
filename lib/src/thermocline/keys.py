"""Keys as the tiers name them: Redis keys, Cosmos ids, blob paths. Pure, injective, and reversible up to the tiers' limits.

Two escapes, both byte by byte over UTF-8 and prefix-preserving: the escape of a name's beginning is the beginning of the escape, and of
no other name's. So a listing by prefix is a listing by escaped prefix. Nothing is normalised: different code points are different keys.

*Redis*: ``tc1:{tenant/scope/name}``; only what would break the frame, a hash tag or a pattern is percent-escaped.

*Cosmos ids, blob paths and files* use one scheme, ``[a-z0-9_-]`` as it is, a capital as ``=`` and its small letter, any other byte as ``~hh``; so a
name is also safe where dots, slashes and spaces at an end are cut off, or where case is ignored. What is too long keeps its beginning,
and ``~~`` with the SHA-256 of the whole stands for it (no escape holds ``~~``); the record has the full key. docs/envelope.md has the tables.

*Table Storage* orders rows by their keys, so its escape keeps the order of code points: letters and digits as they are, any other byte as ``-hh``, ``=hh``,
``_hh`` or ``~hh``, by the place where it stands among them.

The inverses raise `InvalidKey` for a name that this module does not write; a tier that finds one in a store decides what that means there.
"""

import hashlib
import re
from functools import lru_cache
from typing import Final

from thermocline.errors import InvalidKey
from thermocline.model import NAME_BYTES, Key

REDIS_PREFIX: Final = b"tc1:{"
COSMOS_PREFIX: Final = "tc1."
COSMOS_ID_BYTES: Final = 1023  # the service's limit
HEAD_ROOT: Final = "tc1/h/"
PAYLOAD_ROOT: Final = "tc1/p/"
TABLE_PREFIX: Final = "tc1."
TABLE_KEY_CHARACTERS: Final = 512  # the service's limit of a partition key and of a row key: 1 KiB of UTF-16
BLOB_NAME_CHARACTERS: Final = 1024  # the service's limit; the longest path made here has 1,019
SEGMENT: Final = 200  # characters (all ASCII) of a path's segment; a file name holds 255 bytes, and a writer adds to it while it writes
NAME_BUDGET: Final = 540  # characters of an escaped name in a path, before it is cut into segments

_CACHED: Final = 512  # longer names are not kept in the caches of this module
_SHA_LENGTH: Final = 64
_SHA: Final = re.compile(r"[0-9a-f]{64}")


# --- Redis -----------------------------------------------------------------------------------------------------------

_REDIS_NAME = re.compile(rb"[\x00-\x20\x7f%{}*?\[\]\\^]")  # frame and hash tag, glob patterns, white space, controls
_REDIS_PART = re.compile(rb"[\x00-\x20\x7f%{}*?\[\]\\^/]")  # ... and the separator
_PERCENT = {bytes([b]): b"%%%02X" % b for b in range(256)}


def _percent(found: re.Match[bytes]) -> bytes:
    return _PERCENT[found[0]]


@lru_cache(maxsize=4096)
def _redis_scope(tenant: str, scope: str) -> bytes:
    return b"tc1:{%b/%b/" % tuple(_REDIS_PART.sub(_percent, part.encode()) for part in (tenant, scope))


def _to_redis(key: Key) -> bytes:
    return b"%b%b}" % (_redis_scope(key.tenant, key.scope), _REDIS_NAME.sub(_percent, key.name.encode()))


@lru_cache(maxsize=4096)
def _to_redis_cached(key: Key) -> bytes:
    return _to_redis(key)


def redis_key(key: Key) -> bytes:
    """``tc1:{tenant/scope/name}`` in UTF-8; the hash tag is the key's own, so a scope does not pile up in one slot. Any length."""
    return _to_redis_cached(key) if len(key.name) <= _CACHED else _to_redis(key)


def redis_prefix(tenant: str, scope: str, prefix: str = "") -> bytes:
    """How the Redis keys of a scope's names that start with ``prefix`` begin, and no others. Holds no character that a pattern would read."""
    return _to_redis(Key(tenant, scope, prefix or "x"))[: -1 if prefix else -2]


def from_redis(data: bytes | str) -> Key:
    """The inverse of `redis_key`."""
    raw = data.encode() if isinstance(data, str) else bytes(data)
    if raw.startswith(REDIS_PREFIX) and raw.endswith(b"}"):
        parts = raw[len(REDIS_PREFIX) : -1].split(b"/", 2)
        if len(parts) == 3:
            key = _key(*(re.sub(rb"%([0-9A-F]{2})", _unpercent, part) for part in parts))
            if key is not None and _to_redis(key) == raw:
                return key
    raise InvalidKey("not a Redis key of the cascade")


def _unpercent(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)])


# --- the escape of ids, paths and files ------------------------------------------------------------------------------


def _token(byte: int) -> str:
    character = chr(byte)
    if character in "abcdefghijklmnopqrstuvwxyz0123456789_-":
        return character
    return "=" + character.lower() if "A" <= character <= "Z" else f"~{byte:02x}"


_TOKENS: Final = [_token(byte) for byte in range(256)]
_PLAIN = re.compile(r"[a-z0-9_-]*")
_ESCAPED = re.compile(r"(?:[a-z0-9_-]|=[a-z]|~[0-9a-f]{2})*")
_SPECIAL = re.compile(r"=([a-z])|~([0-9a-f]{2})")


def escape(text: str) -> str:
    """The escape of ids, paths and files: ASCII, prefix-preserving, without case, dots or separators."""
    return text if _PLAIN.fullmatch(text) else "".join([_TOKENS[byte] for byte in text.encode()])


def unescape(escaped: str) -> str:
    """The inverse of `escape`; raises `InvalidKey` for what `escape` does not make."""
    if _ESCAPED.fullmatch(escaped):
        raw = _SPECIAL.sub(lambda m: m[1].upper() if m[1] else chr(int(m[2], 16)), escaped).encode("latin-1")
        text = _text(raw)
        if text is not None and escape(text) == escaped:
            return text
    raise InvalidKey("not an escaped name")


def _cut(escaped: str, most: int) -> str:
    """The longest beginning of at most ``most`` characters that splits no token."""
    for end in range(most, most - 3, -1):
        if _ESCAPED.fullmatch(escaped, 0, end):
            return escaped[:end]
    raise AssertionError("a token has at most three characters")


def _shorten(text: str, most: int) -> str:
    """The escape if it has at most ``most`` characters, else its beginning and the SHA-256 of the whole."""
    escaped = escape(text)
    if len(escaped) <= most:
        return escaped
    return f"{_cut(escaped, most - _SHA_LENGTH - 2)}~~{hashlib.sha256(text.encode()).hexdigest()}"


def _lengthen(short: str) -> str | None:
    """The text of a `_shorten`; None where a digest stands for it."""
    kept, mark, digest = short.partition("~~")
    if not mark:
        return unescape(short)
    if _ESCAPED.fullmatch(kept) and _SHA.fullmatch(digest):
        return None
    raise InvalidKey("not an escaped name")


# --- Cosmos ----------------------------------------------------------------------------------------------------------


def cosmos_id(key: Key) -> str:
    """The item's id within its partition: at most 1,023 of ``[a-z0-9-_.=~]``, the name escaped behind ``tc1.``."""
    return COSMOS_PREFIX + _shorten(key.name, COSMOS_ID_BYTES - len(COSMOS_PREFIX))


def cosmos_partition(key: Key) -> list[str]:
    """The hierarchical partition key, as it is: tenant and scope hold at most 1,000 bytes, the service allows 2,048."""
    return [key.tenant, key.scope]


def from_cosmos_id(tenant: str, scope: str, item_id: str, name: str | None = None) -> Key:
    """The inverse of `cosmos_id`. ``name`` is the full name in the item: it must be the id's, and is needed where a digest stands in the id."""
    if not item_id.startswith(COSMOS_PREFIX):
        raise InvalidKey("not an item of the cascade")
    found = _lengthen(item_id[len(COSMOS_PREFIX) :]) if name is None else name
    if found is None:
        raise InvalidKey("the id holds a digest of the name: give the item's full name")
    key = Key(tenant, scope, found)
    if cosmos_id(key) != item_id:
        raise InvalidKey("the item's id and its full name do not belong together")
    return key


# --- blobs and files -------------------------------------------------------------------------------------------------


def _segments(escaped: str) -> str:
    """Cut into segments of at most `SEGMENT` characters; ``~`` ends each but the last, so that no name is both a file and a folder."""
    parts = []
    while len(escaped) > SEGMENT:
        # The cut depends on nothing behind it, or the scheme would not preserve prefixes.
        part = _cut(escaped, SEGMENT)
        parts.append(part)
        escaped = escaped[len(part) :]
    parts.append(escaped)
    return "~/".join(parts)


def _name_path(name: str) -> str:
    escaped = escape(name)
    if len(escaped) <= NAME_BUDGET:
        return _segments(escaped)
    kept = _cut(escaped, NAME_BUDGET - _SHA_LENGTH - 2)
    return f"{_segments(kept)}~/~~{hashlib.sha256(name.encode()).hexdigest()}"


def _key_path(key: Key) -> str:
    return f"{_shorten(key.tenant, SEGMENT)}/{_shorten(key.scope, SEGMENT)}/{_name_path(key.name)}"


def head_path(key: Key) -> str:
    """The name of the key's head blob, or its file: at most 954 characters in segments of at most 201, of ``[a-z0-9_=~-]``."""
    return HEAD_ROOT + _key_path(key)


def payload_path(key: Key, sha256_hex: str) -> str:
    """The name of a payload blob: the key's path and the content's digest; at most 1,019 characters."""
    if not _SHA.fullmatch(sha256_hex):
        raise InvalidKey("a payload is named by 64 small hexadecimal digits of SHA-256")
    return f"{PAYLOAD_ROOT}{_key_path(key)}/{sha256_hex}"


def blob_prefix(tenant: str, scope: str, prefix: str = "", *, root: str = HEAD_ROOT) -> str:
    """How the paths of a scope's names that start with ``prefix`` begin. No other scope's path does; another name's may, where ``prefix`` is
    longer than what a shortened name keeps: compare the full name too."""
    Key(tenant, scope, prefix or "x")
    escaped = escape(prefix)
    kept = NAME_BUDGET - _SHA_LENGTH - 2
    start = _segments(_cut(escaped, kept) if len(escaped) > kept else escaped)
    return f"{root}{_shorten(tenant, SEGMENT)}/{_shorten(scope, SEGMENT)}/{start}"


def tenant_prefix(tenant: str, *, root: str = HEAD_ROOT) -> str:
    """How the paths of a tenant's keys begin, and no other tenant's."""
    Key(tenant, "x", "x")
    return f"{root}{_shorten(tenant, SEGMENT)}/"


def from_head_path(path: str) -> Key | None:
    """The inverse of `head_path`. None where a digest stands for a part: take the full key from the record, and check that its path is this."""
    if not path.startswith(HEAD_ROOT):
        raise InvalidKey("not a head of the cascade")
    return _from_key_path(path[len(HEAD_ROOT) :])


def from_payload_path(path: str) -> tuple[Key | None, str]:
    """The inverse of `payload_path`: the key, None where a digest stands for a part, and the content's SHA-256."""
    inner, _, digest = path[len(PAYLOAD_ROOT) :].rpartition("/")
    if not path.startswith(PAYLOAD_ROOT) or not _SHA.fullmatch(digest):
        raise InvalidKey("not a payload of the cascade")
    return _from_key_path(inner), digest


def scope_of_payload(path: str) -> tuple[str, str] | None:
    """The tenant and scope that a payload's path belongs to; None where a digest stands for one of them."""
    from_payload_path(path)
    tenant, scope = (_lengthen(part) for part in path[len(PAYLOAD_ROOT) :].split("/")[:2])
    return None if tenant is None or scope is None else (tenant, scope)


def head_of_payload(path: str) -> str:
    """The head's path of the key that a payload's path belongs to, also where digests stand in it."""
    from_payload_path(path)
    return HEAD_ROOT + path[len(PAYLOAD_ROOT) : -_SHA_LENGTH - 1]


def _from_key_path(inner: str) -> Key | None:
    parts = inner.split("/")
    if len(parts) < 3:
        raise InvalidKey("not a path of the cascade")
    tenant, scope = _lengthen(parts[0]), _lengthen(parts[1])
    *continued, last = parts[2:]
    if not all(part.endswith("~") for part in continued):
        raise InvalidKey("not a path of the cascade")
    name = _lengthen("".join(part[:-1] for part in continued) + last)
    if tenant is None or scope is None or name is None:
        return None
    key = Key(tenant, scope, name)
    if _key_path(key) != inner:
        raise InvalidKey("not a path of the cascade")
    return key


# --- tables ----------------------------------------------------------------------------------------------------------


def _table_token(byte: int) -> str:
    """Of one or three characters, in the order of the bytes, none the beginning of another."""
    character = chr(byte)
    if character.isascii() and character.isalnum():
        return character
    lead = "-" if byte < ord("0") else "=" if byte < ord("A") else "_" if byte < ord("a") else "~"
    return f"{lead}{byte:02x}"


_TABLE_TOKENS: Final = [_table_token(byte) for byte in range(256)]
_TABLE_PLAIN = re.compile(r"[0-9A-Za-z]*")
_TABLE_ESCAPED = re.compile(r"(?:[0-9A-Za-z]|[-=_~][0-9a-f]{2})*")
_TABLE_SPECIAL = re.compile(r"[-=_~]([0-9a-f]{2})")
_TABLE_PART: Final = (TABLE_KEY_CHARACTERS - len(TABLE_PREFIX) - 1) // 2  # characters of a tenant or scope


def _table_escape(text: str) -> str:
    return text if _TABLE_PLAIN.fullmatch(text) else "".join([_TABLE_TOKENS[byte] for byte in text.encode()])


def _table_cut(escaped: str, most: int) -> str:
    return next(escaped[:end] for end in range(most, most - 3, -1) if _TABLE_ESCAPED.fullmatch(escaped, 0, end))


def _table_shorten(text: str, most: int) -> str:
    escaped = _table_escape(text)
    if len(escaped) <= most:
        return escaped
    return f"{_table_cut(escaped, most - _SHA_LENGTH - 2)}~~{hashlib.sha256(text.encode()).hexdigest()}"


def _table_lengthen(short: str) -> str | None:
    kept, mark, digest = short.partition("~~")
    if mark:
        if _TABLE_ESCAPED.fullmatch(kept) and _SHA.fullmatch(digest):
            return None
    elif _TABLE_ESCAPED.fullmatch(short):
        raw = _TABLE_SPECIAL.sub(lambda found: chr(int(found[1], 16)), short).encode("latin-1")
        text = _text(raw)
        if text is not None and _table_escape(text) == short:
            return text
    raise InvalidKey("not an escaped name of a table")


def table_partition(key: Key) -> str:
    """The partition key of a scope, at most 512 of ``[0-9A-Za-z-=_~.]``: ``tc1.tenant.scope``, each escaped, and shortened where it is long."""
    return f"{TABLE_PREFIX}{_table_shorten(key.tenant, _TABLE_PART)}.{_table_shorten(key.scope, _TABLE_PART)}"


def table_row(key: Key) -> str:
    """The row key: the name escaped, at most 512 of ``[0-9A-Za-z-=_~]``. Rows are in the order of their names by code point; of names whose escape is
    longer than that, by what is kept of it."""
    return _table_shorten(key.name, TABLE_KEY_CHARACTERS)


def table_rows(prefix: str) -> tuple[str, str]:
    """Between which row keys (the first included, the second not) the names that start with ``prefix``, which is not empty, lie. Other names may lie there
    too where ``prefix`` is longer than what a shortened name keeps: compare the full name."""
    Key("x", "x", prefix)
    escaped, kept = _table_escape(prefix), TABLE_KEY_CHARACTERS - _SHA_LENGTH - 2
    start = escaped if len(escaped) <= kept else _table_cut(escaped, kept)
    return start, _behind(start)


def table_partitions(tenant: str | None = None) -> tuple[str, str]:
    """Between which partition keys (the first included, the second not) a tenant's scopes lie, and nothing else; None: everybody's."""
    start = (
        TABLE_PREFIX
        if tenant is None
        else f"{TABLE_PREFIX}{_table_shorten(Key(tenant, 'x', 'x').tenant, _TABLE_PART)}."
    )
    return start, _behind(start)


def from_table(partition: str, row: str) -> Key | None:
    """The inverse of `table_partition` and `table_row`. None where a digest stands for a part: take the full key from the record, and check it."""
    parts = partition.split(".")
    if len(parts) != 3 or f"{parts[0]}." != TABLE_PREFIX:
        raise InvalidKey("not a partition of the cascade")
    tenant, scope, name = _table_lengthen(parts[1]), _table_lengthen(parts[2]), _table_lengthen(row)
    if tenant is None or scope is None or name is None:
        return None
    key = Key(tenant, scope, name)
    if (table_partition(key), table_row(key)) != (partition, row):
        raise InvalidKey("not a row of the cascade")
    return key


def _behind(start: str) -> str:
    """The least text behind all that begin so."""
    return start[:-1] + chr(ord(start[-1]) + 1)


# --- digests ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _framed(tenant: str, scope: str) -> bytes:
    return b"".join(len(part).to_bytes(2) + part for part in (tenant.encode(), scope.encode()))


def _digest(key: Key) -> bytes:
    return hashlib.blake2b(_framed(key.tenant, key.scope) + key.name.encode(), digest_size=16).digest()


@lru_cache(maxsize=4096)
def _digest_cached(key: Key) -> bytes:
    return _digest(key)


def key_digest(key: Key) -> bytes:
    """16 bytes that an envelope names its key by: BLAKE2b-128 of tenant and scope, each behind its length in two bytes, and name."""
    return _digest_cached(key) if len(key.name) <= _CACHED else _digest(key)


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _key(tenant: bytes, scope: bytes, name: bytes) -> Key | None:
    parts = [_text(part) for part in (tenant, scope, name)]
    if None in parts or not all(parts) or len(name) > NAME_BYTES:
        return None
    return Key(*(part for part in parts if part is not None))
