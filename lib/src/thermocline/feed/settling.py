"""A batch of the change feed, settled in hot: the same whether its documents come once or twice, in order or out of it (docs/change-feed.md)."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from thermocline import telemetry
from thermocline.client import MemoryClient
from thermocline.client.together import together
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.errors import (
    AccessDenied,
    ClientClosed,
    ConfigurationError,
    InvalidArgument,
    ThermoclineError,
    TierUnavailable,
)
from thermocline.feed.documents import Change, Poison, change_of, changed_at
from thermocline.feed.places import needs_hot
from thermocline.letters import Cause, Letter, Letters, clean, letter_id, outline, partition_of
from thermocline.model import Authority, Key
from thermocline.protocols import Entries, EntryOperation, Settle
from thermocline.telemetry import Stats

log = logging.getLogger("thermocline.feed")

ATTEMPTS: Final = 5
_FIRST_PAUSE: Final = 0.1  # seconds before the second try; doubled each time
_LONGEST_PAUSE: Final = 2.0
_TRY: Final = timedelta(seconds=10)  # one try of a batch
_LETTER_SECONDS: Final = 10.0
_LETTERS_AT_ONCE: Final = 8
_PROBES: Final = 32
_PROBE_SECONDS: Final = 2.0
_LAG_SECONDS: Final = 120.0  # for so long a batch's lag counts; the next one of a partition that is behind comes sooner
_ERROR: Final = 500  # characters of an error that a letter keeps


@dataclass(slots=True)
class Settled:
    """What became of a batch, in documents: ``settled`` in hot (older ones of the same key with the newest), ``skipped`` as no records of the cascade,
    ``without_hot`` as their routes keep no copies there. ``lag``: seconds since the oldest was written, by whole seconds."""

    settled: int = 0
    skipped: int = 0
    without_hot: int = 0
    set_aside: list[Letter] = field(default_factory=list)
    lag: float = 0.0


class Settling:
    """Settles batch after batch. ``attempts``: how often a document is tried before it is set aside in ``letters``; the pauses between them double from
    0.1 s to 2 s. ``pause`` waits for so many seconds. Raises `ConfigurationError` for a client without hot or warm."""

    def __init__(
        self,
        client: MemoryClient,
        letters: Letters,
        *,
        attempts: int = ATTEMPTS,
        clock: Clock = SYSTEM_CLOCK,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if type(attempts) is not int or attempts < 1:
            raise InvalidArgument(f"attempts is a whole number from 1 on, not {attempts!r}")
        needs_hot(client)
        if client.warm is None:
            raise ConfigurationError(
                "this memory has no warm tier (COSMOS_ACCOUNT_URI), whose change feed is followed, so none of its documents would count: name it first"
            )
        self._client = client
        self._letters = letters
        self._attempts = attempts
        self._clock = clock
        self._pause = pause
        # Until when, and how late: each lasts longer than the one before it, and is less.
        self._late: tuple[tuple[float, float], ...] = ()
        self.stats = Stats()
        telemetry.CLIENTS.add(self, self.stats)

    @property
    def lag(self) -> float:
        """Seconds that the oldest document of a batch was old when it came: the worst of the batches of the last two minutes, since those of several
        partitions come one after the other, and one that is on time says nothing of another. 0 once nothing has come for so long: a feed with nothing new
        is not late, however late its last batch was (and one that is not read at all shows by that nothing is settled)."""
        now = self._clock.monotonic()
        return max((lag for until, lag in self._late if now < until), default=0.0)

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """For `telemetry.CLIENTS`."""
        yield telemetry.FEED_LAG, telemetry.CLIENT, self.lag

    def figures(self) -> dict[str, float]:
        """The feed's metrics by their keys, since this was made."""
        counted = {
            key: self.stats.get(key, telemetry.CLIENT) for key in (telemetry.FEED_SETTLED, telemetry.FEED_SET_ASIDE)
        }
        return {telemetry.FEED_LAG: self.lag, **counted}

    def close(self) -> None:
        """End being counted. The client and the letters are others' to close."""
        telemetry.CLIENTS.remove(self)

    async def settle(self, documents: Sequence[Any]) -> Settled:
        """All of a batch: afterwards hot answers nothing older than these documents, and what could not be settled is set aside.

        Raises `TierUnavailable` where hot as a whole cannot be told, or a letter cannot be stored: the batch has to come again then. Twice does no harm.
        """
        result = Settled(lag=self._lag_of(documents))
        self._note(result.lag)
        changes: dict[Key, Change] = {}
        newest: dict[Key, Any] = {}
        counts: dict[Key, int] = {}
        poison: list[tuple[Any, Poison]] = []
        for document in documents:
            found = change_of(document)
            if found is None:
                result.skipped += 1
            elif isinstance(found, Poison):
                poison.append((document, found))
            else:
                counts[found.key] = counts.get(found.key, 0) + 1
                if found.key not in changes or found.version > changes[found.key].version:
                    changes[found.key], newest[found.key] = found, document
        failed = await self._tell({key: change.version for key, change in changes.items()}, counts, result)
        letters = [self._letter(document, why.cause, why.error, why.key, 0, 1) for document, why in poison]
        letters += [
            self._letter(newest[key], Cause.UNAVAILABLE, str(error), key, changes[key].version, self._attempts)
            for key, error in failed.items()
        ]
        await self._set_aside({letter.id: letter for letter in letters}, result)
        return result

    async def _tell(self, due: Mapping[Key, int], counts: Mapping[Key, int], result: Settled) -> dict[Key, Exception]:
        """Tell hot, again and again; what it did not take. Raises where it takes nothing at all."""
        failed: dict[Key, ThermoclineError] = {}
        left, alive = dict(due), True
        if not left:
            return {}
        for attempt in range(self._attempts):
            if attempt:
                await self._pause(min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
            failed, alive = await self._try(left, counts, result)
            left = {key: left[key] for key in failed}
            if not left:
                return {}
        if not alive:  # of nothing but these: they are sick, or hot is. One try more, between two signs of life
            first = next(iter(failed.values()))
            await self._check_hot(first)
            failed, alive = await self._try(left, counts, result)
            if failed and not alive:
                if all(isinstance(error, AccessDenied | ClientClosed) for error in failed.values()):
                    raise first  # shut to us: every document would be set aside, one batch after the other
                await self._check_hot(first)
        return {**failed}

    async def _try(
        self, left: Mapping[Key, int], counts: Mapping[Key, int], result: Settled
    ) -> tuple[dict[Key, ThermoclineError], bool]:
        """Once; what failed, and whether hot took anything."""
        told = await self._client.settle(left, authority=Authority.WARM, timeout=_TRY)
        settled = sum(counts[key] for key, reached in told.items() if reached)
        result.settled += settled
        result.without_hot += sum(counts[key] for key, reached in told.items() if not reached)
        self.stats.count(telemetry.FEED_SETTLED, telemetry.CLIENT, settled)
        return {key: told.errors[key] for key in left if key in told.errors}, settled > 0

    async def _check_hot(self, error: ThermoclineError) -> None:
        """Raise ``error`` if hot as a whole takes no words: not for one of some keys that nobody has, which lie all over its shards. They are settles, which
        leave nothing of such keys: a Redis that only reads (a replica, one that cannot save) is as shut as one that is away."""
        hot: object = self._client.hot
        if not isinstance(hot, Entries):
            return
        words: list[EntryOperation] = [
            Settle(Key("~thermocline", "probe", secrets.token_hex(4)), None, 1, None) for _ in range(_PROBES)
        ]
        try:
            answers = await hot.operate_many(words, deadline=Deadline.after(_PROBE_SECONDS))
        except ThermoclineError:
            raise error from None
        if all(isinstance(answer, ThermoclineError) for answer in answers):
            raise error

    def _letter(self, document: Any, cause: Cause, error: str, key: Key | None, version: int, attempts: int) -> Letter:
        told: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
        return Letter(
            id=letter_id(told),
            cause=cause,
            error=clean(error, _ERROR),
            key=key,
            partition=partition_of(told),
            version=version,
            attempts=attempts,
            set_aside_ms=self._clock.wall_ms(),
            document=outline(told),
        )

    async def _set_aside(self, letters: Mapping[str, Letter], result: Settled) -> None:
        async def put(letter: Letter) -> None:
            await self._letters.put(letter, deadline=Deadline.after(_LETTER_SECONDS))
            log.warning("a document of the change feed was set aside as %s (letter %s)", letter.cause.value, letter.id)

        if not letters:
            return
        try:
            await self._letters.connect()
            await together(list(letters.values()), put, at_once=_LETTERS_AT_ONCE)
        except TierUnavailable as error:
            raise TierUnavailable(
                f"what could not be settled could not be set aside either, and comes again: {error}", tier=error.tier
            ) from error
        result.set_aside = list(letters.values())
        self.stats.count(telemetry.FEED_SET_ASIDE, telemetry.CLIENT, len(letters))

    def _note(self, lag: float) -> None:
        """Remember how late a batch was, until it counts no more or a later one is as late. Of those that end within the same second one is kept, the worst,
        so that there are 121 at most. The tuple is another one each time: gauges are read from other threads."""
        now = self._clock.monotonic()
        until = now + _LAG_SECONDS
        worse = [one for one in self._late if now < one[0] and lag < one[1]]
        if worse and int(worse[-1][0]) == int(until):
            _, lag = worse.pop()
        self._late = (*worse, (until, lag))

    def _lag_of(self, documents: Sequence[Any]) -> float:
        written = [at for document in documents if (at := changed_at(document)) is not None]
        return max(0.0, self._clock.wall_ms() / 1000 - min(written)) if written else 0.0
