"""Dictionaries: what zstd knows before it reads the first byte of a value, so that small records which are alike become much smaller.

A dictionary is a number and its bytes, and never changes: the number is taken from the content (zstd's own id of a dictionary), so two stores that bear the
same number bear the same bytes, but for one chance in two thousand million, which the frame's own checksum finds. It belongs to one tenant.
"""

import hashlib
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from thermocline.errors import CorruptRecord, InvalidArgument, UnknownDictionary

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEAST: Final = 64  # bytes of a value; a smaller one gains nothing that a header would not hide
MOST: Final = 64 * 1024  # a larger one teaches zstd all that a dictionary could while it is read
SIZE_MOST: Final = 128 * 1024  # bytes of a dictionary
SIZE_LEAST: Final = 1024
LATEST: Final = "latest"
_KNOWN: Final = 128  # dictionaries that one codec keeps; one of 32 kB takes about 0.4 MB once it has read and written
_CONTEXTS: Final = 4  # compressors that one thread keeps, of about 1 MB each
_FLAGS: Final[dict[int, int]] = {
    # The envelope names the dictionary; the frame's checksum is of the value, and so finds a wrong one.
    zstd.CompressionParameter.checksum_flag: 1,
    zstd.CompressionParameter.dict_id_flag: 0,
}


def id_text(number: int) -> str:
    """A dictionary's id as people write it: 8 hexadecimal digits."""
    return f"{number:08x}"


def id_of(text: str) -> int:
    """The inverse of `id_text`. Raises `InvalidArgument`."""
    given: Any = text
    try:
        number = int(text, 16) if isinstance(given, str) and len(text) == 8 and text.isalnum() else 0
    except ValueError:
        number = 0
    if not number:
        raise InvalidArgument(f"a dictionary's id has 8 hexadecimal digits, as 3f9a12c4, not {given!r:.80}")
    return number


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """One dictionary in the format that zstd's own tools read. Safe to use from several threads. Raises `InvalidArgument` for bytes that are none."""

    content: bytes
    id: int = field(init=False)
    sha256: str = field(init=False)
    _zstd: zstd.ZstdDict = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not SIZE_LEAST // 8 <= len(self.content) <= SIZE_MOST:
            raise InvalidArgument(f"a dictionary has at most {SIZE_MOST} bytes, this has {len(self.content)}")
        try:
            made = zstd.ZstdDict(self.content)
        except ValueError as error:
            raise InvalidArgument(f"these bytes are no zstd dictionary: {error}") from error
        object.__setattr__(self, "_zstd", made)
        object.__setattr__(self, "id", made.dict_id)
        object.__setattr__(self, "sha256", hashlib.sha256(self.content).hexdigest())

    def __str__(self) -> str:
        return id_text(self.id)

    def compress(self, raw: bytes, level: int) -> bytes:
        """One zstd frame. Same input, same output."""
        # Taken out while in use: one that failed half-way has a state, and is not put back.
        held = _contexts.held
        context = held.pop((level, self), None) or zstd.ZstdCompressor(
            options={zstd.CompressionParameter.compression_level: level, **_FLAGS},
            zstd_dict=self._zstd.as_digested_dict,
        )
        packed = context.compress(raw, mode=zstd.ZstdCompressor.FLUSH_FRAME)
        while len(held) >= _CONTEXTS:
            del held[next(iter(held))]
        held[level, self] = context
        return packed

    def decompressor(self) -> zstd.ZstdDecompressor:
        """For one frame that this dictionary's `compress` made."""
        return zstd.ZstdDecompressor(zstd_dict=self._zstd)


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.held: dict[tuple[int, Dictionary], zstd.ZstdCompressor] = {}


_contexts = _Contexts()


class Known:
    """The dictionaries that a codec can read with, by tenant and id: the `_KNOWN` that were used last. Safe to use from several threads."""

    __slots__ = ("_by_id", "_lock")

    def __init__(self) -> None:
        self._by_id: OrderedDict[tuple[str, int], Dictionary] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, tenant: str, dictionary: Dictionary) -> None:
        """Keep it. Raises `CorruptRecord` if another of this id is known for the tenant, which cannot be told from it then."""
        with self._lock:
            old = self._by_id.setdefault((tenant, dictionary.id), dictionary)
            if old.content != dictionary.content:
                raise CorruptRecord(f"there are two dictionaries {dictionary}: give the two stores a codec each")
            self._by_id.move_to_end((tenant, dictionary.id))
            while len(self._by_id) > _KNOWN:
                self._by_id.popitem(last=False)

    def knows(self, tenant: str, number: int) -> bool:
        """Whether `get` has it now."""
        return (tenant, number) in self._by_id

    def peek(self, tenant: str, number: int) -> Dictionary | None:
        """As `get`; None: it is not known, or was not used for long."""
        with self._lock:
            found = self._by_id.get((tenant, number))
            if found is not None:
                self._by_id.move_to_end((tenant, number))
            return found

    def get(self, tenant: str, number: int) -> Dictionary:
        """Raises `UnknownDictionary`."""
        found = self.peek(tenant, number)
        if found is None:
            raise UnknownDictionary(
                f"a record needs the dictionary {id_text(number)} of the tenant {tenant!r:.80}, which is not at hand: its store keeps it beside"
                " the records (thermocline dictionary list)"
            )
        return found
