"""The entries of a near cache: found by what callers give, within bounds in entries and in bytes."""

import sys
from collections import OrderedDict
from typing import Any, Final

from thermocline.client.engine import Engine
from thermocline.client.near.options import NearCache
from thermocline.model import DEFAULT_TENANT, Envelope, Key
from thermocline.policy import Plan
from thermocline.sketch import Frequency

OVERHEAD_BYTES: Final = 1000  # of an entry beside its payload, its key's text and its tags, about; measured in tests
SHARE: Final = 4  # one entry may take up to the fourth part of the bytes
CHANCES: Final = 4  # entries in use that a newcomer passes over, at most, before it is judged

_UNKNOWN: Final[Any] = object()  # no type was asked for yet


class Entry:
    """``kind`` is the type as which ``value`` may be given to all who ask; ``anew`` one as which it must be decoded for each."""

    __slots__ = ("alias", "anew", "envelope", "expires_ms", "kind", "name", "plan", "until", "used", "value", "weight")

    def __init__(self, name: bytes, plan: Plan, envelope: Envelope, until: float) -> None:
        key = envelope.key
        self.name = name
        self.plan = plan
        self.envelope = envelope
        self.expires_ms = envelope.header.expires_ms
        self.until = until
        self.used = 0
        self.kind = self.anew = _UNKNOWN
        self.value: Any = None
        self.alias = (
            key.name if key.tenant == DEFAULT_TENANT and key.scope[0] == "~" and Key.of(key.name) == key else None
        )
        self.weight = weight_of(envelope)


class Shelf:
    """``given`` has the entries by what callers give: the key, and its name if that is enough. All bounds hold after every call."""

    def __init__(self, engine: Engine, options: NearCache) -> None:
        self._floors = engine.floors
        self._monotonic = engine.clock.monotonic
        self._options = options
        self.given: dict[Key | str, Entry] = {}
        self.entries: OrderedDict[bytes, Entry] = OrderedDict()  # by the name in hot, the first in line to go first
        self.held_bytes = 0
        most = min(options.max_entries, options.max_bytes // OVERHEAD_BYTES)  # as many as there can be
        self.frequency = Frequency(max(64, 2 * most))

    def put(self, entry: Entry) -> None:
        """In the place of what is there under its key, if it is small enough and there is room or somebody goes for it."""
        key = entry.envelope.key
        before = self.given.get(key)  # also one under another name, where a shared hot tier has entered an epoch
        if before is not None:
            entry.used = before.used
            self.remove(before)
        if entry.weight * SHARE > self._options.max_bytes or not self._admits(entry):
            return
        self.entries[entry.name] = self.given[key] = entry
        if entry.alias is not None:
            self.given[entry.alias] = entry
        self.held_bytes += entry.weight

    def _admits(self, newcomer: Entry) -> bool:
        """Make room. Whoever was asked for again since it came stays; of the others one goes, unless it was asked for at least as often as the newcomer."""
        entries, frequency, options = self.entries, self.frequency, self._options
        frequency.note(newcomer.name)
        chances, now = CHANCES, self._monotonic()
        while len(entries) >= options.max_entries or self.held_bytes + newcomer.weight > options.max_bytes:
            first = next(iter(entries.values()))
            if first.until > now:
                if first.used and chances:
                    chances -= 1
                    self._use(first)
                    continue
                often = frequency.estimate(first.name)
                if often > 0 and frequency.estimate(newcomer.name) <= often:
                    return False
            self.remove(first)
        return True

    def _use(self, entry: Entry) -> None:
        """Its hits are counted now, and it goes to the end of the line."""
        for _ in range(min(entry.used, 4)):
            self.frequency.note(entry.name)
        self.seen(entry)
        entry.used = 0
        self.entries.move_to_end(entry.name)

    def seen(self, entry: Entry) -> None:
        """Hits do not count as the last use of the key's floor, which may have gone meanwhile: before hot is asked again it must be there (P6)."""
        if entry.used:
            self._floors.note(entry.envelope.key, entry.envelope.header.version)

    def remove(self, entry: Entry) -> None:
        if self.entries.pop(entry.name, None) is not None:
            self.seen(entry)
            self.held_bytes -= entry.weight
            del self.given[entry.envelope.key]
            if entry.alias is not None:
                del self.given[entry.alias]

    def reweigh(self, entry: Entry, weight: int) -> None:
        """It holds more than it did: others may have to go, or it itself."""
        if self.entries.get(entry.name) is not entry:
            return
        self.held_bytes += weight - entry.weight
        entry.weight = weight
        if weight * SHARE > self._options.max_bytes:
            self.remove(entry)
        while self.held_bytes > self._options.max_bytes:
            self.remove(next(iter(self.entries.values())))

    def clear(self) -> bool:
        """Whether there was any."""
        for entry in self.entries.values():
            self.seen(entry)
        full = bool(self.entries)
        self.entries.clear()
        self.given.clear()
        self.held_bytes = 0
        return full


def weight_of(envelope: Envelope) -> int:
    tags = sum(sys.getsizeof(name) + sys.getsizeof(tag) for name, tag in envelope.tags.items()) if envelope.tags else 0
    name = envelope.key.name
    return OVERHEAD_BYTES + len(envelope.payload) + 2 * sys.getsizeof(name) + tags
