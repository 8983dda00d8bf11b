"""The near cache over a real Redis: what is told of changes, by what, and what happens when nobody tells."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from thermocline import HotMemory, MemoryClient, NearCache, SqliteMemory
from thermocline.client import Verdict
from thermocline.keys import redis_key
from thermocline.model import Hit, Key
from thermocline.resilience import Budget
from thermocline.testing import ManualClock
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot.invalidations import PATIENCE, PROBES, Listening, _Changed

SECOND = timedelta(seconds=1)
PATIENT = Budget(
    call=timedelta(minutes=1), hot=timedelta(seconds=10), warm=timedelta(seconds=15)
)  # a slow machine is no outage
Make = Callable[..., Awaitable[MemoryClient]]


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what the listening tells the client; a test that waits in vain fails."""
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Clients over one SQLite file and a Redis; with a near cache, that hears by the time that they are given."""
    async with AsyncExitStack() as stack:

        async def one(
            url: str, *, near: bool = False, hears: bool = True, alone: bool = False, **options: Any
        ) -> MemoryClient:
            if "clock" not in options:
                options["budget"] = PATIENT
            if near:
                options["near"] = NearCache(stale_at_most=SECOND)
            if not alone:
                options["warm"] = SqliteMemory(tmp_path / "warm.sqlite3")
            client = MemoryClient(hot=HotMemory(url, credential_provider=options.pop("sign_in", None)), **options)
            await stack.enter_async_context(client)
            if near and hears:
                await until(lambda: client.stats()["near"]["near_hears"])
            return client

        yield one


@pytest.fixture
def own_server() -> Any:
    with RedisServer() as server:
        yield server


async def remembered(client: MemoryClient, key: str, value: Any) -> None:
    """Read until the near cache answers; twice is enough, but for the word of the fill itself, which comes when it comes."""

    async def near() -> bool:
        assert await client.get(key) == value
        found = await client.lookup(key)
        assert isinstance(found, Hit)
        return "near cache" in found.bound

    async with asyncio.timeout(20):
        while True:
            if await near():
                return
            await asyncio.sleep(0.005)


async def remembered_and_all_heard(reader: MemoryClient, writer: MemoryClient, key: str, value: Any) -> None:
    """And no word of before is under way that could still take it out: they come in their order, and a later one has come."""
    await remembered(reader, key, value)
    await writer.set(key + "later", 1)
    await remembered(reader, key + "later", 1)
    await writer.set(key + "later", 2)
    await until(lambda: reader._near is not None and reader._near.find(key + "later") is None)
    await remembered(reader, key, value)


@pytest.fixture(params=["redis_server", "redis_cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    return server.url


@pytest.mark.parametrize("alone", [False, True], ids=["above an authority", "records of hot alone"])
async def test_a_change_by_another_client_is_told(url: str, alone: bool, make: Make, fresh_prefix: str) -> None:
    reader, writer = await make(url, near=True, alone=alone), await make(url, alone=alone)
    for number in range(20):
        key = f"{fresh_prefix}{number}"
        await writer.set(key, {"n": 0})
        await remembered(reader, key, {"n": 0})
    for number in range(20):
        await writer.set(f"{fresh_prefix}{number}", {"n": 1})
    for number in range(20):
        key = f"{fresh_prefix}{number}"
        await until(lambda key=key: reader._near is not None and reader._near.find(key) is None)  # type: ignore[misc]
        assert await reader.get(key) == {"n": 1}
    assert reader.stats()["near"]["near_invalidated"] >= 20
    assert reader.stats()["near"]["how"] == "tracking"


@pytest.mark.parametrize("alone", [False, True], ids=["above an authority", "records of hot alone"])
async def test_a_client_sees_its_own_writes_at_once(url: str, alone: bool, make: Make, fresh_prefix: str) -> None:
    client = await make(url, near=True, alone=alone)
    key = fresh_prefix + "own"
    busy = True

    async def read() -> None:
        while busy:
            await client.get(key)
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for number in range(150):
        await client.set(key, number)
        assert await client.get(key) == number
        if number % 10 == 0:
            await client.delete(key)
            assert await client.get(key, default="gone") == "gone"
    busy = False
    await asyncio.gather(*readers)
    await remembered(client, key, 149)


async def test_a_deleted_key_is_gone_from_it(redis_server: RedisServer, make: Make, fresh_prefix: str) -> None:
    reader, writer = await make(redis_server.url, near=True), await make(redis_server.url)
    await writer.set(fresh_prefix, "there")
    await remembered(reader, fresh_prefix, "there")
    await writer.delete(fresh_prefix)
    await until(lambda: reader._near is not None and reader._near.find(fresh_prefix) is None)
    assert await reader.get(fresh_prefix) is None


# --- by what it hears ------------------------------------------------------------------------------------------------


def restrict(server: RedisServer, *, events: str) -> str:
    """The URL of a user whom Redis refuses client tracking, where these keyspace events are sent."""
    with server.connection() as connection:
        connection.call("CONFIG", "SET", "notify-keyspace-events", events)
        connection.call("ACL", "SETUSER", "plain", "on", ">secret", "~*", "&*", "+@all", "-client|tracking")
    return server.url.replace("redis://", "redis://plain:secret@")


async def test_where_tracking_is_refused_notifications_serve(own_server: RedisServer, make: Make) -> None:
    reader = await make(restrict(own_server, events="Kg$"), near=True)
    writer = await make(own_server.url)
    assert reader.stats()["near"]["how"] == "keyspace notifications"
    await writer.set("a", 1)
    await remembered(reader, "a", 1)
    await writer.set("a", 2)
    await until(lambda: reader._near is not None and reader._near.find("a") is None)
    assert await reader.get("a") == 2


@pytest.mark.parametrize("events", ["", "K$", "Eg$"], ids=["none", "not of removals", "of another kind"])
async def test_where_nobody_tells_it_stays_empty_and_says_so(
    events: str, own_server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "thermocline.hot")
    reader = await make(restrict(own_server, events=events), near=True, hears=False)
    await until(lambda: reader._near is not None and reader._near.why)
    for number in range(3):
        await reader.set("a", number)
        assert await reader.get("a") == number
        assert await reader.get("a") == number
    figures, health = reader.stats()["near"], await reader.health()
    assert (figures["near_hears"], figures["near_entries"], figures["hits"]) == (0, 0, 0)
    assert health.verdict is Verdict.DEGRADED
    assert any("near cache stays empty" in reason for reason in health.reasons)
    told = [record for record in caplog.records if "near cache stays empty" in record.getMessage()]
    assert len(told) == 1
    assert "secret" not in told[0].getMessage()


# --- connections that break ------------------------------------------------------------------------------------------


def tracking_links(server: RedisServer) -> list[dict[str, str]]:
    """The fields of each connection that is told of changes."""
    with server.connection() as connection:
        listed = connection.call("CLIENT", "LIST")
    assert isinstance(listed, bytes)
    fields = [dict(word.partition("=")[::2] for word in line.split(" ")) for line in listed.decode().splitlines()]
    return [one for one in fields if "t" in one.get("flags", "")]


async def test_a_link_that_breaks_empties_it(own_server: RedisServer, make: Make) -> None:
    reader = await make(own_server.url, near=True)
    await reader.set("a", 1)
    await remembered(reader, "a", 1)
    before = reader.stats()["near"]["near_emptied"]
    with own_server.connection() as connection:
        connection.call("CLIENT", "KILL", "ID", tracking_links(own_server)[0]["id"])
    await until(lambda: reader.stats()["near"]["near_emptied"] > before)
    assert await reader.get("a") == 1
    await until(lambda: reader.stats()["near"]["near_hears"])
    await remembered(reader, "a", 1)


async def test_a_flushed_server_empties_it(own_server: RedisServer, make: Make) -> None:
    reader = await make(own_server.url, near=True)
    await reader.set("a", 1)
    await remembered(reader, "a", 1)
    with own_server.connection() as connection:
        connection.call("FLUSHALL")
    await until(lambda: len(reader._near or ()) == 0)
    assert await reader.get("a") == 1


async def test_a_restarted_server_empties_it(own_server: RedisServer, make: Make) -> None:
    reader, writer = await make(own_server.url, near=True), await make(own_server.url)
    await reader.set("a", 1)
    await remembered(reader, "a", 1)
    await asyncio.to_thread(own_server.restart, keep_data=False)
    await until(lambda: reader.stats()["near"]["near_emptied"])
    await writer.set("a", 2)
    await until(lambda: reader.stats()["near"]["near_hears"])
    await remembered(reader, "a", 2)


async def test_a_server_that_is_a_primary_no_more_empties_it(own_server: RedisServer, make: Make) -> None:
    reader = await make(own_server.url, near=True)
    await reader.set("a", 1)
    await remembered(reader, "a", 1)
    with RedisServer() as other, own_server.connection() as connection:
        connection.call("REPLICAOF", "127.0.0.1", str(other.port))
        await until(lambda: reader.stats()["near"]["near_emptied"])
        await until(lambda: not reader.stats()["near"]["near_hears"])
        connection.call("REPLICAOF", "NO", "ONE")


# --- who listens -----------------------------------------------------------------------------------------------------


class Logins:
    """One user after the other, as a password of a vault that is rotated."""

    def __init__(self) -> None:
        self.generation = 1

    @property
    def previous(self) -> tuple[str, ...] | None:
        return None

    async def current(self) -> tuple[str, ...]:
        return (f"user{self.generation}", "secret")

    async def renew(self, seen: int) -> bool:
        return False


async def test_links_sign_in_anew_where_logins_rotate(own_server: RedisServer, make: Make) -> None:
    with own_server.connection() as connection:
        for number in (1, 2):
            connection.call("ACL", "SETUSER", f"user{number}", "on", ">secret", "~*", "&*", "+@all")
    logins = Logins()
    reader = await make(own_server.url, near=True, sign_in=logins)
    assert {one["user"] for one in tracking_links(own_server)} == {"user1"}
    await reader.set("a", 1)
    await remembered(reader, "a", 1)
    logins.generation = 2
    await until(lambda: {one["user"] for one in tracking_links(own_server)} == {"user2"})
    assert reader.stats()["near"]["near_emptied"] == 0
    await reader.set("a", 2)
    await remembered(reader, "a", 2)


# --- the bound -------------------------------------------------------------------------------------------------------


async def test_beyond_the_bound_nothing_is_served_unheard(
    redis_server: RedisServer, make: Make, chaos_proxy: Callable[..., Awaitable[ChaosProxy]], fresh_prefix: str
) -> None:
    """The link goes silent, and its client does not know. By a clock that only the test moves."""
    proxy, clock = await chaos_proxy(redis_server.url), ManualClock()
    reader, writer = await make(proxy.url, near=True, clock=clock), await make(redis_server.url)
    await writer.set(fresh_prefix, "old")
    await remembered_and_all_heard(reader, writer, fresh_prefix, "old")
    proxy.blackhole(requests=True, answers=True)
    await writer.set(fresh_prefix, "new")

    clock.advance(0.99)
    found = await reader.lookup(fresh_prefix)
    assert isinstance(found, Hit)
    assert (found.value, "1 s" in found.bound) == ("old", True)

    clock.advance(0.01)
    found = await reader.lookup(fresh_prefix)
    assert isinstance(found, Hit)
    assert (found.value, "near cache" in found.bound) == ("new", False)
    assert await reader.get(fresh_prefix) == "new"


async def test_a_probe_lasts_for_longer_than_its_trial_may_take(own_server: RedisServer, make: Make) -> None:
    """The removal of what has ended by itself is told no more: a machine that looked away for a second had a server for one that does not tell."""
    reader = await make(own_server.url, near=True)
    listening = reader._near._listening  # type: ignore[union-attr]
    assert isinstance(listening, Listening)
    async with redis.asyncio.from_url(own_server.url) as client, client.monitor() as monitor:
        wire, how = await listening._begin("")
        await wire.close()
        words: list[str] = []
        while words[:1] != ["SET"]:
            words = (await monitor.next_command())["command"].split()
    assert (how, words[-2]) == ("tracking", "PX")
    assert int(words[-1]) > 1000 * PATIENCE * (PROBES + 2)


async def test_words_that_are_late_are_not_lost(
    redis_server: RedisServer, make: Make, chaos_proxy: Callable[..., Awaitable[ChaosProxy]], fresh_prefix: str
) -> None:
    proxy, clock = await chaos_proxy(redis_server.url), ManualClock()
    reader, writer = await make(proxy.url, near=True, clock=clock), await make(redis_server.url)
    await writer.set(fresh_prefix, "old")
    await remembered_and_all_heard(reader, writer, fresh_prefix, "old")
    proxy.hold(answers=True)
    await writer.set(fresh_prefix, "new")
    assert await reader.get(fresh_prefix) == "old"
    proxy.restore()
    await until(lambda: reader._near is not None and reader._near.find(fresh_prefix) is None)
    assert await reader.get(fresh_prefix) == "new"


# --- clusters --------------------------------------------------------------------------------------------------------


async def test_a_node_that_goes_empties_all_of_it(make: Make) -> None:
    """Until every primary is heard again, also those that never went."""
    with RedisCluster(replicas=1) as cluster:
        reader = await make(cluster.url, near=True)
        for number in range(12):
            await reader.set(f"k{number}", number)
            await remembered(reader, f"k{number}", number)
        master = cluster.nodes[0]
        await asyncio.to_thread(master.stop)
        await until(lambda: len(reader._near or ()) == 0)
        await asyncio.to_thread(cluster.wait_until_promoted, master)
        await until(lambda: reader.stats()["near"]["near_hears"])
        for number in range(12):
            await remembered(reader, f"k{number}", number)


async def test_a_slot_that_moves_empties_it(make: Make) -> None:
    with RedisCluster() as cluster:
        reader = await make(cluster.url, near=True)
        await reader.set("a", 1)
        await remembered(reader, "a", 1)
        slot = reader._engine.hot.client.keyslot(redis_key(Key.of("a")))  # type: ignore[union-attr]
        source = cluster.node_of(slot)
        target = next(node for node in cluster.nodes if node is not source)
        with source.connection() as here, target.connection() as there:
            ids = [connection.call("CLUSTER", "MYID") for connection in (here, there)]
            mine, other = (one.decode() for one in ids if isinstance(one, bytes))
            there.call("CLUSTER", "SETSLOT", slot, "IMPORTING", mine)
            here.call("CLUSTER", "SETSLOT", slot, "MIGRATING", other)
            here.call("MIGRATE", "127.0.0.1", target.port, redis_key(Key.of("a")).decode(), 0, 5000)
            there.call("CLUSTER", "SETSLOT", slot, "NODE", other)
            here.call("CLUSTER", "SETSLOT", slot, "NODE", other)
        await until(lambda: reader.stats()["near"]["near_emptied"] or reader.stats()["near"]["near_invalidated"])
        await until(lambda: reader.stats()["near"]["near_hears"])
        await remembered(reader, "a", 1)
        writer = await make(cluster.url)
        await writer.set("a", 2)
        await until(lambda: reader._near is not None and reader._near.find("a") is None)
        assert await reader.get("a") == 2


async def test_an_answer_from_where_a_slot_is_going_to_is_not_remembered(make: Make) -> None:
    """Who asks for it is sent on there, which the slots' map does not say: nobody may be listened to there yet."""
    with RedisCluster() as cluster:
        reader, writer = await make(cluster.url, near=True), await make(cluster.url)
        await reader.set("a", 1)
        await remembered(reader, "a", 1)
        near, name = reader._near, redis_key(Key.of("a"))
        assert near is not None
        slot = reader._engine.hot.client.keyslot(name)  # type: ignore[union-attr]
        source = cluster.node_of(slot)
        target = next(node for node in cluster.nodes if node is not source)
        with source.connection() as here, target.connection() as there:
            ids = [connection.call("CLUSTER", "MYID") for connection in (here, there)]
            mine, other = (one.decode() for one in ids if isinstance(one, bytes))
            there.call("CLUSTER", "SETSLOT", slot, "IMPORTING", mine)
            here.call("CLUSTER", "SETSLOT", slot, "MIGRATING", other)
            here.call("MIGRATE", "127.0.0.1", target.port, name.decode(), 0, 5000)
            await until(lambda: near.find("a") is None)
            for number in range(2, 8):
                await writer.set("a", number)
                hits = reader.stats()["hot"]["hits"]
                while reader.stats()["hot"]["hits"] < hits + 3:
                    assert await reader.get("a") == number
                    assert near.find("a") is None
            assert near._heard


async def test_a_server_that_has_lost_its_slots_is_given_up(make: Make, redis_cluster: RedisCluster) -> None:
    """While it is tried whether it tells of changes: no name lies there any more."""
    reader = await make(redis_cluster.url, near=True)
    listening = reader._near._listening  # type: ignore[union-attr]
    assert isinstance(listening, Listening)
    async with asyncio.timeout(5):
        with pytest.raises(_Changed):
            await listening._probe("127.0.0.1:1")
        assert await listening._probe(f"127.0.0.1:{redis_cluster.nodes[1].port}")
