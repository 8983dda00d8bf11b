"""What the warm tier's tests write and read, and the items that come of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from azure.cosmos.aio import ContainerProxy

from thermocline.clock import Deadline
from thermocline.keys import cosmos_id, cosmos_partition
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Write
from thermocline.testing.conformance.samples import new_key, put, soon
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory

DATABASE = "warm"
HOUR_MS = 3_600_000

Item = dict[str, Any]
OpenWarm = Callable[..., Awaitable[WarmMemory]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def keys_of(number: int) -> list[Key]:
    """Of one scope."""
    scope = new_key()
    return [Key(scope.tenant, scope.scope, f"n{place}") for place in range(number)]


async def took(tier: WarmMemory, write: Write, deadline: Deadline | None = None) -> int:
    written = await tier.write(write, deadline=soon() if deadline is None else deadline)
    assert written.effect is Effect.TOOK, written
    return written.version


async def stored(warm: WarmMemory, key: Key, value: object, **options: Any) -> Envelope:
    await took(warm, put(key, value, **options))
    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    return envelope


async def item_of(items: ContainerProxy, key: Key) -> Item:
    return dict(await items.read_item(cosmos_id(key), cosmos_partition(key)))


async def alter(items: ContainerProxy, key: Key, change: Callable[[Item], object]) -> None:
    """As somebody would who edits the item by hand."""
    item = await item_of(items, key)
    change(item)
    await items.replace_item(cosmos_id(key), item)


async def until_hit(control: CosmosControl, number: int, times: int = 1) -> None:
    """Wait until a fault has struck so often."""
    async with asyncio.timeout(20):
        while not any(rule["number"] == number and rule["hits"] >= times for rule in control.faults()):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.002)
