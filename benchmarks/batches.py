"""A batch of 1,000 keys beside the same calls made one by one, all at once: `asyncio.gather` of `get`, `set` or `delete`."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring import measured
from benchmarks.payload import turn
from benchmarks.report import ONE_BY_ONE
from benchmarks.results import Result
from benchmarks.rounds import Arm, Group
from benchmarks.scale import Scale
from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.model import Key
from thermocline.protocols import Entries
from thermocline.resilience import Budget
from thermocline.testing.rig import CosmosServer, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.warm import WarmMemory

KEYS = 1000
ROUNDS = 7
_SPAN = timedelta(minutes=2)
_WHOLE = Budget(
    call=_SPAN, hot=_SPAN, warm=_SPAN, cold=_SPAN
)  # deadlines that ten of these calls at once do not reach either

One = Callable[[Key], Awaitable[object]]
Many = Callable[[Sequence[Key]], Awaitable[object]]


def keys(scope: str) -> list[Key]:
    return [Key("bench", scope, f"turn/{number}") for number in range(KEYS)]


def _pair(title: str, name: str, mine: Sequence[Key], one: One, many: Many, before: Many) -> Group:
    async def by_one() -> None:
        await asyncio.gather(*map(one, mine))

    def prepare() -> Awaitable[object]:
        return before(mine)

    arms = [Arm(name, lambda: many(mine), before=prepare), Arm(f"{ONE_BY_ONE} ({name})", by_one, before=prepare)]
    return Group(title, arms, 1, ROUNDS)


def _groups(where: str, client: MemoryClient, *, writes: bool = True) -> list[Group]:
    mine = keys(where.replace(" ", "-"))

    async def get_many(some: Sequence[Key]) -> None:
        found = await client.get_many(some)
        assert len(found) == KEYS, found.errors

    async def set_many(some: Sequence[Key]) -> None:
        done = await client.set_many(dict.fromkeys(some, turn(0)))
        assert not done.errors, next(iter(done.errors.values()))

    async def delete_many(some: Sequence[Key]) -> None:
        done = await client.delete_many(some)
        assert not done.errors, next(iter(done.errors.values()))

    groups = [_pair(f"{where}: 1,000 gets", "get_many", mine, client.get, get_many, set_many)]
    if writes:
        groups += [
            _pair(
                f"{where}: 1,000 sets",
                "set_many",
                mine,
                lambda key: client.set(key, turn(0)),
                set_many,
                delete_many,
            ),
            _pair(f"{where}: 1,000 deletes", "delete_many", mine, client.delete, delete_many, set_many),
        ]
    return groups


def _prefetching(where: str, client: MemoryClient, hot: Entries) -> Group:
    """From the authority into hot; one by one by `get`, which fills hot as well. Hot has none of them before each turn."""
    mine = keys(f"prefetch-{where.replace(' ', '-')}")
    written: list[bool] = []

    async def before(some: Sequence[Key]) -> None:
        if not written:
            assert not (await client.set_many(dict.fromkeys(some, turn(0)))).errors
            written.append(True)
        await hot.drop(some, deadline=Deadline.after(60))

    async def prefetch(some: Sequence[Key]) -> None:
        done = await client.prefetch(some)
        assert len(done.promoted) == KEYS, done.errors

    return _pair(f"{where}: 1,000 keys into hot", "prefetch", mine, client.get, prefetch, before)


async def batches(scale: Scale) -> Result:
    """Seven rounds: one turn of an arm has a thousand calls already."""
    return await measured("batches", _limited(scale))


@contextlib.asynccontextmanager
async def _limited(scale: Scale) -> AsyncIterator[list[Group]]:
    async with batch_groups() as groups:
        for group in groups:
            group.rounds = min(ROUNDS, scale.rounds)
        yield scale.of(groups, groups[:1])


@contextlib.asynccontextmanager
async def batch_groups() -> AsyncIterator[list[Group]]:
    """The embedded tiers, Redis above SQLite (hits), Redis alone, and Cosmos DB."""
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        cosmos = stack.enter_context(CosmosServer(kind="strict"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        async def client(**tiers: Any) -> MemoryClient:
            return await stack.enter_async_context(MemoryClient(**tiers, budget=_WHOLE))

        embedded = await client(hot=ProcessMemory(), warm=SqliteMemory(folder / "embedded.sqlite3"))
        below = await client(warm=SqliteMemory(folder / "below.sqlite3"))
        above_hot, both_hot = HotMemory(server.url), HotMemory(server.url)
        above = await client(hot=above_hot, warm=SqliteMemory(folder / "above.sqlite3"))
        alone = await client(hot=HotMemory(server.url))
        both = await client(hot=both_hot, warm=WarmMemory(cosmos.url, "bench", "state", key=cosmos.key, create=True))
        warm = await client(warm=WarmMemory(cosmos.url, "bench", "state", key=cosmos.key, create=True))
        made = [
            *_groups("embedded", embedded),
            *_groups("SQLite", below),
            *_groups("Redis hit", above, writes=False),
            *_groups("Redis alone", alone),
            *_groups("Cosmos DB", warm),
            _prefetching("Redis above SQLite", above, above_hot),
            _prefetching("Redis above Cosmos DB", both, both_hot),
        ]
        yield made
