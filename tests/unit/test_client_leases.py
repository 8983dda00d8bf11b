"""Stampedes: readers who miss together, in one client and in several, ask the authority once; a lease lives as long as its holder's read. In virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.virtual import Clients, on_virtual_time

from thermocline import telemetry
from thermocline.client import MemoryClient
from thermocline.client.engine import LEASE_MS
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, TierTimeout, TierUnavailable
from thermocline.model import Envelope, Key
from thermocline.policy import MemoryRules
from thermocline.protocols import Announce, EntryOperation, Found, Look, Publish, Renew, Settle
from thermocline.resilience import Budget
from thermocline.testing.schedule import SeededLoop
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

KEY = Key("tenant", "scope", "name")
NEVER = Deadline.never()
ROOMY = {"warm": 60, "call": 120}


class Slow(SqliteMemory):
    """A service far away: an answer takes ``seconds``. Tells no fence: hot is kept coherent by its operations alone."""

    data_version = None  # type: ignore[assignment]
    seconds = 0.02
    reads = 0
    down = False

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        self.reads += 1
        await asyncio.sleep(self.seconds)
        if self.down:
            raise TierUnavailable("it is down", tier="warm")
        return await super().read(key, deadline=deadline)

    async def read_many(self, keys: Any, *, deadline: Deadline) -> Any:
        self.reads += 1
        await asyncio.sleep(self.seconds)
        if self.down:
            raise TierUnavailable("it is down", tier="warm")
        return await super().read_many(keys, deadline=deadline)


class Counting(ProcessMemory):
    """As far away as Redis is. Counts what is asked of it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.asked: list[str] = []
        self.late = 0.0  # seconds that the next answer of `operate` is on its way
        self.lost: list[
            type[EntryOperation]
        ] = []  # whose next call breaks: a look has arrived by then, a settle has not

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        self.asked.append(type(operation).__name__)
        await asyncio.sleep(0.001)
        self._break([operation], Settle)
        found = await super().operate(operation, deadline=deadline)
        self._break([operation], Look)
        await self._on_its_way(deadline)
        return found

    async def operate_many(self, operations: Any, *, deadline: Deadline) -> Any:
        self._break(operations, Settle)
        found = await super().operate_many(operations, deadline=deadline)
        self._break(operations, Look)
        await self._on_its_way(deadline)
        return found

    def _break(self, operations: Iterable[EntryOperation], kind: type[EntryOperation]) -> None:
        if kind in self.lost and any(isinstance(operation, kind) for operation in operations):
            self.lost.remove(kind)
            raise TierUnavailable("the connection broke", tier="hot", sent=True)

    async def _on_its_way(self, deadline: Deadline) -> None:
        late, self.late = self.late, 0.0
        if late:
            await asyncio.sleep(min(late, deadline.remaining()))
            if deadline.expired():
                raise TierTimeout("it took too long", tier="hot")

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        await asyncio.sleep(0.001)
        return await super().peek(key, deadline=deadline)


class Ground(Clients[Counting, Slow]):
    def __init__(self, folder: Path, loop: SeededLoop) -> None:
        super().__init__(loop, Counting(clock=loop.clock), Slow(folder / "memory.db", clock=loop.clock))

    async def client(self, **given: Any) -> MemoryClient:
        seconds = ROOMY | given.pop("seconds", {})
        spans: dict[str, Any] = {name: timedelta(seconds=value) for name, value in seconds.items()}
        return await super().client(budget=Budget(self.loop.clock, **spans), **given)

    async def evict(self) -> None:
        await self.hot.drop([KEY], deadline=NEVER)


def run(folder: Path, main: Callable[[Ground], Coroutine[Any, Any, None]], seed: int = 1) -> None:
    on_virtual_time(partial(Ground, folder), main, seed)


