"""An embedded authority whose notes are counted, and can be out of reach by themselves."""

import asyncio

from thermocline import SqliteMemory
from thermocline.clock import Deadline
from thermocline.errors import TierUnavailable
from thermocline.protocols import Note


class Watched(SqliteMemory):
    """``seen``: dictionaries' notes that were asked for; ``down``: then they cannot be; ``silent``: then they give no answer."""

    seen = 0
    down = False
    silent = False

    async def read_note(self, name: str, *, deadline: Deadline) -> Note | None:
        if self.down:
            raise TierUnavailable("the notes are out of reach", tier="warm")
        if self.silent:
            await asyncio.Event().wait()
        self.seen += name.startswith("dictionary/")
        return await super().read_note(name, deadline=deadline)
