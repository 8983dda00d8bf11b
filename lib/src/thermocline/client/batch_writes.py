"""Many writes: chunks of them, each announced just before it is written (COHERENCE section 7), a few chunks side by side."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from thermocline import telemetry
from thermocline.client.engine import Engine
from thermocline.client.fences import LONGEST_WRITE
from thermocline.client.result import WriteResult
from thermocline.client.together import chunks, together
from thermocline.client.writer import WRITE_SHARES, Intent, Writer
from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError, TierTimeout, UnknownOutcome
from thermocline.model import Key, MemoryTier
from thermocline.policy import Plan
from thermocline.protocols import Effect, EntryOperation, Found, Verb, Withdraw, Written

CHUNK: Final = 100  # keys that are announced, written and published together
AT_ONCE: Final = (
    4  # chunks under way: while one is announced another is written; no more values than theirs are held encoded
)
UPLOADS: Final = 8  # payloads of a chunk that go to cold at the same time

Prepare = Callable[[Key, Plan, Deadline, str], Awaitable[Intent]]
"""Makes the write of one key, with this id: encodes its value, and uploads what goes to cold. Raises errors of our tree, which are that key's alone."""

Outcomes = dict[Key, WriteResult | ThermoclineError | None]
"""What became of each key; None: nothing was known of it."""


