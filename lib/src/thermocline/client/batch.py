"""Many keys at once: one MGET, one query, one pipeline where the verbs for one key have a request each. Each key answers for itself (P8)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.cascade import Cascade, damaged
from thermocline.client.engine import LEASE_MS, Engine
from thermocline.client.leases import in_doubt
from thermocline.client.recovery import Recovery
from thermocline.client.together import chunks, together
from thermocline.client.waiting import waits_for
from thermocline.client.writer import Writer
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, ThermoclineError, TierUnavailable
from thermocline.model import Envelope, Key, MemoryTier, NotAsked
from thermocline.policy import Plan, Serve, serve
from thermocline.protocols import AtOnce, Found, Leased, Look, Settle

CHUNK: Final = 200  # keys that the authority is asked for together
AT_ONCE: Final = 4  # such chunks under way
HOT_CHUNK: Final = 500  # keys of one MGET: Redis answers nobody else meanwhile
HOT_AT_ONCE: Final = 2  # while one is decoded the other is on its way
SINGLY: Final = 8  # keys that go the single way at the same time

Reads = dict[Key, Envelope | NotAsked | ThermoclineError | None]


class Batches:
    """The reading batch verbs of one client."""

    def __init__(self, engine: Engine, cascade: Cascade, writer: Writer, recovery: Recovery) -> None:
        self._engine = engine
        self._cascade = cascade
        self._writer = writer
        self._recovery = recovery
        # asked once: of a Protocol isinstance is dear, and this is asked for each key that hot does not have
        self._at_once = frozenset(stamp for stamp, tier in engine.authorities.items() if isinstance(tier, AtOnce))

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

        async def of_plan(group: tuple[Plan, list[Key]]) -> None:
            await self._read(*group, results, deadline)

        await together(list(by_plan.values()), of_plan, at_once=AT_ONCE)
        now = self._engine.now_ms()
        for key, found in results.items():
            if isinstance(found, Envelope) and found.header.expires_ms != 0 and not found.live(now):
                results[key] = None  # it expired while others were asked for, or hot was told
        return results

    def goes_below_together(self, plan: Plan) -> bool:
        """Whether keys of this plan that hot does not have are best asked for together, though nobody asked for them as a batch: where the authority
        answers for many by one call, so that none waits for the slowest of many."""
        rules = plan.rules
        simple = rules.read_fallback and not rules.stale_while_down and plan.legacy is None
        return simple and plan.authority in self._at_once

    async def below(
        self, plan: Plan, keys: Sequence[Key], deadline: Deadline
    ) -> dict[Key, Envelope | ThermoclineError | None]:
        """Keys that hot has just answered with nothing: the live envelope (perhaps a pointer), None or the error of each."""
        found = await self._miss(plan, keys, deadline)
        now = self._engine.now_ms()
        results: dict[Key, Envelope | ThermoclineError | None] = {}
        for key in keys:
            came = found[key]
            gone = isinstance(came, NotAsked) or (isinstance(came, Envelope) and not came.live(now))
            results[key] = None if gone or isinstance(came, NotAsked) else came
        return results

    async def _read(self, plan: Plan, keys: list[Key], results: Reads, deadline: Deadline) -> None:
        if plan.uses_hot and not self._recovery.blind():
            await self._through_hot(plan, keys, results, deadline)
        else:  # blind: hot is not believed, but told
            leases: dict[Key, tuple[str, int] | None] = {}
            if plan.uses_hot:
                leases = {key: (self._engine.token(), 0) for key in keys}
            await self._below(plan, keys, results, lambda chunk: self._ask(plan, chunk, leases, deadline))
        if plan.rules.stale_while_down:
            down = [key for key in keys if isinstance(results[key], TierUnavailable)]
            await self._each(down, results, lambda key: self._alone(key, plan, deadline))
        pointers = [
            key for key in keys if isinstance(found := results[key], Envelope) and found.header.flags and found.pointer
        ]
        if pointers:
            await self._each(pointers, results, lambda key: self._resolve(results[key], plan, deadline))
        if plan.legacy is not None:  # what the authority knows nothing of may have an old copy: the single way finds it
            absent = [key for key in keys if results[key] is None]
            await self._each(absent, results, lambda key: self._alone(key, plan, deadline))

    async def _through_hot(self, plan: Plan, keys: list[Key], results: Reads, deadline: Deadline) -> None:
        unknown: list[Key] = []
        away: list[Key] = []
        unsure: list[Key] = []  # for which hot is not believed
        if len(self._recovery):
            unsure = [key for key in keys if self._recovery.blind(key)]
            keys = [key for key in keys if not self._recovery.blind(key)]

        async def ask_hot(chunk: Sequence[Key]) -> None:
            if away:
                # hot did not answer for an earlier chunk: the authority's time is not spent on waiting for it again
                results.update(dict.fromkeys(chunk, results[away[0]]))
                away.extend(chunk)
                return
            try:
                rest = await self._from_hot(plan, chunk, results, deadline)
            except TierUnavailable as error:
                away.extend(chunk)
                results.update(dict.fromkeys(chunk, error))
                return
            unknown.extend(rest)
            if not plan.rules.read_fallback:
                # what could not be asked, or was not, is no absence (P1)
                results.update((key, NotAsked(key) if copy is None else copy) for key, copy in rest.items())

        if not plan.rules.read_fallback:
            results.update((key, NotAsked(key)) for key in unsure)
        await together(chunks(keys, HOT_CHUNK), ask_hot, at_once=HOT_AT_ONCE)
        if plan.rules.read_fallback:
            await self._each(unsure, results, lambda key: self._alone(key, plan, deadline))
            await self._below(plan, away, results, lambda chunk: self._ask(plan, chunk, {}, deadline))
            await self._below(plan, unknown, results, lambda chunk: self._miss(plan, chunk, deadline))

    async def _below(
        self, plan: Plan, keys: list[Key], results: Reads, ask: Callable[[Sequence[Key]], Awaitable[Reads]]
    ) -> None:
        """Ask for these in chunks, in which the keys of a partition are together: they are one query."""
        keys.sort(key=lambda key: (key.tenant, key.scope))

        async def one(chunk: Sequence[Key]) -> None:
            results.update(await ask(chunk))

        await together(chunks(keys, CHUNK), one, at_once=AT_ONCE)

    async def _alone(self, key: Key, plan: Plan, deadline: Deadline) -> Envelope | None:
        """The single way: of a key for which hot is not believed, or of which hot knows what may be served while the authority is down."""
        return (await self._cascade.read(key, plan, deadline)).envelope

    async def _resolve(self, found: Any, plan: Plan, deadline: Deadline) -> Envelope | None:
        return await self._cascade.resolve(found, plan, deadline)

    async def _each(
        self, keys: Sequence[Key], results: Reads, work: Callable[[Key], Awaitable[Envelope | None]]
    ) -> None:
        """Run ``work`` for each key, few at a time, and put down its result or error."""

        async def one(key: Key) -> None:
            try:
                results[key] = await work(key)
            except ThermoclineError as error:
                results[key] = error

        await together(keys, one, at_once=SINGLY)

    async def _through_near(
        self, plan: Plan, keys: Sequence[Key], asking: Awaitable[Sequence[Envelope | ThermoclineError | None]]
    ) -> Sequence[Envelope | ThermoclineError | None]:
        """What hot answers, which the near cache may remember."""
        near = self._engine.near
        return await (asking if near is None else near.through_many(keys, repeat(plan), asking))

    async def _from_hot(self, plan: Plan, keys: Sequence[Key], results: Reads, deadline: Deadline) -> Reads:
        """The plain MGET. Returned is what it cannot answer: None, or the error of a key whose shard could not be asked."""
        engine = self._engine
        hot, floors = engine.hot, engine.floors
        assert hot is not None
        engine.stats.count(telemetry.READS, "hot", len(keys))
        asking = engine.guards[MemoryTier.HOT].call(
            "get_many", hot.peek_many, keys, deadline=deadline, times=2, again=True
        )
        copies = await self._through_near(plan, keys, asking)
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

    async def _miss(self, plan: Plan, keys: Sequence[Key], deadline: Deadline) -> Reads:
        """Take leases, ask the authority, settle. What another reader has the lease of is waited for, by the single way."""
        engine = self._engine
        hot = engine.hot
        assert hot is not None
        looks = [Look(key, engine.token(), LEASE_MS) for key in keys]
        guard = engine.guards[MemoryTier.HOT]
        answers: list[Found | ThermoclineError | None]
        try:
            answers = await guard.call("look_many", hot.operate_many, looks, deadline=deadline, times=2)
        except TierUnavailable as error:
            answers = [error] * len(keys)
        except asyncio.CancelledError:
            self._cascade.leases.orphaned([(look.key, look.reader) for look in looks])
            raise
        unheard = [look for look, answer in zip(looks, answers, strict=True) if in_doubt(answer)]
        self._cascade.leases.orphaned((look.key, look.reader) for look in unheard)
        results: Reads = {}
        leases: dict[Key, tuple[str, int] | None] = {}
        held: dict[Key, str] = {}
        awaited: list[Key] = []
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
            elif isinstance(answer, Leased):
                leases[look.key] = (look.reader, answer.floor)
                held[look.key] = look.reader
            elif answer.leased and waits_for(plan):
                awaited.append(look.key)
            else:
                leases[look.key] = (engine.token(), answer.floor)
        results.update(await self._ask_holding(plan, list(leases), leases, held, deadline))
        await self._each(awaited, results, lambda key: self._after_another(key, plan, deadline))
        return results

    async def _ask_holding(
        self,
        plan: Plan,
        keys: Sequence[Key],
        leases: dict[Key, tuple[str, int] | None],
        held: dict[Key, str],
        deadline: Deadline,
    ) -> Reads:
        """`_ask`; the leases that are ``held`` are renewed meanwhile, and given back where it fails."""
        keeper = self._cascade.leases
        for key, token in held.items():
            keeper.hold(key, token, deadline)
        try:
            results = await self._ask(plan, keys, leases, deadline)
        finally:
            for token in held.values():
                keeper.drop(token)
        failed = [(key, token) for key, token in held.items() if isinstance(results.get(key), ThermoclineError)]
        if failed:
            await keeper.give_back(failed)
        return results

    async def _after_another(self, key: Key, plan: Plan, deadline: Deadline) -> Envelope | None:
        """Another reader of the key is on his way: what he brings, if he does."""
        return (await self._cascade.read(key, plan, deadline, peeked=None)).envelope

    async def _ask(
        self,
        plan: Plan,
        keys: Sequence[Key],
        leases: dict[Key, tuple[str, int] | None],
        deadline: Deadline,
    ) -> Reads:
        engine = self._engine
        if not keys:
            return {}
        authority, guard = engine.authority(plan.authority), engine.guards[plan.tier]
        engine.stats.count(telemetry.READS, guard.name, len(keys))
        try:
            asking = guard.call("read_many", authority.read_many, keys, deadline=deadline, times=2, again=True)
            found = await (asking if plan.uses_hot else self._through_near(plan, keys, asking))
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
        self._cascade.leases.orphaned(
            (settle.key, settle.reader)
            for settle, error in zip(settles, errors, strict=True)
            if settle.reader is not None and in_doubt(error)
        )
