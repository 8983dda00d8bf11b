"""The worlds that people's rights are tested in: the embedded tiers, and the services."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from thermocline import FolderMemory, MemoryClient, MemoryRules, ProcessMemory, Route, SqliteMemory
from thermocline.clock import Deadline
from thermocline.keys import PAYLOAD_ROOT
from thermocline.model import Flags, Key
from thermocline.protocols import Inventory, Stored
from thermocline.resilience import Budget
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

BRIEF = timedelta(seconds=1)  # the longest write of these tests' clients
PATIENT = Budget(  # a slow machine is no outage
    call=timedelta(seconds=30),
    connect=timedelta(seconds=30),
    hot=timedelta(seconds=5),
    warm=timedelta(seconds=5),
    cold=timedelta(seconds=10),
)
ROUTES = (Route("only-hot:", rules=MemoryRules(write_through=False, hot_ttl_seconds=None)),)


def soon() -> Deadline:
    return Deadline.after(20)


class Ground:
    """Makes clients on one set of stores. ``client()`` opens a further one."""

    def __init__(self, tiers: Callable[[], dict[str, Any]], stack: AsyncExitStack) -> None:
        self._tiers, self._stack = tiers, stack

    async def client(self, **options: Any) -> MemoryClient:
        given = {
            "routes": ROUTES,
            "budget": PATIENT,
        }
        return await self._stack.enter_async_context(MemoryClient(**self._tiers(), **{**given, **options}))


async def grounds(
    kind: str, path: Path, name: str, redis: RedisServer, cosmos: CosmosServer, azurite: Azurite
) -> AsyncIterator[Ground]:
    hot = ProcessMemory()  # one process memory for all clients of a test, as Redis is one

    def embedded() -> dict[str, Any]:
        return {"hot": hot, "warm": SqliteMemory(path / "warm.sqlite3"), "cold": FolderMemory(path / "cold")}

    def services() -> dict[str, Any]:
        return {
            "hot": HotMemory(redis.url),
            "warm": WarmMemory(cosmos.url, "rights", name, key=cosmos.key, create=True),
            "cold": ColdMemory(azurite.blob_url, name, credential=azurite.key, create=True),
        }

    async with AsyncExitStack() as stack:
        if kind == "embedded":
            await hot.connect()
            stack.push_async_callback(hot.close)
        yield Ground(embedded if kind == "embedded" else services, stack)


async def stored(client: MemoryClient, tenant: str, scope: str | None) -> list[Stored]:
    """What the authorities hold that is no tombstone."""
    found: list[Stored] = []
    for tier in client._engine.authorities.values():
        cursor: str | None = None
        while True:
            census: Any = tier
            page: Inventory = await census.census(tenant=tenant, scope=scope, limit=100, cursor=cursor, deadline=soon())
            found += [item for item in page.items if not item.header.flags & Flags.TOMBSTONE]
            cursor = page.cursor
            if cursor is None:
                break
    return found


async def payloads(client: MemoryClient) -> list[str]:
    cold: Any = client._engine.cold
    found: Sequence[Any]
    found, cursor = await cold.list_payloads(PAYLOAD_ROOT, limit=1000, cursor=None, deadline=soon())
    assert cursor is None
    return [one.path for one in found]


def key(name: str, scope: str = "user/42", tenant: str = "acme") -> Key:
    return Key(tenant, scope, name)
