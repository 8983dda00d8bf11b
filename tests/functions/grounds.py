"""What the tests of the local Functions host stand on: the sample app, and its surroundings on the rig's servers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient, DatabaseProxy

from thermocline.testing.functions.appsettings import connection
from thermocline.testing.functions.queues import Queue
from thermocline.testing.rig import Azurite, CosmosServer

SAMPLE = Path(__file__).parent / "sample"


@dataclass(frozen=True)
class Ground:
    """A container with a feed, a lease container, a queue's name, and the settings of an app over them."""

    settings: dict[str, str]
    database: DatabaseProxy
    state: ContainerProxy
    log: Path

    def notes(self, what: str) -> list[dict[str, Any]]:
        """What the sample app noted."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [note for note in map(json.loads, lines) if note["what"] == what]

    def poison(self, times: int) -> None:
        """Let each batch fail that often."""
        self.log.with_suffix(".poison").write_text(str(times))

    def ids(self) -> list[str]:
        """The documents of all batches that the app took."""
        return [one for note in self.notes("changes") if not note["failing"] for one in note["ids"]]

    async def until(self, noted: Callable[[], bool]) -> None:
        """Wait until the app, in this process or another one, has noted something."""
        while not noted():  # noqa: ASYNC110 - the log is a file
            await asyncio.sleep(0.01)

    async def write(self, *numbers: int) -> None:
        """Write items, spread over tenants and so over ranges."""
        for number in numbers:
            await self.state.upsert_item({"id": str(number), "tenant": f"t{number % 16}", "scope": "s"})


def bare(tmp_path: Path, azurite: Azurite | None = None) -> dict[str, str]:
    """The sample's settings without Cosmos DB, so with its feed switched off."""
    queue = {"EVENTS": azurite.connection_string} if azurite is not None else {"AzureWebJobs.events.Disabled": "1"}
    return {
        "AzureWebJobs.changes.Disabled": "true",
        "SAMPLE_SCHEDULE": "0 */5 * * * *",
        "SAMPLE_QUEUE": "no-queue",
        "SAMPLE_LOG": str(tmp_path / "log"),
        **queue,
    }


@asynccontextmanager
async def grounds(
    cosmos: CosmosServer, azurite: Azurite, tmp_path: Path, unique_name: Callable[[str], str]
) -> AsyncIterator[Ground]:
    """A fresh database and queue name."""
    database = unique_name("functions")
    async with CosmosClient(cosmos.url, cosmos.key) as client:
        made = await client.create_database(database)
        state = await made.create_container("state", PartitionKey(path=["/tenant", "/scope"], kind="MultiHash"))
        await made.create_container("leases", PartitionKey(path="/id"))
        settings = {
            **bare(tmp_path, azurite),
            "AzureWebJobs.changes.Disabled": "false",
            "COSMOS": f"AccountEndpoint={cosmos.url};AccountKey={cosmos.key};",
            "COSMOS_DATABASE": database,
            "COSMOS_CONTAINER": "state",
            "SAMPLE_QUEUE": unique_name("events"),
        }
        yield Ground(settings, made, state, tmp_path / "log")
        await client.delete_database(database)


async def noted(log: Path, what: str) -> None:
    """Wait until the sample app has noted that, in whatever process it runs."""

    def there() -> bool:
        return log.exists() and f'"{what}"' in log.read_text()

    while not there():  # noqa: ASYNC110 - the log is a file
        await asyncio.sleep(0.01)


def queue_of(settings: dict[str, str], suffix: str = "") -> Queue:
    """The queue that the sample's trigger listens to."""
    return Queue(connection("queueTrigger", "EVENTS", settings, "test"), settings["SAMPLE_QUEUE"] + suffix)
