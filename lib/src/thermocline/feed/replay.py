"""Dead letters, taken up again: the authority is asked which version the key has now, hot is told of that, and the letter goes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, NotFound, ThermoclineError, TierUnavailable
from thermocline.feed.places import needs_hot
from thermocline.letters import Letter, LetterFilter, Letters
from thermocline.model import Key

PAGE: Final = 100
_SECONDS: Final = 10.0  # one request of the letters' place
_TRY: Final = timedelta(seconds=10)


@dataclass(slots=True)
class Replayed:
    """``settled`` letters are gone; those in ``kept`` stay, by id with the reason. ``stopped``: why it ended before all were tried; "" if it did not."""

    settled: int = 0
    kept: dict[str, ThermoclineError] = field(default_factory=dict)
    stopped: str = ""


class Replay:
    """Over one memory and its letters. Safe to run twice and in two places at once. Raises `ConfigurationError` for a client without a hot tier."""

    def __init__(self, client: MemoryClient, letters: Letters) -> None:
        needs_hot(client)
        self._client = client
        self._letters = letters

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

    async def all(self, wanted: LetterFilter, *, limit: int | None = None) -> Replayed:
        """Page after page of those that are wanted; ``limit`` letters at most. It stops after a page of which nothing could be settled as a tier was
        unavailable."""
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidArgument(f"limit is a whole number of letters, at least 1, not {limit!r}")
        result = Replayed()
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = await self._letters.page(wanted, limit=size, cursor=cursor, deadline=Deadline.after(_SECONDS))
            settled = result.settled
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
        told = await self._client.settle(keys, timeout=_TRY)
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
