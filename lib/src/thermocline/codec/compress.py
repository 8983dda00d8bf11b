"""Compression: zstd by default, gzip for whoever wants it readable by anything, none where it does not pay.

Contexts are kept per thread, since one-shot contexts lose to zlib under 2 kB; large values are compressed in threads.
"""

import sys
import threading
import zlib
from typing import Final, Literal

from thermocline.codec.dictionary import Dictionary
from thermocline.codec.envelope import GZIP, UNCOMPRESSED, ZSTD
from thermocline.errors import CorruptRecord, UnreadableRecord

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["zstd", "gzip"]

LEVELS: Final[dict[str, tuple[int, int]]] = {"zstd": (1, 22), "gzip": (1, 9)}
_GZIP_WINDOW = 31  # zlib's way to say: 32 kB window, gzip's header and trailer (it writes mtime 0)


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.zstd: dict[int, zstd.ZstdCompressor] = {}


_contexts = _Contexts()


def compress(raw: bytes, method: Compression, level: int) -> tuple[int, bytes]:
    """The compressor's id and the payload: compressed if that is shorter, else as it is. Same input, same output."""
    if method == "gzip":
        compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP_WINDOW)
        packed = compressor.compress(raw) + compressor.flush()
        return (GZIP, packed) if len(packed) < len(raw) else (UNCOMPRESSED, raw)
    # Taken out while in use: one that failed half-way has a state, and is not put back.
    context = _contexts.zstd.pop(level, None) or zstd.ZstdCompressor(level=level)
    packed = context.compress(raw, mode=zstd.ZstdCompressor.FLUSH_FRAME)
    _contexts.zstd[level] = context
    return (ZSTD, packed) if len(packed) < len(raw) else (UNCOMPRESSED, raw)


def decompress(payload: bytes, compressor: int, raw_length: int, dictionary: Dictionary | None = None) -> bytes:
    """The value's bytes, exactly ``raw_length`` of them: inflates at most one byte more, whatever the payload claims. ``dictionary``: the one that it was
    compressed with.

    Raises `CorruptRecord`, and `UnreadableRecord` for an unknown compressor.
    """
    if compressor == UNCOMPRESSED:
        raw = payload
    elif compressor == ZSTD:
        raw = _inflate(
            zstd.ZstdDecompressor() if dictionary is None else dictionary.decompressor(), payload, raw_length
        )
    elif compressor == GZIP:
        raw = _gunzip(payload, raw_length)
    else:
        raise UnreadableRecord(
            f"a record is compressed by {compressor}, which is of a newer format: upgrade this program"
        )
    if len(raw) != raw_length:
        raise CorruptRecord("a record's value has another length than its header says")
    return raw


def _inflate(decompressor: zstd.ZstdDecompressor, payload: bytes, raw_length: int) -> bytes:
    try:
        raw = decompressor.decompress(payload, max_length=raw_length + 1)
    except zstd.ZstdError as error:
        raise CorruptRecord("a record's payload is no zstd frame, or not of its dictionary") from error
    if not decompressor.eof or decompressor.unused_data:
        raise CorruptRecord("a record's payload is not one whole zstd frame")
    return raw


def _gunzip(payload: bytes, raw_length: int) -> bytes:
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        raw = decompressor.decompress(payload, raw_length + 1)
    except zlib.error as error:
        raise CorruptRecord("a record's payload is not gzip") from error
    if not decompressor.eof or decompressor.unused_data:
        raise CorruptRecord("a record's payload is not one whole gzip member")
    return raw
