"""How a client bears what is sick below it: hot that swallows every command, warm that is slow now and then, and hot that comes back with old values.

These are latencies of single calls and counts, not ratios of arms in turns: the servers of the rig misbehave on request, all else is as shipped (deadlines
of 50 ms for hot and 500 ms for warm).
"""

import contextlib
import statistics
import time
from collections.abc import Sequence

from benchmarks.measuring import say
from benchmarks.payload import turn
from benchmarks.plots import PERCENTILES
from benchmarks.results import Fact, Result, Series, at_most, rounded
from benchmarks.rounds import percentile
from benchmarks.scale import Scale
from benchmarks.tap import HttpRequests, Tap
from thermocline.client import MemoryClient
from thermocline.model import Key
from thermocline.resilience import Hedging, Resilience
from thermocline.testing import ChaosProxy
from thermocline.testing.rig import CosmosServer, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

HOT_SECONDS = 0.05  # the default deadline of one visit to hot
READS = 200  # of a trial
SLOW_MS, SLOW_SHARE, SEED = 200, 0.015, 3
"""A read in about seventy takes 200 ms longer: 32 of the 2,000 that are drawn with this seed. The bar says 1 %: then the 99th percentile would lie just on
the edge of the slow ones, and be chance."""
PERIOD = 5.0  # seconds between two attempts of the recovery queue, at most
BLACKHOLE, HEDGED, BACK = "hot blackholed", "warm reads, some slow", "after Redis returns"


async def degrade(scale: Scale) -> Result:
    result = Result("degrade")
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        cosmos = stack.enter_context(CosmosServer(kind="strict"))
        say(BLACKHOLE)
        await _blackholed(server, cosmos, result, scale)
        say(HEDGED)
        await _hedged(stack, cosmos, result, scale)
        say(BACK)
        await _back(server, cosmos, result, scale)
    return result


def _warm(cosmos: CosmosServer, name: str = "state") -> WarmMemory:
    return WarmMemory(cosmos.url, "bench", name, key=cosmos.key, create=True)


def _keys(many: int, scope: str) -> list[Key]:
    return [Key("bench", scope, f"turn/{number}") for number in range(many)]


async def _taken(client: MemoryClient, keys: Sequence[Key]) -> list[float]:
    """Seconds of each read, one after the other."""
    times = []
    for key in keys:
        began = time.perf_counter()
        value = await client.get(key)
        times.append(time.perf_counter() - began)
        assert value is not None, key
    return times


async def _blackholed(server: RedisServer, cosmos: CosmosServer, result: Result, scale: Scale) -> None:
    """Trials with a client each: its reads while hot swallows everything, beside as many of a client without hot."""
    keys = _keys(scale.of(READS, 20), "blackholed")
    ratios, waited, warm_alone, through = [], [], [], []
    for _ in range(scale.of(9, 1)):
        async with (
            ChaosProxy(server.url) as proxy,
            MemoryClient(warm=_warm(cosmos)) as alone,
            MemoryClient(hot=HotMemory(proxy.url), warm=_warm(cosmos)) as client,
        ):
            await client.set_many(dict.fromkeys(keys, turn(0)))
            await _taken(client, keys[:5])
            base = percentile(await _taken(alone, keys), 0.99)
            proxy.blackhole(requests=True, answers=True)
            times = await _taken(client, keys)
            proxy.restore()
        slow = [seconds >= HOT_SECONDS / 2 for seconds in times]
        waited.append(slow.index(False) if False in slow else len(slow))
        warm_alone.append(base)
        through.append(percentile(times, 0.99))
        ratios.append(through[-1] / (HOT_SECONDS + base))
    result.facts += [
        Fact(BLACKHOLE, "p99 of a read without hot", rounded(statistics.median(warm_alone) * 1000), "ms"),
        Fact(BLACKHOLE, "p99 of a read", rounded(statistics.median(through) * 1000), "ms"),
        at_most(BLACKHOLE, "p99 of a read over the hot deadline and warm's p99", statistics.median(ratios), 1.1),
        at_most(BLACKHOLE, "calls that waited for hot before its breaker opened, at most", max(waited), 5),
    ]


