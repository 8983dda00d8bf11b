"""The part `Purges` over a store that tells page by page what is dead: a walk that goes on where the last one stopped."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from thermocline.blobs.batch import all_of
from thermocline.blobs.upkeep import check_limit
from thermocline.clock import Deadline
from thermocline.writes import PAYLOAD_GRACE_MS

Item = TypeVar("Item")
Place = TypeVar("Place")


class Purging(ABC, Generic[Item, Place]):
    """What was listed, a head or a note, is removed under the ETag that was seen; so what was written meanwhile stays."""

    _grace_ms = PAYLOAD_GRACE_MS
    _swept: Place | None = None  # where the last purge stopped

    @abstractmethod
    def _now_ms(self) -> int:
        """By the service's clock."""

    @abstractmethod
    async def _dead(
        self, before_ms: int, place: Place | None, deadline: Deadline
    ) -> tuple[Sequence[Item], Place | None]:
        """What of one page died before that moment, and was not written after it; and the place of the next page."""

    @abstractmethod
    async def _notes_over(
        self, now_ms: int, place: Place | None, deadline: Deadline
    ) -> tuple[Sequence[Item], Place | None]:
        """The notes of one page whose time is over, and the place of the next page."""

    @abstractmethod
    async def _drop(self, item: Item, deadline: Deadline) -> bool:
        """Remove it, if it is still what was listed."""

    @property
    def grace(self) -> timedelta:
        """How long what is stored outlives its record, at least: T."""
        return timedelta(milliseconds=self._grace_ms)

    async def purge(self, *, dead_before_ms: int, limit: int, deadline: Deadline) -> int:
        """From where the last call stopped (in this process): one listing request a page, one more for each that is removed. At the end of the listing notes
        whose time is over are removed too, uncounted."""
        check_limit(limit)
        before = min(dead_before_ms, self._now_ms() - self._grace_ms)
        began, place = self._swept, self._swept
        while True:
            old, following = await self._dead(before, place, deadline)
            removed = await self._remove(old[:limit], deadline)
            if removed or len(old) > limit:
                self._swept = place if len(old) > limit else following
                return removed
            if following is None:
                await self.purge_notes(deadline=deadline)
                self._swept = place = None
                if began is None:
                    return 0
                began = None  # what lies before where this call began was not looked at
                continue
            place = following

    async def purge_notes(self, *, deadline: Deadline) -> None:
        """Remove the notes whose time is over."""
        now, place = self._now_ms(), None
        while True:
            over, place = await self._notes_over(now, place, deadline)
            await self._remove(over, deadline)
            if place is None:
                return

    async def _remove(self, items: Sequence[Item], deadline: Deadline) -> int:
        return sum(await all_of(items, lambda item: self._drop(item, deadline)))
