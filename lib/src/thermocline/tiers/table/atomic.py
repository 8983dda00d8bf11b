"""Several writes of one scope as one entity group transaction (COHERENCE section 7).

The rows are read one by one, sixteen at once. Each write becomes an insert, or the replacement of exactly the copy that was read (by its ETag), so that a
transaction is let in at most once, however many copies of it are under way: each changes what the others ask for. Without an answer the same goes out again.
After a refusal the rows are read again: where one of the ids is there, all took effect; where one row remembers its writes back to what the plan
began with, and the id is not among them, none did, and none of that transaction's copies ever will, so the next may be built. Where every row has
forgotten, the outcome is unknown.

A delete or touch that finds nothing, and a condition that does not hold, are judged by the read, as the service's reads do not lag; a row that appears between
that read and the transaction came after it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from thermocline.blobs import heads
from thermocline.blobs.batch import each
from thermocline.blobs.upkeep import check_atomic
from thermocline.blobs.writing import bounded, harmless, pause, share
from thermocline.clock import Deadline
from thermocline.errors import AccessDenied, ThermoclineError, TierUnavailable, TooLarge, UnknownOutcome
from thermocline.model import Authority, Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.tiers.table.door import TIER
from thermocline.tiers.table.rows import check, row_of
from thermocline.tiers.table.service import Placing, Row, TableService
from thermocline.tiers.table.upkeep import RowUpkeep
from thermocline.writes import check_pointer

MOST: Final = 100  # the service's limit of rows in a transaction
MOST_BYTES: Final = 4_100_000  # of a request; the service's limit is 4 MiB
_PART_BYTES: Final = 1_800  # of a request's part: its own head, and the names of the properties
_AUTHORITY: Final = Authority.WARM_PLUS

Found = heads.Found | heads.Missing
Find = Callable[[Key, Deadline], Awaitable[Found]]


class RowsAtOnce(RowUpkeep):
    """The part `Atomic`."""

    atomic_most = MOST

    async def write_atomic(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written]:
        """A read per write and one transaction; after a conflict all of it again. At most 100 writes and 4 MiB, in base64: about 3 MB of payloads.
        Raises `InvalidArgument`, `TooLarge`, `UnknownOutcome`."""
        check_atomic(writes, MOST)
        for write in writes:
            check(write)
        return await _Together(self._service, self._find, writes, bounded(deadline)).run() if writes else []


@dataclass(frozen=True, slots=True)
class _Part:
    """What a plan makes of one write: the head to store in place of ``base``, or the answer where nothing is stored."""

    made: heads.Head | Written
    base: heads.Head | None
    etag: str | None


class _Together:
    """Some writes under way as one."""

    def __init__(self, service: TableService, find: Find, writes: Sequence[Write], deadline: Deadline) -> None:
        self._service, self._find, self._writes, self._deadline = service, find, list(writes), deadline
        self._plan: list[_Part] = []
        self._open = False  # a copy of the transaction was not answered, and may have been let in
        self._tries = 0

    async def run(self) -> list[Written]:
        while True:
            found = await self._read()
            ended = self._conclude(found)
            if ended is not None:
                return ended
            self._plan = [self._part(write, one) for write, one in zip(self._writes, found, strict=True)]
            ended = self._settled(found)
            if ended is not None:
                return ended
            if await self._send():
                return [_told(part.made) for part in self._plan]
            if self._tries > 0:
                await pause(self._writes[0].id, self._tries, self._deadline)
            self._tries += 1

    # --- reading and judging -----------------------------------------------------------------------------------------

    async def _read(self) -> list[Found]:
        while True:
            answers = await each(self._writes, lambda write: self._find(write.key, self._share()))
            found = [answer for answer in answers if not isinstance(answer, ThermoclineError)]
            if len(found) == len(answers):
                return found
            await self._survive(next(error for error in answers if isinstance(error, ThermoclineError)))

    def _conclude(self, found: Sequence[Found]) -> list[Written] | None:
        """The answers, if the transaction took effect; None if it certainly did not. Raises `UnknownOutcome`."""
        took = [
            one.head.find(write.id) if isinstance(one, heads.Found) else None
            for one, write in zip(found, self._writes, strict=True)
        ]
        if any(version is not None for version in took):
            mine = all(version in (None, self._version(place)) for place, version in enumerate(took))
            return [self._answer(place, one, mine=mine) for place, one in enumerate(found)]
        if self._open and not any(self._shows(part, one) for part, one in zip(self._plan, found, strict=True)):
            raise self._unknown("more was written since of all its keys than their rows remember")
        self._open = False
        return None

    def _version(self, place: int) -> int | None:
        made = self._plan[place].made if self._plan else None
        return made.version if isinstance(made, heads.Head) else None

    @staticmethod
    def _shows(part: _Part, found: Found) -> bool:
        """Whether the row would show that the plan took effect."""
        if not isinstance(part.made, heads.Head):
            return False
        return isinstance(found, heads.Missing) or found.head.reaches(part.base)

    def _answer(self, place: int, found: Found, *, mine: bool) -> Written:
        """What became of one write of a transaction that took effect; ``mine``: as it was planned here."""
        write = self._writes[place]
        head = found.head if isinstance(found, heads.Found) else None
        if head is not None and head.find(write.id) is not None:
            took = heads.plan(write, head, authority=_AUTHORITY, now_ms=self._service.now_ms())
            assert isinstance(took, Written)
            return took
        if mine and self._plan:
            return _told(self._plan[place].made)
        if write.verb is not Verb.PUT and (head is None or len(head.ring) < heads.RULES.ring):
            return Written(Effect.NOTHING, 0 if head is None else head.version)
        raise self._unknown("it took effect, but not all rows remember as which versions")

    def _part(self, write: Write, found: Found) -> _Part:
        if write.verb is Verb.PUT:
            check_pointer(write.envelope, self._service.now_ms(), tier=TIER)
        base, etag = (found.head, found.etag) if isinstance(found, heads.Found) else (None, None)
        made = heads.plan(write, base, authority=_AUTHORITY, now_ms=self._service.now_ms())
        return _Part(made, base, etag)

    def _settled(self, found: Sequence[Found]) -> list[Written] | None:
        """The answers, if a condition does not hold, or nothing is left to do."""
        answers = [part.made if isinstance(part.made, Written) else None for part in self._plan]
        if any(answer is not None and answer.effect is Effect.REFUSED for answer in answers):
            return [
                answer if answer is not None and answer.effect is Effect.REFUSED else Written(Effect.NOTHING, there)
                for answer, there in zip(answers, map(_version, found), strict=True)
            ]
        settled = [answer for answer in answers if answer is not None]
        return settled if len(settled) == len(answers) else None

    # --- sending -----------------------------------------------------------------------------------------------------

    async def _send(self) -> bool:
        """Send the plan's transaction until it is answered. False: it was refused, and the rows are to be read again."""
        placings = [Placing(row_of(part.made), part.etag) for part in self._plan if isinstance(part.made, heads.Head)]
        size = sum(_size(placing.row) for placing in placings)
        if size > MOST_BYTES:
            raise TooLarge(
                f"the {len(placings)} writes would be a request of about {size} bytes, and Table Storage takes at most 4 MiB as one:"
                " put large values into cold (cold_threshold_bytes), or write fewer at once"
            )
        while True:
            try:
                return await self._service.place_all(placings, self._share()) is not None
            except ThermoclineError as error:
                self._open = self._open or (isinstance(error, TierUnavailable) and error.sent)
                await self._survive(error)

    async def _survive(self, error: ThermoclineError) -> None:
        """What a failure means: it goes on, after a while, only where a copy may have taken effect."""
        if not self._open:
            raise harmless(error)
        if self._deadline.expired() or isinstance(error, AccessDenied) or not isinstance(error, TierUnavailable):
            raise self._unknown(str(error)) from error
        await pause(self._writes[0].id, self._tries, self._deadline)
        self._tries += 1

    def _share(self) -> Deadline:
        return share(self._deadline)

    def _unknown(self, why: str) -> UnknownOutcome:
        first = self._writes[0]
        return UnknownOutcome(
            f"{len(self._writes)} writes of {first.key.tenant}/{first.key.scope}: they may have taken effect: {why}",
            write_id=first.id,
        )


def _told(made: heads.Head | Written) -> Written:
    return made if isinstance(made, Written) else Written(Effect.TOOK, made.version, made.envelope)


def _version(found: Found) -> int:
    return found.head.version if isinstance(found, heads.Found) else 0


def _size(row: Row) -> int:
    """Of a row in a request: its data in base64."""
    return len(row.data) * 4 // 3 + sum(map(len, row.columns.values())) + _PART_BYTES
