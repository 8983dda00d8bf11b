"""The Cosmos server's control API, through the official SDK: faults, clock and expiry, lag, splits, counters."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.cosmos import PartitionKey
from azure.cosmos import exceptions as ex
from azure.cosmos.aio import ContainerProxy, CosmosClient

from thermocline.testing.cosmos.control import ControlError, CosmosControl
from thermocline.testing.cosmos.process import CosmosProcess

KEY = ["t", "s"]
UP = [{"op": "incr", "path": "/v", "value": 1}]


@pytest.fixture(scope="module")
def server() -> Iterator[CosmosProcess]:
    with CosmosProcess.start() as running:
        yield running


@pytest.fixture
def control(server: CosmosProcess) -> Iterator[CosmosControl]:
    yield server.control
    server.control.reset("faults", "clock", "counters", "data")


@pytest.fixture
async def box(server: CosmosProcess, control: CosmosControl) -> AsyncIterator[ContainerProxy]:
    async with CosmosClient(
        server.url, server.key, enable_endpoint_discovery=False, retry_total=0, retry_connect=0, retry_write=0
    ) as client:
        database = await client.create_database("faults-" + uuid.uuid4().hex[:8])
        yield await database.create_container("c", PartitionKey(["/tenant", "/scope"]), default_ttl=-1)


def record(item_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "tenant": "t", "scope": "s", **fields}


async def status_of(awaitable: Any) -> str:
    try:
        await awaitable
    except ex.CosmosHttpResponseError as e:
        return f"{e.status_code}/{e.sub_status or 0}"
    return "done"


async def ask(c: ContainerProxy, sql: str, key: Any = KEY, **more: Any) -> list[Any]:
    return [row async for row in c.query_items(sql, partition_key=key, **more)]


@pytest.mark.parametrize(
    ("status", "substatus"), [(449, 0), (410, 1002), (503, 0), (408, 0), (500, 0), (403, 3), (404, 1002), (418, 77)]
)
async def test_a_status_comes_once_and_changes_nothing(
    box: ContainerProxy, control: CosmosControl, status: int, substatus: int
) -> None:
    made = await box.create_item(record("k", v=1))
    control.fail(status, substatus, kinds=["patch"], count=1)
    assert await status_of(box.patch_item("k", KEY, UP)) == f"{status}/{substatus}"
    assert await box.read_item("k", KEY) == made
    assert (await box.patch_item("k", KEY, UP))["v"] == 2


async def test_throttling_tells_how_long_to_wait_and_the_sdk_comes_back(
    server: CosmosProcess, box: ContainerProxy, control: CosmosControl
) -> None:
    await box.create_item(record("k", v=1))
    control.throttle(retry_after_ms=7, kinds=["read"], count=3)
    assert (await box.read_item("k", KEY))["v"] == 1
    read = [r for r in control.stats().last if r["kind"] == "read"]
    assert [(r["status"], r["substatus"]) for r in read] == [(429, 3200)] * 3 + [(200, 0)]
    assert read[0]["faults"] != []
    assert read[3]["faults"] == []


async def test_a_dropped_request_had_no_effect_or_had_it(box: ContainerProxy, control: CosmosControl) -> None:
    await box.create_item(record("k", v=1))
    control.drop(kinds=["patch"], count=1)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        await box.patch_item("k", KEY, UP)
    assert (await box.read_item("k", KEY))["v"] == 1
    control.drop(kinds=["patch"], count=1, after=True)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        await box.patch_item("k", KEY, UP)
    assert (await box.read_item("k", KEY))["v"] == 2
    assert control.stats().statuses["dropped"] == 2


async def test_the_default_sdk_applies_a_dropped_increment_again(server: CosmosProcess, control: CosmosControl) -> None:
    async with CosmosClient(server.url, server.key) as client:
        database = await client.create_database("resent")
        c = await database.create_container("c", PartitionKey("/p"))
        await c.create_item({"id": "k", "p": "x", "v": 1})
        control.drop(kinds=["patch"], count=1, after=True)
        assert (await c.patch_item("k", "x", UP))["v"] == 3


async def test_an_error_after_the_effect(box: ContainerProxy, control: CosmosControl) -> None:
    await box.create_item(record("k", v=1))
    control.fail(408, kinds=["patch"], count=1, after=True)
    assert await status_of(box.patch_item("k", KEY, UP)) == "408/0"
    assert (await box.read_item("k", KEY))["v"] == 2


async def test_a_slow_answer_after_the_effect_lets_others_see_it(box: ContainerProxy, control: CosmosControl) -> None:
    await box.create_item(record("k", v=1))
    control.delay(60_000, kinds=["patch"], after=True, count=1)
    slow = asyncio.ensure_future(box.patch_item("k", KEY, UP))
    while (await box.read_item("k", KEY))["v"] == 1:
        assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert (await box.read_item("k", KEY))["v"] == 2


async def test_a_delay_before_holds_the_write_back(box: ContainerProxy, control: CosmosControl) -> None:
    await box.create_item(record("k", v=1))
    control.delay(30, kinds=["patch"], count=1)
    started = time.monotonic()
    assert (await box.patch_item("k", KEY, UP))["v"] == 2
    assert time.monotonic() - started >= 0.03
    assert control.faults()[0]["hits"] == 1


async def test_what_a_delay_holds_goes_on_when_it_is_released(box: ContainerProxy, control: CosmosControl) -> None:
    await box.create_item(record("k", v=1))
    first, second = (control.delay(60_000, kinds=["patch"], count=1, after=after) for after in (False, True))
    held = asyncio.ensure_future(box.patch_item("k", KEY, UP))
    while not control.faults()[0]["hits"]:
        await box.read_item("k", KEY)
    assert control.release(first)
    while (await box.read_item("k", KEY))["v"] == 1:
        assert not held.done()
    assert control.release(second)
    assert (await held)["v"] == 2
    assert not control.release(second)
    assert control.faults() == []


async def test_a_fault_hits_only_what_it_names(box: ContainerProxy, control: CosmosControl) -> None:
    control.fail(503, kinds=["writes"], item="sick")
    control.fail(500, kinds=["all"], container="another")
    assert await status_of(box.create_item(record("well"))) == "done"
    assert await status_of(box.create_item(record("sick"))) == "503/0"
    batch: list[Any] = [("create", (record("a"),)), ("create", (record("sick"),))]
    assert await status_of(box.execute_item_batch(batch, KEY)) == "503/0"
    assert await status_of(box.read_item("sick", KEY)) == "404/0"
    assert await status_of(box.read_item("well", KEY)) == "done"


async def test_chance_is_decided_by_the_seed(box: ContainerProxy, control: CosmosControl) -> None:
    await box.create_item(record("k", v=1))

    async def outcomes(seed: int) -> list[str]:
        number = control.fail(503, kinds=["read"], probability=0.5, seed=seed)
        found = [await status_of(box.read_item("k", KEY)) for _ in range(24)]
        assert control.clear(number) == 1
        return found

    first = await outcomes(7)
    assert set(first) == {"done", "503/0"}
    assert await outcomes(7) == first
    assert await outcomes(8) != first


async def test_skip_lets_the_first_ones_through(box: ContainerProxy, control: CosmosControl) -> None:
    control.fail(503, kinds=["create"], skip=2, count=1)
    assert [await status_of(box.create_item(record(f"i{n}"))) for n in range(4)] == ["done", "done", "503/0", "done"]


@pytest.mark.parametrize(("how", "read", "write"), [("unavailable", "503/0", "503/0"), ("read_only", "done", "403/3")])
async def test_a_lost_region(box: ContainerProxy, control: CosmosControl, how: str, read: str, write: str) -> None:
    await box.create_item(record("k", v=1))
    number = control.lose_region(how)
    assert await status_of(box.read_item("k", KEY)) == read
    assert await status_of(box.patch_item("k", KEY, UP)) == write
    control.clear(number)
    assert (await box.patch_item("k", KEY, UP))["v"] == 2


async def test_a_silent_region(box: ContainerProxy, control: CosmosControl) -> None:
    control.lose_region("silent")
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        await box.create_item(record("k"))
    control.clear()
    assert await status_of(box.read_item("k", KEY)) == "404/0"


@pytest.mark.parametrize(
    "bad",
    [{"action": "explode"}, {"action": "drop", "kinds": ["nothing"]}, {"action": "drop", "colour": "red"}],
)
def test_a_fault_that_makes_no_sense_is_refused(control: CosmosControl, bad: dict[str, Any]) -> None:
    with pytest.raises(ControlError):
        control.inject(**bad)
    assert control.faults() == []


# ---- a replica that is behind


async def test_a_lagging_replica_refuses_who_has_seen_more(box: ContainerProxy, control: CosmosControl) -> None:
    await box.create_item(record("k", v=1))
    done = await box.patch_item("k", KEY, UP)
    control.lag(lsns=1)
    session = box.client_connection.last_response_headers["x-ms-session-token"]
    assert done["v"] == 2
    assert await status_of(box.read_item("k", KEY, session_token=session)) == "404/1002"
    with pytest.raises(ex.CosmosHttpResponseError) as refused:
        await ask(box, "SELECT * FROM c", session_token=session)
    assert (refused.value.status_code, refused.value.sub_status) == (404, 1002)


async def test_a_lagging_replica_shows_others_an_older_state(
    server: CosmosProcess, box: ContainerProxy, control: CosmosControl
) -> None:
    await box.create_item(record("old", v=1))
    await box.create_item(record("gone"))
    await box.patch_item("old", KEY, UP)
    await box.delete_item("gone", KEY)
    await box.create_item(record("new"))
    control.lag(lsns=3, kinds=["reads"])
    async with CosmosClient(server.url, server.key, enable_endpoint_discovery=False, retry_total=0) as other:
        c = other.get_database_client(box.container_link.split("/")[1]).get_container_client("c")
        assert (await c.read_item("old", KEY))["v"] == 1
        assert (await c.read_item("gone", KEY))["id"] == "gone"
        assert await status_of(c.read_item("new", KEY)) == "404/0"
        assert await ask(c, "SELECT VALUE c.id FROM c") == ["old", "gone"]
        assert [i["id"] async for i in c.query_items_change_feed(start_time="Beginning")] == ["old", "gone"]
        control.clear()
        assert await ask(c, "SELECT VALUE c.id FROM c ORDER BY c.id") == ["new", "old"]
        assert (await c.read_item("old", KEY))["v"] == 2


async def test_a_lag_in_time(server: CosmosProcess, box: ContainerProxy, control: CosmosControl) -> None:
    control.freeze()
    await box.create_item(record("k", v=1))
    control.advance(10)
    await box.patch_item("k", KEY, UP)
    control.lag(milliseconds=5_000)
    async with CosmosClient(server.url, server.key, enable_endpoint_discovery=False, retry_total=0) as other:
        c = other.get_database_client(box.container_link.split("/")[1]).get_container_client("c")
        assert (await c.read_item("k", KEY))["v"] == 1
        control.advance(6)
        assert (await c.read_item("k", KEY))["v"] == 2


# ---- the clock and expiry


async def test_an_item_ends_ttl_seconds_after_its_last_write(box: ContainerProxy, control: CosmosControl) -> None:
    now = control.freeze()
    made = await box.create_item(record("k", v=1, ttl=10))
    assert made["_ts"] == int(now)
    control.advance(9)
    assert await ask(box, "SELECT VALUE c.id FROM c") == ["k"]
    done = await box.patch_item("k", KEY, UP)  # any write counts anew
    assert done["_ts"] == int(now + 9)
    control.advance(9)
    assert (await box.read_item("k", KEY))["v"] == 2
    control.advance(1)
    assert await status_of(box.read_item("k", KEY)) == "404/0"
    assert await status_of(box.patch_item("k", KEY, UP)) == "404/0"
    assert await status_of(box.replace_item("k", record("k"))) == "404/0"
    assert await status_of(box.delete_item("k", KEY)) == "404/0"
    assert await ask(box, "SELECT VALUE c.id FROM c") == []
    assert [i async for i in box.query_items_change_feed(start_time="Beginning")] == []
    again = await box.create_item(record("k"))
    assert again["_rid"] != made["_rid"]


async def test_the_table_of_default_ttl_and_ttl(
    server: CosmosProcess, box: ContainerProxy, control: CosmosControl
) -> None:
    control.freeze()
    async with CosmosClient(server.url, server.key, enable_endpoint_discovery=False) as client:
        database = await client.create_database("ttl")
        left: dict[Any, list[str]] = {}
        for default in (None, -1, 5):
            c = await database.create_container(f"c{default}", PartitionKey("/p"), default_ttl=default)
            await c.create_item({"id": "plain", "p": "x"})
            await c.create_item({"id": "three", "p": "x", "ttl": 3})
            await c.create_item({"id": "ten", "p": "x", "ttl": 10})
            await c.create_item({"id": "never", "p": "x", "ttl": -1})
        control.advance(6)
        for default in (None, -1, 5):
            left[default] = await ask(database.get_container_client(f"c{default}"), "SELECT VALUE c.id FROM c", "x")
    assert left == {
        None: ["plain", "three", "ten", "never"],
        -1: ["plain", "ten", "never"],
        5: ["ten", "never"],
    }


async def test_another_default_ttl_counts_for_what_is_there(server: CosmosProcess, control: CosmosControl) -> None:
    control.freeze()
    async with CosmosClient(server.url, server.key, enable_endpoint_discovery=False) as client:
        database = await client.create_database("ttl2")
        c = await database.create_container("c", PartitionKey("/p"))
        await c.create_item({"id": "a", "p": "x"})
        control.advance(60)
        await database.replace_container(c, PartitionKey("/p"), default_ttl=30)
        assert await ask(c, "SELECT VALUE c.id FROM c", "x") == []
        await database.replace_container(c, PartitionKey("/p"), default_ttl=-1)
        assert await ask(c, "SELECT VALUE c.id FROM c", "x") == []  # there is no undelete


async def test_the_servers_time_moves_with_its_clock(box: ContainerProxy, control: CosmosControl) -> None:
    now = control.freeze()
    control.advance(3600)
    await box.create_item(record("k"))
    assert await ask(box, "SELECT VALUE GetCurrentTimestamp() FROM c") == [int((now + 3600) * 1000)]
    assert control.resume() == pytest.approx(now + 3600, abs=5)


# ---- splits


async def test_a_split_goes_unnoticed_by_readers_and_writers(server: CosmosProcess, control: CosmosControl) -> None:
    async with CosmosClient(server.url, server.key) as client:
        database = await client.create_database("split")
        c = await database.create_container("c", PartitionKey("/p"))
        for n in range(16):
            await c.create_item({"id": str(n), "p": f"p{n}", "v": n})
        assert await ask(c, "SELECT VALUE c.v FROM c ORDER BY c.v", None) == list(range(16))
        states = []
        async for part in c.read_feed_ranges():
            assert len([i async for i in c.query_items_change_feed(start_time="Beginning", feed_range=part)]) == 16
            states.append(c.client_connection.last_response_headers["etag"])
        assert control.split("split", "c", "0") == ["1", "2"]
        assert await ask(c, "SELECT VALUE c.v FROM c ORDER BY c.v", None) == list(range(16))
        for n in range(16):
            assert (await c.read_item(str(n), f"p{n}"))["v"] == n
        await c.create_item({"id": "16", "p": "p16", "v": 16})
        assert await ask(c, "SELECT VALUE c.v FROM c ORDER BY c.v", None) == list(range(17))
        assert [i["id"] async for i in c.query_items_change_feed(continuation=states[0])] == ["16"]
        assert len([r async for r in c.read_feed_ranges(force_refresh=True)]) == 2


async def test_a_range_that_was_split_is_gone_and_the_sdk_looks_for_its_children(
    box: ContainerProxy, control: CosmosControl
) -> None:
    for n in range(12):
        await box.create_item({"id": str(n), "tenant": "t", "scope": f"s{n}"})
    assert len(await ask(box, "SELECT VALUE c.id FROM c", ["t"])) == 12
    control.split(box.container_link.split("/")[1], "c", "0")
    control.reset()
    assert len(await ask(box, "SELECT VALUE c.id FROM c", ["t"])) == 12
    assert control.stats().statuses["410/1002"] == 1


async def test_stats_count_requests_and_charges(box: ContainerProxy, control: CosmosControl) -> None:
    control.reset()
    await box.create_item(record("k"))
    await box.read_item("k", KEY)
    await status_of(box.read_item("none", KEY))
    stats = control.stats(last=1)
    assert stats.kinds["create"] == 1
    assert stats.kinds["read"] == 2
    assert stats.statuses["404/0"] == 1
    assert stats.charge > 6
    assert [r["path"].rsplit("/", 1)[1] for r in stats.last] == ["none"]
    control.reset()
    assert control.stats().requests == 0


async def test_control_calls_can_run_beside_the_loop(control: CosmosControl) -> None:
    number = await control.beside(control.fail, 503, kinds=["read"], count=2)
    assert await control.beside(control.clear, number) == 1
