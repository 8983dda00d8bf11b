"""Dead letters, taken up again: the authority is asked which version the key has now, hot is told of that, and the letter goes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from thermocline.client import MemoryClient
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.errors import InvalidArgument, NotFound, ThermoclineError, TierUnavailable
from thermocline.feed.places import needs_hot
from thermocline.letters import Letter, LetterFilter, Letters
from thermocline.lifetimes import HOT_CEILING
from thermocline.model import Key

PAGE: Final = 100
_SECONDS: Final = 10.0  # one request of the letters' place
_TRY: Final = timedelta(seconds=10)
_CEILING_MS: Final = HOT_CEILING // timedelta(milliseconds=1)


@dataclass(slots=True)
class Replayed:
    """``settled`` letters are gone; those in ``kept`` stay, by id with the reason. ``stopped``: why it ended before all were tried; "" if it did not.
    ``cursor``: of the page after the last one that was tried; None: there is none."""

    settled: int = 0
    kept: dict[str, ThermoclineError] = field(default_factory=dict)
    stopped: str = ""
    cursor: str | None = None


class Replay:
    """Over one memory and its letters. Safe to run twice and in two places at once. Raises `ConfigurationError` for a client without a hot tier."""

    def __init__(self, client: MemoryClient, letters: Letters, *, clock: Clock = SYSTEM_CLOCK) -> None:
        needs_hot(client)
        self._client = client
        self._letters = letters
        self._clock = clock

    async def these(self, ids: Iterable[str]) -> Replayed:
        """The letters of these ids. One that is not there is in ``kept`` as `NotFound`."""
        result = Replayed()
        found: list[Letter] = []
        for letter_id in dict.fromkeys(ids):
            try:
                letter = await self._letters.read(letter_id, deadline=Deadline.after(_SECONDS))
                if letter is None:
                    raise NotFound(f"there is no dead letter {letter_id}")
                found.append(letter)
            except ThermoclineError as error:
                result.kept[letter_id] = error
        await self._settle(found, result)
        return result

    async def all(self, wanted: LetterFilter, *, limit: int | None = None, cursor: str | None = None) -> Replayed:
        """Page after page of those that are wanted, from ``cursor`` on; ``limit`` letters at most. It stops after a page of which nothing could be settled
        as a tier was unavailable: whoever goes on at its cursor the next time comes past letters that are sick for long."""
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidArgument(f"limit is a whole number of letters, at least 1, not {limit!r}")
        result = Replayed()
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = await self._letters.page(wanted, limit=size, cursor=cursor, deadline=Deadline.after(_SECONDS))
            settled, result.cursor = result.settled, page.cursor
            await self._settle(page.letters, result)
            away = [
                error for letter in page.letters if isinstance(error := result.kept.get(letter.id), TierUnavailable)
            ]
            if away and result.settled == settled:
                result.stopped = f"none of {len(page.letters)} letters could be settled; the last: {away[-1]}"
                return result
            cursor = page.cursor
            if cursor is None:
                return result
            left = None if left is None else left - len(page.letters)
        return result

    async def _settle(self, letters: list[Letter], result: Replayed) -> None:
        keys: dict[Key, None] = {}
        for letter in letters:
            if letter.key is None:
                result.kept[letter.id] = InvalidArgument(
                    "which key it was cannot be told: mend the document in Cosmos DB, which comes by the feed again then, and drop the letter"
                )
            else:
                keys[letter.key] = None
        if not keys:
            return
        told = await self._client.settle(keys, at_least=self._known(letters), timeout=_TRY)
        for letter in letters:
            if letter.key is None:
                continue
            if letter.key in told.errors:
                result.kept[letter.id] = told.errors[letter.key]
                continue
            try:  # False: a later failure has taken its place meanwhile, and is tried at the next replay
                await self._letters.drop(letter, deadline=Deadline.after(_SECONDS))
            except ThermoclineError as error:
                result.kept[letter.id] = error
            else:
                result.settled += 1

    def _known(self, letters: list[Letter]) -> dict[Key, int]:
        """The versions that keys have had, so that a replica of the authority that lags is not believed. Of an old letter none: hot's copies from before it
        have ended, and after a restore the authority may be right to have less."""
        now = self._clock.wall_ms()
        known: dict[Key, int] = {}
        for letter in letters:
            if letter.key is not None and abs(now - letter.set_aside_ms) < _CEILING_MS:
                known[letter.key] = max(letter.version, known.get(letter.key, 0))
        return known
