"""The clients of this process, so that what they count can be collected. A client is known by a weak reference, and what it counted outlives it."""

import threading
import weakref
from collections.abc import Iterable
from typing import Final, Protocol

from thermocline.telemetry.names import BREAKER
from thermocline.telemetry.stats import Stats

Figure = tuple[str, str, float]
"""A gauge's key, its tier, its value."""


class Source(Protocol):
    """What a client is here."""

    def gauges(self) -> Iterable[Figure]:
        """Its figures of now; asked for from another thread than the client's."""
        ...


class Registry:
    """Thread-safe: clients come and go in their event loops, and an exporter collects in its thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a client may be collected as garbage in the middle of anything here
        self._live: dict[int, tuple[weakref.ref[Source], Stats]] = {}
        self._ended = Stats()

    def add(self, source: Source, stats: Stats) -> None:
        """From now on the client is collected from, until `remove` or until nobody holds it any more."""
        at = id(source)
        with self._lock:
            self._live[at] = (weakref.ref(source, lambda gone: self._end(at, gone)), stats)

    def remove(self, source: Source) -> None:
        """A client that was closed: its counts stay part of the sums. Idempotent."""
        with self._lock:
            found = self._live.get(id(source))
            if found is not None and found[0]() is source:
                self._end(id(source), found[0])

    def _end(self, at: int, reference: "weakref.ref[Source]") -> None:
        with self._lock:
            found = self._live.get(at)
            if found is not None and found[0] is reference:  # else another has come to the same address
                del self._live[at]
                found[1].added_to(self._ended)

    def __len__(self) -> int:
        return len(self._live)

    def totals(self) -> Stats:
        """What all clients have counted since the process began, those that have ended too."""
        total = Stats()
        with self._lock:
            self._ended.added_to(total)
            for _, stats in self._live.values():
                stats.added_to(total)
        return total

    def counted(self, key: str) -> dict[str, float]:
        """One counter by tier, as in `totals`."""
        with self._lock:
            counters = [self._ended.counters.copy(), *(stats.counters.copy() for _, stats in self._live.values())]
        found: dict[str, float] = {}
        for one in counters:
            for (name, tier), amount in one.items():
                if name == key:
                    found[str(tier)] = found.get(str(tier), 0.0) + amount
        return found

    def gauges(self) -> dict[tuple[str, str], float]:
        """The figures of now by key and tier: sums over the clients, and of a breaker the worst."""
        with self._lock:
            sources = [source for reference, _ in self._live.values() if (source := reference()) is not None]
        found: dict[tuple[str, str], float] = {}
        for source in sources:
            for key, tier, value in source.gauges():
                before = found.get((key, tier), 0.0)
                found[key, tier] = max(before, value) if key == BREAKER else before + value
        return found


CLIENTS: Final = Registry()
