"""Many keys at once: one MGET, one query, one pipeline where the verbs for one key have a request each. Each key answers for itself (P8)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.cascade import Cascade, damaged
from thermocline.client.engine import LEASE_MS, Engine
from thermocline.client.recovery import Recovery
from thermocline.client.result import Batch, WriteResult
from thermocline.client.writer import WRITE_SHARES, Intent, Writer
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, ThermoclineError, TierUnavailable, UnknownOutcome
from thermocline.model import Envelope, Key, MemoryTier, NotAsked
from thermocline.policy import Plan, Serve, serve
from thermocline.protocols import Effect, EntryOperation, Found, Leased, Look, Settle, Withdraw, Written

CHUNK: Final = (
    100  # keys: the announcements of a chunk are made just before its writes, so that none runs out before its turn
)
HOT_CHUNK: Final = 500  # keys of one MGET: Redis answers nobody else meanwhile
_AT_ONCE: Final = 8  # keys that go the single way at the same time

Reads = dict[Key, Envelope | NotAsked | ThermoclineError | None]


class Batches:
    """The batch verbs of one client."""

    def __init__(self, engine: Engine, cascade: Cascade, writer: Writer, recovery: Recovery) -> None:
        self._engine = engine
        self._cascade = cascade
        self._writer = writer
        self._recovery = recovery

    async def read(self, wanted: Sequence[Key], deadline: Deadline) -> Reads:
        """The live envelope (its payload resolved), None or the error of each key."""
        by_plan: dict[int, tuple[Plan, list[Key]]] = {}
        route = self._engine.routes.route
        for key in dict.fromkeys(wanted):
            plan = route(key)
            group = by_plan.get(id(plan))
            if group is None:
                group = by_plan[id(plan)] = (plan, [])
            group[1].append(key)
        results: Reads = {}
        for plan, keys in by_plan.values():
            results.update(await self._read(plan, keys, deadline))
        now = self._engine.now_ms()
        for key, found in results.items():
            if isinstance(found, Envelope) and found.header.expires_ms != 0 and not found.live(now):
                results[key] = None  # it expired while others were asked for, or hot was told
        return results

    async def _read(self, plan: Plan, keys: list[Key], deadline: Deadline) -> Reads:
        results: Reads = {}
        if plan.uses_hot and not self._recovery.blind():
            for at in range(0, len(keys), HOT_CHUNK):
                results.update(await self._through_hot(plan, keys[at : at + HOT_CHUNK], deadline))
        else:  # blind: hot is not believed, but told
            leases: dict[Key, tuple[str, int] | None] = {}
            if plan.uses_hot:
                leases = {key: (self._engine.token(), 0) for key in keys}
            for at in range(0, len(keys), CHUNK):
                results.update(await self._ask(plan, keys[at : at + CHUNK], leases, deadline))
        if plan.rules.stale_while_down:
            down = [key for key, found in results.items() if isinstance(found, TierUnavailable)]
            await self._each(down, results, lambda key: self._stale(key, plan, deadline))
        pointers = [
            key
            for key, found in results.items()
            if isinstance(found, Envelope) and found.header.flags != 0 and found.pointer
        ]
        if pointers:
            await self._each(pointers, results, lambda key: self._resolve(results[key], plan, deadline))
        return results

    async def _through_hot(self, plan: Plan, keys: list[Key], deadline: Deadline) -> Reads:
        results: Reads = {}
        try:
            rest = await self._from_hot(plan, keys, results, deadline)
        except TierUnavailable as error:
            if not plan.rules.read_fallback:
                return dict.fromkeys(keys, error)
            for at in range(0, len(keys), CHUNK):
                results.update(await self._ask(plan, keys[at : at + CHUNK], {}, deadline))
            return results
        if not plan.rules.read_fallback:
            # what could not be asked, or was not, is no absence (P1)
            return results | {key: NotAsked(key) if copy is None else copy for key, copy in rest.items()}
        unknown = list(rest)
        for at in range(0, len(unknown), CHUNK):
            results.update(await self._miss(plan, unknown[at : at + CHUNK], deadline))
        return results

    async def _stale(self, key: Key, plan: Plan, deadline: Deadline) -> Envelope | None:
        """The authority is down, and the rules allow what hot last knew: the single way finds it."""
        return (await self._cascade.read(key, plan, deadline)).envelope

    async def _resolve(self, found: Any, plan: Plan, deadline: Deadline) -> Envelope | None:
        return await self._cascade.resolve(found, plan, deadline)

    async def _each(
        self, keys: Sequence[Key], results: Reads, work: Callable[[Key], Awaitable[Envelope | None]]
    ) -> None:
        """Run ``work`` for each key, few at a time, and put down its result or error."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(key: Key) -> None:
            async with gate:
                try:
                    results[key] = await work(key)
                except ThermoclineError as error:
                    results[key] = error

        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(one(key))

    async def _from_hot(self, plan: Plan, keys: list[Key], results: Reads, deadline: Deadline) -> Reads:
        """The plain MGET. Returned is what it cannot answer: None, or the error of a key whose shard could not be asked."""
        engine = self._engine
        hot, floors = engine.hot, engine.floors
        assert hot is not None
        engine.stats.count(telemetry.READS, "hot", len(keys))
        copies = await engine.guards[MemoryTier.HOT].call("get_many", hot.peek_many, keys, deadline=deadline)
        now, value = engine.now_ms(), Serve.VALUE
        rest: Reads = {}
        for key, copy in zip(keys, copies, strict=True):
            if isinstance(copy, Envelope):
                verdict = serve(copy, now_ms=now, floor=floors.get(key), plan=plan)
                if verdict is value:
                    floors.note(key, copy.header.version)
                    results[key] = copy
                    continue
                if verdict is Serve.GONE and copy.tombstone:
                    floors.note(key, copy.header.version)
                    results[key] = None
                    continue
                if verdict is Serve.CONFLICT:
                    engine.stats.count(telemetry.ROUTE_CONFLICTS, "hot")
            rest[key] = copy if isinstance(copy, TierUnavailable) else None
        engine.stats.count(telemetry.HITS, "hot", len(keys) - len(rest))
        engine.stats.count(telemetry.MISSES, "hot", len(rest))
        return rest

    async def _miss(self, plan: Plan, keys: list[Key], deadline: Deadline) -> Reads:
        """Take leases, ask the authority, settle."""
        engine = self._engine
        hot = engine.hot
        assert hot is not None
        looks = [Look(key, engine.token(), LEASE_MS) for key in keys]
        guard = engine.guards[MemoryTier.HOT]
        answers: list[Found | ThermoclineError | None]
        try:
            answers = await guard.call("look_many", hot.operate_many, looks, deadline=deadline)
        except TierUnavailable as error:
            answers = [error] * len(keys)
        results: Reads = {}
        leases: dict[Key, tuple[str, int] | None] = {}
        for look, answer in zip(looks, answers, strict=True):
            if isinstance(answer, Envelope):
                verdict = serve(answer, now_ms=engine.now_ms(), floor=engine.floors.get(look.key), plan=plan)
                if verdict is Serve.VALUE or (verdict is Serve.GONE and answer.tombstone):
                    engine.floors.note(look.key, answer.version)
                    results[look.key] = answer if verdict is Serve.VALUE else None
                    continue
                leases[look.key] = (look.reader, answer.version if verdict is not Serve.CONFLICT else 0)
            elif isinstance(answer, ThermoclineError) or answer is None:
                leases[look.key] = None
            else:
                leases[look.key] = (look.reader if isinstance(answer, Leased) else engine.token(), answer.floor)
        results.update(await self._ask(plan, list(leases), leases, deadline))
        return results

    async def _ask(
        self,
        plan: Plan,
        keys: list[Key],
        leases: dict[Key, tuple[str, int] | None],
        deadline: Deadline,
    ) -> Reads:
        engine = self._engine
        if not keys:
            return {}
        authority, guard = engine.authority(plan.authority), engine.guards[plan.tier]
        engine.stats.count(telemetry.READS, guard.name, len(keys))
        try:
            found = await guard.call("read_many", authority.read_many, keys, deadline=deadline, times=2)
        except TierUnavailable as error:
            return dict.fromkeys(keys, error)
        results: Reads = {}
        settles: list[Settle] = []
        lagging: list[Key] = []
        for key, copy in zip(keys, found, strict=True):
            if isinstance(copy, ThermoclineError):
                results[key] = damaged(key, guard.name, copy) if isinstance(copy, CorruptRecord) else copy
                continue
            version = copy.version if copy is not None else 0
            lease = leases.get(key)
            if version < max(engine.floors.get(key), lease[1] if lease is not None else 0):
                lagging.append(key)
                continue
            engine.floors.note(key, version)
            live = copy if copy is not None and copy.live(engine.now_ms()) else None
            results[key] = live
            engine.stats.count(telemetry.HITS if live is not None else telemetry.MISSES, guard.name)
            if lease is not None:
                settles.append(self._settle(key, plan, lease[0], version, live if live is not None else copy))
            elif version and plan.uses_hot:
                self._recovery.add(key, version)
        if settles:
            await self._tell(settles)
        if lagging:  # few, if any: they go the single way, which asks again
            await self._each(lagging, results, lambda key: self._one(key, plan, leases.get(key), deadline))
        return results

    async def _one(self, key: Key, plan: Plan, lease: tuple[str, int] | None, deadline: Deadline) -> Envelope | None:
        token, floor = lease if lease is not None else (None, 0)
        answer = await self._cascade.below(
            key, plan, floor=floor, lease=token, told=lease is not None, deadline=deadline
        )
        return answer.envelope

    def _settle(self, key: Key, plan: Plan, reader: str, version: int, copy: Envelope | None) -> Settle:
        promotes = self._engine.promotes(key, plan)
        if copy is not None and (
            len(copy.payload) > plan.rules.hot_max_bytes
            or not promotes
            or not (copy.tombstone or copy.live(self._engine.now_ms()))
        ):
            copy = None
        lasting = self._engine.hot_for_ms(copy, plan) if copy is not None else None
        return Settle(key, reader, version, copy if lasting != 0 else None, lasting)

    async def _tell(self, settles: list[Settle]) -> None:
        try:
            errors = await self._writer.tell_hot(list(settles))
        except BaseException:
            for settle in settles:
                self._recovery.add(settle.key, settle.version)
            raise
        for settle, error in zip(settles, errors, strict=True):
            if error is not None and settle.version:
                self._recovery.add(settle.key, settle.version)

    # --- writes -------------------------------------------------------------------------------------------------------

    async def write(self, intents: Sequence[tuple[Any, Intent]], deadline: Deadline, into: Batch[WriteResult]) -> None:
        """Carry out prepared writes of one plan, in chunks, each key for itself."""
        for at in range(0, len(intents), CHUNK):
            await self._write_chunk(intents[at : at + CHUNK], deadline, into)

    async def _write_chunk(
        self, chunk: Sequence[tuple[Any, Intent]], deadline: Deadline, into: Batch[WriteResult]
    ) -> None:
        engine, plan = self._engine, chunk[0][1].plan
        authority, guard = engine.authority(plan.authority), engine.guards[plan.tier]
        try:
            guard.check()
        except ThermoclineError as error:
            into.errors.update((given, error) for given, _ in chunk)
            return
        if plan.uses_hot:
            chunk = await self._announce(chunk, deadline, into)
            if any(self._writer.lapses(intent, deadline) for _, intent in chunk):
                chunk = await self._announce(chunk, deadline, into)
        if not chunk:
            return
        engine.stats.count(telemetry.WRITES, plan.tier, len(chunk))
        answers: Sequence[Written | ThermoclineError]
        try:
            answers = await guard.call(
                "write_many",
                authority.write_many,
                [intent.write for _, intent in chunk],
                deadline=deadline,
                times=WRITE_SHARES,
            )
        except ThermoclineError as error:
            answers = [error] * len(chunk)
        except asyncio.CancelledError as error:
            for _, intent in chunk:
                await self._writer.failed(intent, error)
            raise
        await self._conclude(chunk, answers, into)

    async def _announce(
        self, chunk: Sequence[tuple[Any, Intent]], deadline: Deadline, into: Batch[WriteResult]
    ) -> Sequence[tuple[Any, Intent]]:
        engine, writer = self._engine, self._writer
        hot = engine.hot
        assert hot is not None
        operations = [writer.announcement(intent, deadline) for _, intent in chunk]
        answers: Sequence[Found | ThermoclineError | None]
        try:
            answers = await engine.guards[MemoryTier.HOT].call(
                "announce_many", hot.operate_many, operations, deadline=deadline, times=2
            )
        except ThermoclineError as error:
            answers = [error] * len(chunk)
        going: list[tuple[Any, Intent]] = []
        for (given, intent), answer in zip(chunk, answers, strict=True):
            if isinstance(answer, ThermoclineError):
                intent.told = False  # nor does an earlier announcement last long enough
                try:
                    await writer.unannounced(intent, answer, deadline)
                except ThermoclineError as error:
                    into.errors[given] = error
                    continue
            else:
                writer.announced(intent, answer)
            going.append((given, intent))
        return going

    async def _conclude(
        self,
        chunk: Sequence[tuple[Any, Intent]],
        answers: Sequence[Written | ThermoclineError],
        into: Batch[WriteResult],
    ) -> None:
        writer, engine = self._writer, self._engine
        done: list[tuple[Any, Intent, Written]] = []
        withdrawn: list[EntryOperation] = []
        for (given, intent), answer in zip(chunk, answers, strict=True):
            if not isinstance(answer, ThermoclineError):
                done.append((given, intent, answer))
                continue
            into.errors[given] = answer
            if isinstance(answer, UnknownOutcome):
                await writer.failed(intent, answer)  # asks nobody: the recovery queue does, later
            elif intent.told:
                withdrawn.append(Withdraw(intent.write.key, intent.write.id))
        told: list[ThermoclineError | None] = [None] * len(done)
        if chunk and chunk[0][1].plan.uses_hot:
            words = [writer.last_word(intent, written) for _, intent, written in done]
            try:
                told = (await writer.tell_hot(words + withdrawn, paced=True))[: len(done)]
            except BaseException:
                for _, intent, written in done:
                    writer.untold(intent, written)
                raise
        for (given, intent, written), error in zip(done, told, strict=True):
            engine.floors.note(intent.write.key, written.version)
            if error is not None or (intent.plan.uses_hot and not intent.told):
                writer.untold(intent, written)
            if written.effect is Effect.NOTHING:
                into.missing.append(given)
                continue
            try:
                into[given] = writer.result(intent, written, told=error is None)
            except ThermoclineError as refused:
                into.errors[given] = refused
