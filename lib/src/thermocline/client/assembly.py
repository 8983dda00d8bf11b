"""Putting a client's parts together, connecting and closing its tiers."""

import asyncio
import logging
import random
import secrets
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from thermocline import configured, telemetry
from thermocline.client.batch import Batches
from thermocline.client.cascade import Cascade
from thermocline.client.convoys import Convoys
from thermocline.client.dictionaries import DictionaryKeeper
from thermocline.client.engine import SKEW_MS, Engine
from thermocline.client.fitting import check_tier
from thermocline.client.floors import LIFETIME, Floors
from thermocline.client.guarding import CodecThreads, Guarding, watch_hot
from thermocline.client.legacy import connect_sources, sources_of
from thermocline.client.near import Near, NearCache
from thermocline.client.owners import Owners
from thermocline.client.reads import interest_of
from thermocline.client.recovery import Recovery
from thermocline.client.turns import Turns
from thermocline.client.writer import WRITE_SHARES, Writer
from thermocline.clock import Clock
from thermocline.codec import Codec
from thermocline.errors import ConfigurationError, ThermoclineError, TierTimeout, TierUnavailable
from thermocline.lifetimes import Lifetimes
from thermocline.model import Authority, Key, MemoryTier
from thermocline.policy import HOT_CEILING, MemoryRules, Route, Routes
from thermocline.protocols import Entries, HasEpoch, OfEpoch, Payloads, Settle, Tier, Versions
from thermocline.resilience import Budget, Resilience
from thermocline.telemetry import Stats

log = logging.getLogger("thermocline.client")

_STAMP = {
    MemoryTier.HOT: Authority.HOT,
    MemoryTier.WARM: Authority.WARM,
    MemoryTier.WARM_PLUS: Authority.WARM_PLUS,
    MemoryTier.COLD: Authority.COLD,
}
_RECONNECT_SECONDS = 1.0
_EPOCH_SECONDS = 30.0  # how often the authority is asked whether its epoch was raised


class Closeable(Protocol):
    """What a client closes at its end besides the tiers that it connected."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class Parts:
    """One client's inside."""

    engine: Engine
    cascade: Cascade
    writer: Writer
    batches: Batches
    recovery: Recovery
    tiers: dict[MemoryTier, Tier]
    closes: list[Closeable] = field(default_factory=list)  # what was made for this client alone, as a credential
    opened: list[Tier] = field(default_factory=list)
    reconnecting: asyncio.Task[None] | None = None
    watching: asyncio.Task[None] | None = None
    near: Near | None = None
    epoch: int = 0

    async def disconnect(self) -> None:
        """Close the tiers that were opened here, the last one first."""
        for task in (self.reconnecting, self.watching):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.reconnecting = self.watching = None
        for guard in self.engine.guards.values():
            await guard.close()
        opened, self.opened = self.opened, []
        await _close_all([*reversed(opened)])

    async def close(self) -> None:
        """Close the tiers that were opened here and what was made for them."""
        try:
            await self.disconnect()
        finally:
            closes, self.closes = self.closes, []
            await _close_all(closes)


async def _close_all(parts: Sequence[Closeable]) -> None:
    """Close all of them, whatever one of them raises."""
    errors: list[Exception] = []
    for part in parts:
        try:
            await part.close()
        except Exception as error:  # noqa: BLE001 - the others must be closed too; raised below
            errors.append(error)
    if errors:
        raise ExceptionGroup("parts of the memory could not be closed", errors)


def assemble(
    *,
    hot: Entries | None,
    warm: Versions | None,
    cold: Payloads | Versions | None,
    warm_plus: Versions | None,
    rules: MemoryRules | None,
    routes: Sequence[Route],
    lifetimes: Lifetimes | None,
    codec: Codec,
    budget: Budget | None,
    clock: Clock,
    executor: Executor | None,
    tokens: random.Random | None,
    closes: Sequence[Closeable] = (),
    save_reads: timedelta | float | None = None,
    resilience: Resilience | None = None,
    near: NearCache | None = None,
) -> Parts:
    """Check what was given and wire it. Raises `ConfigurationError` for tiers that cannot play their part."""
    given: dict[MemoryTier, Tier | None] = {
        MemoryTier.HOT: hot,
        MemoryTier.WARM: warm,
        MemoryTier.WARM_PLUS: warm_plus,
        MemoryTier.COLD: cold,
    }
    tiers = {name: tier for name, tier in given.items() if tier is not None}
    _check_kinds(
        rules=(rules, MemoryRules), codec=(codec, Codec), budget=(budget, Budget), lifetimes=(lifetimes, Lifetimes)
    )
    _check_kinds(resilience=(resilience, Resilience), near=(near, NearCache), tokens=(tokens, random.Random))
    routes = configured.many(routes, "routes", Route)
    configured.clock(clock, "clock")
    configured.executor(executor, "executor")
    parting: Any = configured.many(closes, "closes", object)
    planned = Routes(rules or MemoryRules(), routes, tiers=tiers)
    _check_parts(tiers, planned)
    own = CodecThreads()
    stats, budget, resilience = Stats(), budget or Budget(clock), resilience or Resilience()
    engine = Engine(
        hot=hot,
        authorities={_STAMP[name]: tier for name, tier in tiers.items() if isinstance(tier, Versions)},
        cold=cold if isinstance(cold, Payloads) else None,
        guards=Guarding(planned, budget, resilience, stats, clock).make(tiers),
        routes=planned,
        codec=codec,
        clock=clock,
        stats=stats,
        floors=Floors(clock, lifetime=_floors_live(tiers)),
        budget=budget,
        executor=executor if executor is not None else own.threads,
        tokens=tokens or secrets.SystemRandom(),
        lifetimes=lifetimes if lifetimes is not None else Lifetimes(),
    )
    engine.interest = interest_of(engine, save_reads)
    engine.sign = Owners(engine).sign
    parts = _wire(engine, tiers, [*parting, *((own,) if executor is None else ())], resilience)
    if near is not None:
        engine.near = parts.near = Near(engine, near, parts.recovery.blind)
    return parts


