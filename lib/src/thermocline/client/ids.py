"""The ids of writes and the tokens of leases: random, and cheap for many."""

import os
import random
import secrets
from typing import Final

POOL: Final = 4_000  # bytes of randomness that the operating system is asked for at once: it takes longer over being asked than over giving
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_PAIRS: Final = tuple(one + other for one in _DIGITS for other in _DIGITS)
_SHIFTS: Final = range(70, -1, -10)


class Ids:
    """``source``: what draws; a `random.Random` with a seed makes the same ids again, one of the system's is drawn ahead. Not thread-safe."""

    __slots__ = ("_at", "_pid", "_pool", "_source", "_system")

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._system = isinstance(source, secrets.SystemRandom)
        self._pool = b""
        self._at = 0
        self._pid = 0

    def write_ids(self, ms: int, count: int) -> list[str]:
        """Unique and ordered by time: the milliseconds since 1970 as 11 base-32 digits, then 80 random bits as 16."""
        moment = "".join([_DIGITS[ms >> shift & 31] for shift in range(50, -1, -5)])
        drawn = self._draw(10 * count)
        bits = [int.from_bytes(drawn[at : at + 10], "big") for at in range(0, 10 * count, 10)]
        return [moment + "".join([_PAIRS[one >> shift & 1023] for shift in _SHIFTS]) for one in bits]

    def token(self) -> str:
        """A lease's token: 80 random bits."""
        return self._draw(10).hex()

    def _draw(self, size: int) -> bytes:
        if not self._system:
            return self._source.getrandbits(8 * size).to_bytes(size, "big")
        at, pid = self._at, os.getpid()
        if at + size > len(self._pool) or pid != self._pid:  # a forked process must not draw what its parent draws
            self._pool, self._pid, at = os.urandom(max(POOL, size)), pid, 0
        self._at = at + size
        return self._pool[at : at + size]
