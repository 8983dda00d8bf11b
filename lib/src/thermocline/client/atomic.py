"""Several writes of one scope as one: all take effect, or none does (COHERENCE section 7)."""

from collections.abc import Sequence
from typing import Final

from thermocline import telemetry
from thermocline.client.batch_writes import BatchWrites, Outcomes, Prepare
from thermocline.client.engine import Engine
from thermocline.client.fences import LONGEST_WRITE
from thermocline.client.together import together
from thermocline.client.writer import WRITE_SHARES, Intent, Writer
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, PointerTooOld, ThermoclineError, UnknownOutcome
from thermocline.model import Key, MemoryTier
from thermocline.protocols import Atomic, Effect, Found, Withdraw, Written

_UPLOADS: Final = 8  # payloads that go to cold at the same time
_PLAIN: Final = " (plain strings lie in 256 scopes)"


class AtomicWrites:
    """The batch verbs of one client with ``atomic=True``."""

    def __init__(self, engine: Engine, writer: Writer, batches: BatchWrites) -> None:
        self._engine = engine
        self._writer = writer
        self._batches = batches

    async def write(self, keys: Sequence[Key], prepare: Prepare, deadline: Deadline) -> Outcomes:
        """What became of each key; None: nothing was known of it. Atomic for the readers of the authority; those of hot may see the keys change one after
        the other, each no earlier than in the authority. ``keys`` are different.

        Raises `InvalidArgument` for what no authority can take as one, `Conflict` (a condition does not hold), what ``prepare`` raises, `UnknownOutcome`
        for all together, `TierUnavailable`; in all cases but the unknown one nothing was written.
        """
        if not keys:
            return {}
        authority, tier = self._authority(keys)
        guard = self._engine.guards[tier]
        guard.check()
        intents = await self._prepared(keys, prepare, deadline)
        first = min(intents, key=lambda intent: intent.inline.header.modified_ms)
        ends = deadline.within(LONGEST_WRITE)  # from before the fence is read: who erases waits for no more
        await self._writer.heed(first, ends)
        try:
            await self._announced(intents, ends)
            if any(self._writer.lapses(intent, ends) for intent in intents):  # held up: the fence may have changed too
                ends = deadline.within(LONGEST_WRITE)
                await self._writer.heed(first, ends)
            written = await self._written(authority, tier, intents, ends)
        except BaseException as error:
            await self._failed(intents, error)
            raise
        return await self._concluded(intents, written)

    def _authority(self, keys: Sequence[Key]) -> tuple[Atomic, MemoryTier]:
        first = keys[0]
        other = next((key for key in keys if (key.tenant, key.scope) != (first.tenant, first.scope)), None)
        if other is not None:
            raise InvalidArgument(
                f"atomic=True takes keys of one tenant and scope, and these are of {first.tenant}/{first.scope:.40} and {other.tenant}/{other.scope:.40}"
                f" at least: use Key(tenant, scope, name) or a scoped memory{_PLAIN if first.tenant == other.tenant else ''}; or leave atomic out"
            )
        plans = [self._engine.routes.route(key) for key in keys]
        tiers = sorted({str(plan.tier) for plan in plans})
        if len(tiers) > 1:
            raise InvalidArgument(
                f"atomic=True takes keys with one authority, and the routes give these {' and '.join(tiers)}: write them in a batch for each"
            )
        authority: object = self._engine.authority(plans[0].authority)
        if not isinstance(authority, Atomic):
            raise InvalidArgument(
                f"{tiers[0]} has the word for these keys, and {type(authority).__name__} cannot take several writes as one: route them to Cosmos DB,"
                " Table Storage or SQLite (authority=Authority.WARM or WARM_PLUS), or leave atomic out"
            )
        if len(keys) > authority.atomic_most:
            raise InvalidArgument(
                f"{tiers[0]} takes at most {authority.atomic_most} writes as one, not {len(keys)}: write fewer at a time, or leave atomic out"
            )
        return authority, plans[0].tier

    async def _prepared(self, keys: Sequence[Key], prepare: Prepare, deadline: Deadline) -> list[Intent]:
        made: dict[Key, Intent] = {}

        async def one(numbered: tuple[Key, str]) -> None:
            key, write_id = numbered
            made[key] = await prepare(key, self._engine.routes.route(key), deadline, write_id)

        await together(list(zip(keys, self._engine.write_ids(len(keys)), strict=True)), one, at_once=_UPLOADS)
        return [made[key] for key in keys]

    async def _announced(self, intents: Sequence[Intent], deadline: Deadline) -> None:
        """Tell hot of all of them; raises where the rules refuse writes that hot cannot be told of."""
        engine, writer = self._engine, self._writer
        mine = [intent for intent in intents if intent.plan.uses_hot]
        if engine.hot is None or not mine:
            return
        answers: Sequence[Found | ThermoclineError | None]
        try:
            answers = await engine.guards[MemoryTier.HOT].call(
                "announce_many",
                engine.hot.operate_many,
                [writer.announcement(intent, deadline) for intent in mine],
                deadline=deadline,
                times=2,
                again=True,
            )
        except ThermoclineError as error:
            answers = [error] * len(mine)
        refused: ThermoclineError | None = None
        for intent, answer in zip(mine, answers, strict=True):
            if not isinstance(answer, ThermoclineError):
                writer.announced(intent, answer)
                continue
            intent.told = False
            try:
                await writer.unannounced(intent, answer, deadline)
            except ThermoclineError as error:
                refused = error
        if refused is not None:
            raise refused

    async def _written(
        self, authority: Atomic, tier: MemoryTier, intents: Sequence[Intent], deadline: Deadline
    ) -> list[Written]:
        engine = self._engine
        if any(self._writer.lapses(intent, deadline) for intent in intents):
            await self._announced(intents, deadline)
        engine.stats.count(telemetry.WRITES, tier, len(intents))

        async def once() -> list[Written]:
            return await engine.guards[tier].call(
                "write_atomic",
                authority.write_atomic,
                [intent.write for intent in intents],
                deadline=deadline,
                times=WRITE_SHARES,
                again=True,
            )

        try:
            return await once()
        except PointerTooOld:
            for intent in intents:
                if intent.write.envelope.pointer:
                    await self._writer.renew(intent, deadline)
            return await once()

    async def _failed(self, intents: Sequence[Intent], error: BaseException) -> None:
        """Withdraw all announcements if certainly nothing was written; else the recovery queue asks for each key."""
        if isinstance(error, ThermoclineError) and not isinstance(error, UnknownOutcome):
            await self._withdraw(intents)
            return
        for intent in intents:
            await self._writer.failed(intent, error)

    async def _withdraw(self, intents: Sequence[Intent]) -> None:
        told = [intent for intent in intents if intent.plan.uses_hot and intent.told]
        await self._writer.tell_hot([Withdraw(intent.write.key, intent.write.id) for intent in told])

    async def _concluded(self, intents: Sequence[Intent], written: Sequence[Written]) -> Outcomes:
        writer = self._writer
        done = list(zip(intents, written, strict=True))
        for intent, answer in done:
            if answer.effect is Effect.REFUSED:
                await self._withdraw(intents)
                writer.result(intent, answer, told=True)  # raises Conflict
        known = [(intent, answer) for intent, answer in done if intent.plan.uses_hot]
        told = await self._batches.tell(known, []) if known else {}
        return {
            intent.write.key: self._batches.outcome(intent, answer, told.get(intent.write.key, True))
            for intent, answer in done
        }
