"""memory-worker as it is deployed, on the local Functions host: its change feed, its timers, its queue, its health."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.feed.world import (
    FeedWorld,
    lease_container,
    poison_of,
    soon,
    worker_settings,
    written_behind_hot,
)
from tests.promises.world import DATABASE

from thermocline.functions.worker import WORKER
from thermocline.letters import Cause, Letter, outline
from thermocline.model import Key
from thermocline.protocols import Inventory
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.functions import FunctionsHost, FunctionsProcess, InvocationFailed
from thermocline.testing.functions.surroundings import signed
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.pytest_plugin import MakeProxy
from thermocline.testing.rig import RedisServer
from thermocline.tiers.warm import WarmMemory

APP = Path(__file__).parents[3] / "apps" / "memory-worker"
AT_ONCE = timedelta(milliseconds=1)

Running = Callable[..., FunctionsHost]


@pytest.fixture
async def running(world: FeedWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Running:
    """Makes a host of the app over this world, with other settings ``instead``."""
    await lease_container(world)
    monkeypatch.chdir(tmp_path)  # no .env of this checkout
    monkeypatch.setattr(WORKER, "_pause", lambda _: asyncio.sleep(0))

    def host(**instead: str) -> FunctionsHost:
        return FunctionsHost(APP, worker_settings(world, **instead), retry_delay=AT_ONCE)

    return host


async def health(url: str) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/api/health")
    return answer.status_code, answer.json()


async def test_the_feed_is_settled_and_goes_on_over_poison(world: FeedWorld, running: Running) -> None:
    keys = [world.key(f"k{n}", scope=f"s{n % 4}") for n in range(12)]
    await written_behind_hot(world, *keys)
    async with running() as host:
        assert (await health(host.url))[0] == 200
        await world.put_raw(poison_of(world.key("poison", scope="s1")))
        first = await host.feed_until_idle()
        more = [world.key(f"m{n}", scope=f"s{n % 4}") for n in range(4)]
        await written_behind_hot(world, *more)
        second = await host.feed_until_idle()
        feed = (await health(host.url))[1]["feed"]

    assert (feed["feed_settled"], feed["feed_set_aside"]) == (16, 1)
    assert 0 <= feed["feed_lag"] < 60
    assert first.documents == 13
    assert second.documents == 4
    assert (first.failures, second.failures) == (0, 0)
    reader = await world.open()
    assert await reader.get_many([*keys, *more]) == dict.fromkeys([*keys, *more], "new")
    assert [letter.cause for letter in await world.all_letters()] == [Cause.CORRUPT]


async def test_fed_twice_and_out_of_order_the_function_changes_nothing(world: FeedWorld, running: Running) -> None:
    keys = [world.key(f"k{n}") for n in range(6)]
    await written_behind_hot(world, *keys, value="middle")
    history = await world.feed()
    await written_behind_hot(world, *keys)
    history += await world.feed()
    documents = [*history, *history]
    random.Random(3).shuffle(documents)
    author = await world.open()
    async with running() as host:
        await host.feed("settle_changes", documents)
        assert await author.get_many(keys) == dict.fromkeys(keys, "new")  # and hot has it again
        before = {key: await world.in_hot(key) for key in keys}
        await host.feed("settle_changes", documents[::-1])

    assert {key: await world.in_hot(key) for key in keys} == before
    assert None not in before.values()
    assert await world.all_letters() == []


async def test_hot_goes_and_comes_back_and_nothing_is_lost_or_set_aside(
    world: FeedWorld, running: Running, chaos_proxy: MakeProxy, redis_server: RedisServer
) -> None:
    keys = [world.key(f"k{n}") for n in range(5)]
    await written_behind_hot(world, *keys)
    proxy: ChaosProxy = await chaos_proxy(redis_server.url)
    async with running(REDIS_URL=proxy.url, THERMOCLINE_FEED_ATTEMPTS="2") as host:
        await health(host.url)
        proxy.refuse()
        proxy.cut()
        pump = asyncio.create_task(host.feed_until_idle())
        await refused(host)
        assert not pump.done()
        proxy.restore()
        report = await pump

    assert report.failures > 0
    assert report.skipped == 0
    assert await (await world.open()).get_many(keys) == dict.fromkeys(keys, "new")
    assert await world.all_letters() == []


async def refused(host: FunctionsHost) -> None:
    """Wait until a batch was refused at least once, and comes again."""
    while not any(feed.report.failures for feed in host._feeds.values()):  # noqa: ASYNC110 - a report tells of no event
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("variable", ["REDIS_URL", "COSMOS_ACCOUNT_URI"])
async def test_a_worker_that_lacks_a_tier_reads_nothing_off_the_feed(
    world: FeedWorld, running: Running, variable: str
) -> None:
    """Its trigger has settings of its own: without a refusal it would mark as read what hot was never told of."""
    keys = [world.key(f"k{n}") for n in range(3)]
    await written_behind_hot(world, *keys)
    where = (keys[0].tenant, keys[0].scope)
    letter = Letter("a" * 40, Cause.UNAVAILABLE, "away", keys[0], where, 1, 5, 1000, {})
    await (await world.letters()).put(letter, deadline=soon())

    await world.open(cold=True)  # makes the container
    lacking = {"BLOB_ACCOUNT_URL": signed(world.azurite), "BLOB_CONTAINER": world.name, variable: ""}
    async with running(**lacking, **({"COSMOS_KEY": ""} if "COSMOS" in variable else {})) as host:
        pump = asyncio.create_task(host.feed_until_idle())
        refusal = asyncio.create_task(refused(host))
        await asyncio.wait((pump, refusal), return_when=asyncio.FIRST_COMPLETED)
        assert not pump.done(), "the feed was read by a worker that cannot tell anybody"
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        for timer in ("replay_dead_letters", "sweep"):
            with pytest.raises(InvocationFailed, match="this memory has no"):
                await host.fire(timer)
    assert len(await world.all_letters()) == 1
    async with running() as host:
        assert (await host.feed_until_idle()).documents == 3
        await host.fire("replay_dead_letters")

    assert await (await world.open()).get_many(keys) == dict.fromkeys(keys, "new")
    assert await world.all_letters() == []


async def test_two_workers_on_one_lease_container_settle_everything(
    world: FeedWorld, running: Running, control: CosmosControl
) -> None:
    settings = worker_settings(world)
    await control.beside(control.split, DATABASE, world.name)  # one range each
    keys = [Key(f"{world.name}-{n % 20}", "scope", f"k{n}") for n in range(40)]
    with FunctionsProcess(APP, settings, retry_delay=AT_ONCE) as one, FunctionsProcess(APP, settings) as other:
        await written_behind_hot(world, *keys[:20])
        for worker in (one, other, one):  # the first takes both ranges, and gives one up
            await worker.feed_until_idle()
        await written_behind_hot(world, *keys[20:])
        await world.put_raw(poison_of(world.key("poison")))
        reports = await asyncio.gather(one.feed_until_idle(), other.feed_until_idle())
        await written_behind_hot(world, *keys[:3], value="newer")
        one.stop()  # gives its leases back
        await other.feed_until_idle(all_ranges=True)

    assert sum(report["documents"] for report in reports) == 21
    assert min(report["documents"] for report in reports) > 0, "only one of them worked"
    expected = dict.fromkeys(keys, "new") | dict.fromkeys(keys[:3], "newer")
    assert await (await world.open()).get_many(keys) == expected
    assert len(await world.all_letters()) == 1


async def test_letters_of_an_outage_are_replayed_by_the_timer(world: FeedWorld, running: Running) -> None:
    key = world.key()
    await written_behind_hot(world, key)
    (item,) = await world.feed()
    where = (key.tenant, key.scope)
    letter = Letter("a" * 40, Cause.UNAVAILABLE, "away", key, where, item["v"], 5, 1000, outline(item))
    await (await world.letters()).put(letter, deadline=soon())
    async with running() as host:
        await host.fire("replay_dead_letters")

    assert await world.all_letters() == []
    assert await (await world.open()).get(key) == "new"


async def test_the_sweep_goes_in_slices_that_resume(
    world: FeedWorld, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "thermocline.functions")
    author = await world.open()
    await author.set_many({world.key(f"k{n}", scope=f"s{n % 5}"): n for n in range(1500)})
    async with running(THERMOCLINE_SWEEP_REQUEST_UNITS="100") as host:
        for _ in range(10):
            await host.fire("sweep")
            if "the pass is complete" in caplog.text:
                break
    slices = [record.getMessage() for record in caplog.records if record.getMessage().startswith("swept")]

    assert len(slices) >= 2
    assert all("it goes on at" in one for one in slices[:-1])
    assert slices[-1].startswith("swept 1500 records")
    assert slices[-1].endswith("the pass is complete")


async def test_a_sweep_that_is_under_way_elsewhere_is_no_failure(
    world: FeedWorld, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "thermocline.functions")
    begun = asyncio.Event()

    async with running() as host, running_sweep(world, begun):
        await begun.wait()
        await host.fire("sweep")

    assert "another process is sweeping" in caplog.text


@asynccontextmanager
async def running_sweep(world: FeedWorld, begun: asyncio.Event) -> AsyncIterator[None]:
    """Another client's, which is held up in the middle of its pass."""
    go_on = asyncio.Event()

    class Held(WarmMemory):
        async def census(self, **given: Any) -> Inventory:
            begun.set()
            await go_on.wait()
            return await super().census(**given)

    held = Held(world.cosmos.url, DATABASE, world.name, key=world.cosmos.key)
    client = await world.open(warm=held)
    sweep = asyncio.create_task(client.sweep())
    try:
        yield
    finally:
        go_on.set()
        await sweep


