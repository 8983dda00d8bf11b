"""Whose payloads cold holds. Each authority has a name of its own, drawn once and kept as a note in it; before a client puts the first payload for records of
an authority into cold, it writes that name there. A sweep that finds the name of an authority that it does not know removes no payload: records there may
point to it.

So two applications on one container, or a command line that was given one tier too few, cost room and no data. It costs two reads per client and
authority, before the first payload. A tier that keeps no notes takes no part: then what docs/moving-data-between-tiers.md says holds by care alone.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from thermocline.client.engine import Engine
from thermocline.client.reads import Notebook
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, TierUnavailable
from thermocline.model import Authority, MemoryTier
from thermocline.protocols import Notes

NAME: Final = "store/name"
SIGNED: Final = "store/owner/"
_TRIES: Final = 8  # of reading a name that another client has drawn at the same moment
_PAGE: Final = 100


class Owners:
    """The names of one client's authorities, and those that stand in its cold."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._signed: set[Authority] = set()
        self._signing = asyncio.Lock()

    async def sign(self, authority: Authority, deadline: Deadline) -> None:
        """Before a payload is put for a record of this authority. Nothing, after the first time. Raises `TierUnavailable`."""
        if authority in self._signed:
            return
        async with self._signing:
            if authority in self._signed:
                return
            name, cold = await self.name(authority, deadline), self._cold()
            if name is not None and cold is not None and await cold.read(SIGNED + name, deadline) is None:
                await cold.call(
                    cold.notes.write_note, SIGNED + name, authority.name.lower().encode(), deadline=deadline
                )
            self._signed.add(authority)

    async def name(self, authority: Authority, deadline: Deadline, *, draw: bool = True) -> str | None:
        """The authority's own name, drawn if it has none yet (unless ``draw`` is False: None); None also if it keeps no notes."""
        tier = self._engine.authorities.get(authority)
        if tier is None or not isinstance(tier, Notes):
            return None
        book = Notebook(tier, self._engine.guards[tier.tier])
        for _ in range(_TRIES):
            note = await book.read(NAME, deadline)
            if note is None and not draw:
                return None
            if note is None:
                drawn = self._engine.token().encode()
                note = await book.call(tier.write_note, NAME, drawn, if_absent=True, deadline=deadline)
            if note is not None:
                return note.data.decode()
        raise TierUnavailable(
            "the name of the store was drawn by others at the same time: try again", tier=str(tier.tier), sent=False
        )

    async def strangers(self, deadline: Deadline) -> list[str]:
        """The authorities that put payloads into this cold and are not this client's, as ``kind name``."""
        cold = self._cold()
        if cold is None:
            return []
        ours = {await self.name(tier.authority, deadline, draw=False) for tier in self._engine.durable()}
        found: list[str] = []
        cursor: str | None = None
        while True:
            names, cursor = await cold.call(
                cold.notes.list_notes, SIGNED, limit=_PAGE, cursor=cursor, deadline=deadline
            )
            found += [name.removeprefix(SIGNED) for name in names if name.removeprefix(SIGNED) not in ours]
            if cursor is None:
                break
        kinds = [await cold.read(SIGNED + name, deadline) for name in found]
        return [f"{note.data.decode(errors='replace')} {name}" for note, name in zip(kinds, found, strict=True) if note]

    async def strike(self, name: str, deadline: Deadline) -> bool:
        """Take a name out of cold: its authority is gone for good. Whether it stood there."""
        cold = self._cold()
        return cold is not None and await cold.call(cold.notes.delete_note, SIGNED + name, deadline=deadline)

    def _cold(self) -> Notebook | None:
        cold: object = self._engine.cold
        return Notebook(cold, self._engine.guards[MemoryTier.COLD]) if isinstance(cold, Notes) else None


async def disowned(engine: Engine, names: Iterable[str], deadline: Deadline, *, dry_run: bool) -> None:
    """Strike these names out of cold. Raises `InvalidArgument` for one that does not stand there, and for an authority of this client's own."""
    given: Any = names
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidArgument("disown takes the names that the sweep's report gave, as a list of strings")
    wanted = list(names)
    if not wanted:
        return
    owners = Owners(engine)
    known = {stranger.rpartition(" ")[2] for stranger in await owners.strangers(deadline)}
    for name in wanted:
        if name not in known:
            raise InvalidArgument(
                f"no other authority of the name {name!r} stands in cold; there are: {', '.join(sorted(known)) or 'none'}"
            )
    if not dry_run:
        for name in wanted:
            await owners.strike(name, deadline)
