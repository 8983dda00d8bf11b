"""Several writes of one scope as one transactional batch (COHERENCE section 7).

The keys are read by one query. Each write becomes a create, or a patch of exactly the copy that was read (by its ETag), so that a batch is let in at most
once, however many copies of it are under way: each changes what the others ask for. After a refusal the keys are read again: where one of the ids is there,
all took effect, as what was planned; where one of the items remembers its writes back to what the plan began with, and the id is not among them, none did,
and none of that batch's copies ever will, so the next may be built. Where every item has forgotten, the outcome is unknown.

A delete or touch that seems to find nothing, and a condition that names a version which is not there yet, are put to the service all the same: a
read may lag, the service's refusal does not. So each of these costs one batch more.

Two requests where nobody interferes (a query and a batch), four after a conflict. On the emulator's model ten records of 0.5 kB cost 66 request units
together if they are new and 126 if they are replaced, a hundred 640 and 1,240: as much as one by one.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, ThermoclineError, TierTimeout, TooLarge, UnknownOutcome
from thermocline.model import Authority
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.tiers.warm.calls import Pauses, once
from thermocline.tiers.warm.census import RECORD
from thermocline.tiers.warm.change import Change
from thermocline.tiers.warm.item import created_of, envelope_of, seen_of
from thermocline.tiers.warm.sdk import Service
from thermocline.tiers.warm.trouble import TIER, BatchRefused, Kind, Trouble
from thermocline.tiers.warm.watching import watching
from thermocline.writes import RULES, Patch, Seen, begin

MOST: Final = 100  # the service's limit of operations in a batch
MOST_BYTES: Final = 1_950_000  # of a request; the service's limit is 2 MB
_DECISIVE: Final = (Kind.MISSING, Kind.EXISTS, Kind.REFUSED)
_QUERY: Final = f"SELECT c.id, c.tenant, c.scope, c.n, c.v, c.w, c.b, c.c, c._etag, {RECORD} FROM c WHERE c.id IN "  # noqa: S608

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """What a plan makes of one write: a batch's operation, and the version that it will have. ``probe``: what the answer is if the service refuses it."""

    operation: tuple[Any, ...] | None
    version: int
    base: int = 0  # the version of the item that is patched; 0: it is created
    probe: Effect | None = None


