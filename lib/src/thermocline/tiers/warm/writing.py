"""One write to Cosmos DB: `thermocline.writes` decides, this sends. The same write may be carried out again with the same id, and finds its own work."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, ThermoclineError, TierTimeout, UnknownOutcome
from thermocline.model import Authority, Envelope
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.tiers.warm.calls import Pauses, once
from thermocline.tiers.warm.change import Change
from thermocline.tiers.warm.item import created_of, envelope_of, seen_of, version_of
from thermocline.tiers.warm.sdk import Service
from thermocline.tiers.warm.trouble import TIER, Kind, Trouble
from thermocline.tiers.warm.watching import watching
from thermocline.writes import (
    RULES,
    Answer,
    Create,
    Doubt,
    Patch,
    Plain,
    Read,
    Step,
    Took,
    after,
    begin,
)

_ANSWERS: Final = {Kind.MISSING: Plain.MISSING, Kind.EXISTS: Plain.EXISTS, Kind.REFUSED: Plain.REFUSED}


class Writing:
    """One write under way."""

    def __init__(
        self, service: Service, write: Write, *, clock: Callable[[], int], grace_ms: int, most_bytes: int
    ) -> None:
        """``clock`` tells the server's time in ms as far as it is known. Raises `InvalidArgument`, `TooLarge`: nothing has been sent then."""
        now_ms = clock()
        self._service, self._write, self._clock = service, write, clock
        self._created_ms: int | None = None  # when the item was made that this write changed, once that is known
        self._step = begin(write, now_ms * 1000)
        self._change = Change(write, now_ms=now_ms, grace_ms=grace_ms, most_bytes=most_bytes)
        self._key, self._id, self._partition = write.key, self._change.id, self._change.partition

    # --- as one of several that travel together

    @property
    def write(self) -> Write:
        return self._write

    @property
    def item_id(self) -> str:
        return self._id

    @property
    def partition(self) -> list[str]:
        return self._partition

    @property
    def size(self) -> int:
        """Bytes of its item."""
        return self._change.size

    @property
    def asks(self) -> bool:
        """Whether what it would send next is a read."""
        return isinstance(self._step.request, Read)

    def ends(self, deadline: Deadline) -> None:
        """No copy of it is to take effect long after the deadline."""
        self._change.ends(self._clock(), deadline.remaining())

    def operation(self) -> tuple[Any, ...] | None:
        """What it would send next, as part of a transaction; None: a read, or a patch that can take no effect. Raises `PointerTooOld`."""
        request = self._step.request
        if isinstance(request, Read) or (isinstance(request, Patch) and request.limit == 0):
            return None
        self._change.check_pointer(self._clock())
        if isinstance(request, Create):
            return "create", (self._change.body(request.version),)
        options = {"filter_predicate": self._change.condition(request)}
        return "patch", (self._id, self._change.operations()), options

    def took(self, item: dict[str, Any]) -> Written:
        """The answer where what `operation` gave took effect; ``item`` is what it made. Raises `CorruptRecord` if that cannot be read."""
        version = version_of(item, self._key)
        self._note(item)
        return self._told(Written(Effect.TOOK, version), item)

    def lost(self) -> None:
        """A copy of what `operation` gave was not answered."""
        self._step = self._unanswered()

    def shown(self, item: dict[str, Any] | None) -> Written | None:
        """Go on from a read that was made for several (without the value); the answer, if that settles it. Raises `UnknownOutcome`; and
        `CorruptRecord`, `UnreadableRecord` where nothing took effect."""
        self._step = replace(self._step, request=Read())
        answer: Answer = Plain.MISSING
        if item is not None:
            try:
                seen = seen_of(item, self._key, self._clock(), judge_life=False, valueless=True)
            except ThermoclineError as error:
                raise self._gave_up(error) from error
            if seen is None:
                return None  # other code wrote it: that is for `run`
            self._note(item)
            answer = seen
        following = after(self._step, answer)
        if isinstance(following, Step):
            self._step = following
            return None
        if isinstance(following, Doubt):
            raise self._unknown("more writes of the key came after it than the item remembers")
        return self._told(following, None)

    # --- by itself

    async def run(self, deadline: Deadline) -> Written:
        """Carry it out. Raises `UnknownOutcome` if a copy may have taken effect and the deadline ends the asking; other errors certainly without effect."""
        # The first copy without an answer is sent again whatever the budget says: else the recovery queue would have to ask what became of it.
        pauses = Pauses(deadline, self._service.retries(), free=1)
        self.ends(deadline)
        patched: Patch | None = None
        while True:
            if deadline.expired():
                raise self._gave_up(TierTimeout("the deadline passed during a write to Cosmos DB", tier=TIER))
            before, item = self._step, None
            result = await self._try(deadline)
            if not isinstance(result, Trouble):
                answer, item = result
            elif result.kind in _ANSWERS:
                answer = _ANSWERS[result.kind]
            elif result.kind is not Kind.FATAL and await pauses.wait(result):
                continue
            else:
                raise self._gave_up(result.error) from result
            following = after(self._step, answer)
            if isinstance(following, Written):
                return self._told(following, item)
            if following is Doubt.UNKNOWN:
                raise self._unknown("more writes of the key came after it than the item remembers")
            assert isinstance(following, Step)
            self._step = following
            # A read that lags; or a patch that was refused although nothing has changed, as of a record that ends just now by a clock that differs.
            patched = before.request if isinstance(before.request, Patch) else patched
            if following.request in (before.request, patched):
                if not await pauses.wait():
                    raise self._gave_up(
                        TierTimeout("Cosmos DB answered with less than is known until the deadline", tier=TIER)
                    )
                self.ends(
                    deadline
                )  # a clock may have been turned, and the write be over by the one and not by the other

    async def _try(self, deadline: Deadline) -> tuple[Answer, dict[str, Any] | None] | Trouble:
        """Send the step's request once; notes if a copy of it may be at large."""
        result: tuple[Answer, dict[str, Any] | None] | Trouble
        with watching() as sent:
            try:
                result = await self._send(self._step, deadline)
            except Trouble as trouble:
                result = trouble
            except ThermoclineError as error:
                result = Trouble(Kind.FATAL, error)
        if sent.left_doubt(failed=isinstance(result, Trouble)):
            self._step = self._unanswered()
        return result

    def _unanswered(self) -> Step:
        step = after(self._step, Plain.LOST)
        assert isinstance(step, Step)
        return step

    def _gave_up(self, error: ThermoclineError) -> ThermoclineError:
        return self._unknown(str(error)) if self._step.in_doubt else error

    def _unknown(self, why: str) -> UnknownOutcome:
        return UnknownOutcome(
            f"whether the {self._write.verb.value} of {str(self._key)[:100]} took effect is not known: {why}",
            write_id=self._write.id,
        )

    # --- requests

    async def _send(self, step: Step, deadline: Deadline) -> tuple[Answer, dict[str, Any] | None]:
        request = step.request
        if not isinstance(request, Read):
            self._change.check_pointer(self._clock())
        if isinstance(request, Create):
            body = self._change.body(request.version)
            await once(lambda: self._service.create_item(body), deadline)
            return Took(request.version), None
        if isinstance(request, Patch):
            operations, condition = self._change.operations(), self._change.condition(request)
            item = await once(
                lambda: self._service.patch(self._id, self._partition, operations, condition=condition), deadline
            )
            self._note(item)
            return Took(version_of(item, self._key)), item
        return await self._look(deadline), None

    def _note(self, item: dict[str, Any]) -> None:
        self._created_ms = created_of(item, self._write.envelope.header.created_ms)

    async def _look(self, deadline: Deadline) -> Answer:
        item = await once(lambda: self._service.read(self._id, self._partition), deadline)
        self._note(item)
        judge_life = self._write.verb is Verb.TOUCH or self._write.if_absent
        seen = seen_of(item, self._key, self._clock(), judge_life=judge_life)
        if seen is not None:
            return seen
        ring = [""] * RULES.ring
        etag = str(item.get("_etag"))
        operations: list[dict[str, Any]] = [
            {"op": "set", "path": "/w", "value": ring},
            {"op": "set", "path": "/b", "value": ""},
        ]
        try:
            item = await once(lambda: self._service.patch(self._id, self._partition, operations, etag=etag), deadline)
        except Trouble as trouble:
            if trouble.kind is Kind.REFUSED:
                raise Trouble(Kind.AGAIN, trouble.error) from trouble
            raise
        seen = seen_of(item, self._key, self._clock(), judge_life=judge_life)
        if seen is None:
            raise CorruptRecord(f"the record of {self._key} in Cosmos DB keeps no ring of writes")
        return seen

    # --- the result

    def _told(self, written: Written, item: dict[str, Any] | None) -> Written:
        """With the record as the authority has it now, where that is known without a further request."""
        if written.effect is not Effect.TOOK:
            return written
        envelope: Envelope | None = None
        if self._write.verb is not Verb.TOUCH:
            envelope = self._write.envelope.stamped(
                version=written.version, authority=Authority.WARM, created_ms=self._created_ms
            )
        elif item is not None:
            envelope = envelope_of(item, self._key)
        return replace(written, envelope=envelope)
