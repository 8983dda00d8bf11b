"""What is broken during a run, each with its entry in the fault log."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.history import Fault
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisServer

Breaks = Callable[["Faults"], AbstractAsyncContextManager[None]]


@dataclass(slots=True)
class Faults:
    """The places where a run can be broken. ``log`` is the fault log."""

    random: random.Random
    redis: RedisServer | None = None
    control: CosmosControl | None = None
    proxies: list[ChaosProxy] = field(default_factory=list)
    table: ChaosProxy | None = None
    kill: Callable[[], Awaitable[None]] | None = None  # a client process, any
    kills: int = 4  # at most: each costs a second of starting
    log: list[Fault] = field(default_factory=list)

    async def run(self, names: list[str], pace: float) -> None:
        """Break one thing after the other, until cancelled; then everything is whole again."""
        while names:
            name = self.random.choice(names)
            if name == "client killed" and not self.kills:
                names = [name for name in names if name != "client killed"]
                continue
            self.kills -= name == "client killed"
            fault = Fault(name, time.monotonic())
            self.log.append(fault)
            try:
                async with FAULTS[name](self):
                    if name not in AT_ONCE:
                        await asyncio.sleep(self.random.uniform(0.1, 0.6) * (4 if name in OUTAGE else 1))
            finally:
                fault.end = time.monotonic()
            await asyncio.sleep(self.random.uniform(0.2, 1.0) * pace)


# --- Redis ---------------------------------------------------------------------------------------------------------------


def redis_of(faults: Faults) -> RedisServer:
    assert faults.redis is not None
    return faults.redis


@asynccontextmanager
async def flush(faults: Faults) -> AsyncIterator[None]:
    def clear() -> None:
        with redis_of(faults).connection() as connection:
            connection.call("FLUSHALL")

    await asyncio.to_thread(clear)
    yield


@asynccontextmanager
async def crash(faults: Faults) -> AsyncIterator[None]:
    """SIGKILL, and a new start without data."""
    redis = redis_of(faults)
    await asyncio.to_thread(redis.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(redis.start)


@asynccontextmanager
async def pause(faults: Faults) -> AsyncIterator[None]:
    redis = redis_of(faults)
    redis.pause()
    try:
        yield
    finally:
        redis.resume()


@asynccontextmanager
async def rollback(faults: Faults) -> AsyncIterator[None]:
    """Redis comes back with what it held a while ago."""
    redis = redis_of(faults)
    await asyncio.to_thread(redis.snapshot)
    await asyncio.sleep(faults.random.uniform(0.1, 0.5))
    await asyncio.to_thread(redis.kill)
    await asyncio.to_thread(redis.start)
    yield


# --- one client's way to Redis ------------------------------------------------------------------------------------------------


def cut_off(how: Callable[[ChaosProxy], Any]) -> Breaks:
    @asynccontextmanager
    async def broken(faults: Faults) -> AsyncIterator[None]:
        proxy = faults.random.choice(faults.proxies)
        how(proxy)
        try:
            yield
        finally:
            proxy.restore()

    return broken


def refuse(proxy: ChaosProxy) -> None:
    proxy.refuse()
    proxy.cut()


def slow(proxy: ChaosProxy) -> None:
    proxy.delay(requests=timedelta(milliseconds=20), answers=timedelta(milliseconds=10))


# --- Cosmos ------------------------------------------------------------------------------------------------------------------


def cosmos(inject: Callable[[CosmosControl, int], int]) -> Breaks:
    @asynccontextmanager
    async def broken(faults: Faults) -> AsyncIterator[None]:
        control = faults.control
        assert control is not None
        number = await asyncio.to_thread(inject, control, faults.random.randrange(2**31))
        try:
            yield
        finally:
            await asyncio.to_thread(control.clear, number)

    return broken


# --- Table Storage -----------------------------------------------------------------------------------------------------


def table(how: Callable[[ChaosProxy], Any]) -> Breaks:
    """All clients reach the table through one proxy."""

    @asynccontextmanager
    async def broken(faults: Faults) -> AsyncIterator[None]:
        proxy = faults.table
        assert proxy is not None
        how(proxy)
        try:
            yield
        finally:
            proxy.restore()

    return broken


@asynccontextmanager
async def lose_of_table(faults: Faults) -> AsyncIterator[None]:
    """One answer after the other, of whoever asks next, and some requests."""
    proxy = faults.table
    assert proxy is not None

    async def lose() -> None:
        while True:
            lost = proxy.lose_next_answer() if faults.random.random() < 0.7 else proxy.lose_next_request()
            await lost.wait()
            await asyncio.sleep(faults.random.uniform(0, 0.05))

    losing = asyncio.create_task(lose())
    try:
        yield
    finally:
        losing.cancel()
        proxy.restore()


def sometimes(seed: int, probability: float = 0.3) -> dict[str, Any]:
    return {"probability": probability, "seed": seed}


@asynccontextmanager
async def kill_client(faults: Faults) -> AsyncIterator[None]:
    assert faults.kill is not None
    await faults.kill()
    yield


FAULTS: dict[str, Breaks] = {
    "redis flushed": flush,
    "redis crashed": crash,
    "redis paused": pause,
    "redis rolled back": rollback,
    "client cut off": cut_off(refuse),
    "client's requests lost": cut_off(lambda proxy: proxy.blackhole(requests=True)),
    "client's answers lost": cut_off(lambda proxy: proxy.blackhole(answers=True)),
    "client's requests late": cut_off(lambda proxy: proxy.hold(requests=True)),
    "client's connections reset": cut_off(lambda proxy: proxy.cut()),
    "client slow": cut_off(slow),
    "client killed": kill_client,
    "cosmos throttles": cosmos(lambda c, seed: c.throttle(retry_after_ms=5, **sometimes(seed))),
    "cosmos answers 449": cosmos(lambda c, seed: c.fail(449, kinds=["writes"], **sometimes(seed))),
    "cosmos answers 410": cosmos(lambda c, seed: c.fail(410, 1002, **sometimes(seed, 0.2))),
    "cosmos answers 503": cosmos(lambda c, seed: c.fail(503, **sometimes(seed))),
    "cosmos answers 503 after the write": cosmos(
        lambda c, seed: c.fail(503, after=True, kinds=["writes"], **sometimes(seed))
    ),
    "cosmos drops requests": cosmos(lambda c, seed: c.drop(**sometimes(seed))),
    "cosmos drops answers": cosmos(lambda c, seed: c.drop(after=True, kinds=["writes"], **sometimes(seed))),
    "cosmos slow": cosmos(lambda c, seed: c.delay(30, **sometimes(seed, 0.5))),
    "cosmos slow after the write": cosmos(
        lambda c, seed: c.delay(50, after=True, kinds=["writes"], **sometimes(seed, 0.5))
    ),
    "table loses answers": lose_of_table,
    "table slow": table(slow),
    "table's connections reset": table(lambda proxy: proxy.cut()),
    "table's requests late": table(lambda proxy: proxy.hold(requests=True)),
    "table away": table(refuse),
    "cosmos lost": cosmos(lambda c, _: c.lose_region()),
    "cosmos silent": cosmos(lambda c, _: c.lose_region("silent")),
    "cosmos loses all answers": cosmos(lambda c, _: c.drop(after=True, kinds=["data"])),
    "authority answers late": cosmos(lambda c, seed: c.delay(50, after=True, **sometimes(seed, 0.5))),
    "replica lags": cosmos(lambda c, seed: c.lag(milliseconds=200, **sometimes(seed, 0.7))),
}
AT_ONCE = frozenset(
    {"redis flushed", "redis rolled back", "client's connections reset", "client killed", "table's connections reset"}
)
OUTAGE = ["cosmos lost", "cosmos silent", "cosmos loses all answers"]  # longer than the share of a read or write
COSMOS = [name for name in FAULTS if name.startswith("cosmos") and name not in OUTAGE]
TABLE = [name for name in FAULTS if name.startswith("table")]
CLIENT = [name for name in FAULTS if name.startswith("client")]