class Transaction:
    """Some writes under way as one."""

    def __init__(
        self,
        service: Service,
        writes: Sequence[Write],
        *,
        clock: Callable[[], int],
        grace_ms: int,
        most_bytes: int,
    ) -> None:
        """``clock`` tells the server's time in ms. Raises `InvalidArgument`, `TooLarge`: nothing has been sent then."""
        now_ms = clock()
        check(writes)
        self._service, self._writes, self._clock = service, list(writes), clock
        self._born = [begin(write, now_ms * 1000).born for write in writes]
        self._changes = [
            Change(write, now_ms=now_ms, grace_ms=grace_ms, most_bytes=most_bytes) for write in self._writes
        ]
        self._nothing: set[int] = (
            set()
        )  # places of deletes and touches of which the service said that they find nothing
        self._refused: set[int] = set()
        self._plan: list[Part] = []
        self._doubt = False  # a copy of a batch was never answered, and may yet be let in
        self._heard: BatchRefused | None = None  # the refusal of the plan's batch
        self._sent: list[int] = []  # the places of its operations

    async def run(self, deadline: Deadline) -> list[Written]:
        """Carry it out. Raises `UnknownOutcome`; any other error: certainly without effect."""
        pauses = Pauses(deadline, self._service.retries(), free=1)
        for change in self._changes:
            change.ends(self._clock(), deadline.remaining())
        while True:
            try:
                items = await self._read(deadline)
                ended = self._conclude(items)
                if ended is not None:
                    return ended
                self._heed()
                self._plan = [self._part(place, item) for place, item in enumerate(items)]
                ended = self._refusal(items)
                if ended is not None:
                    return ended
                done = await self._send(deadline, pauses)
            except Trouble as trouble:
                if trouble.kind is Kind.FATAL or not await pauses.wait(trouble):
                    raise self._gave_up(trouble.error) from trouble
                continue
            except ThermoclineError as error:
                raise self._gave_up(error) from error
            if done is not None:
                return self._told(items, done)
            if not await pauses.wait():
                raise self._gave_up(TierTimeout("others wrote the same keys until the deadline", tier=TIER))

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, deadline: Deadline) -> list[Item | None]:
        ids = [change.id for change in self._changes]
        names = [f"@p{number}" for number in range(len(ids))]
        text, given = f"{_QUERY}({', '.join(names)})", dict(zip(names, ids, strict=True))

        async def ask() -> dict[str, Item]:
            pages = self._service.query(text, given, self._changes[0].partition)
            return {item["id"]: item async for page in pages for item in page}

        found = await once(ask, deadline)
        return [found.get(one) for one in ids]

    def _seen(self, place: int, item: Item) -> Seen | None:
        write = self._writes[place]
        judge = write.verb is Verb.TOUCH or write.if_absent
        return seen_of(item, write.key, self._clock(), judge_life=judge, valueless=True)

    def _conclude(self, items: Sequence[Item | None]) -> list[Written] | None:
        """Whether a batch took effect: the answers if it did, None if it certainly did not. Raises `UnknownOutcome`."""
        seen = [None if item is None else self._seen(place, item) for place, item in enumerate(items)]
        if any(_has(one, write.id) for one, write in zip(seen, self._writes, strict=True)):
            return self._answers([self._version_of(place, one) for place, one in enumerate(seen)], items)
        if not self._doubt or any(self._reaches(place, one) for place, one in enumerate(seen)):
            return None
        raise self._unknown("more writes of all its keys came after it than the items remember")

    def _reaches(self, place: int, seen: Seen | None) -> bool:
        """Whether the item would show that the plan took effect."""
        part = self._plan[place]
        if part.operation is None:
            return False
        return seen is None or part.base == 0 or seen.version <= part.base + RULES.ring

    def _version_of(self, place: int, seen: Seen | None) -> int:
        """As which version a write took effect of a batch that did; 0: it found nothing to do. Raises `UnknownOutcome`."""
        write, part = self._writes[place], self._plan[place] if self._plan else Part(None, 0)
        if seen is not None and write.id in seen.ring:
            return seen.version - seen.ring.index(write.id)
        if part.version > 0:
            return part.version
        # Another call took effect, or this one found nothing here: an item that still remembers its first write has forgotten none.
        if write.verb is not Verb.PUT and (place in self._nothing or seen is None or "" in seen.ring):
            return 0
        raise self._unknown("it took effect, but the items do not remember as which versions")

    # --- planning -----------------------------------------------------------------------------------------------------

    def _part(self, place: int, item: Item | None) -> Part:
        write, change = self._writes[place], self._changes[place]
        if place in self._nothing or place in self._refused:
            return Part(None, 0)
        change.check_pointer(self._clock())
        if item is None:
            return self._onto_nothing(place)
        seen, operations = self._seen(place, item), change.operations()
        if seen is None:  # other code wrote it, without a ring
            seen, operations = self._seen(place, {**item, "w": [""] * RULES.ring}), change.operations_without_ring()
        assert seen is not None
        if write.if_version is not None and write.if_version != seen.version:
            if seen.version > write.if_version:
                self._refused.add(place)
            return self._probe(place, Patch(write.if_version, exact=True), Effect.REFUSED)
        if write.if_absent and seen.live:
            self._refused.add(place)
        if write.verb is Verb.TOUCH and not seen.live:
            return self._probe(place, Patch(seen.version + RULES.window, live=True), Effect.NOTHING)
        options = {"if_match_etag": str(item["_etag"])}
        condition = change.condition(None)
        if condition is not None:
            options["filter_predicate"] = condition
        return Part(("patch", (change.id, operations), options), seen.version + 1, seen.version)

    def _onto_nothing(self, place: int) -> Part:
        write, change = self._writes[place], self._changes[place]
        if write.if_version is not None:
            return self._probe(place, Patch(write.if_version, exact=True), Effect.REFUSED)
        if write.verb is not Verb.PUT:
            return self._probe(place, Patch(0), Effect.NOTHING)
        return Part(("create", (change.body(self._born[place]),)), self._born[place])

    def _probe(self, place: int, patch: Patch, effect: Effect) -> Part:
        """A patch that should be refused; should it be let in, the read lagged, and it is what was asked for."""
        change = self._changes[place]
        operation = ("patch", (change.id, change.operations()), {"filter_predicate": change.condition(patch)})
        return Part(operation, patch.limit + 1 if patch.exact else 0, patch.limit, effect)

    def _refusal(self, items: Sequence[Item | None]) -> list[Written] | None:
        """The answers, if a condition does not hold, or nothing is left to do."""
        if self._refused:
            return [
                Written(
                    Effect.REFUSED if place in self._refused else Effect.NOTHING, 0 if item is None else _version(item)
                )
                for place, item in enumerate(items)
            ]
        if all(part.operation is None for part in self._plan):
            if self._doubt:
                raise self._unknown("it finds nothing to do now, but a copy of it may still arrive when there is")
            return [Written(Effect.NOTHING, 0 if item is None else _version(item)) for item in items]
        return None

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, deadline: Deadline, pauses: Pauses) -> list[Item | None] | None:
        """Send the plan's batch until it is answered. The items afterwards; None: it was refused, and the keys are to be read again."""
        places = [place for place, part in enumerate(self._plan) if part.operation is not None]
        operations = [part.operation for part in self._plan if part.operation is not None]
        size = len(json.dumps([operation[1:] for operation in operations], ensure_ascii=False).encode())
        if size > MOST_BYTES:
            raise TooLarge(
                f"the {len(operations)} writes would be a request of {size} bytes, and Cosmos DB takes at most 2 MB as one: "
                "put large values into cold (a route's inline limit), or write fewer at once"
            )
        while True:
            with watching() as sent:
                try:
                    bodies = await once(lambda: self._service.batch(operations, self._changes[0].partition), deadline)
                except Trouble as error:
                    trouble = error
                else:
                    found: list[Item | None] = [None] * len(self._plan)
                    for place, body in zip(places, bodies, strict=True):
                        found[place] = body
                    return found
            self._doubt = self._doubt or sent.left_doubt(failed=True)
            if isinstance(trouble, BatchRefused) and trouble.kind in _DECISIVE:
                self._heard, self._sent = trouble, places
                return None
            if trouble.kind is Kind.FATAL or not await pauses.wait(trouble):
                raise trouble

    def _heed(self) -> None:
        """What follows from the refusal of a batch that did not take effect.

        A create or a patch of the copy that was read will be refused for ever, and with it every copy of the batch. A probe's refusal says what
        it was sent to ask, but for a copy at large it may be otherwise tomorrow.
        """
        heard, self._heard = self._heard, None
        if heard is None or not 0 <= heard.at < len(self._sent):
            return
        place = self._sent[heard.at]
        part = self._plan[place]
        if part.probe is None:
            self._doubt = False
        elif part.probe is Effect.REFUSED and not self._doubt:
            self._refused.add(place)
        elif part.probe is Effect.NOTHING and (part.base > 0 or heard.kind is Kind.MISSING):
            self._nothing.add(place)  # else it only showed that there is an item, which the read had missed

    # --- the result ---------------------------------------------------------------------------------------------------

    def _told(self, items: Sequence[Item | None], after: Sequence[Item | None]) -> list[Written]:
        """The answers to a batch that took effect. ``items`` are those before it, ``after`` those that it made."""
        versions = [
            0 if item is None else _version(item) or part.version for item, part in zip(after, self._plan, strict=True)
        ]
        answers = self._answers(
            versions, [new if new is not None else old for new, old in zip(after, items, strict=True)]
        )
        for place, (write, item) in enumerate(zip(self._writes, after, strict=True)):
            if write.verb is Verb.TOUCH and item:
                answers[place] = replace(answers[place], envelope=envelope_of(item, write.key))
        return answers

    def _answers(self, versions: Sequence[int], items: Sequence[Item | None]) -> list[Written]:
        answers = []
        for write, version, item in zip(self._writes, versions, items, strict=True):
            if version == 0:
                answers.append(Written(Effect.NOTHING, 0 if item is None else _version(item)))
                continue
            envelope = None
            if write.verb is not Verb.TOUCH:
                given = write.envelope.header.created_ms
                created = given if item is None else created_of(item, given)
                envelope = write.envelope.stamped(version=version, authority=Authority.WARM, created_ms=created)
            answers.append(Written(Effect.TOOK, version, envelope))
        return answers

    def _gave_up(self, error: ThermoclineError) -> ThermoclineError:
        return self._unknown(str(error)) if self._doubt and not isinstance(error, UnknownOutcome) else error

    def _unknown(self, why: str) -> UnknownOutcome:
        first = self._writes[0]
        return UnknownOutcome(
            f"whether the {len(self._writes)} writes of {first.key.tenant}/{first.key.scope} took effect is not known: {why}",
            write_id=first.id,
        )


def check(writes: Sequence[Write]) -> None:
    """Raise `InvalidArgument` for writes that cannot be one."""
    if len(writes) > MOST:
        raise InvalidArgument(f"Cosmos DB takes at most {MOST} writes as one, not {len(writes)}")
    if len({(write.key.tenant, write.key.scope) for write in writes}) > 1:
        raise InvalidArgument("writes that take effect as one are of one tenant and scope")
    if len({write.key for write in writes}) < len(writes):
        raise InvalidArgument("writes that take effect as one have different keys")
    if len({write.id for write in writes}) < len(writes):
        raise InvalidArgument("writes that take effect as one have different ids")


def _has(seen: Seen | None, write_id: str) -> bool:
    return seen is not None and (write_id in seen.ring or seen.birth == write_id)


def _version(item: Item) -> int:
    version = item.get("v")
    return int(version) if isinstance(version, int | float) else 0
