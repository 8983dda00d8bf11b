"""How often and how lately keys were asked for, in memory of a fixed size and without a write per read. Pure, no I/O.

`Frequency` estimates how often: TinyLFU (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission Policy", ACM Transactions on Storage
13(4), 2017), a count-min sketch (Cormode and Muthukrishnan, Journal of Algorithms 55(1), 2005) of 4-bit counters behind a doorkeeper, aged by halving.
`Windows` remembers whether: two Bloom filters (CACM 13(7), 1970), one of the running span of time and one of the span before it.
"""

import math
from collections.abc import Hashable
from typing import Final

_MOST: Final = 15  # what 4 bits hold
_SAMPLE: Final = 8  # the counters are halved after so many notes per key of the capacity
_FIBONACCI: Final = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: spreads hashes that are close to each other
_WORD: Final = 2**64 - 1


class Frequency:
    """Estimates how often each item was noted lately, for a cache of about ``capacity`` items.

    Never below the truth since the last aging (up to 15, and by then halved as often as it was aged), above it by what collides: with
    ``capacity`` items in use that is less than one on average. Takes 6 to 12 bytes per item of ``capacity`` (rounded up to a power of two) for good.
    An item is whatever `hash` takes; the estimates are of this process alone.
    """

    __slots__ = ("_age_at", "_door", "_door_mask", "_mask", "_noted", "_table")

    def __init__(self, capacity: int) -> None:
        width = 1 << max(6, math.ceil(math.log2(max(1, capacity))) + 1)  # counters in each of four rows
        self._mask = width - 1
        self._table = bytearray(width * 2)  # two counters a byte
        self._door_mask = width * 8 - 1
        self._door = bytearray(width)
        self._noted = 0
        self._age_at = width // 2 * _SAMPLE

    @property
    def size_bytes(self) -> int:
        """What the counters and the doorkeeper take."""
        return len(self._table) + len(self._door)

    def note(self, item: Hashable) -> int:
        """The item was asked for once more. Returns the estimate, this time included."""
        spread = hash(item) * _FIBONACCI & _WORD
        spread ^= spread >> 29
        self._noted += 1
        if self._noted >= self._age_at:
            self._age()
        bit = spread & self._door_mask
        door, at, flag = self._door, bit >> 3, 1 << (bit & 7)
        if not door[at] & flag:  # most items come once: they cost one bit, and no counter
            door[at] |= flag
            return 1 + self._least(spread)
        table, mask = self._table, self._mask
        least = self._least(spread)
        if least < _MOST:  # only the lowest counters are raised, which keeps collisions low
            low, step = spread & _WORD >> 32, spread >> 32 | 1
            for row in (0, 1, 2, 3):
                index = (low + row * step & mask) << 2 | row
                at, shift = index >> 1, (index & 1) << 2
                if table[at] >> shift & _MOST == least:
                    table[at] += 1 << shift
            least += 1
        return 1 + least

    def estimate(self, item: Hashable) -> int:
        """How often it was noted lately: 0 to 16."""
        spread = hash(item) * _FIBONACCI & _WORD
        spread ^= spread >> 29
        bit = spread & self._door_mask
        return (self._door[bit >> 3] >> (bit & 7) & 1) + self._least(spread)

    def _least(self, spread: int) -> int:
        table, mask = self._table, self._mask
        low, step = spread & _WORD >> 32, spread >> 32 | 1
        least = _MOST
        for row in (0, 1, 2, 3):
            index = (low + row * step & mask) << 2 | row
            count = table[index >> 1] >> ((index & 1) << 2) & _MOST
            if count < least:
                if count == 0:
                    return 0
                least = count
        return least

    def _age(self) -> None:
        """Halve every counter and open the door anew, so that what was asked for long ago does not count for ever."""
        self._noted //= 2
        self._door = bytearray(len(self._door))
        size = len(self._table)
        halved = int.from_bytes(self._table) >> 1 & int.from_bytes(b"\x77" * size)  # one shift for all counters
        self._table = bytearray(halved.to_bytes(size))


FILTER_BYTES: Final = 32_000  # of one window's filter; a note holds 32,768 bytes
_HASHES: Final = 4


def probability(items: int, *, size: int = FILTER_BYTES) -> float:
    """The share of items that a filter of ``size`` bytes with ``items`` in it takes for noted though they were not: 2 % at 30,000, 39 % at 100,000."""
    return float((1 - math.exp(-_HASHES * items / (size * 8))) ** _HASHES)


class Windows:
    """Which keys were noted in the running window and in the one before it, by Bloom filters of ``size`` bytes each.

    Windows are ``span_ms`` long and begin at multiples of it since 1970, so that those of several processes can be laid over each other. A key is named
    by its digest of at least 16 bytes (`thermocline.keys.key_digest`), the same everywhere. One that was noted is always found; one that was not is
    found too with `probability`.
    """

    __slots__ = ("_bits", "_current", "_previous", "_size", "number", "span_ms")

    def __init__(self, span_ms: int, *, size: int = FILTER_BYTES) -> None:
        if span_ms < 1 or size < 8:
            raise ValueError("a window lasts at least a millisecond, and a filter has at least 8 bytes")
        self.span_ms = span_ms
        self._size = size
        self._bits = size * 8
        self.number = -1  # of the running window: its begin in ms over the span; -1: nothing was noted yet
        self._current = bytearray(size)
        self._previous = bytearray(size)

    def note(self, digest: bytes, now_ms: int) -> None:
        """The key of this digest was asked for at ``now_ms``."""
        number = now_ms // self.span_ms
        if number != self.number:
            self._turn(number)
        current, bits = self._current, self._bits
        for place in _places(digest, bits):
            current[place >> 3] |= 1 << (place & 7)

    def filters(self) -> list[tuple[int, bytes]]:
        """The windows' numbers and filters: the running one's, and the one's before it."""
        return [(self.number, bytes(self._current)), (self.number - 1, bytes(self._previous))]

    def _turn(self, number: int) -> None:
        if number == self.number + 1:
            self._previous = self._current
        elif number == self.number - 1:  # the clock was set back by less than a window
            return
        else:
            self._previous = bytearray(self._size)
        self._current = bytearray(self._size)
        self.number = number


def noted(filter_bytes: bytes, digest: bytes) -> bool:
    """Whether a window's filter has the key of this digest."""
    return all(filter_bytes[place >> 3] >> (place & 7) & 1 for place in _places(digest, len(filter_bytes) * 8))


def merged(first: bytes, second: bytes) -> bytes:
    """The filter of what is in either. Raises ValueError for filters of different sizes."""
    if len(first) != len(second):
        raise ValueError("filters of different sizes cannot be laid over each other")
    return (int.from_bytes(first) | int.from_bytes(second)).to_bytes(len(first))


def _places(digest: bytes, bits: int) -> list[int]:
    return [int.from_bytes(digest[at : at + 4]) % bits for at in (0, 4, 8, 12)]
