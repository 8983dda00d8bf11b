"""The local host's change feed and queue: at least once, noted after success alone, taken over from hosts that were killed."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.functions.grounds import SAMPLE, Ground, grounds, queue_of

from thermocline.testing.functions import BadApp, FunctionsHost, FunctionsProcess
from thermocline.testing.functions.appsettings import environment
from thermocline.testing.functions.changes import ChangeFeed
from thermocline.testing.functions.indexing import loaded
from thermocline.testing.rig import Azurite, CosmosServer, RigError

LEASE = timedelta(seconds=1)
NOW = timedelta(0)


async def test_every_change_comes_once_and_in_batches(ground: Ground) -> None:
    await ground.write(*range(10))
    async with FunctionsHost(SAMPLE, ground.settings) as host:
        first = await host.feed_until_idle()
        again = await host.feed_until_idle()
        await ground.write(3, 3, 11)
        more = await host.feed_until_idle()

    assert (first.documents, first.failures, again.documents) == (10, 0, 0)
    assert Counter(ground.ids()[:10]) == Counter(map(str, range(10)))
    assert all(len(note["ids"]) <= 4 for note in ground.notes("changes"))
    assert more.documents == 2, "an item comes once, at its last change"


async def test_the_next_host_goes_on_where_the_last_one_stopped(ground: Ground) -> None:
    await ground.write(1, 2)
    async with FunctionsHost(SAMPLE, ground.settings) as host:
        await host.feed_until_idle()
    await ground.write(3)
    async with FunctionsHost(SAMPLE, ground.settings) as host:
        await host.feed_until_idle()  # the lease was given back, so nothing is waited for

    assert sorted(ground.ids()) == ["1", "2", "3"]


async def test_a_batch_that_fails_comes_again_until_it_is_taken(ground: Ground) -> None:
    await ground.write(1)
    ground.poison(3)
    async with FunctionsHost(SAMPLE, ground.settings, retry_delay=NOW) as host:
        report = await host.feed_until_idle()

    assert (report.failures, report.skipped, report.documents) == (3, 0, 1)
    assert [note["retry"] for note in ground.notes("changes")] == [0, 1, 2, 3]


async def test_a_batch_that_was_not_taken_is_not_noted(ground: Ground) -> None:
    await ground.write(1)
    ground.poison(1_000_000)
    async with FunctionsHost(SAMPLE, ground.settings, retry_delay=timedelta(milliseconds=5)) as host:
        pumping = asyncio.create_task(host.feed_until_idle())
        await ground.until(lambda: len(ground.notes("changes")) >= 3)
        pumping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pumping
        ground.poison(0)
        assert (await host.feed_until_idle()).documents == 1

    assert ground.ids() == ["1"]


async def test_without_a_retry_policy_a_failed_batch_is_lost_as_in_azure(ground: Ground) -> None:
    await ground.write(1)
    ground.poison(1)
    with environment(ground.settings), loaded(SAMPLE) as app:
        function = replace(app.functions["changes"], retry=None)
        async with ChangeFeed(function, ground.settings) as feed:
            report = await feed.until_idle()
            assert (report.skipped, report.documents) == (1, 0)
            assert (await feed.until_idle()).documents == 0


async def test_a_killed_host_is_followed_by_another(ground: Ground) -> None:
    await ground.write(*range(12))
    ground.poison(1_000_000)
    soon = timedelta(milliseconds=5)
    with FunctionsProcess(SAMPLE, ground.settings, lease=LEASE, retry_delay=soon) as first:
        pumping = asyncio.create_task(first.feed_until_idle())
        await ground.until(lambda: bool(ground.notes("changes")))
        first.kill()
        with pytest.raises(RigError, match="does not answer"):
            await pumping
    ground.poison(0)
    with FunctionsProcess(SAMPLE, ground.settings, lease=LEASE) as second:
        report = await second.feed_until_idle(all_ranges=True)

    assert report["documents"] == 12
    assert Counter(ground.ids()) == Counter(map(str, range(12)))


async def test_two_hosts_share_the_ranges(azurite: Azurite, tmp_path: Path, unique_name: Callable[[str], str]) -> None:
    with CosmosServer(kind="strict", ranges=4) as cosmos:
        async with grounds(cosmos, azurite, tmp_path, unique_name) as ground:
            with environment(ground.settings), loaded(SAMPLE) as app:
                function = app.functions["changes"]
                async with ChangeFeed(function, ground.settings) as one, ChangeFeed(function, ground.settings) as two:
                    await ground.write(*range(40))
                    await one.until_idle()
                    assert (one.owns, two.owns) == (4, 0)
                    for _ in range(3):  # one range at a time, as the official trigger takes them over
                        await two.until_idle()
                        await one.until_idle()
                    assert (one.owns, two.owns) == (2, 2)
                    await ground.write(*range(40, 80))
                    reports = await asyncio.gather(one.until_idle(), two.until_idle())

    assert min(report.documents for report in reports) > 0
    assert set(ground.ids()) == set(map(str, range(80)))


async def test_a_host_that_slept_past_its_lease_notes_nothing(ground: Ground) -> None:
    await ground.write(1)
    ground.poison(1_000_000)
    with FunctionsProcess(SAMPLE, ground.settings, lease=LEASE, retry_delay=timedelta(milliseconds=5)) as sleeper:
        pumping = asyncio.create_task(sleeper.feed_until_idle())
        await ground.until(lambda: bool(ground.notes("changes")))
        sleeper.pause()
        ground.poison(0)
        async with FunctionsHost(SAMPLE, ground.settings, lease=LEASE) as other:
            assert (await other.feed_until_idle(all_ranges=True)).documents == 1
            sleeper.resume()
            report = await pumping
            await ground.write(2)
            assert (await other.feed_until_idle()).documents == 1

    assert report["lost_leases"] == 1
    assert ground.ids() == ["1", "1", "2"], "handed over twice, and nothing lost"


async def test_a_missing_lease_container_is_said(ground: Ground) -> None:
    await ground.database.delete_container("leases")
    async with FunctionsHost(SAMPLE, ground.settings) as host:
        with pytest.raises(BadApp, match="no lease container leases; make it, partitioned by /id"):
            await host.feed_until_idle()


async def test_messages_are_taken_or_poisoned(ground: Ground) -> None:
    async with FunctionsHost(SAMPLE, ground.settings) as host, queue_of(ground.settings, "-poison") as poison:
        await host.send("events", "one")
        await host.send("events", "poison")
        await host.send("events", "two")
        report = await host.queue_until_idle()
        left = await poison.get(5, timedelta(minutes=1))

    assert (report.messages, report.failures, report.poisoned) == (2, 3, 1)
    assert sorted(note["body"] for note in ground.notes("events")) == ["one", "poison", "poison", "poison", "two"]
    assert [note["count"] for note in ground.notes("events") if note["body"] == "poison"] == [1, 2, 3]
    assert len(left) == 1


async def test_a_message_that_is_no_base64_goes_to_the_poison_queue(ground: Ground) -> None:
    async with (
        FunctionsHost(SAMPLE, ground.settings) as host,
        queue_of(ground.settings) as queue,
        queue_of(ground.settings, "-poison") as poison,
    ):
        await host.queue_until_idle()  # makes the queue
        await queue.put("<not base64>")
        report = await host.queue_until_idle()
        left = await poison.get(1, timedelta(minutes=1))

    assert (report.messages, report.poisoned) == (0, 1)
    assert [message.text for message in left] == ["<not base64>"]


async def test_a_listening_host_needs_no_word(ground: Ground) -> None:
    with FunctionsProcess(SAMPLE, ground.settings, listen=True, poll=timedelta(milliseconds=20)) as host:
        await ground.write(1)
        async with queue_of(ground.settings) as queue:
            await queue.put("b25l")
        await ground.until(lambda: bool(ground.ids() and ground.notes("events")))
        names = {one["name"] for one in await host.functions()}

    assert "changes" in names
    assert [note["body"] for note in ground.notes("events")] == ["one"]
