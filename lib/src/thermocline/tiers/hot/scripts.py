"""The Lua scripts, as Redis is sent them. Redis 7.0 or newer."""

import hashlib
import struct
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final
from zlib import crc32

_SUMMED: Final = 84  # bytes of an envelope's header, before their checksum
_STAMPED: Final = (
    5,
    *range(17, 24),
    *range(33, 40),
)  # places that record.lua changes: authority, version, time of creation
# Lua would take any byte as it is; what lies between might not
_CHARACTERS: Final = tuple(
    bytes((byte,)) if 32 <= byte < 127 and byte not in b'"\\' else b"\\%03d" % byte for byte in range(256)
)


@dataclass(frozen=True, slots=True)
class Script:
    """A script and its name in EVALSHA. A full Redis runs it only if ``full`` was asked for."""

    text: bytes
    sha: bytes


@cache
def _changes() -> bytes:
    """What each value of each stamped byte changes in a header's checksum, as a string of Lua. Of a value's bits it is the sum."""
    changes: list[int] = []
    for place in _STAMPED:
        of_values = [0]
        for bit in range(8):
            header = bytearray(_SUMMED)
            header[place] = 1 << bit
            of_bit = crc32(header) ^ crc32(bytes(_SUMMED))
            of_values += [of_bit ^ rest for rest in of_values]
        changes += of_values
    return b'"' + b"".join(_CHARACTERS[byte] for byte in struct.pack(f">{len(changes)}I", *changes)) + b'"'


def _script(*parts: str, full: bool) -> Script:
    folder = files(__package__)
    first = "#!lua flags=allow-oom\n" if full else "#!lua\n"
    text = (first + "\n".join((folder / part).read_text(encoding="utf-8") for part in parts)).encode()
    text = text.replace(b"@CHANGES@", _changes())
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


ENTRY: Final = _script("common.lua", "entry.lua", full=True)
FILL: Final = _script("common.lua", "entry.lua", full=False)  # the same with a value, which a full Redis refuses
RECORD: Final = _script("common.lua", "record.lua", full=False)
DELETE: Final = _script("common.lua", "record.lua", full=True)
FORGET: Final = _script("forget.lua", full=True)
NOTE: Final = _script("note.lua", full=True)
HOLD: Final = _script("hold.lua", full=True)