def _wire(engine: Engine, tiers: dict[MemoryTier, Tier], closes: list[Closeable], resilience: Resilience) -> Parts:
    async def tell(known: Sequence[tuple[Key, int]]) -> Sequence[ThermoclineError | None]:
        settles = [Settle(key, None, version, None) for key, version in known]
        return await writer.tell_hot(list(settles), paced=True)

    async def ask(key: Key) -> int:
        plan = engine.routes.route(key)
        found = await cascade.ask(key, plan, engine.floors.get(key), engine.budget.call())
        return found.version if found is not None else 0

    recovery = Recovery(
        tell,
        ask,
        engine.floors,
        engine.clock,
        ceiling=HOT_CEILING.total_seconds(),
        recovered=lambda n: engine.stats.count(telemetry.RECOVERED, "hot", n),
    )
    cascade = Cascade(engine, recovery)
    engine.shelves = DictionaryKeeper(engine, cascade)
    if engine.hot is not None:
        records, guard = engine.authorities.get(Authority.HOT), engine.guards[MemoryTier.HOT]
        engine.convoys = Convoys(engine.hot, records, guard, engine.clock, shares=WRITE_SHARES)
    writer = Writer(engine, recovery)
    watch_hot(engine, tiers, recovery, resilience)
    return Parts(engine, cascade, writer, Batches(engine, cascade, writer, recovery), recovery, tiers, closes)


def _check_kinds(**given: tuple[object, type]) -> None:
    for name, (part, kind) in given.items():
        if part is not None and not isinstance(part, kind):
            raise ConfigurationError(f"{name} is a {kind.__name__}, not {type(part).__name__}")


def _floors_live(tiers: dict[MemoryTier, Tier]) -> float:
    """Seconds: half of the shortest time for which an authority remembers what was deleted, so that its "nothing is known" beats an older floor."""
    graces = [getattr(tier, "grace", None) for tier in tiers.values()]
    return min([LIFETIME, *(grace.total_seconds() / 2 for grace in graces if isinstance(grace, timedelta))])


def _check_parts(tiers: dict[MemoryTier, Tier], routes: Routes) -> None:
    for place, given in tiers.items():
        check_tier(given, place, str(place))
    for plan in routes.plans():
        tier = tiers[plan.tier]
        if not isinstance(tier, Versions):
            raise ConfigurationError(
                f"{plan.tier} has the word for some keys, so it must give out versions (protocols.Versions), and {type(tier).__name__} does not"
            )
        if plan.cold_above is not None and not isinstance(tiers.get(MemoryTier.COLD), Payloads):
            raise ConfigurationError("cold must hold payloads (protocols.Payloads); configure another tier as cold")


async def connect_tiers(parts: Parts) -> None:
    """Connect what is not connected yet, within the connect deadline. A hot tier with an authority below it may fail: it is tried again later."""
    engine = parts.engine
    seconds = engine.budget.connect.total_seconds()
    deadline = engine.budget.begin_connect()
    await _open_first(parts.closes, deadline.remaining())
    needed = {plan.tier for plan in engine.routes.plans()}
    # hot last: where it is cut off it uses up only what the others left
    for name, tier in sorted(parts.tiers.items(), key=lambda item: item[0] is MemoryTier.HOT):
        if getattr(tier, "connected", False) or tier in parts.opened:
            continue
        try:
            await _connect(tier, name, deadline.remaining())
        except TierUnavailable as error:
            if name is not MemoryTier.HOT or name in needed:
                await parts.disconnect()
                raise
            log.warning("hot cannot be reached, and the client goes on without it: %s", error)
            parts.opened.append(tier)
            parts.reconnecting = _behind(_reconnect(tier, name, seconds), "thermocline reconnect")
        except BaseException:
            await parts.disconnect()
            raise
        else:
            parts.opened.append(tier)
    try:
        parts.opened += await connect_sources([one for one in sources_of(engine) if one not in parts.opened])
        await _agree(parts)
    except BaseException:
        await parts.disconnect()
        raise
    if parts.near is not None:
        parts.near.begin()


