"""The last small envelopes that were unpacked, by their names in Redis: bytes that have not changed are not unpacked again. No cache: Redis was asked."""

from collections import OrderedDict
from typing import Final

from thermocline.model import Envelope

MOST_BYTES: Final = 2**20  # of all that are kept
SMALL_BYTES: Final = 4096  # of one: comparing and unpacking cost a reader more than this is worth beyond


class Unpacked:
    """Not thread-safe. Holds at most `MOST_BYTES` of envelopes twice (as they came and unpacked); the oldest go first. Where all are tiny, some
    11,000 of them, Python's objects make it 10 MB (measured)."""

    __slots__ = ("_bytes", "_known")

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[bytes, Envelope]] = OrderedDict()
        self._bytes = 0

    def get(self, name: bytes, data: bytes) -> Envelope | None:
        """The envelope of exactly these bytes under this name, if it is known."""
        found = self._known.get(name)
        return found[1] if found is not None and found[0] == data else None

    def add(self, name: bytes, data: bytes, envelope: Envelope) -> None:
        """These bytes, found sound, are that envelope."""
        if len(data) > SMALL_BYTES:
            return
        before = self._known.pop(name, None)
        if before is not None:
            self._bytes -= len(before[0])
        self._known[name] = (data, envelope)
        self._bytes += len(data)
        while self._bytes > MOST_BYTES:
            _, (oldest, _) = self._known.popitem(last=False)
            self._bytes -= len(oldest)
