"""What the schedules found, each as one fixed order of steps in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, ThermoclineError, TierUnavailable, UnknownOutcome
from thermocline.model import Authority, Envelope, Key, MemoryTier, Miss
from thermocline.policy import MemoryRules
from thermocline.protocols import Announce, EntryOperation, Found, Page, Publish, Settle, Write, Written
from thermocline.testing import ChaosTier, Fault, SeededLoop
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

KEY = Key("t", "s", "k")
NEVER = Deadline.never()

Main = Callable[["Bench"], Awaitable[None]]


class Bench:
    """One hot tier and one file, open for the whole of a test; clients come and go over them."""

    def __init__(self, loop: SeededLoop, folder: Path) -> None:
        self.clock = loop.clock
        self.hot = ProcessMemory(clock=self.clock)
        self.warm = SqliteMemory(folder / "memory.db", clock=self.clock)
        self.cold = FolderMemory(folder / "cold", clock=self.clock, fsync=False)

    @asynccontextmanager
    async def client(self, **tiers: Any) -> AsyncIterator[MemoryClient]:
        given: dict[str, Any] = {"hot": self.hot, "warm": Unfenced(self.warm)} | tiers
        async with MemoryClient(**given, clock=self.clock) as client:
            yield client


class Unfenced:
    """An authority that tells no fence, as a service would: hot is kept coherent by its operations alone. ``missing`` reads of it lag."""

    def __init__(self, inner: SqliteMemory, missing: int = 0) -> None:
        self.inner = inner
        self.tier: MemoryTier = inner.tier
        self.authority: Authority = inner.authority
        self.stats = inner.stats
        self.missing = missing

    connected = True

    async def connect(self) -> None:
        return

    async def close(self) -> None:
        return

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        if self.missing:
            self.missing -= 1
            return None
        return await self.inner.read(key, deadline=deadline)

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        if self.missing:
            self.missing -= 1
            return [None] * len(keys)
        return await self.inner.read_many(keys, deadline=deadline)

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        return await self.inner.write(write, deadline=deadline)

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        return await self.inner.write_many(writes, deadline=deadline)

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        return await self.inner.scan(tenant, scope, prefix, limit=limit, cursor=cursor, deadline=deadline)

    async def ping(self, *, deadline: Deadline) -> None:
        await self.inner.ping(deadline=deadline)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Main], None]:
    """Runs a test's coroutine for some seeds, on a bench of its own each time."""

    def run(main: Main) -> None:
        for seed in range(3):
            loop = SeededLoop(seed)

            async def whole(loop: SeededLoop = loop, seed: int = seed) -> None:
                bench = Bench(loop, tmp_path / str(seed))
                tiers = (bench.hot, bench.warm, bench.cold)
                for tier in tiers:
                    await tier.connect()
                try:
                    await main(bench)
                finally:
                    for tier in tiers:
                        await tier.close()

            try:
                loop.run_until_complete(whole())
                assert loop.errors == []
            finally:
                loop.close()

    return run


def slow(tier: Any, verb: str, seconds: float) -> ChaosTier:
    return ChaosTier(tier, rates={Fault.SLOW: 1.0}, verbs={verb}, latency=timedelta(seconds=seconds))


# --- closing ---------------------------------------------------------------------------------------------------------


