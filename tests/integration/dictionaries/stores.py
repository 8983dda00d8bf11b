"""Stores of every kind, and clients of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from tests.integration.dictionaries.messages import fleet

from thermocline import FolderMemory, Key, MemoryClient, ProcessMemory, Route, SqliteMemory, TableMemory
from thermocline.client.training import Dictionaries, Training
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Authority, Envelope
from thermocline.protocols import Notes
from thermocline.resilience import Budget
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

KINDS: Final = ("sqlite", "cosmos", "blobs", "redis", "table")
PATIENT: Final = Budget(
    call=timedelta(seconds=30),
    connect=timedelta(seconds=30),
    hot=timedelta(seconds=5),
    warm=timedelta(seconds=5),
    cold=timedelta(seconds=10),
)


def soon() -> Deadline:
    return Deadline.after(20)


class Store:
    """One set of stores; each ``client`` has tiers of its own."""

    def __init__(self, kind: str, tiers: Callable[[], dict[str, Any]], stack: AsyncExitStack) -> None:
        self.kind, self._tiers, self._stack = kind, tiers, stack

    async def client(self, dictionaries: str | None = None, *, without: str = "", **options: Any) -> MemoryClient:
        tiers = {name: tier for name, tier in self._tiers().items() if name != without}
        routes = (Route("", authority=Authority.WARM_PLUS),) if self.kind == "table" else ()
        given: dict[str, Any] = {
            "budget": PATIENT,
            "routes": routes,
            "codec": Codec(dictionaries=dictionaries),
            **options,
        }
        return await self._stack.enter_async_context(MemoryClient(**tiers, **given))

    async def trained(self, tenant: str, **options: Any) -> Training:
        """A tenant with records, and the dictionary that they make."""
        memory = await self.client()
        written = await memory.set_many(fleet(tenant), timeout=60)
        assert not written.errors
        found = await Dictionaries(memory).train(**{"tenant": tenant, "shared_by": 10, **options})
        assert found.stored, found.why
        return found


async def record(memory: MemoryClient, key: Key) -> Envelope:
    """As its authority holds it."""
    engine = memory._engine
    found = await engine.authority(engine.routes.route(key).authority).read(key, deadline=soon())
    assert found is not None
    return found


def notes(memory: MemoryClient) -> Notes:
    """Where the dictionaries of the default route's keys lie."""
    engine = memory._engine
    tier: object = engine.authority(engine.routes.route(Key("t", "s", "n")).authority)
    assert isinstance(tier, Notes)
    return tier


async def stores(
    kind: str, path: Path, name: str, redis: RedisServer | None, cosmos: CosmosServer | None, azurite: Azurite | None
) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        if kind == "sqlite":
            hot = ProcessMemory()  # one for all clients of a test, as Redis is one
            await hot.connect()
            stack.push_async_callback(hot.close)

            def tiers() -> dict[str, Any]:
                return {"hot": hot, "warm": SqliteMemory(path / "warm.sqlite3"), "cold": FolderMemory(path / "cold")}
        else:
            assert redis is not None
            assert cosmos is not None
            assert azurite is not None

            def tiers() -> dict[str, Any]:
                made: dict[str, Any] = {"hot": HotMemory(redis.url)}
                if kind == "cosmos":
                    made["warm"] = WarmMemory(cosmos.url, "dictionaries", name, key=cosmos.key, create=True)
                if kind in ("cosmos", "blobs"):
                    made["cold"] = ColdMemory(azurite.blob_url, name, credential=azurite.key, create=True)
                if kind == "table":
                    table = "t" + "".join(filter(str.isalnum, name))[-40:]
                    made["warm_plus"] = TableMemory(azurite.table_url, table, credential=azurite.key, create=True)
                return made

        yield Store(kind, tiers, stack)
