"""From the authority into hot, many keys in as few calls as possible (COHERENCE section 3).

The lease has to be there before the authority is read, or a fill could land after an invalidation that it did not see (P3). So hot is asked twice: all leases
in one pipelined round trip per node, all settles in another; between them the authority reads a hundred keys of a scope per call.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.engine import CROWD_SECONDS, LEASE_MS, Engine
from thermocline.client.leases import Leases
from thermocline.client.moving.result import Prefetched
from thermocline.client.recovery import Recovery
from thermocline.client.together import together
from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError, CorruptRecord, ThermoclineError, TierUnavailable, TooLarge
from thermocline.model import Envelope, Key, MemoryTier
from thermocline.policy import Plan, Serve, serve
from thermocline.protocols import Busy, Found, Leased, Look, Settle

CHUNK: Final = 1000  # keys whose leases, reads and settles go together: what is under way at once, in memory too
_A_CALL: Final = 100  # keys that the authority reads per request
_PAYLOADS: Final = 8  # that come from cold at the same time


class Prefetch:
    """The prefetching of one client."""

    def __init__(self, engine: Engine, recovery: Recovery, leases: Leases) -> None:
        self._engine = engine
        self._recovery = recovery
        self._leases = leases

    async def run(self, given: Mapping[Any, Key], deadline: Deadline) -> Prefetched:
        """Each key answers for itself (P8)."""
        result = Prefetched()
        by_plan: dict[int, tuple[Plan, dict[Key, list[Any]]]] = {}
        for name, key in given.items():
            plan = self._engine.routes.route(key)
            if not plan.uses_hot:
                result.errors[name] = ConfigurationError(f"the route of {key.name!r:.80} keeps no copies in hot")
                continue
            _, names = by_plan.setdefault(id(plan), (plan, {}))
            names.setdefault(key, []).append(name)
        for plan, names in by_plan.values():
            keys = list(names)
            for at in range(0, len(keys), CHUNK):
                await self._chunk(plan, keys[at : at + CHUNK], names, deadline, result)
        return result

    async def _chunk(
        self, plan: Plan, keys: Sequence[Key], names: Mapping[Key, list[Any]], deadline: Deadline, result: Prefetched
    ) -> None:
        leases: dict[Key, tuple[str, int]] = {}
        held: dict[Key, str] = {}
        for look, found in zip(*await self._look(keys, deadline), strict=True):
            if isinstance(found, ThermoclineError):
                result.errors.update(dict.fromkeys(names[look.key], found))
            elif isinstance(found, Busy):
                result.busy += names[look.key]
            elif isinstance(found, Envelope) and (has := self._has(found, plan)) is not None:
                (result.present if has else result.missing).extend(names[look.key])
            else:
                leases[look.key] = (look.reader, _floor(found, plan))
                if isinstance(found, Leased):
                    held[look.key] = look.reader
        if not leases:
            return
        for key, token in held.items():
            self._leases.hold(key, token, deadline)
        try:
            settles = await self._read(plan, leases, names, deadline, result)
        finally:
            for token in held.values():
                self._leases.drop(token)
        told = {settle.key for settle in settles}
        await self._settle(settles, names, result)
        failed = [(key, token) for key, token in held.items() if key not in told]
        if failed:
            await self._leases.give_back(failed)

    async def _look(
        self, keys: Sequence[Key], deadline: Deadline
    ) -> tuple[list[Look], Sequence[Found | ThermoclineError | None]]:
        engine, hot = self._engine, self._engine.hot
        assert hot is not None
        looks = [Look(key, engine.token(), LEASE_MS) for key in keys]
        guard = engine.guards[MemoryTier.HOT]
        try:
            return looks, await guard.call(
                "look_many", hot.operate_many, looks, deadline=deadline, times=1 + len(keys) / _A_CALL
            )
        except TierUnavailable as error:
            return looks, [error] * len(looks)

    def _has(self, copy: Envelope, plan: Plan) -> bool | None:
        """Whether hot's copy is the key's value (True) or says that there is none (False); None: it has to be read below."""
        engine = self._engine
        verdict = serve(copy, now_ms=engine.now_ms(), floor=engine.floors.get(copy.key), plan=plan)
        if verdict is Serve.CONFLICT:
            engine.stats.count(telemetry.ROUTE_CONFLICTS, "hot")
        if verdict is Serve.VALUE:
            return True
        return False if verdict is Serve.GONE and copy.tombstone else None

    async def _read(
        self,
        plan: Plan,
        leases: Mapping[Key, tuple[str, int]],
        names: Mapping[Key, list[Any]],
        deadline: Deadline,
        result: Prefetched,
    ) -> list[Settle]:
        """What hot is to be told of each key whose lease is held."""
        engine, keys = self._engine, list(leases)
        authority, guard = engine.authority(plan.authority), engine.guards[plan.tier]
        engine.stats.count(telemetry.READS, guard.name, len(keys))
        found: Sequence[Envelope | ThermoclineError | None]
        try:
            found = await guard.call(
                "read_many", authority.read_many, keys, deadline=deadline, times=2 + len(keys) / _A_CALL
            )
        except TierUnavailable as error:
            found = [error] * len(keys)
        settles: list[Settle] = []
        read: list[tuple[Key, str, Envelope | None]] = []
        now = engine.now_ms()
        for key, copy in zip(keys, found, strict=True):
            reader, floor = leases[key]
            if isinstance(copy, ThermoclineError):
                result.errors.update(dict.fromkeys(names[key], copy))
                continue
            version = 0 if copy is None else copy.version
            if version < max(floor, engine.floors.get(key)):
                result.errors.update(dict.fromkeys(names[key], _lags(key, guard.name)))
                continue
            engine.floors.note(key, version)
            live = copy is not None and copy.live(now)
            engine.stats.count(telemetry.HITS if live else telemetry.MISSES, guard.name)
            read.append((key, reader, copy))

        async def settle_of(one: tuple[Key, str, Envelope | None]) -> None:
            try:
                settles.append(await self._settle_of(*one, plan, names, deadline, result))
            except ThermoclineError as error:  # a pointer that cannot be read, say: this key's trouble alone
                result.errors.update(dict.fromkeys(names[one[0]], error))

        await together(read, settle_of, at_once=_PAYLOADS)
        return settles

    async def _settle_of(
        self,
        key: Key,
        reader: str,
        copy: Envelope | None,
        plan: Plan,
        names: Mapping[Key, list[Any]],
        deadline: Deadline,
        result: Prefetched,
    ) -> Settle:
        engine = self._engine
        version = 0 if copy is None else copy.version
        if copy is None or not copy.live(engine.now_ms()):
            result.missing += names[key]
            return Settle(key, reader, version, copy if copy is not None and copy.tombstone else None)
        if copy.pointer:
            copy = await self._with_payload(copy, plan, deadline)
        most = plan.rules.hot_max_bytes
        lasting = engine.hot_for_ms(copy, plan)
        if len(copy.payload) > most or lasting == 0:
            error = TooLarge(f"{key.name!r:.80} has {len(copy.payload)} bytes, hot takes {most} (hot_max_bytes)")
            result.errors.update(dict.fromkeys(names[key], error))
            return Settle(key, reader, version, None)
        return Settle(key, reader, version, copy, lasting)

    async def _with_payload(self, copy: Envelope, plan: Plan, deadline: Deadline) -> Envelope:
        """With its payload from cold if that is small enough for hot; else, or where cold cannot give it, the pointer, which spares a read of the authority."""
        engine = self._engine
        pointer = engine.codec.pointer_of(copy)
        if engine.cold is None or pointer.size > plan.rules.hot_max_bytes:
            return copy
        engine.stats.count(telemetry.READS, "cold")
        try:
            data = await engine.guards[MemoryTier.COLD].call(
                "get_payload", engine.cold.get_payload, copy.key, pointer, deadline=deadline
            )
        except (TierUnavailable, CorruptRecord):
            return copy
        engine.stats.count(telemetry.HITS if data is not None else telemetry.MISSES, "cold")
        return copy if data is None else engine.codec.with_payload(copy, data)

    async def _settle(self, settles: list[Settle], names: Mapping[Key, list[Any]], result: Prefetched) -> None:
        try:
            errors = await self._tell(settles)
        except BaseException:
            for settle in settles:
                if settle.version:
                    self._recovery.add(settle.key, settle.version)
            raise
        for settle, error in zip(settles, errors, strict=True):
            if isinstance(error, ThermoclineError):
                if settle.version:
                    self._recovery.add(settle.key, settle.version)
                if settle.envelope is not None:
                    result.errors.update(dict.fromkeys(names[settle.key], error))
            elif settle.envelope is not None and not settle.envelope.tombstone:
                self._engine.count_copy(settle.envelope, written=False)
                result.promoted += names[settle.key]

    async def _tell(self, settles: list[Settle]) -> Sequence[Found | ThermoclineError | None]:
        engine, hot = self._engine, self._engine.hot
        assert hot is not None
        guard = engine.guards[MemoryTier.HOT]
        times = 2 + len(settles) / _A_CALL
        deadline = Deadline.after(guard.share * times + CROWD_SECONDS, engine.clock)
        try:
            return await guard.call(
                "settle_many", hot.operate_many, settles, deadline=deadline, times=times, again=True
            )
        except ThermoclineError as error:
            return [error] * len(settles)


def _floor(found: Found | None, plan: Plan) -> int:
    if isinstance(found, Envelope):  # another authority's versions mean nothing here
        return found.version if found.header.authority == plan.authority else 0
    return 0 if found is None else found.floor


def _lags(key: Key, tier: str) -> TierUnavailable:
    return TierUnavailable(
        f"{tier} answered an older version of {key.name!r:.80} than is known to exist; it lags, try again", tier=tier
    )