class BatchWrites:
    """The writing batch verbs of one client."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    async def write(
        self, keys: Sequence[Key], prepare: Prepare, deadline: Deadline, *, begun_ms: int | None = None
    ) -> Outcomes:
        """Each key for itself (P8). ``keys`` are different. ``begun_ms``: when the caller last knew that their scopes were not erased; left out: now."""
        begun_ms = self._engine.now_ms() if begun_ms is None else begun_ms
        outcomes: Outcomes = {}
        by_plan: dict[int, tuple[Plan, list[Key]]] = {}
        for key in keys:
            plan = self._engine.routes.route(key)
            by_plan.setdefault(id(plan), (plan, []))[1].append(key)
        parts = [(plan, chunk) for plan, of_plan in by_plan.values() for chunk in chunks(of_plan, CHUNK)]

        async def work(part: tuple[Plan, Sequence[Key]]) -> None:
            await self._chunk(*part, prepare, begun_ms, deadline, outcomes)

        await together(parts, work, at_once=AT_ONCE)
        return outcomes

    async def _chunk(
        self,
        plan: Plan,
        keys: Sequence[Key],
        prepare: Prepare,
        begun_ms: int,
        deadline: Deadline,
        outcomes: Outcomes,
    ) -> None:
        guard = self._engine.guards[plan.tier]
        try:
            guard.check()
            if deadline.expired():
                raise TierTimeout("the batch's deadline came before its turn", tier=guard.name, sent=False)
        except ThermoclineError as error:
            outcomes.update(dict.fromkeys(keys, error))
            return
        intents = await self._prepared(plan, keys, prepare, deadline, outcomes)
        ends = deadline.within(LONGEST_WRITE)  # from before the fences are read: who erases waits for no more
        intents = await self._heeded(intents, begun_ms, ends, outcomes)
        if plan.uses_hot and intents:
            intents = await self._announce(intents, ends, outcomes)
            if any(self._writer.lapses(intent, ends) for intent in intents):  # held up: the fences may have changed too
                ends = deadline.within(LONGEST_WRITE)
                intents = await self._heeded(intents, begun_ms, ends, outcomes)
                intents = await self._announce(intents, ends, outcomes)
        if intents:
            await self._conclude(plan, intents, await self._written(plan, intents, ends), outcomes)

    async def _prepared(
        self, plan: Plan, keys: Sequence[Key], prepare: Prepare, deadline: Deadline, outcomes: Outcomes
    ) -> list[Intent]:
        made: dict[Key, Intent] = {}
        ids = zip(keys, self._engine.write_ids(len(keys)), strict=True)

        async def one(numbered: tuple[Key, str]) -> None:
            key, write_id = numbered
            try:
                made[key] = await prepare(key, plan, deadline, write_id)
            except ThermoclineError as error:
                outcomes[key] = error

        await together(list(ids), one, at_once=1 if plan.cold_above is None else UPLOADS)
        return [made[key] for key in keys if key in made]

    async def _heeded(
        self, intents: list[Intent], begun_ms: int, deadline: Deadline, outcomes: Outcomes
    ) -> list[Intent]:
        """Those whose scopes were not erased since the call began."""
        scopes: dict[tuple[str, str], list[Intent]] = {}
        for intent in intents:
            if intent.write.verb is not Verb.DELETE:  # a delete brings nothing back
                scopes.setdefault((intent.write.key.tenant, intent.write.key.scope), []).append(intent)
        refused: set[Key] = set()

        async def one(group: list[Intent]) -> None:
            try:
                first = group[0]
                await self._writer.fences.heed(first.write.key, first.plan.authority, begun_ms, deadline)
            except ThermoclineError as error:
                mine = [intent.write.key for intent in group]
                refused.update(mine)
                outcomes.update(dict.fromkeys(mine, error))

        await together(list(scopes.values()), one, at_once=UPLOADS)
        return [intent for intent in intents if intent.write.key not in refused]

    async def _written(
        self, plan: Plan, intents: list[Intent], deadline: Deadline
    ) -> Sequence[Written | ThermoclineError]:
        engine = self._engine
        engine.stats.count(telemetry.WRITES, plan.tier, len(intents))
        try:
            return await engine.guards[plan.tier].call(
                "write_many",
                engine.authority(plan.authority).write_many,
                [intent.write for intent in intents],
                deadline=deadline,
                times=WRITE_SHARES,
                again=True,
            )
        except ThermoclineError as error:
            return [error] * len(intents)
        except asyncio.CancelledError as error:
            for intent in intents:
                await self._writer.failed(intent, error)
            raise

    async def _announce(self, intents: list[Intent], deadline: Deadline, outcomes: Outcomes) -> list[Intent]:
        """Tell hot of all of them; those that may go on."""
        engine, writer = self._engine, self._writer
        assert engine.hot is not None
        operations = [writer.announcement(intent, deadline) for intent in intents]
        answers: Sequence[Found | ThermoclineError | None]
        try:
            answers = await engine.guards[MemoryTier.HOT].call(
                "announce_many",
                engine.hot.operate_many,
                operations,
                deadline=deadline,
                times=2,
                paced=engine.guards[MemoryTier.HOT].answers_slowly,
                again=True,
            )
        except ThermoclineError as error:
            answers = [error] * len(intents)
        going: list[Intent] = []
        for intent, answer in zip(intents, answers, strict=True):
            if isinstance(answer, ThermoclineError):
                intent.told = False  # nor does an earlier announcement last long enough
                try:
                    await writer.unannounced(intent, answer, deadline)
                except ThermoclineError as error:
                    outcomes[intent.write.key] = error
                    continue
            else:
                writer.announced(intent, answer)
            going.append(intent)
        return going

    async def _conclude(
        self,
        plan: Plan,
        intents: list[Intent],
        answers: Sequence[Written | ThermoclineError],
        outcomes: Outcomes,
    ) -> None:
        writer = self._writer
        done: list[tuple[Intent, Written]] = []
        withdrawn: list[EntryOperation] = []
        for intent, answer in zip(intents, answers, strict=True):
            if not isinstance(answer, ThermoclineError):
                done.append((intent, answer))
                continue
            outcomes[intent.write.key] = answer
            if isinstance(answer, UnknownOutcome):
                await writer.failed(intent, answer)  # asks nobody: the recovery queue does, later
            elif intent.told:
                withdrawn.append(Withdraw(intent.write.key, intent.write.id))
        told: Mapping[Key, bool] = {}
        if plan.uses_hot:
            told = await self.tell(done, withdrawn)
        for intent, written in done:
            outcomes[intent.write.key] = self.outcome(intent, written, told.get(intent.write.key, True))

    async def tell(self, done: Sequence[tuple[Intent, Written]], withdrawn: list[EntryOperation]) -> dict[Key, bool]:
        """The end of each write, in one call; whether hot was told of it. What it missed is in the recovery queue."""
        writer = self._writer
        words = [writer.last_word(intent, written) for intent, written in done]
        try:
            errors = (await writer.tell_hot(words + withdrawn, paced=True))[: len(done)]
        except BaseException:
            for intent, written in done:
                writer.untold(intent, written)
            raise
        for (intent, written), error in zip(done, errors, strict=True):
            if error is not None or not intent.told:
                writer.untold(intent, written)
        return {intent.write.key: error is None for (intent, _), error in zip(done, errors, strict=True)}

    def outcome(self, intent: Intent, written: Written, told: bool) -> WriteResult | ThermoclineError | None:
        """A key's answer."""
        self._engine.floors.note(intent.write.key, written.version)
        if written.effect is Effect.NOTHING:
            return None
        try:
            return self._writer.result(intent, written, told=told)
        except ThermoclineError as refused:
            return refused
