"""The ids of writes and the tokens of leases: random, and cheap for many."""

import os
import random
import secrets
from typing import Final

POOL: Final = 4_096  # bytes of randomness that the operating system is asked for at once: it takes longer over being asked than over giving
_DIGITS: Final = b"0123456789abcdefghijklmnopqrstuv"
_OF_BYTES: Final = bytes(_DIGITS[byte & 31] for byte in range(256))  # a random byte makes a random digit
_RANDOM: Final = 16  # digits, of five bits each

_generation = 0  # of this process: how many forks lie between it and the one that imported this


def _forked() -> None:
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):  # to ask for the process's number with each id costs as much as to make it
    os.register_at_fork(after_in_child=_forked)


class Ids:
    """``source``: what draws; a `random.Random` with a seed makes the same ids again, one of the system's is drawn ahead. Not thread-safe."""

    __slots__ = ("_at", "_generation", "_moment", "_ms", "_pool", "_source", "_system")

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._system = isinstance(source, secrets.SystemRandom)
        self._pool = b""
        self._at = 0
        self._generation = 0
        self._ms = -1
        self._moment = ""  # these milliseconds, as digits

    def write_id(self, ms: int) -> str:
        """Unique and ordered by time: the milliseconds since 1970 as 11 base-32 digits, then 80 random bits as 16."""
        if ms != self._ms:
            self._moment, self._ms = _moment(ms), ms
        return self._moment + self._draw(_RANDOM).translate(_OF_BYTES).decode()

    def write_ids(self, ms: int, count: int) -> list[str]:
        """So many of one moment."""
        moment, drawn = _moment(ms), self._draw(_RANDOM * count).translate(_OF_BYTES).decode()
        return [moment + drawn[at : at + _RANDOM] for at in range(0, len(drawn), _RANDOM)]

    def token(self) -> str:
        """A lease's token: 80 random bits."""
        return self._draw(10).hex()

    def _draw(self, size: int) -> bytes:
        if not self._system:
            return self._source.getrandbits(8 * size).to_bytes(size, "big")
        at, until = self._at, self._at + size
        if (
            until > len(self._pool) or self._generation != _generation
        ):  # a forked process must not draw what its parent draws
            self._pool, self._generation = os.urandom(max(POOL, size)), _generation
            at, until = 0, size
        self._at = until
        return self._pool[at:until]


def _moment(ms: int) -> str:
    return bytes([_DIGITS[ms >> shift & 31] for shift in range(50, -1, -5)]).decode()
