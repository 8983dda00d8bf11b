"""Bringing keys of the target to what the source has, exactly, however many do it at the same time.

For each key: read the target, then the source, then write the target on condition that it is still as it was read. Whoever wrote the target in between
had read the source later than this one's reading of the target, so its word is kept, and this one looks again. Hence the target's record of a key never goes
back to an older state of the source, and a process that was killed or that slept leaves nothing behind that a later one would not find.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from thermocline.client.writer import Intent
from thermocline.clock import Deadline
from thermocline.errors import (
    Conflict,
    CorruptRecord,
    Forgotten,
    PointerTooOld,
    ThermoclineError,
    TierUnavailable,
    TooLarge,
    UnknownOutcome,
)
from thermocline.model import Envelope, Flags, Key
from thermocline.policy import Plan
from thermocline.protocols import Verb
from thermocline.transfer.compare import Act, canonical, carried, decide, same_metadata, stored_digest, stored_size
from thermocline.transfer.ends import WHOLE, Changed, End, settle_down
from thermocline.transfer.report import CopyReport
from thermocline.transfer.spaces import Space

_TRIES: Final = 8
_GRACE: Final = timedelta(days=1)  # of an authority that does not say for how long it keeps tombstones
_COMPARED: Final = 64 * 2**20  # bytes: of larger payloads that are stored otherwise, the target's is written anew
_AGAIN: Final = (Conflict, UnknownOutcome, PointerTooOld)


@dataclass(slots=True)
class _Job:
    """One write: of a record of the ``source`` (None: a deletion), over the target's ``version`` (0: it has none)."""

    source: Envelope | None
    version: int