def test_closing_lets_a_read_under_way_end(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(warm=slow(bench.warm, "read", 0.3)) as client:
            await client.set(KEY, "there")
            await bench.hot.drop([KEY], deadline=NEVER)
            reading = asyncio.create_task(client.get(KEY))
            await asyncio.sleep(0.1)
            await client.close()
            assert await reading == "there"

    run(main)


def test_a_read_that_outlasts_closing_is_told_so_and_not_cancelled(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(warm=slow(bench.warm, "read", 30)) as client:
            reading = asyncio.create_task(client.get(KEY))
            await asyncio.sleep(0.1)
            await client.close()
            with pytest.raises(ClientClosed, match="closed while this read was under way"):
                await reading

    run(main)


def test_a_reader_who_is_cancelled_while_the_client_closes_is_cancelled(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(warm=slow(bench.warm, "read", 30)) as client:
            reading = asyncio.create_task(client.get(KEY))
            await asyncio.sleep(0.1)
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0.1)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await closing

    run(main)


def test_no_read_begins_after_closing_has_begun(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(hot=slow(bench.hot, "operate", 0.02)) as client:
            reading = asyncio.create_task(client.get(KEY))
            await asyncio.sleep(0.01)  # it looks at hot, and will ask the authority next
            await client.close()
            with pytest.raises(ClientClosed):
                await reading
            assert client.stats()["client"]["reads_under_way"] == 0

    run(main)


def test_a_call_that_waits_for_the_connection_is_told_when_its_client_closes(run: Callable[[Main], None]) -> None:
    class SlowToConnect(Unfenced):
        connected = False

        async def connect(self) -> None:
            await asyncio.sleep(5)

    async def main(bench: Bench) -> None:
        client = MemoryClient(hot=bench.hot, warm=SlowToConnect(bench.warm), clock=bench.clock)
        writing = asyncio.create_task(client.set(KEY, 1))
        await asyncio.sleep(1)
        await client.close()
        with pytest.raises(ClientClosed, match="closed while it connected"):
            await writing

    run(main)


# --- expiry ----------------------------------------------------------------------------------------------------------


def test_a_value_that_expires_while_hot_is_told_is_not_returned(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        async with bench.client() as writer, bench.client(hot=slow(bench.hot, "operate", 0.02)) as reader:
            await writer.set(KEY, 1, ttl=0.03)
            await bench.hot.drop([KEY], deadline=NEVER)
            assert await reader.get(KEY) is None  # look: 20 ms, settle: 20 ms
            assert bench.clock.monotonic() >= 0.03

    run(main)


def test_a_value_that_expires_while_a_batch_tells_hot_is_missing(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        async with bench.client() as writer, bench.client(hot=slow(bench.hot, "operate_many", 0.02)) as reader:
            other = Key("t", "s", "other")
            await writer.set(KEY, 1, ttl=0.03)
            await writer.set(other, 2)
            await bench.hot.drop([KEY, other], deadline=NEVER)
            batch = await reader.get_many([KEY, other])
            assert (dict(batch), batch.missing) == ({other: 2}, [KEY])

    run(main)


def test_a_value_that_expires_while_cold_is_asked_is_not_returned(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        tiers = {"hot": None, "cold": slow(bench.cold, "get_payload", 0.5), "rules": MemoryRules(write_cold=True)}
        async with bench.client(**tiers) as client:
            await client.set(KEY, "x" * 100, ttl=0.3)
            assert isinstance(await client.lookup(KEY), Miss)
            assert bench.clock.monotonic() >= 0.5

    run(main)


# --- floors and what hot was not told ----------------------------------------------------------------------------------


def test_an_expired_copy_in_hot_is_a_floor_for_an_authority_that_lags(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        lagging = Unfenced(bench.warm)
        async with bench.client() as writer, bench.client(warm=lagging) as reader:
            await reader.connect()
            version = (await writer.set(KEY, 1, ttl=0.001)).version
            await asyncio.sleep(0.01)
            lagging.missing = 2
            assert await reader.lookup(KEY) == Miss(KEY, bench.warm.tier, version)
            assert lagging.missing == 0

    run(main)


def test_an_expired_copy_in_hot_is_a_floor_for_a_batch_too(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        lagging = Unfenced(bench.warm)
        async with bench.client() as writer, bench.client(warm=lagging) as reader:
            await reader.connect()
            await writer.set(KEY, 1, ttl=0.001)
            await asyncio.sleep(0.01)
            lagging.missing = 2
            assert (await reader.get_many([KEY])).missing == [KEY]
            assert lagging.missing == 0  # it was asked again, and again

    run(main)


class Held(ProcessMemory):
    """Keeps what ``holds`` says away from ``inner``, and tells its caller that hot is away; `let_go` delivers it."""

    def __init__(self, inner: ProcessMemory, clock: Any) -> None:
        super().__init__(clock=clock)
        self.inner = inner
        self.holding = True
        self.held: list[EntryOperation] = []

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        return await self.inner.peek(key, deadline=deadline)

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        if self.holding:
            self.held.append(operation)
            raise TierUnavailable("hot is away", tier=self.tier)
        return await self.inner.operate(operation, deadline=deadline)

    async def let_go(self, kind: type) -> None:
        for operation in self.held:
            if isinstance(operation, kind):
                await self.inner.operate(operation, deadline=NEVER)


def test_a_late_announcement_and_a_late_publish_put_no_old_value_into_hot(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        away = Held(bench.hot, bench.clock)
        async with bench.client(hot=away) as cut_off, bench.client() as other, bench.client() as third:
            assert not (await cut_off.set(KEY, "old")).hot
            await asyncio.sleep(1)
            await other.set(KEY, "new")
            await bench.hot.drop([KEY], deadline=NEVER)  # hot forgets what it was told
            await away.let_go(Announce)
            await away.let_go(Publish)
            assert await third.get(KEY) == "new"

    run(main)


def test_an_announcement_that_cannot_be_made_anew_does_not_count(run: Callable[[Main], None]) -> None:
    """The writer is held up for so long that its announcement may not outlast its write, and hot is away when it wants to announce anew."""

    async def main(bench: Bench) -> None:
        told: list[EntryOperation] = []

        class HoldsUp(Held):
            async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
                self.holding = isinstance(operation, Announce) and told != []
                found = await super().operate(operation, deadline=deadline)
                told.append(operation)
                if isinstance(operation, Announce):
                    await asyncio.sleep(6)
                return found

        hot = HoldsUp(bench.hot, bench.clock)
        async with bench.client(hot=hot) as client:
            result = await client.set(KEY, 1)
            assert [type(operation) for operation in hot.held] == [Announce]
            assert told[1] == Publish(KEY, hot.held[0].writer, result.version, None)  # type: ignore[union-attr]
            assert await client.settled()

    run(main)


def test_a_second_unknown_write_is_asked_for_although_the_first_was_just_asked(run: Callable[[Main], None]) -> None:
    async def main(bench: Bench) -> None:
        asked: list[float] = []

        class Doubtful(Unfenced):
            async def write(self, write: Write, *, deadline: Deadline) -> Written:
                raise UnknownOutcome("no answer", write_id=write.id)

            async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
                asked.append(bench.clock.monotonic())
                return await super().read(key, deadline=deadline)

        class SlowToSettle(Held):
            async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
                if isinstance(operation, Settle):
                    await asyncio.sleep(0.04)
                return await self.inner.operate(operation, deadline=deadline)

        async with bench.client(warm=Doubtful(bench.warm), hot=SlowToSettle(bench.hot, bench.clock)) as client:
            with pytest.raises(UnknownOutcome):
                await client.set(KEY, 1)
            await asyncio.sleep(0.02)  # the authority has been asked, and hot is being told
            assert len(asked) == 1
            with pytest.raises(UnknownOutcome):
                await client.set(KEY, 2)
            assert await client.settled()
            assert len(asked) == 2

    run(main)
