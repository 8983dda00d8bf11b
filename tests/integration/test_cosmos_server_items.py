"""Items on the Cosmos server, through the official SDK: point operations, patches, batches, partitions.

They run on any endpoint: on `THERMOCLINE_TEST_COSMOS_URL` and `_KEY` if these are set (Microsoft's emulator), else on our server.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.cosmos import PartitionKey
from azure.cosmos import exceptions as ex
from azure.cosmos.aio import ContainerProxy, CosmosClient, DatabaseProxy

from thermocline.testing.cosmos.process import CosmosProcess

KEY = ["acme", "user/42"]
ours = pytest.mark.skipif("THERMOCLINE_TEST_COSMOS_URL" in os.environ, reason="our server is stricter here on purpose")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[str, str]]:
    url = os.environ.get("THERMOCLINE_TEST_COSMOS_URL")
    if url:
        yield url, os.environ["THERMOCLINE_TEST_COSMOS_KEY"]
        return
    with CosmosProcess.start() as server:
        yield server.url, server.key


@pytest.fixture
async def database(endpoint: tuple[str, str]) -> AsyncIterator[DatabaseProxy]:
    name = "items-" + uuid.uuid4().hex[:8]
    async with CosmosClient(*endpoint, enable_endpoint_discovery=False, retry_total=0) as client:
        database = await client.create_database(name)
        try:
            yield database
        finally:
            await client.delete_database(name)


@pytest.fixture
async def box(database: DatabaseProxy) -> ContainerProxy:
    return await database.create_container("c", PartitionKey(["/tenant", "/scope"]), default_ttl=-1)


def record(item_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "tenant": KEY[0], "scope": KEY[1], **fields}


def ring(prefix: str) -> list[str]:
    return [f"{prefix}{i}" for i in range(8)]


def write_of(write_id: str, value: Any) -> list[dict[str, Any]]:
    """The five operations by which the warm tier writes a known key."""
    return [
        {"op": "set", "path": "/r", "value": value},
        {"op": "set", "path": "/ttl", "value": 90_000},
        {"op": "incr", "path": "/v", "value": 1},
        {"op": "add", "path": "/w/0", "value": write_id},
        {"op": "remove", "path": "/w/8"},
    ]


async def status_of(awaitable: Any) -> int:
    try:
        await awaitable
    except ex.CosmosHttpResponseError as e:
        return e.status_code or -1
    return 0


async def test_the_warm_write_sets_the_record_and_shifts_the_ring(box: ContainerProxy) -> None:
    made = await box.create_item(record("k", r={"old": 1}, v=100, w=ring("a"), b="a0", ttl=60))
    done = await box.patch_item(
        "k",
        KEY,
        write_of("new", {"native": [1, None, "ü"]}),
        filter_predicate='FROM c WHERE c.v <= 108 AND NOT ARRAY_CONTAINS(c.w, "new")',
    )
    assert done["v"] == 101
    assert done["r"] == {"native": [1, None, "ü"]}
    assert done["w"] == ["new", *ring("a")[:7]]
    assert done["ttl"] == 90_000
    assert done["b"] == "a0"
    assert done["_etag"] != made["_etag"]
    assert done["_rid"] == made["_rid"]
    assert await box.read_item("k", KEY) == done


@pytest.mark.parametrize(
    "predicate",
    [
        'FROM c WHERE c.v <= 99 AND NOT ARRAY_CONTAINS(c.w, "new")',
        'FROM c WHERE c.v <= 108 AND NOT ARRAY_CONTAINS(c.w, "a3")',
        "FROM c WHERE c.missing <= 108",
        "FROM c WHERE c.v <= '108'",
        "FROM c WHERE NOT (c.missing = 1)",
        "FROM c WHERE c.v = 100 AND c.at > GetCurrentTimestamp()",
    ],
)
async def test_a_predicate_that_is_not_true_refuses_the_whole_patch(box: ContainerProxy, predicate: str) -> None:
    made = await box.create_item(record("k", r=0, v=100, w=ring("a"), at=1000))
    assert await status_of(box.patch_item("k", KEY, write_of("new", 1), filter_predicate=predicate)) == 412
    assert await box.read_item("k", KEY) == made


async def test_a_predicate_can_ask_for_the_servers_time(box: ContainerProxy) -> None:
    await box.create_item(record("k", at=1000))
    done = await box.patch_item(
        "k",
        KEY,
        [{"op": "set", "path": "/x", "value": 1}],
        filter_predicate="FROM c WHERE c.at < GetCurrentTimestamp() - 1000",
    )
    assert done["x"] == 1


async def test_a_patch_of_nothing_is_404_with_and_without_a_predicate(box: ContainerProxy) -> None:
    assert await status_of(box.patch_item("k", KEY, write_of("n", 1))) == 404
    assert await status_of(box.patch_item("k", KEY, write_of("n", 1), filter_predicate="FROM c WHERE c.v <= 8")) == 404


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "remove", "path": "/w/8"}],
        [{"op": "add", "path": "/w/9", "value": 1}],
        [{"op": "add", "path": "/w/01", "value": 1}],
        pytest.param([{"op": "incr", "path": "/w/0", "value": 1}], marks=ours),
        [{"op": "incr", "path": "/r", "value": 1}],
        [{"op": "incr", "path": "/v", "value": "1"}],
        [{"op": "set", "path": "/ttl", "value": 0}],
        [{"op": "set", "path": "/ttl", "value": 1.5}],
        pytest.param([{"op": "set", "path": "/id", "value": "other"}], marks=ours),
        [{"op": "set", "path": "/tenant", "value": "acme"}],
        [{"op": "set", "path": "/_etag", "value": "x"}],
        [{"op": "set", "path": "r", "value": 1}],
        [{"op": "set", "path": "/r"}],
        [{"op": "move", "path": "/r/deeper", "from": "/r"}],
        [{"op": "move", "path": "/x", "from": "/missing"}],
        [],
    ],
)
async def test_a_patch_that_azure_refuses_changes_nothing(
    box: ContainerProxy, operations: list[dict[str, Any]]
) -> None:
    made = await box.create_item(record("k", r={"deeper": 1}, v=1, w=ring("a"), ttl=60))
    first = {"op": "set", "path": "/touched", "value": True}
    assert await status_of(box.patch_item("k", KEY, [first, *operations] if operations else [])) == 400
    assert await box.read_item("k", KEY) == made


@ours
async def test_integers_beyond_two_to_53_are_refused(box: ContainerProxy) -> None:
    assert await status_of(box.create_item(record("k", v=2**53 + 1))) == 400
    await box.create_item(record("k", v=2**53 - 1))
    up = [{"op": "incr", "path": "/v", "value": 1}]
    assert (await box.patch_item("k", KEY, up))["v"] == 2**53
    assert await status_of(box.patch_item("k", KEY, up)) == 400


async def test_a_replace_may_change_the_id_and_frees_the_old_one(box: ContainerProxy) -> None:
    made = await box.create_item(record("old"))
    await box.create_item(record("taken"))
    assert await status_of(box.replace_item("old", record("taken"))) == 409
    moved = await box.replace_item("old", record("new"))
    assert moved["_rid"] == made["_rid"]
    assert await status_of(box.read_item("old", KEY)) == 404
    assert (await box.read_item("new", KEY))["id"] == "new"


async def test_two_readers_of_one_etag_cannot_both_write(box: ContainerProxy) -> None:
    made = await box.create_item(record("k", v=1))
    condition: dict[str, Any] = {"etag": made["_etag"], "match_condition": MatchConditions.IfNotModified}
    assert (await box.replace_item("k", record("k", v=2), **condition))["v"] == 2
    assert await status_of(box.replace_item("k", record("k", v=3), **condition)) == 412
    assert (await box.read_item("k", KEY))["v"] == 2


async def test_a_batch_with_a_stale_etag_applies_nothing(box: ContainerProxy) -> None:
    a = await box.create_item(record("a", v=1))
    b = await box.create_item(record("b", v=1))
    up = [{"op": "incr", "path": "/v", "value": 1}]
    await box.patch_item("b", KEY, up)
    operations: list[Any] = [
        ("patch", ("a", up), {"if_match_etag": a["_etag"]}),
        ("create", (record("c"),)),
        ("patch", ("b", up), {"if_match_etag": b["_etag"]}),
    ]
    with pytest.raises(ex.CosmosBatchOperationError) as failed:
        await box.execute_item_batch(operations, KEY)
    assert failed.value.error_index == 2
    assert [r["statusCode"] for r in failed.value.operation_responses] == [424, 424, 412]
    assert await box.read_item("a", KEY) == a
    assert await status_of(box.read_item("c", KEY)) == 404


async def test_operations_of_a_batch_see_the_ones_before(box: ContainerProxy) -> None:
    up = [{"op": "incr", "path": "/v", "value": 1}]
    operations: list[Any] = [
        ("create", (record("a", v=1),)),
        ("patch", ("a", up), {"filter_predicate": "FROM c WHERE c.v = 1"}),
        ("delete", ("a",)),
        ("create", (record("a", v=7),)),
        ("read", ("a",)),
    ]
    results = await box.execute_item_batch(operations, KEY)
    assert [r["statusCode"] for r in results] == [201, 200, 204, 201, 200]
    assert results[-1]["resourceBody"]["v"] == 7
    assert (await box.read_item("a", KEY))["v"] == 7


@ours
@pytest.mark.parametrize("name", ["a/b", "a\\b", "a?b", "a#b", "tab\t", "", "trailing ", "x" * 1024])
async def test_ids_that_cannot_be_addressed_are_refused(box: ContainerProxy, name: str) -> None:
    body: list[Any] = [("create", (record(name),))]  # a batch: the SDK checks ids of single writes itself
    with pytest.raises(ex.CosmosBatchOperationError) as failed:
        await box.execute_item_batch(body, KEY)
    assert failed.value.status_code == 400


@pytest.mark.parametrize("name", ["a b", "ü鱀😀", "special,=.:~+-@()^${}[]!_", "x" * 1023])
async def test_ids_that_azure_takes_come_back(box: ContainerProxy, name: str) -> None:
    await box.create_item(record(name, v=1))
    assert (await box.read_item(name, KEY))["id"] == name
    await box.delete_item(name, KEY)
    assert await status_of(box.read_item(name, KEY)) == 404


async def test_keys_of_different_types_are_different_partitions(database: DatabaseProxy) -> None:
    c = await database.create_container("typed", PartitionKey("/p"))
    for key in (1, "1", True, None):
        await c.create_item({"id": "x", "p": key, "kind": repr(key)})
    for key in (1, "1", True):  # a query's None means all partitions
        found: list[Any] = [i async for i in c.query_items("SELECT VALUE c.kind FROM c", partition_key=key)]
        assert found == [repr(key)]
    assert (await c.read_item("x", 1.0))["kind"] == "1"
    assert (await c.read_item("x", None))["kind"] == "None"


async def test_a_key_in_the_body_must_be_the_key_of_the_request(box: ContainerProxy) -> None:
    operations: list[Any] = [("create", ({"id": "x", "tenant": KEY[0], "scope": "another"},))]
    assert await status_of(box.execute_item_batch(operations, KEY)) == 400
    assert await status_of(box.read_item("x", KEY)) == 404


async def test_unique_keys_hold_within_a_partition(database: DatabaseProxy) -> None:
    policy: dict[str, Any] = {"uniqueKeys": [{"paths": ["/mail"]}]}
    c = await database.create_container("unique", PartitionKey("/p"), unique_key_policy=policy)
    await c.create_item({"id": "a", "p": "1", "mail": "x@y"})
    await c.create_item({"id": "a", "p": "2", "mail": "x@y"})
    assert await status_of(c.create_item({"id": "b", "p": "1", "mail": "x@y"})) == 409
    await c.create_item({"id": "b", "p": "1", "mail": "z@y"})
    assert await status_of(c.patch_item("b", "1", [{"op": "set", "path": "/mail", "value": "x@y"}])) == 409


async def test_a_container_made_anew_is_found_again_by_an_old_client(
    endpoint: tuple[str, str], database: DatabaseProxy
) -> None:
    await database.create_container("again", PartitionKey("/p"))
    async with CosmosClient(*endpoint, enable_endpoint_discovery=False, retry_total=0) as other:
        old = other.get_database_client(database.id).get_container_client("again")
        await old.create_item({"id": "x", "p": "1"})
        await database.delete_container("again")
        await database.create_container("again", PartitionKey("/p"))
        assert await status_of(old.read_item("x", "1")) == 404  # its stale rid was answered 400/1024 and looked up anew
        await old.create_item({"id": "x", "p": "1"})


async def test_a_full_key_and_a_prefix_are_told_apart(box: ContainerProxy) -> None:
    await box.create_item(record("k"))
    assert await status_of(box.read_item("k", ["acme"])) == 400
    assert await status_of(box.delete_item("k", ["acme"])) == 400
    assert await status_of(box.read_item("k", [*KEY, "third"])) == 400


@pytest.mark.parametrize(
    "bad",
    [
        {"partition_key": PartitionKey(["/a", "/b", "/c", "/d"])},
        {"partition_key": PartitionKey("/p"), "default_ttl": 0},
        {"partition_key": PartitionKey("/p"), "default_ttl": -2},
        {"partition_key": PartitionKey("/p"), "indexing_policy": {"includedPaths": [{"path": "/a"}]}},
    ],
)
async def test_containers_that_azure_refuses(database: DatabaseProxy, bad: dict[str, Any]) -> None:
    assert await status_of(database.create_container("bad", **bad)) == 400
