"""The Lua scripts, as Redis is sent them. Redis 7.0 or newer."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """A script and its name in EVALSHA. A full Redis runs it only if ``full`` was asked for."""

    text: bytes
    sha: bytes


def _script(*parts: str, full: bool) -> Script:
    folder = files(__package__)
    first = "#!lua flags=allow-oom\n" if full else "#!lua\n"
    text = (first + "\n".join((folder / part).read_text(encoding="utf-8") for part in parts)).encode()
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


ENTRY: Final = _script("common.lua", "entry.lua", full=True)
FILL: Final = _script("common.lua", "entry.lua", full=False)  # the same with a value, which a full Redis refuses
RECORD: Final = _script("common.lua", "record.lua", full=False)
DELETE: Final = _script("common.lua", "record.lua", full=True)
FORGET: Final = _script("forget.lua", full=True)
NOTE: Final = _script("note.lua", full=True)
HOLD: Final = _script("hold.lua", full=True)
