"""What is broken during a run, each with its entry in the fault log."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from thermocline.testing.history import Fault
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.scenarios.breaking import cosmos, kill_redis, roll_redis_back, slow, through
from thermocline.testing.scenarios.model import Break
from thermocline.testing.scenarios.stage import Stage

KILLED = "client killed"
WAY = "client "  # and its number: the proxy through which that client reaches Redis


@dataclass(slots=True)
class Faults:
    """``stage`` is what is broken, ``log`` the fault log."""

    stage: Stage
    kill: Callable[[], Awaitable[None]]  # a client process, any
    kills: int = 4  # at most: each costs a second of starting
    log: list[Fault] = field(default_factory=list)

    async def run(self, names: list[str], pace: float) -> None:
        """Break one thing after the other, until cancelled; then everything is whole again."""
        draws = self.stage.random
        while names:
            name = draws.choice(names)
            if name == KILLED and not self.kills:
                names = [name for name in names if name != KILLED]
                continue
            self.kills -= name == KILLED
            fault = Fault(name, time.monotonic())
            self.log.append(fault)
            try:
                if name == KILLED:
                    await self.kill()
                else:
                    seconds = draws.uniform(0.1, 0.6) * (4 if name in OUTAGE else 1)
                    await FAULTS[name](self.stage, 0 if name in AT_ONCE else seconds)
            finally:
                fault.end = time.monotonic()
            await asyncio.sleep(draws.uniform(0.2, 1.0) * pace)


async def flush(stage: Stage, _: float) -> None:
    def clear() -> None:
        with stage.redis.connection() as connection:
            connection.call("FLUSHALL")

    await asyncio.to_thread(clear)


async def pause(stage: Stage, seconds: float) -> None:
    stage.redis.pause()
    try:
        await asyncio.sleep(seconds)
    finally:
        stage.redis.resume()


def cut_off(how: Callable[[ChaosProxy], Any]) -> Break:
    """One client's way to Redis."""

    async def broken(stage: Stage, seconds: float) -> None:
        way = stage.random.choice([name for name in stage.proxies if name.startswith(WAY)])
        await through(way, how)(stage, seconds)

    return broken


def refuse(proxy: ChaosProxy) -> None:
    proxy.refuse()
    proxy.cut()


async def lose_of_table(stage: Stage, seconds: float) -> None:
    """One answer after the other, of whoever asks next, and some requests."""
    proxy = stage.proxies["table"]

    async def lose() -> None:
        while True:
            lost = proxy.lose_next_answer() if stage.random.random() < 0.7 else proxy.lose_next_request()
            await lost.wait()
            await asyncio.sleep(stage.random.uniform(0, 0.05))

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await lose()
    finally:
        proxy.restore()


def sometimes(seed: int, probability: float = 0.3) -> dict[str, Any]:
    return {"probability": probability, "seed": seed}


FAULTS: dict[str, Break] = {
    "redis flushed": flush,
    "redis crashed": kill_redis,
    "redis paused": pause,
    "redis rolled back": roll_redis_back,
    "client cut off": cut_off(refuse),
    "client's requests lost": cut_off(lambda proxy: proxy.blackhole(requests=True)),
    "client's answers lost": cut_off(lambda proxy: proxy.blackhole(answers=True)),
    "client's requests late": cut_off(lambda proxy: proxy.hold(requests=True)),
    "client's connections reset": cut_off(lambda proxy: proxy.cut()),
    "client slow": cut_off(slow),
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
    "table slow": through("table", slow),
    "table's connections reset": through("table", lambda proxy: proxy.cut()),
    "table's requests late": through("table", lambda proxy: proxy.hold(requests=True)),
    "table away": through("table", refuse),
    "cosmos lost": cosmos(lambda c, _: c.lose_region()),
    "cosmos silent": cosmos(lambda c, _: c.lose_region("silent")),
    "cosmos loses all answers": cosmos(lambda c, _: c.drop(after=True, kinds=["data"])),
    "authority answers late": cosmos(lambda c, seed: c.delay(50, after=True, **sometimes(seed, 0.5))),
    "replica lags": cosmos(lambda c, seed: c.lag(milliseconds=200, **sometimes(seed, 0.7))),
}
AT_ONCE = frozenset({"redis flushed", "client's connections reset", "table's connections reset"})
OUTAGE = ["cosmos lost", "cosmos silent", "cosmos loses all answers"]  # longer than the share of a read or write
COSMOS = [name for name in FAULTS if name.startswith("cosmos") and name not in OUTAGE]
TABLE = [name for name in FAULTS if name.startswith("table")]
CLIENT = [*(name for name in FAULTS if name.startswith("client")), KILLED]