async def spread(count: int, over: float, call: Callable[[], Awaitable[Any]]) -> list[Any]:
    """So many calls, begun one after the other over that time."""

    async def one(number: int) -> Any:
        await asyncio.sleep(over * number / count)
        return await call()

    return await asyncio.gather(*(one(number) for number in range(count)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("over", [0.0, 0.015])
def test_a_thousand_callers_of_one_client_ask_the_authority_once(tmp_path: Path, over: float, seed: int) -> None:
    async def main(ground: Ground) -> None:
        client = await ground.client()
        await client.set(KEY, "kept")
        await ground.evict()

        assert await spread(1000, over, lambda: client.get(KEY)) == ["kept"] * 1000
        assert ground.warm.reads == 1

    run(tmp_path, main, seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("seconds", [0.02, 2 * LEASE_MS / 1000])
def test_a_thousand_callers_of_each_of_several_clients_ask_the_authority_once(
    tmp_path: Path, seconds: float, seed: int
) -> None:
    """Also where the authority takes twice as long as a lease: that is renewed."""

    async def main(ground: Ground) -> None:
        clients = [await ground.client() for _ in range(4)]
        await clients[0].set(KEY, "kept")
        await ground.evict()
        ground.warm.seconds = seconds

        answers = await asyncio.gather(*(spread(250, seconds / 2, partial(client.get, KEY)) for client in clients))

        assert answers == [["kept"] * 250] * 4
        assert ground.warm.reads == 1
        assert ground.hot.asked.count("Renew") in (
            (0,) if seconds < 1 else (5, 6)
        )  # each second, and none for a quick read

    run(tmp_path, main, seed)


def test_batches_wait_too(tmp_path: Path) -> None:
    async def main(ground: Ground) -> None:
        clients = [await ground.client() for _ in range(3)]
        await clients[0].set(KEY, "kept")
        await ground.evict()
        ground.warm.seconds = 5.0

        answers = await asyncio.gather(*(spread(20, 2.0, partial(client.get_many, [KEY])) for client in clients))

        assert answers == [[{KEY: "kept"}] * 20] * 3
        assert ground.warm.reads == 1

    run(tmp_path, main)


def test_of_a_key_that_is_not_there_at_most_two_are_waited_for(tmp_path: Path) -> None:
    """There is nothing that hot could keep, so each would have to read; nobody waits for all who came before him."""

    async def main(ground: Ground) -> None:
        clients = [await ground.client() for _ in range(8)]
        began = ground.loop.time()

        assert await asyncio.gather(*(client.get(KEY) for client in clients)) == [None] * 8
        assert ground.loop.time() - began < 8 * ground.warm.seconds  # three reads, and the pauses between looks
        assert ground.warm.reads <= len(clients)

    run(tmp_path, main)


def test_what_the_routes_do_not_bring_into_hot_is_not_waited_for(tmp_path: Path) -> None:
    async def main(ground: Ground) -> None:
        clients = [await ground.client(rules=MemoryRules(promote_on_read=False)) for _ in range(4)]
        await clients[0].set(KEY, "kept")
        await ground.evict()
        began = ground.loop.time()

        assert await asyncio.gather(*(client.get(KEY) for client in clients)) == ["kept"] * 4
        assert ground.loop.time() - began < 1.5 * ground.warm.seconds
        assert ground.warm.reads == 4

    run(tmp_path, main)


def test_a_holder_that_died_holds_others_up_for_one_lease(tmp_path: Path) -> None:
    async def main(ground: Ground) -> None:
        clients = [await ground.client() for _ in range(4)]
        await clients[0].set(KEY, "kept")
        await ground.evict()
        await ground.hot.operate(Look(KEY, "the dead", LEASE_MS), deadline=NEVER)
        began = ground.loop.time()

        answers = await asyncio.gather(*(spread(50, 0.0, partial(client.get, KEY)) for client in clients))

        assert answers == [["kept"] * 50] * 4
        assert ground.warm.reads == 1
        assert ground.loop.time() - began < LEASE_MS / 1000 + 0.5

    run(tmp_path, main)


def test_nobody_waits_for_longer_than_half_of_what_he_has(tmp_path: Path) -> None:
    """For a holder that lives and renews, and whose authority never answers him: the caller asks himself."""

    async def main(ground: Ground) -> None:
        client = await ground.client()
        await client.set(KEY, "kept")
        await ground.evict()
        await ground.hot.operate(Look(KEY, "another", 600_000), deadline=NEVER)
        began = ground.loop.time()

        assert await client.get(KEY, timeout=10) == "kept"
        assert 4.5 < ground.loop.time() - began < 5.5
        assert ground.warm.reads == 1

    run(tmp_path, main)


def test_a_write_that_is_announced_meanwhile_ends_the_waiting(tmp_path: Path) -> None:
    """P3: whoever waited asks the authority, and reads the new value as soon as it is there."""

    async def main(ground: Ground) -> None:
        client = await ground.client()
        version = (await client.set(KEY, "old")).version
        await ground.evict()
        await ground.hot.operate(Look(KEY, "another", 600_000), deadline=NEVER)
        reading = asyncio.create_task(client.get(KEY))
        await asyncio.sleep(0.2)
        assert ground.warm.reads == 0
        await ground.hot.operate(Announce(KEY, "writer", 60_000), deadline=NEVER)

        assert await reading == "old"
        assert ground.warm.reads == 1
        # the holder's value comes after the announcement, and is not let in
        envelope = await ground.warm.read(KEY, deadline=NEVER)
        await ground.hot.operate(Settle(KEY, "another", version, envelope), deadline=NEVER)
        assert await ground.hot.peek(KEY, deadline=NEVER) is None
        await ground.hot.operate(Publish(KEY, "writer", version + 1, None), deadline=NEVER)
        assert await ground.hot.operate(Renew(KEY, "another", 1000), deadline=NEVER) is None

    run(tmp_path, main)


def test_a_read_that_fails_gives_its_lease_back(tmp_path: Path) -> None:
    async def main(ground: Ground) -> None:
        first, second = await ground.client(), await ground.client()
        await first.set(KEY, "kept")
        await ground.evict()
        ground.warm.down = True
        with pytest.raises(TierUnavailable):
            await first.get(KEY)
        assert isinstance((await first.get_many([KEY])).errors[KEY], TierUnavailable)
        ground.warm.down = False
        began = ground.loop.time()

        assert await second.get(KEY) == "kept"
        assert ground.loop.time() - began < 0.1  # nobody had to wait for a lease to run out
        assert ground.hot.asked.count("Renew") == 0

    run(tmp_path, main)


@pytest.mark.parametrize("way", ["get", "get_many", "hot is late"])
def test_a_lease_whose_taker_never_heard_of_it_is_given_back(tmp_path: Path, way: str) -> None:
    """Found in review: a caller who was cancelled while his look was on its way, or for whom hot was too late, held all others up for three seconds."""

    async def main(ground: Ground) -> None:
        first, second = await ground.client(), await ground.client()
        await first.set(KEY, "kept")
        await ground.evict()
        if way == "hot is late":
            ground.warm.seconds = 10
            ground.hot.late = 0.1
            reading: asyncio.Task[Any] = asyncio.create_task(first.get(KEY))
            await asyncio.sleep(0.1)
            assert ground.warm.reads == 1  # without hot's answer
            ground.warm.seconds = 0.02
        else:
            ground.hot.late = 0.1
            many: Any = first.get_many([KEY]) if way == "get_many" else first.get(KEY)
            reading = asyncio.create_task(many)
            await asyncio.sleep(0.01)
            assert not ground.hot.late  # the lease is taken, and its answer on its way
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        began = ground.loop.time()
        assert await second.get(KEY) == "kept"
        assert ground.loop.time() - began < 0.2
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    run(tmp_path, main)


@pytest.mark.parametrize("kind", [Look, Settle])
@pytest.mark.parametrize("many", [False, True], ids=["get", "get_many"])
def test_a_lease_beside_which_the_connection_broke_is_given_back(
    tmp_path: Path, kind: type[EntryOperation], many: bool
) -> None:
    """Found by a newcomer who cut connections: the next reader waited for three seconds."""

    async def main(ground: Ground) -> None:
        first, second = await ground.client(), await ground.client()
        await first.set(KEY, "kept")
        await ground.evict()
        ground.hot.lost.append(kind)
        assert (await first.get_many([KEY]))[KEY] == "kept" if many else await first.get(KEY) == "kept"
        assert not ground.hot.lost, "it broke"
        began = ground.loop.time()
        assert await second.get(KEY) == "kept"
        assert ground.loop.time() - began < 0.2

    run(tmp_path, main)


def test_cancelled_callers_leave_no_lease_that_is_renewed_for_ever(tmp_path: Path) -> None:
    async def main(ground: Ground) -> None:
        client = await ground.client()
        await client.set(KEY, "kept")
        await ground.evict()
        for turns in range(12):
            reading = asyncio.create_task(client.get(KEY))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert await client.get(KEY) == "kept"
        await asyncio.sleep(5)

        assert len(client._cascade.leases) == 0
        assert len(client._cascade.waits) == 0
        assert ground.hot.asked.count("Renew") <= 1

    run(tmp_path, main)


def test_closing_ends_the_waiting(tmp_path: Path) -> None:
    async def main(ground: Ground) -> None:
        client = await ground.client()
        await ground.hot.operate(Look(KEY, "another", 600_000), deadline=NEVER)
        waiting = [asyncio.create_task(client.get(KEY)) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert client.stats()["hot"][telemetry.LEASES_AWAITED] >= 1
        await client.close()

        for one in waiting:
            with pytest.raises(ClientClosed):
                await one

    run(tmp_path, main)
