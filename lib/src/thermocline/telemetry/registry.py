"""The clients of this process, so that what they count can be collected. A client is known by a weak reference, and what it counted outlives it."""

import threading
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from thermocline.telemetry.names import WORST
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
        self._lock = threading.Lock()
        self._live: dict[int, tuple[weakref.ref[Source], Stats]] = {}
        self._gone: deque[int] = deque()  # whom the garbage collector has taken, perhaps in the middle of anything here
        self._ended = Stats()

    def add(self, source: Source, stats: Stats) -> None:
        """From now on the client is collected from, until `remove` or until nobody holds it any more."""
        at = id(source)
        with self._lock:
            self._bury()
            self._live[at] = (weakref.ref(source, lambda _: self._gone.append(at)), stats)

    def remove(self, source: Source) -> None:
        """A client that was closed: its counts stay part of the sums. Idempotent."""
        with self._lock:
            self._bury()
            found = self._live.pop(id(source), None)
            if found is not None:
                found[1].added_to(self._ended)

    def _bury(self) -> None:
        """Move the counts of those that are gone to those that have ended. Before anything else is done with ``_live``: an address may be used again."""
        while self._gone:
            found = self._live.pop(self._gone.popleft(), None)
            if found is not None:
                found[1].added_to(self._ended)

    def __len__(self) -> int:
        with self._lock:
            self._bury()
            return len(self._live)

    def totals(self) -> Stats:
        """What all clients have counted since the process began, those that have ended too."""
        total = Stats()
        with self._lock:
            self._bury()
            self._ended.added_to(total)
            for _, stats in self._live.values():
                stats.added_to(total)
        return total

    def counted(self, key: str) -> dict[str, float]:
        """One counter by tier, as in `totals`."""
        with self._lock:
            self._bury()
            counters = [self._ended.counters.copy(), *(stats.counters.copy() for _, stats in self._live.values())]
        found: dict[str, float] = {}
        for one in counters:
            for (name, tier), amount in one.items():
                if name == key:
                    found[str(tier)] = found.get(str(tier), 0.0) + amount
        return found

    def charged(self, key: str) -> dict[tuple[str, str], float]:
        """One counter by tier and verb, as in `totals`."""
        with self._lock:
            self._bury()
            charges = [self._ended.charges.copy(), *(stats.charges.copy() for _, stats in self._live.values())]
        found: dict[tuple[str, str], float] = {}
        for one in charges:
            for (name, tier, verb), amount in one.items():
                if name == key:
                    found[str(tier), verb] = found.get((str(tier), verb), 0.0) + amount
        return found

    def gauges(self) -> dict[tuple[str, str], float]:
        """The figures of now by key and tier: sums over the clients, and of those in `WORST` the highest."""
        with self._lock:
            sources = [source for reference, _ in self._live.values() if (source := reference()) is not None]
        found: dict[tuple[str, str], float] = {}
        for source in sources:
            for key, tier, value in source.gauges():
                before = found.get((key, tier), 0.0)
                found[key, tier] = max(before, value) if key in WORST else before + value
        return found


CLIENTS: Final = Registry()