async def test_a_message_that_is_no_event_goes_to_the_poison_queue(world: FeedWorld, running: Running) -> None:
    async with running() as host:
        await host.send("vault_event", "{}")
        await host.send("vault_event", json.dumps(event("SecretNewVersionCreated", "unused")))
        await host.send("vault_event", json.dumps(event("CertificateNearExpiry", "unused")))
        report = await host.queue_until_idle()

    assert (report.messages, report.failures, report.poisoned) == (2, 5, 1)


def event(kind: str, name: str) -> dict[str, Any]:
    """As Event Grid delivers it: CloudEvents, schema 1.0."""
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v",
        "type": f"Microsoft.KeyVault.{kind}",
        "subject": name,
        "time": "2026-11-21T20:00:00Z",
        "data": {"Id": "https://v/secrets/x", "VaultName": "v", "ObjectType": "Secret", "ObjectName": name},
    }


async def test_health_says_what_is_missing_by_name_and_no_secret(world: FeedWorld, running: Running) -> None:
    secret = "s3cr3t-word"
    settings = {"COSMOS__credential": "managedidentity", "COSMOS_KEY": secret, "COSMOS": "", "REDIS_URL": ""}
    async with FunctionsHost(APP, worker_settings(world, **settings), strict=False) as host:
        status, told = await health(host.url)

    assert status == 503
    assert told["status"] == "misconfigured"
    missing = {entry["variable"] for entry in told["missing"]}
    assert missing == {"REDIS_HOST or REDIS_URL", "COSMOS__accountEndpoint or COSMOS", "COSMOS__clientId"}
    assert secret not in json.dumps(told)