async def _hedged(stack: contextlib.AsyncExitStack, cosmos: CosmosServer, result: Result, scale: Scale) -> None:
    """Two clients in turns, with containers of their own, whose reads are slowed by the same rule."""
    clients: dict[str, MemoryClient] = {}
    taps: dict[str, Tap] = {}
    keys = _keys(25, "hedged")
    for name, given in (("unhedged", Resilience()), ("hedged", Resilience(hedge=Hedging(share=0.05)))):
        tap = taps[name] = await stack.enter_async_context(Tap(cosmos.url, HttpRequests))
        warm = WarmMemory(tap.url, "bench", name, key=cosmos.key, create=True)
        client = clients[name] = await stack.enter_async_context(MemoryClient(warm=warm, resilience=given))
        await client.set_many(dict.fromkeys(keys, turn(0)))
        for _ in range(scale.of(4, 1)):  # it learns what is usual
            await _taken(client, keys)
        await tap.begin()
    for name in clients:
        cosmos.control.delay(SLOW_MS, kinds=("read",), container=name, probability=SLOW_SHARE, seed=SEED)
    times: dict[str, list[float]] = {name: [] for name in clients}
    for turn_of in range(scale.of(80, 2)):
        for name in sorted(clients, reverse=turn_of % 2 == 1):
            times[name] += await _taken(clients[name], keys)
    asked = {name: (await tap.end()).total for name, tap in taps.items()}
    cosmos.control.clear()
    p99 = {name: percentile(some, 0.99) for name, some in times.items()}
    more = asked["hedged"] / asked["unhedged"] - 1
    for name, some in times.items():
        points = [(at, rounded(percentile(some, at / 100) * 1000)) for at in PERCENTILES]
        result.series.append(Series("hedging", name, points))
        result.facts.append(Fact(HEDGED, f"p99 {name}", rounded(p99[name] * 1000), "ms"))
    result.facts += [
        Fact(HEDGED, "p50 hedged over unhedged", _ratio(times, 0.5)),
        at_most(HEDGED, "p99 hedged over unhedged", p99["hedged"] / p99["unhedged"], 0.5),
        at_most(HEDGED, "more calls, counted at the wire", more * 100, 5, "%"),
    ]


def _ratio(times: dict[str, list[float]], share: float) -> float:
    return rounded(percentile(times["hedged"], share) / percentile(times["unhedged"], share))


async def _back(server: RedisServer, cosmos: CosmosServer, result: Result, scale: Scale) -> None:
    """A writer whose hot is away writes over what hot holds; when hot is back with its old values another client reads, which knows nothing of that."""
    keys = _keys(scale.of(300, 20), "back")
    async with (
        ChaosProxy(server.url) as proxy,
        MemoryClient(hot=HotMemory(proxy.url), warm=_warm(cosmos)) as writer,
        MemoryClient(hot=HotMemory(server.url), warm=_warm(cosmos)) as other,
    ):
        await writer.set_many(dict.fromkeys(keys, 1))
        before = await writer.get_many(keys)
        assert len(before) == len(keys), before.errors
        proxy.refuse()
        proxy.cut()
        written = await writer.set_many(dict.fromkeys(keys, 2), timeout=60)
        assert not written.errors, next(iter(written.errors.values()))
        proxy.restore()
        began = time.perf_counter()
        settled = await writer.settled(timeout=2 * PERIOD)
        seconds = time.perf_counter() - began
        found = await other.get_many(keys)
        stale = sum(found.get(key) != 2 for key in keys)
    result.facts += [
        Fact(BACK, "keys written while it was away", len(keys)),
        Fact(BACK, "until hot was told of all" if settled else "hot was not told of all within", rounded(seconds), "s"),
        at_most(BACK, f"keys still stale within two recovery periods of {PERIOD:g} s", stale, 0),
    ]
