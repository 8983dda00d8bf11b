"""Process memory that tells of its changes, as Redis does: for tests of near caches without a server."""

import asyncio
from datetime import timedelta
from typing import Any

from thermocline.clock import Clock
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.protocols import Ear, Write, Written
from thermocline.tiers.local.process import Entry, ProcessMemory


class TellingMemory(ProcessMemory):
    """Plays `Invalidates`. Whoever listens is told of each change within it, in the same moment; `hold` delays that, `cut` breaks every connection and
    `mend` makes it anew. Silence is told by `beat` alone, so that a test decides until when an ear knows that it has heard all."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.listeners: list[Told] = []
        self.refuses = ""  # why nobody is told; "": everybody is

    def name_of(self, key: Key, *, record: bool) -> bytes:
        return redis_key(key) + (b"r" if record else b"")

    def listen(self, ear: Ear, *, clock: Clock, within: timedelta) -> "Told":
        told = Told(self, ear)
        self.listeners.append(told)
        return told

    def beat(self, until: float) -> None:
        """Everything that changed before ``until`` has been told."""
        for told in self.listeners:
            told.say(until)

    def hold(self) -> None:
        """From now on what is told is under way, until `deliver` or `cut`."""
        for told in self.listeners:
            told.held = told.held if told.held is not None else []

    def deliver(self) -> None:
        """All that was held arrives, in its order."""
        for told in self.listeners:
            held, told.held = told.held or [], None
            for one in held:
                told.say(one)

    def cut(self) -> None:
        """Every connection breaks, what was under way is lost, and the ears know it."""
        for told in self.listeners:
            told.held = None
            told.how = ""
            told.ear.changed(None)

    def mend(self) -> None:
        """The connections are there again."""
        for told in self.listeners:
            told.how = "told"

    def _put(self, key: Key, entry: Entry) -> None:
        before = self._values.get(key) or self._markers.get(key)
        super()._put(key, entry)
        if (before.entry if before is not None else None) is not entry:
            self._tell(self.name_of(key, record=False))

    def _write(self, write: Write, now: int) -> Written:
        written = super()._write(write, now)
        self._tell(self.name_of(write.key, record=True))
        return written

    def _tell(self, name: bytes) -> None:
        for told in self.listeners:
            if told.how:
                told.say(name)


class Told:
    """One ear of a `TellingMemory`; see `thermocline.protocols.Listening`."""

    def __init__(self, memory: TellingMemory, ear: Ear) -> None:
        self.ear = ear
        self.why = memory.refuses
        self.how = "" if self.why else "told"
        self.held: list[bytes | float] | None = None
        self._memory = memory

    def say(self, word: bytes | float) -> None:
        """A name that changed, or until when all was told."""
        if self.held is not None:
            self.held.append(word)
        elif isinstance(word, bytes):
            self.ear.changed([word])
        elif self.how:
            self.ear.told(word)

    def hears(self, name: bytes) -> bool:
        return bool(self.how)

    async def close(self) -> None:
        if self in self._memory.listeners:
            self._memory.listeners.remove(self)
        await asyncio.sleep(0)
