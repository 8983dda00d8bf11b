"""The warm and the cold tier, each alone and below hot, beside the Azure SDKs' own calls, on servers of this machine."""

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import obstore
import redis.asyncio as redis
from azure.cosmos.aio import ContainerProxy, CosmosClient
from azure.storage.blob.aio import ContainerClient
from obstore.store import AzureStore

from benchmarks.drawing import in_turn
from benchmarks.hot import plain_redis
from benchmarks.measuring import measure, measured
from benchmarks.payload import packed, patient, turn
from benchmarks.report import FILL, THROUGH_WRITE, WARM_READ, WARM_WRITE
from benchmarks.results import Result
from benchmarks.rounds import Arm, Group, Operation
from benchmarks.scale import Scale
from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.keys import cosmos_id, cosmos_partition, redis_key
from thermocline.model import Key
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

CALLS = 25  # of a turn, each with a key of its own
MEGABYTE = 1_000_000
READ_ITEM, UPSERT = "azure-cosmos read_item", "azure-cosmos upsert_item"
DOWNLOAD = "download_blob + readall"
_AGAIN = ", again (control)"


def _keys(scope: str) -> list[Key]:
    return [Key("bench", scope, f"turn/{number}") for number in range(CALLS)]


async def warm(scale: Scale) -> Result:
    """Reads and writes of Cosmos DB by a client of the warm tier alone, and by one that has hot above it."""
    return await measured("warm", _warm_groups(scale))


@contextlib.asynccontextmanager
async def _warm_groups(scale: Scale) -> AsyncIterator[list[Group]]:
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(CosmosServer(kind="strict"))
        redis_server = stack.enter_context(RedisServer())

        def tier() -> WarmMemory:
            return WarmMemory(server.url, "bench", "state", key=server.key, create=True)

        alone = await stack.enter_async_context(MemoryClient(warm=tier(), budget=patient()))
        both = await stack.enter_async_context(
            MemoryClient(hot=HotMemory(redis_server.url), warm=tier(), budget=patient())
        )
        mine, through = _keys("session/9f"), _keys("session/through")
        for client, keys in ((alone, mine), (both, through)):
            for at, key in enumerate(keys):
                await client.set(key, turn(at))
        raw = await stack.enter_async_context(plain_redis(redis_server.url))
        sdk = await stack.enter_async_context(CosmosClient(server.url, server.key))
        container = sdk.get_database_client("bench").get_container_client("state")
        for at in range(CALLS):
            await container.upsert_item(_document(at))
        operations, rounds = scale.operations(CALLS), 2 * scale.rounds
        yield [
            Group("warm read", _reads(container, alone, mine), operations, rounds),
            Group("warm write", _writes(container, alone, mine), operations, rounds),
            Group("warm read through hot", _fills(container, raw, both, through), operations, rounds),
            Group("warm write through hot", _through(container, raw, both, through), operations, rounds),
        ]


def _document(number: int) -> dict[str, Any]:
    """What somebody without this library would store: the value, and where it lies."""
    return {"id": f"plain/{number}".replace("/", "-"), "tenant": "plain", "scope": "plain", "value": turn(number)}


def _reads(container: ContainerProxy, client: MemoryClient, keys: Sequence[Key]) -> list[Arm]:
    """The raw call reads the very items that the client reads, and those that hold the value and nothing else."""
    at = in_turn([(cosmos_id(key), cosmos_partition(key)) for key in keys])
    plain, key = in_turn([_document(number)["id"] for number in range(CALLS)]), in_turn(keys)

    async def raw() -> object:
        name, partition = at()
        return await container.read_item(name, partition_key=partition)

    return [
        Arm(READ_ITEM, raw),
        Arm(READ_ITEM + _AGAIN, raw),
        Arm(WARM_READ, lambda: client.get(key())),
        Arm("read_item of the bare value", lambda: container.read_item(plain(), partition_key=["plain", "plain"])),
    ]


def _writes(container: ContainerProxy, client: MemoryClient, keys: Sequence[Key]) -> list[Arm]:
    """The raw upsert overwrites whatever is there; the raw patch sends a condition and five operations, as the client's write does."""
    key, document, value = in_turn(keys), in_turn([_document(number) for number in range(CALLS)]), turn(1)
    patched = in_turn([_document(number)["id"] for number in range(CALLS)])
    operations: list[dict[str, Any]] = [
        {"op": "set", "path": "/r", "value": {"value": value}},
        {"op": "set", "path": "/ttl", "value": 86_400},
        {"op": "incr", "path": "/v", "value": 1},
        {"op": "set", "path": "/w", "value": ["a-write-of-somebody"]},
        {"op": "set", "path": "/b", "value": "a-write-of-somebody"},
    ]

    def patch() -> Any:
        return container.patch_item(
            patched(),
            ["plain", "plain"],
            operations,
            filter_predicate='FROM c WHERE c.scope = "plain"',
        )

    def upsert() -> Any:
        return container.upsert_item(document())

    return [
        Arm(UPSERT, upsert),
        Arm(UPSERT + _AGAIN, upsert),
        Arm(WARM_WRITE, lambda: client.set(key(), value)),
        Arm("azure-cosmos patch_item, five operations", patch),
    ]