class Syncer:
    """From ``source`` to ``target``, whose names ``space`` maps. ``report`` counts."""

    def __init__(
        self,
        source: End,
        target: End,
        space: Space,
        report: CopyReport,
        *,
        merge: bool = False,
        source_wins: bool = False,
        tries: int = _TRIES,
    ) -> None:
        self._source, self._target, self._space, self._report = source, target, space, report
        self._merge, self._source_wins, self._tries = merge, source_wins, tries

    async def sync(self, keys: Sequence[Key]) -> None:
        """These keys of the source. Raises `TierUnavailable` or `UnknownOutcome` if a tier cannot be used now; what is wrong with one record is
        counted as failed."""
        left, troubles = list(keys), {}
        for attempt in range(self._tries):
            troubles = await self._round(left)
            left = list(troubles)
            if not left:
                return
            if attempt < self._tries - 1:
                await settle_down(attempt)
        for key, trouble in troubles.items():
            if isinstance(trouble, TierUnavailable | UnknownOutcome):
                raise trouble
            self._report.fail(key, trouble)

    async def _round(self, keys: list[Key]) -> dict[Key, ThermoclineError]:
        """One attempt; the keys that are to be tried again, and why."""
        begun_ms = (
            self._target.engine.now_ms()
        )  # before anything is read: a fence that is set from now on refuses what is written
        there = {key: self._space.there(key) for key in keys}
        fences = await self._target.forgotten(list(there.values()))
        theirs = await self._target.read(list(there.values()))
        ours = await self._source.read(keys)
        unknown = [key for key in keys if ours[key] is None and theirs[there[key]] is not None]
        erased = await self._source.forgotten(unknown) if unknown else {}
        jobs: dict[Key, _Job] = {}
        again: dict[Key, ThermoclineError] = {}
        for key in keys:
            mine, other = ours[key], theirs[there[key]]
            if isinstance(mine, ThermoclineError) or isinstance(other, ThermoclineError):
                self._sort(key, mine if isinstance(mine, ThermoclineError) else other, again)
                continue
            try:
                fence_ms = fences.get((there[key].tenant, there[key].scope), 0)
                act = await self._act(key, mine, other, fence_ms, erased.get((key.tenant, key.scope), 0))
            except ThermoclineError as error:
                self._sort(key, error, again)
                continue
            if act in (Act.PUT, Act.DELETE):
                jobs[there[key]] = _Job(mine if act is Act.PUT else None, 0 if other is None else other.version)
            else:
                self._count(act, key, mine)
        await self._carry_out(jobs, begun_ms, again)
        return again

    def _sort(self, key: Key, error: object, again: dict[Key, ThermoclineError]) -> None:
        """To be tried again, or failed for good."""
        assert isinstance(error, ThermoclineError)
        if isinstance(error, Forgotten):
            self._report.forgotten += 1
        elif isinstance(error, (*_AGAIN, TierUnavailable)):
            again[key] = error
        else:
            self._report.fail(key, error)

    def _count(self, act: Act, key: Key, mine: Envelope | None) -> None:
        report = self._report
        if act is Act.KEEP:
            report.keep(key)
        elif act is Act.FORGOTTEN:
            report.forgotten += 1
        elif mine is not None and mine.live(self._source.engine.now_ms()):
            report.same += 1
        else:
            report.dead += 1

    # --- judging ------------------------------------------------------------------------------------------------------

    async def _act(self, key: Key, mine: Envelope | None, other: Envelope | None, fence_ms: int, erased_ms: int) -> Act:
        now_ms = self._source.engine.now_ms()
        tier = self._source.engine.authorities.get(self._source.plan(key).authority)
        grace = getattr(tier, "grace", _GRACE)
        same = False
        if mine is not None and other is not None and mine.live(now_ms) and other.live(now_ms):
            same = await self.equal(mine, other)
        return decide(
            mine,
            other,
            same=same,
            now_ms=now_ms,
            fence_ms=fence_ms,
            erased_ms=erased_ms,
            grace_ms=(grace if isinstance(grace, timedelta) else _GRACE) // timedelta(milliseconds=1),
            merge=self._merge,
            source_wins=self._source_wins,
        )

    async def equal(self, mine: Envelope, other: Envelope) -> bool:
        """Whether the target has this very record, by what is decoded; payloads are fetched only where the stored bytes do not tell."""
        codec = self._source.engine.codec
        wanted = self._target.engine.capped(carried(mine, other.key))
        if not same_metadata(wanted, other):
            return False
        if stored_digest(mine, codec) == stored_digest(other, codec):
            return True
        if max(stored_size(mine, codec), stored_size(other, codec)) > _COMPARED:
            return False
        whole_mine, whole_other = await self._source.whole(mine), await self._target.whole(other)
        return canonical(whole_mine, codec) == canonical(whole_other, codec)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _carry_out(self, jobs: dict[Key, _Job], begun_ms: int, again: dict[Key, ThermoclineError]) -> None:
        report = self._report
        if report.dry_run:
            for job in jobs.values():
                self._done(job)
            return
        target = self._target

        async def prepare(key: Key, plan: Plan, deadline: Deadline) -> Intent:
            job = jobs[key]
            if job.source is None:
                tombstone = target.engine.codec.tombstone(key, now_ms=begun_ms)
                return await target.writer.intent(Verb.DELETE, tombstone, plan, deadline, if_version=job.version)
            envelope = await self._carried(job.source, key, plan)
            return await target.writer.intent(
                Verb.PUT, envelope, plan, deadline, if_version=job.version or None, if_absent=job.version == 0
            )

        outcomes = await target.write(list(jobs), prepare, begun_ms) if jobs else {}
        for key, outcome in outcomes.items():
            if isinstance(outcome, ThermoclineError):
                self._sort(self._space.back(key), outcome, again)
            else:
                self._done(jobs[key])

    def _done(self, job: _Job) -> None:
        if job.source is None:
            self._report.deleted += 1
        else:
            self._report.written += 1
            self._report.bytes += stored_size(job.source, self._source.engine.codec)

    async def _carried(self, mine: Envelope, key: Key, plan: Plan) -> Envelope:
        """The record as the target is to have it; a large payload streamed from cold to cold."""
        if not mine.pointer:
            return carried(mine, key)
        pointer = self._source.engine.codec.pointer_of(mine)
        if plan.cold_above is None and mine.header.raw_length > plan.rules.max_value_bytes:
            raise TooLarge(
                f"its payload has {pointer.size} bytes, and the target has no cold tier to hold it; configure one"
            )
        if pointer.size <= WHOLE or plan.cold_above is None:
            return carried(await self._source.whole(mine), key)
        bare = carried(mine, key)
        bare = replace(bare, header=replace(bare.header, flags=Flags.NONE))
        try:
            return await self._target.upload(key, bare, self._source.stream(mine.key, pointer))
        except CorruptRecord as error:
            now = (await self._source.read([mine.key]))[mine.key]
            if isinstance(now, Envelope) and now.version == mine.version:
                raise
            raise Changed(f"{mine.key.name!r:.80} was written meanwhile") from error