@pytest.mark.parametrize(
    ("instead", "told"),
    [
        ({"THERMOCLINE_FEED_ATTEMPTS": "many"}, "THERMOCLINE_FEED_ATTEMPTS"),
        ({"THERMOCLINE_HOT_DEADLINE": "5"}, "THERMOCLINE_HOT_DEADLINE_MS"),
        ({"COSMOS_CONTAINER": "nowhere"}, "COSMOS_CONTAINER"),
        ({"THERMOCLINE_DEAD_LETTERS_CONTAINER": "nowhere"}, "THERMOCLINE_DEAD_LETTERS_CONTAINER"),
    ],
)
async def test_health_says_what_is_wrong(
    world: FeedWorld, running: Running, instead: dict[str, str], told: str
) -> None:
    async with running(**instead) as host:
        status, document = await health(host.url)
        assert status == 503
        assert document["status"] == "misconfigured"
        assert told in " ".join(document["wrong"])
        if "FEED_ATTEMPTS" not in told and "HOT" not in told:
            return
        with pytest.raises(InvocationFailed):
            await host.fire("replay_dead_letters")  # and nothing was begun with such settings


async def test_health_says_that_a_tier_is_away(world: FeedWorld, running: Running, chaos_proxy: MakeProxy) -> None:
    proxy = await chaos_proxy(world.cosmos.url)
    async with running(COSMOS_ACCOUNT_URI=proxy.url, THERMOCLINE_CONNECT_DEADLINE_MS="2000") as host:
        proxy.refuse()
        proxy.cut()
        status, document = await health(host.url)
        assert (status, document["status"]) == (503, "down")
        assert "127.0.0.1" not in json.dumps(document)
        proxy.restore()
        assert (await health(host.url))[0] == 200  # made again after the failed start