def _fills(container: ContainerProxy, raw: "redis.Redis", client: MemoryClient, keys: Sequence[Key]) -> list[Arm]:
    """Hot has none of the keys at the beginning of a turn."""
    names = [redis_key(key) for key in keys]
    at = in_turn([(cosmos_id(key), cosmos_partition(key)) for key in keys])
    mine, theirs, data = in_turn(keys), in_turn(range(CALLS)), packed(0)

    async def by_hand() -> object:
        number = theirs()
        name, partition = at()
        await raw.get(f"raw/{number}")
        await raw.set(f"lease/{number}", b"token", nx=True, px=1000)
        found = await container.read_item(name, partition_key=partition)
        await raw.set(f"raw/{number}", data)
        return found

    async def emptied() -> None:
        await raw.delete(*names, *(f"{kind}/{number}" for kind in ("raw", "lease") for number in range(CALLS)))

    name = f"{READ_ITEM} + 3 hot commands"
    return [
        Arm(name, by_hand, before=emptied),
        Arm(name + _AGAIN, by_hand, before=emptied),
        Arm(FILL, lambda: client.get(mine()), before=emptied),
    ]


def _through(container: ContainerProxy, raw: "redis.Redis", client: MemoryClient, keys: Sequence[Key]) -> list[Arm]:
    key, value, data = in_turn(keys), turn(1), packed(1)
    document = in_turn([_document(number) for number in range(CALLS)])

    async def by_hand() -> object:
        mine = document()
        await raw.get(mine["id"])
        await raw.delete(mine["id"])
        written = await container.upsert_item(mine)
        await raw.set(mine["id"], data)
        return written

    name = f"{UPSERT} + 3 hot commands"
    return [Arm(name, by_hand), Arm(name + _AGAIN, by_hand), Arm(THROUGH_WRITE, lambda: client.set(key(), value))]


async def cold(scale: Scale) -> Result:
    """Blob Storage: a turn of a conversation, and a value of 1 MB that no compressor shrinks; by the SDK and by obstore."""
    result = Result("cold")
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(Azurite())
        container = await stack.enter_async_context(
            ContainerClient.from_connection_string(server.connection_string, "bench")
        )
        tiers = {"": _cold_tier(server), ", obstore": _cold_tier(server, transfer="obstore")}
        clients = {
            f"client.get, cold alone{words}": await stack.enter_async_context(MemoryClient(cold=tier, budget=patient()))
            for words, tier in tiers.items()
        }
        groups = [await _downloads(container, clients, title, value, scale) for title, value in _COLD]
        groups[-1].arms = [*groups[-1].arms, *await _payloads(server, tiers)]
        await measure(groups, result)
    return result


_LARGE = random.Random(7).randbytes(MEGABYTE)
_COLD: list[tuple[str, Any]] = [("cold read, a turn of 0.5 kB", turn(0)), ("cold read, 1 MB", _LARGE)]


def _cold_tier(server: Azurite, transfer: Literal["sdk", "obstore"] = "sdk") -> ColdMemory:
    return ColdMemory.from_connection_string(server.connection_string, "bench", create=True, transfer=transfer)


async def _payloads(server: Azurite, tiers: dict[str, ColdMemory]) -> list[Arm]:
    """The same bytes as a payload, which is what cold holds below an authority: by the tier's own call, and by obstore alone as the floor."""
    key, deadline = Key("bench", "session/9f", "payload"), Deadline.after(3600)
    pointer = await tiers[""].put_payload(key, _LARGE, deadline=deadline)

    def read(tier: ColdMemory) -> Operation:
        return lambda: tier.get_payload(key, pointer, deadline=deadline)

    arms = [Arm(f"cold.get_payload{words}", read(tier)) for words, tier in tiers.items()]
    store = AzureStore(
        "bench",
        account_name=server.account,
        account_key=server.key,
        endpoint=server.blob_url,
        client_options={"allow_http": True},
    )

    async def bare() -> bytes:
        return bytes(await obstore.get_range_async(store, pointer.path, start=0, end=MEGABYTE))

    return [*arms, Arm("obstore get_range, nothing else (floor)", bare)]


async def _downloads(
    container: ContainerClient, clients: dict[str, MemoryClient], title: str, value: Any, scale: Scale
) -> Group:
    """The raw call reads a blob that holds the value and nothing else."""
    key = Key("bench", "session/9f", title)
    await next(iter(clients.values())).set(key, value)
    name = title.replace(" ", "-")
    await container.upload_blob(name, value if isinstance(value, bytes) else packed(0), overwrite=True)
    blob = container.get_blob_client(name)

    async def download() -> bytes:
        return await (await blob.download_blob()).readall()

    def get(client: MemoryClient) -> Operation:
        return lambda: client.get(key)

    arms = [Arm(DOWNLOAD, download), Arm(DOWNLOAD + _AGAIN, download)]
    arms += [Arm(arm, get(client)) for arm, client in clients.items()]
    return Group(title, arms, scale.operations(CALLS), 2 * scale.rounds)
