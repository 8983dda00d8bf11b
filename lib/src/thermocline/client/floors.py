"""The highest version of each key that this client has seen: nothing older is ever returned by it (P6).

Bounded memory: the least recently used floors go first. A floor whose write still waits in the recovery queue is pinned. Floors live less than
the grace T for which the authority keeps tombstones, so that "nothing is known" from the authority beats a floor that is older.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from thermocline.clock import Clock
from thermocline.model import Key

CAPACITY: Final = (
    20_000  # keys, about 8 MB: beside them hot itself keeps floors, and what hot has missed is pinned here
)
_ANEW: Final = (
    10.0  # seconds for which one note of a version counts as the last use of its key: the order of use is that coarse
)
LIFETIME: Final = 6 * 3600.0  # seconds; less where an authority's grace is less than twice this


class Floors:
    """Not thread-safe: of one event loop. ``lifetime`` in seconds, ``capacity`` in keys (about 400 bytes each)."""

    __slots__ = ("_capacity", "_clock", "_floors", "_lifetime", "_pinned", "raised")

    def __init__(self, clock: Clock, *, capacity: int = CAPACITY, lifetime: float = LIFETIME) -> None:
        self._clock = clock
        self._capacity = capacity
        self._lifetime = lifetime
        # Not a dict: the first key of one from whose front keys go is searched for behind thousands that have gone
        self._floors: OrderedDict[Key, tuple[int, float]] = OrderedDict()
        self._pinned: set[Key] = set()
        self.raised: Callable[[Key, int], None] | None = None  # told of each version that is higher than what was known

    def __len__(self) -> int:
        return len(self._floors)

    def get(self, key: Key) -> int:
        """The floor, or 0."""
        found = self._floors.get(key)
        if found is None:
            return 0
        version, since = found
        if self._clock.monotonic() - since > self._lifetime and key not in self._pinned:
            del self._floors[key]
            return 0
        return version

    def note(self, key: Key, version: int) -> None:
        """This version was seen, in an answer or an acknowledgement."""
        if version <= 0:
            return
        found = self._floors.pop(key, None)  # and in again at the end: the dictionary's order is that of use
        self._floors[key] = (version if found is None or version > found[0] else found[0], self._clock.monotonic())
        if self.raised is not None and (found is None or version > found[0]):
            self.raised(key, version)
        if len(self._floors) > self._capacity:
            self._evict()

    def seen(self, key: Key, version: int) -> bool:
        """Hot has just answered with this version: whether it may be served. It is noted if it may. (`get` and `note` in one, for the path of all hits.)"""
        found = self._floors.get(key)
        now = self._clock.monotonic()
        if found is not None and found[0] == version and now - found[1] < _ANEW:
            return True
        if version < self.get(key):
            return False
        self.note(key, version)
        return True

    def pin(self, key: Key) -> None:
        self._pinned.add(key)

    def unpin(self, key: Key) -> None:
        self._pinned.discard(key)

    def forget(self, key: Key) -> None:
        """What was known of the key is lost, and known to be."""
        self._floors.pop(key, None)

    def clear(self) -> None:
        """Forget all: after a failover or a restore versions may have turned back (the epoch was raised)."""
        self._floors.clear()
        self._pinned.clear()

    def _evict(self) -> None:
        """Drop the least recently used floor. Pinned ones on the way go to the end, so that each is passed over once in a round."""
        for _ in range(len(self._floors)):
            key = next(iter(self._floors))
            if key not in self._pinned:
                del self._floors[key]
                return
            self._floors.move_to_end(key)
