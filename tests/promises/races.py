"""A reader beside writers, thousands of times: through the client, and as a naive cache does it. Redis is real, the tier below it is a memory with latency."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import redis.asyncio
from tests.promises.world import roomy

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.model import Authority, Envelope, Hit, Key, MemoryTier
from thermocline.protocols import Write, Written
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.process import ProcessMemory

OLD, NEW, NEWER = "old", "new", "newer"
AT_ONCE = 40
LATENCY = 0.004  # seconds, each way, at most


class Slow(ProcessMemory):
    """An authority: each request takes a moment to arrive, and each answer a moment to come back."""

    tier = MemoryTier.WARM
    authority = Authority.WARM

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    async def _way(self) -> None:
        await asyncio.sleep(self._random.random() * LATENCY)

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        await self._way()
        found = await super().read(key, deadline=deadline)
        await self._way()
        return None if found is None else _as_warm(found)

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        await self._way()
        written = await super().write(write, deadline=deadline)
        await self._way()
        return written if written.envelope is None else replace(written, envelope=_as_warm(written.envelope))


def _as_warm(envelope: Envelope) -> Envelope:
    return envelope.stamped(version=envelope.version, authority=Authority.WARM)


@dataclass
class Tally:
    """``stale``: trials after which hot answered with what was not the authority's last word. ``from_hot``: how many answers came from hot."""

    trials: int = 0
    stale: int = 0
    from_hot: int = 0
    old_seen: int = 0  # trials in which the reader came before the writers: without these nothing was raced


@dataclass(frozen=True)
class Arms:
    """How one arm reads, writes and deletes; ``prepare`` leaves OLD below and nothing in hot, ``judge`` compares hot with the authority."""

    prepare: Callable[[str], Awaitable[None]]
    read: Callable[[str], Awaitable[object]]
    write: Callable[[str, int, str], Awaitable[object]]
    delete: Callable[[str], Awaitable[object]]
    judge: Callable[[str, Tally], Awaitable[None]]


async def race(
    arms: Arms, kind: str, trials: int, seed: int, *, until: Callable[[Tally], bool] = lambda _: True
) -> Tally:
    """``kind``: beside "one write", "two writes", or "a delete". On a busy machine readers and writers meet less often: the trials are made again, up to
    eight times in all, ``until`` they have met often enough."""
    tally, chance, gate = Tally(), random.Random(seed), asyncio.Semaphore(AT_ONCE)

    async def later(work: Callable[[], Awaitable[object]]) -> None:
        await asyncio.sleep(chance.random() * LATENCY * 2)
        await work()

    async def trial(number: int) -> None:
        name = f"{seed}-{number}"
        async with gate:
            await arms.prepare(name)
            changes: list[Callable[[], Awaitable[object]]] = [lambda: arms.write(name, 0, NEW)]
            if kind == "two writes":
                changes.append(lambda: arms.write(name, 1, NEWER))
            elif kind == "a delete":
                changes = [lambda: arms.delete(name)]
            found, *_ = await asyncio.gather(arms.read(name), *(later(change) for change in changes))
            tally.trials += 1
            tally.old_seen += found == OLD
            await arms.judge(name, tally)

    for again in range(8):
        await asyncio.gather(*(trial(number) for number in range(again * trials, (again + 1) * trials)))
        if until(tally):
            break
    return tally


@asynccontextmanager
async def ours(redis_url: str, tenant: str, seed: int) -> AsyncIterator[Arms]:
    """Four clients, each with its own connections to Redis, over one authority."""
    below = Slow(seed)

    def key(name: str) -> Key:
        return Key(tenant, "races", name)

    async with AsyncExitStack() as stack:
        clients = [MemoryClient(hot=HotMemory(redis_url), warm=below, budget=roomy()) for _ in range(4)]
        reader, first, second, observer = [await stack.enter_async_context(client) for client in clients]
        setup = await stack.enter_async_context(MemoryClient(warm=below, budget=roomy()))
        writers = (first, second)

        async def prepare(name: str) -> None:
            await setup.set(key(name), OLD)

        async def judge(name: str, tally: Tally) -> None:
            for _ in range(2):
                seen, truth = await observer.lookup(key(name)), await setup.lookup(key(name))
                tally.from_hot += isinstance(seen, Hit) and seen.tier is MemoryTier.HOT
                if getattr(seen, "value", None) != getattr(truth, "value", None) or type(seen) is not type(truth):
                    tally.stale += 1
                    return

        yield Arms(
            prepare,
            lambda name: reader.get(key(name)),
            lambda name, who, value: writers[who].set(key(name), value),
            lambda name: first.delete(key(name)),
            judge,
        )


@asynccontextmanager
async def naive(redis_url: str, tenant: str, seed: int) -> AsyncIterator[Arms]:
    """Look into hot, else ask below and fill; write below, then hot; delete below, then hot."""
    chance = random.Random(seed)
    below: dict[str, str] = {}

    async def way() -> None:
        await asyncio.sleep(chance.random() * LATENCY)

    async with redis.asyncio.from_url(redis_url, decode_responses=True, max_connections=AT_ONCE * 3) as hot:

        async def prepare(name: str) -> None:
            below[name] = OLD

        async def read(name: str) -> object:
            found = await hot.get(tenant + name)
            if found is None:
                await way()
                found = below.get(name)
                await way()
                if found is not None:
                    await hot.set(tenant + name, found)
            return found

        async def write(name: str, who: int, value: str) -> object:
            await way()
            below[name] = value
            await way()
            return await hot.set(tenant + name, value)

        async def delete(name: str) -> object:
            await way()
            below.pop(name)
            await way()
            return await hot.delete(tenant + name)

        async def judge(name: str, tally: Tally) -> None:
            found = await hot.get(tenant + name)
            tally.from_hot += found is not None
            tally.stale += found is not None and found != below.get(name)

        yield Arms(prepare, read, write, delete, judge)
