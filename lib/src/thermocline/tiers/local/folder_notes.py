"""The notes of `FolderMemory`: one file each, below a root of their own that no key's path has.

A note's file, big-endian::

    0   magic, 3 bytes 89 54 4E ("\\x89TN")
    3   format version, u8 = 1
    4   checksum of all that follows, u32: CRC-32
    8   until when it is kept, u64 ms since 1970; 0: for ever
    16  etag, 12 random bytes, new with each write
    28  the data

Its name is the note's, with ``-./`` as ``+,-``: no dots, no folders, and the order stays.
"""

import os
import struct
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from thermocline.errors import CorruptRecord, UnreadableRecord
from thermocline.protocols import Note

NOTE_TOP: Final = "tc1/n"

_MAGIC: Final = b"\x89TN"
_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">3sBI")
_REST: Final = struct.Struct(">Q12s")
_TO_FILE: Final = str.maketrans("-./", "+,-")
_TO_NAME: Final = str.maketrans("+,-", "-./")


@dataclass(frozen=True, slots=True)
class NoteFile:
    """A note and until when it is kept (ms since 1970; 0: for ever)."""

    note: Note
    until_ms: int


def note_path(name: str) -> str:
    """Where a note of an allowed name lies."""
    return f"{NOTE_TOP}/{name.translate(_TO_FILE)}"


def note_name(path: str) -> str:
    """The inverse."""
    return path.rpartition("/")[2].translate(_TO_NAME)


def new_etag() -> str:
    return os.urandom(12).hex()


def pack_note(file: NoteFile) -> bytes:
    rest = _REST.pack(file.until_ms, bytes.fromhex(file.note.etag)) + file.note.data
    return _HEAD.pack(_MAGIC, _FORMAT, crc32(rest)) + rest


def unpack_note(data: bytes, name: str) -> NoteFile:
    """Raises `CorruptRecord`, and `UnreadableRecord` for a newer format."""
    if len(data) < _HEAD.size + _REST.size or data[:3] != _MAGIC:
        raise CorruptRecord(f"the note {name} is too short or has another beginning; write it anew or delete it")
    _, version, checksum = _HEAD.unpack_from(data)
    if version != _FORMAT:
        raise UnreadableRecord(f"the note {name} has format {version}, this program reads format {_FORMAT}: upgrade it")
    rest = data[_HEAD.size :]
    if crc32(rest) != checksum:
        raise CorruptRecord(f"the note {name} does not fit its checksum; write it anew or delete it")
    until_ms, etag = _REST.unpack_from(rest)
    return NoteFile(Note(name, rest[_REST.size :], etag.hex()), until_ms)
