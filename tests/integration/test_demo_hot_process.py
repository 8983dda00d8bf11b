"""The demo's hot tier in a process of its own: it does what every hot tier must, and it can really be killed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import ClassVar

import pytest

from thermocline.cli.demo import hot_process
from thermocline.cli.demo.hot_process import RemoteMemory
from thermocline.cli.demo.outage import HotProcess
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, CorruptRecord, Throttled, TierUnavailable
from thermocline.model import Key
from thermocline.testing.conformance import Capability, EntriesConformance
from thermocline.testing.conformance.samples import new_key, soon
from thermocline.testing.conformance.steps import VALUE

PROGRAM = (sys.executable, "-m", "thermocline.cli.demo.hot_process")


@pytest.fixture(scope="module")
def hot_port() -> Iterator[int]:
    """The port of one process for all tests of the suite."""
    with subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


class TestRemoteEntries(EntriesConformance):
    gaps: ClassVar[Mapping[Capability, str]] = {
        Capability.DAMAGE: "its memory cannot be reached from outside",
        Capability.MOVABLE_CLOCK: "it runs by its own clock",
        Capability.OVERSIZE: "its bound is that of process memory, which has a suite of its own",
        Capability.PERSISTENCE: "it is memory",
    }

    @pytest.fixture
    async def tier(self, hot_port: int) -> AsyncIterator[RemoteMemory]:
        tier = RemoteMemory(hot_port)
        await tier.connect()
        yield tier
        await tier.close()


async def fill(hot: RemoteMemory, key: Key) -> None:
    for step in VALUE:
        await hot.operate(step.of(key), deadline=soon())


async def test_a_killed_process_is_an_outage_and_comes_back_empty_on_its_port() -> None:
    process, key = HotProcess(), new_key()
    await process.start()
    hot, port = process.hot, process.hot.port
    try:
        await hot.connect()
        await fill(hot, key)
        assert await hot.peek(key, deadline=soon()) is not None

        await process.stop()
        with pytest.raises(TierUnavailable):
            await hot.peek(key, deadline=soon())
        with pytest.raises(TierUnavailable) as refused:
            await hot.peek(key, deadline=soon())
        assert refused.value.sent is False

        await process.start()
        assert hot.port == port
        assert await hot.peek(key, deadline=soon()) is None
    finally:
        await hot.close()
        await process.close()


async def test_it_ends_with_the_program_that_started_it() -> None:
    read, write = os.pipe()
    child = await asyncio.create_subprocess_exec(*PROGRAM, stdin=read, stdout=asyncio.subprocess.PIPE)
    os.close(read)
    assert child.stdout is not None
    assert (await child.stdout.readline()).strip().isdigit()

    os.close(write)  # as the kernel does when whoever holds it is killed

    async with asyncio.timeout(30):
        await child.communicate()
    assert child.returncode == 0


async def test_many_calls_at_once_and_cancelled_ones_do_not_mix_answers() -> None:
    process = HotProcess()
    await process.start()
    hot = process.hot
    try:
        keys = [new_key() for _ in range(30)]
        await hot.connect()
        for key in keys:
            await fill(hot, key)

        async def ask(number: int) -> None:
            call = asyncio.create_task(hot.peek(keys[number], deadline=soon()))
            if number % 3 == 0:
                await asyncio.sleep(0)
                call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            if not call.cancelled():
                found = call.result()
                assert found is not None
                assert found.key == keys[number]

        await asyncio.gather(*(ask(number) for number in range(30)))
        found = await hot.peek_many(keys, deadline=Deadline.after(5.0))
        assert [getattr(answer, "key", None) for answer in found] == keys
    finally:
        await hot.close()
        await process.close()


def test_errors_travel_as_what_they_are() -> None:
    for error in (CorruptRecord("c"), ClientClosed("d"), Throttled("t", tier="hot")):
        body = hot_process._answer(error, [])
        back = hot_process._found(body, [], new_key())
        assert type(back) is type(error)
        assert str(back) == str(error)
