"""`forget` where one tier is all there is, and beside what moves records: a sweep, demotions, promotions."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.integration.rights.ground import BRIEF, PATIENT, Ground, key, payloads, stored

from thermocline import FolderMemory, Key, MemoryClient, ProcessMemory
from thermocline.client.receipt import Receipt
from thermocline.errors import Forgotten
from thermocline.testing.rig import Azurite, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory

LARGE = random.Random(7).randbytes(200_000)
CRAFTED = ["*", "%", "_", "?", "[a-z]*", "..", "a/b", "a.b", "A", "a", "tenant'--", "\\", "~", "größe", "x" * 300]


async def forget(memory: MemoryClient, **given: Any) -> Receipt:
    return await memory.forget(**{"by": "the data protection officer", "longest_write": BRIEF, **given})


@pytest.mark.parametrize("kind", ["blobs", "folder", "redis", "process"])
async def test_one_tier_is_all_there_is(
    kind: str,
    tmp_path: Path,
    redis_server: RedisServer,
    azurite: Azurite,
    unique_name: Callable[[str], str],
    tenant: str,
) -> None:
    process, container = ProcessMemory(), unique_name("alone")

    def tiers() -> dict[str, Any]:
        if kind == "blobs":
            return {"cold": ColdMemory(azurite.blob_url, container, credential=azurite.key, create=True)}
        if kind == "folder":
            return {"cold": FolderMemory(tmp_path / "cold")}
        return {"hot": HotMemory(redis_server.url) if kind == "redis" else process}

    async with AsyncExitStack() as stack:
        if kind == "process":
            await process.connect()
            stack.push_async_callback(process.close)
        memory, other = [await stack.enter_async_context(MemoryClient(**tiers(), budget=PATIENT)) for _ in range(2)]
        mine = [key(name, tenant=tenant) for name in ("name", "photo", "count", "n" * 3000)]
        near = [key("name", "user/421", tenant), key("name", tenant=tenant + "x")]
        for one in (*mine, *near):
            await memory.set(one, LARGE if one.name == "photo" else "Ada")
        await other.get_many([*mine, *near])
        generation, stop = [0], asyncio.Event()

        async def count() -> None:
            while not stop.is_set():
                await asyncio.sleep(0)
                with suppress(Forgotten):
                    await other.set(mine[2], generation[0])

        counting = asyncio.create_task(count())
        generation[0] = 1
        receipt = await forget(memory, scope="user/42", tenant=tenant)
        stop.set()
        await counting

        assert receipt.complete
        assert set(receipt.records) == {"cold" if kind in ("blobs", "folder") else "hot"}
        await forget(memory, scope="user/42", tenant=tenant)
        for client in (memory, other):
            assert dict(await client.get_many(mine)) == {}
            assert [await client.get(one) for one in near] == ["Ada", "Ada"]
        assert await stored(memory, tenant, "user/42") == []
        await other.set(mine[0], "Grace")
        assert await memory.get(mine[0]) == "Grace"


async def test_while_a_sweep_demotions_and_promotions_run(ground: Ground, tenant: str) -> None:
    """Nothing of before comes back, and what is written after the receipt is whole (P4, P7)."""
    memory, mover, sweeper = [await ground.client() for _ in range(3)]
    keys = [key(f"n{n}", tenant=tenant) for n in range(8)]
    near = key("name", "user/421", tenant)
    body = random.Random(3).randbytes(4000)
    await memory.set_many(dict.fromkeys([*keys, near], body))
    stop, moved = asyncio.Event(), asyncio.Event()
    problems: list[Exception] = []

    async def move() -> None:
        while not stop.is_set():
            down = await mover.demote(tenant=tenant, scope="user/42")
            if down.moved:
                moved.set()
            problems.extend(down.errors.values())
            up = await mover.promote(tenant=tenant, scope="user/42", into_hot=True)
            problems.extend(up.errors.values())
            await mover.prefetch(keys)
            await asyncio.sleep(0)

    async def sweep() -> None:
        while not stop.is_set():
            await sweeper.sweep(max_records_per_second=None)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        group.create_task(move())
        group.create_task(sweep())
        await moved.wait()
        receipt = await forget(memory, scope="user/42", tenant=tenant)
        for client in (memory, mover, sweeper):
            assert dict(await client.get_many(keys)) == {}
        await memory.set(keys[0], LARGE)
        for _ in range(20):
            assert await mover.get(keys[0]) == LARGE
        stop.set()

    assert receipt.records["warm"] >= len(keys)
    assert problems == []
    assert [item.key for item in await stored(memory, tenant, "user/42")] == [keys[0]]
    fresh = await ground.client()
    assert await fresh.get(keys[0]) == LARGE
    assert await fresh.get(near) == body
    young = [left for left in receipt.remains if "uploads" in left.what]
    assert len([path for path in await payloads(memory) if tenant in path]) <= 1 + (9 if young else 0) + 1


@pytest.mark.parametrize("whose", [0, 2, 8])
async def test_crafted_names_reach_nobody_else(ground: Ground, tenant: str, whose: int) -> None:
    """P9: patterns, separators, dots, case and length in a tenant's name mean nothing."""
    memory = await ground.client()
    tenants = [f"{tenant}{name}" for name in CRAFTED]
    for one in tenants:
        await memory.set(Key(one, "s", "n"), one)
        await memory.set(Key(one, "s", "only-hot:n"), one)
        await memory.set(Key(one, "s", "n"), one, tier="cold")

    await forget(memory, tenant=tenants[whose])

    for one in tenants:
        expected = None if one == tenants[whose] else one
        assert await memory.get(Key(one, "s", "n")) == expected
        assert await memory.get(Key(one, "s", "only-hot:n")) == expected
        assert await memory.get(Key(one, "s", "n"), tier="cold") == expected
        lines = [line async for line in memory.export(tenant=one)]
        assert (len(lines) > 2) is (expected is not None)