async def _open_first(parts: Sequence[Closeable], seconds: float) -> None:
    """Open what the tiers sign in with, where it has to be. Idempotent, as `open` is."""
    try:
        async with asyncio.timeout(seconds):
            for part in parts:
                opens = getattr(part, "open", None)
                if opens is not None:
                    await opens()
    except TimeoutError as error:
        if isinstance(error, ThermoclineError):
            raise
        asked = ", ".join(repr(part) for part in parts if hasattr(part, "open"))
        said = f"the secrets of the vault (KEY_VAULT_URI) were not read within {seconds:.1f} s: {asked} did not answer; can it be reached from here?"
        raise TierTimeout(said, tier="key vault", sent=False) from error


async def _agree(parts: Parts) -> None:
    """What the tiers must know of each other: the authority's clock, its epoch, and the fence of an embedded one."""
    engine = parts.engine
    durable = engine.below_hot()
    _correct(engine, durable)
    fences = [fence for authority in durable if (fence := getattr(authority, "data_version", None)) is not None]
    if fences and engine.hot is not None and hasattr(engine.hot, "fence"):
        engine.hot.fence = fences[0] if len(fences) == 1 else lambda: tuple(fence() for fence in fences)
    for tier in durable:
        if isinstance(tier, HasEpoch):
            _enter(parts, await tier.epoch())
            if hasattr(tier, "skew_ms"):
                engine.turns = Turns(engine.clock)
            watch = _watch(parts, tier, durable)
            parts.watching = _behind(watch, "thermocline epoch")
            return
    dated = next((tier for tier in durable if hasattr(tier, "skew_ms")), None)
    if dated is not None:
        turns = engine.turns = Turns(engine.clock)
        parts.watching = _behind(_watch_clock(engine, turns, dated, durable), "thermocline clock")


def _correct(engine: Engine, authorities: Sequence[Versions]) -> None:
    """Correct the clock by which expiry is judged: by the first authority that knows how far its own is away."""
    skews = [skew for authority in authorities if (skew := getattr(authority, "skew_ms", None)) is not None]
    engine.skew_ms = skews[0] if skews and abs(skews[0]) > SKEW_MS else 0
    if engine.turns is not None:
        engine.turns.believe()


def _enter(parts: Parts, epoch: int) -> None:
    """After a fail-over or a restore versions may have turned back: what hot and this client remember is void."""
    engine = parts.engine
    if epoch != parts.epoch:
        if parts.near is not None:
            parts.near.clear()  # before the floors: what it has given becomes one
        engine.floors.clear()
        parts.recovery.forget()
    parts.epoch = epoch
    hot: object = engine.hot
    if isinstance(hot, OfEpoch):
        hot.enter_epoch(epoch)


async def _watch(parts: Parts, authority: HasEpoch, authorities: Sequence[Versions]) -> None:
    while True:
        turns = parts.engine.turns
        await (asyncio.sleep(_EPOCH_SECONDS) if turns is None else turns.wait(_EPOCH_SECONDS))
        try:
            epoch = await authority.epoch()
        except ThermoclineError:
            if turns is not None and turns.noticed.is_set():
                await asyncio.sleep(_RECONNECT_SECONDS)
            continue  # it is down; the epoch is asked again
        _correct(parts.engine, authorities)  # a clock may have been set since
        if epoch != parts.epoch:
            log.warning("the authority's epoch was raised to %d: hot entries and floors are void", epoch)
            _enter(parts, epoch)


async def _watch_clock(engine: Engine, turns: Turns, tier: Versions, authorities: Sequence[Versions]) -> None:
    """Where no authority has an epoch: its answers show its time, and it is asked for nothing else but when this machine's clock was turned."""
    while True:
        await turns.wait(_EPOCH_SECONDS)
        if turns.by_ms():
            try:
                await tier.ping(deadline=engine.budget.call())
            except ThermoclineError:
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
        _correct(engine, authorities)


async def _connect(tier: Tier, name: MemoryTier, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await tier.connect()
    except TimeoutError as error:
        if isinstance(error, ThermoclineError):
            raise
        raise TierTimeout(
            f"{name} could not be connected within {seconds:.2g} s; check its address and that the network lets you through",
            tier=str(name),
        ) from error


def _behind(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """A task that outlasts the call that began it, and so has none of its context: neither its span nor its correlation id."""
    return asyncio.get_running_loop().create_task(work, name=name, context=Context())


async def _reconnect(tier: Tier, name: MemoryTier, seconds: float) -> None:
    while True:
        await asyncio.sleep(_RECONNECT_SECONDS)
        try:
            await _connect(tier, name, seconds)
        except TierUnavailable:
            continue
        log.info("hot is reached again")
        return
