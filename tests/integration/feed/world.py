"""What the feed's tests work with: clients, the feed as the official SDK gives it, the container itself, and the letters."""

from collections.abc import Mapping
from typing import Any

from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient
from tests.promises.world import DATABASE, World

from thermocline.clock import Deadline
from thermocline.keys import cosmos_id
from thermocline.letters import Letter, LetterFilter
from thermocline.model import Envelope, Key
from thermocline.protocols import Settle
from thermocline.testing.rig import Azurite, CosmosServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm.letters import CosmosLetters


def soon() -> Deadline:
    return Deadline.after(30)


class FeedWorld(World):
    """``name`` is the container's, the tenant's of its keys, and with ``-letters`` that of its dead letters."""

    def __init__(self, redis_url: str, cosmos: CosmosServer, azurite: Azurite, name: str) -> None:
        super().__init__(redis_url, cosmos, azurite, name)
        self._sdk: CosmosClient | None = None
        self._places: list[Any] = []

    @property
    def letters_container(self) -> str:
        return f"{self.name}-letters"

    async def letters(self) -> CosmosLetters:
        """A connected place for letters."""
        place = self.warm().letters(self.letters_container)
        self._places.append(place)
        await place.connect()
        return place

    async def all_letters(self) -> list[Letter]:
        """All that were set aside in this world."""
        return (await (await self.letters()).page(LetterFilter(), limit=1000, deadline=soon())).letters

    def container(self, name: str | None = None) -> ContainerProxy:
        """By the bare SDK."""
        if self._sdk is None:
            self._sdk = CosmosClient(self.cosmos.url, self.cosmos.key)
        return self._sdk.get_database_client(DATABASE).get_container_client(name or self.name)

    async def feed(self) -> list[dict[str, Any]]:
        """The change feed from its beginning, as the official SDK gives it: each item once, at its last change."""
        return [item async for item in self.container().query_items_change_feed(start_time="Beginning")]

    async def put_raw(self, item: Mapping[str, Any]) -> None:
        """Write an item behind the library's back."""
        await self.container().upsert_item(dict(item))

    async def in_hot(self, key: Key) -> Envelope | None:
        """What a plain GET of hot answers with."""
        async with HotMemory(self.redis_url) as hot:
            return await hot.peek(key, deadline=soon())

    async def state_in_hot(self, key: Key) -> str:
        """The entry's state in words."""
        async with HotMemory(self.redis_url) as hot:
            return await hot.state(key, deadline=soon())

    async def stale_in_hot(self, key: Key, old: Envelope) -> None:
        """Put an old version into hot as it is after a dead writer's: a value that hot still answers with."""
        async with HotMemory(self.redis_url) as hot:
            await hot.drop([key], deadline=soon())
            found = await hot.operate(_look(key), deadline=soon())
            assert found is not None
            await hot.operate(Settle(key, "reader", old.version, old), deadline=soon())
            assert (await hot.peek(key, deadline=soon())) is not None

    async def close(self) -> None:
        for place in self._places:
            await place.close()
        if self._sdk is not None:
            await self._sdk.close()
        await super().close()


def _look(key: Key) -> Any:
    from thermocline.protocols import Look

    return Look(key, "reader", 10_000)


def poison_of(key: Key, **instead: Any) -> dict[str, Any]:
    """An item of ours whose version is none."""
    item = {"id": cosmos_id(key), "tenant": key.tenant, "scope": key.scope, "n": key.name, "v": "broken", "r": {"z": 1}}
    return item | instead


async def written_behind_hot(world: FeedWorld, *keys: Key, value: str = "new") -> None:
    """Each key has "old" in hot and a new value in the authority, of which hot was not told: as a writer leaves it that is killed between the two."""
    author = await world.open()
    silent = await world.open(hot=None)
    for key in keys:
        await author.set(key, "old")
        await silent.set(key, value)
        assert await author.get(key) == "old"  # what is to be mended: hot answers, and is behind


def worker_settings(world: FeedWorld, **instead: str) -> dict[str, str]:
    """The settings of memory-worker over this world's servers; deadlines for slow machines."""
    cosmos = world.cosmos
    settings = {
        "COSMOS": f"AccountEndpoint={cosmos.url};AccountKey={cosmos.key};",
        "EVENTS": world.azurite.connection_string,
        "REDIS_URL": world.redis_url,
        "COSMOS_ACCOUNT_URI": cosmos.url,
        "COSMOS_KEY": cosmos.key,
        "COSMOS_DATABASE": DATABASE,
        "COSMOS_CONTAINER": world.name,
        "THERMOCLINE_LEASES_CONTAINER": f"{world.name}-leases",
        "THERMOCLINE_DEAD_LETTERS_CONTAINER": world.letters_container,
        "THERMOCLINE_SWEEP_SCHEDULE": "0 */10 * * * *",
        "THERMOCLINE_REPLAY_SCHEDULE": "0 */5 * * * *",
        "THERMOCLINE_VAULT_EVENTS_QUEUE": f"{world.name}-events",
    }
    deadlines = {f"THERMOCLINE_{tier}_DEADLINE_MS": "10000" for tier in ("HOT", "WARM", "COLD")}
    return settings | deadlines | instead


async def lease_container(world: FeedWorld) -> None:
    """Make it, as Bicep does: a worker makes no container."""
    world.container()  # the bare client
    await world.open()  # makes the memory's own container and database
    await world.letters()
    assert world._sdk is not None
    await world._sdk.get_database_client(DATABASE).create_container(
        f"{world.name}-leases", PartitionKey(path="/id", kind="Hash")
    )
