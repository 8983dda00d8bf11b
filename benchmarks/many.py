"""Many keys at once: one MGET and the same decoding without a client, beside `get_many`."""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks.hot import names, plain_redis
from benchmarks.measuring import measured
from benchmarks.payload import patient, turn
from benchmarks.results import Result
from benchmarks.rounds import Arm, Group
from benchmarks.scale import Scale
from thermocline.client import MemoryClient
from thermocline.codec import Codec
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.sqlite import SqliteMemory

_SIZES = ((50, 40), (1000, 4))  # keys, operations of a turn


async def many(scale: Scale) -> Result:
    return await measured("many", _groups(scale))


@contextlib.asynccontextmanager
async def _groups(scale: Scale) -> AsyncIterator[list[Group]]:
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        raw = await stack.enter_async_context(plain_redis(server.url))
        client = await stack.enter_async_context(
            MemoryClient(hot=HotMemory(server.url), warm=SqliteMemory(folder / "warm.sqlite3"), budget=patient())
        )
        done = await client.set_many({name: turn(at) for at, name in enumerate(names(_SIZES[-1][0]))})
        assert not done.errors, next(iter(done.errors.values()))
        yield [
            Group(f"{size:,} keys", _arms(client, raw, size), scale.operations(operations), scale.rounds)
            for size, operations in _SIZES
        ]


def _arms(client: MemoryClient, raw: Any, size: int) -> list[Arm]:
    wanted, codec = names(size), Codec()
    keys = [Key.of(name) for name in wanted]
    stored = [redis_key(key) for key in keys]

    async def without_client() -> list[Any]:
        found = await raw.mget(stored)
        return [codec.decode(codec.unpack(data, key)) for data, key in zip(found, keys, strict=True)]

    async def one_by_one() -> list[Any]:
        return [await client.get(name) for name in wanted]

    arms = [
        Arm("MGET and decoding, no client", without_client),
        Arm("MGET and decoding, again (control)", without_client),
        Arm(f"client.get_many({size})", lambda: client.get_many(wanted)),
    ]
    return [*arms, Arm(f"{size} x client.get", one_by_one)] if size == _SIZES[0][0] else arms
