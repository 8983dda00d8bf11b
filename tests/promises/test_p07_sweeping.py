"""P7: a sweep is killed at random points, and taken up by others, while writers run: nothing is lost, and every pointer names a payload that exists."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.promises.nursery import Nursery
from tests.promises.sweeping_child import Shifted
from tests.promises.world import World, noise, roomy

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.policy import MemoryRules
from thermocline.protocols import Census, Payloads, Versions
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

KILLS = 20
KEYS = 24
WRITERS = 3
DAYS = 86_400.0
FAR = 90
RULES = MemoryRules(cold_threshold_bytes=6_000)


def value(rng: random.Random, key: Key, turn: int) -> bytes:
    """Small, to be demoted, or large enough to be written to cold at once; every one another."""
    size = rng.choice([100, 3_000, 5_000, 8_000])
    return f"{key.name} {turn} ".encode() + noise(size, seed=f"{key.name}{turn % 3}".encode())


class Writers:
    """Each writes keys of its own, so it knows what it must read back at any time."""

    def __init__(self, keys: list[Key], clients: list[MemoryClient], seed: int) -> None:
        self.expected: dict[Key, bytes | None] = dict.fromkeys(keys)
        self._keys = keys
        self._clients = clients
        self._seed = seed
        self.writes = 0

    async def fill(self) -> None:
        rng = random.Random(self._seed)
        for key in self._keys:
            self.expected[key] = value(rng, key, 0)
        (await self._clients[0].set_many(self.expected)).raise_errors()

    async def run(self, number: int, stop: asyncio.Event) -> None:
        rng = random.Random(self._seed * 100 + number)
        memory, mine = self._clients[number], self._keys[number :: len(self._clients)]
        turn = 0
        while not stop.is_set():
            turn += 1
            key = rng.choice(mine)
            if rng.random() < 0.15:
                await memory.delete(key)
                self.expected[key] = None
            elif rng.random() < 0.5:
                self.expected[key] = value(rng, key, turn)
                await memory.set(key, self.expected[key])
            assert await memory.get(key) == self.expected[key]
            self.writes += 1
            await asyncio.sleep(0)


async def check(authority: Any, cold: Any, expected: dict[Key, bytes | None]) -> int:
    """Every record has the value that its writer last wrote, and every pointer a payload. How many pointers there are."""
    assert isinstance(authority, Versions)
    assert isinstance(cold, Payloads)
    codec, pointers = Codec(), 0
    for key, wanted in expected.items():
        found = await authority.read(key, deadline=Deadline.after(20))
        if wanted is None:
            assert found is None or found.tombstone
            continue
        assert found is not None
        if found.pointer:
            pointers += 1
            data = await cold.get_payload(key, codec.pointer_of(found), deadline=Deadline.after(20))
            assert data is not None, f"{key} points to nothing"
            found = codec.with_payload(found, data)
        assert codec.decode(found) == wanted
    return pointers


async def killed_again_and_again(
    nursery: Nursery,
    job: dict[str, Any],
    writers: Writers,
    tiers: Callable[[], Awaitable[tuple[Any, Any]]],
    far: int = FAR,
) -> list[str]:
    """Where each process was killed. It gets ``far`` steps into its work at most."""
    rng = random.Random(writers._seed)
    stop = asyncio.Event()
    places: list[str] = []
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(writers.run(number, stop))
        try:
            ahead = 0.0
            while len(places) < KILLS:
                ahead += 2.0  # the lease of the one before, of a second, is over
                ended = await nursery.run(job="sweep", die_at=rng.randint(1, far), ahead=ahead, **job)
                if ended.killed:
                    places.append(ended.steps[-1])
        finally:
            stop.set()
    for turn in range(2):
        ended = await nursery.run(job="sweep", ahead=ahead + 2.0 * (turn + 1), **job)
        assert ended.acknowledged == 1, "the last ones finish"
    authority, cold = await tiers()
    await check(authority, cold, writers.expected)
    assert isinstance(authority, Census)
    page = await authority.census(limit=1000, cursor=None, deadline=Deadline.after(20))
    assert {stored.key for stored in page.items if not stored.header.flags & 1} == {
        key for key, wanted in writers.expected.items() if wanted is not None
    }
    inline = [stored for stored in page.items if stored.pointer is None and stored.size > 2000]
    assert inline == [], "the rules were applied to all"
    return places


async def test_sweep_over_sqlite_and_a_folder_killed_twenty_times(nursery: Nursery, tmp_path: Path) -> None:
    def tiers(seconds: float = 0.0) -> tuple[SqliteMemory, FolderMemory]:
        clock = Shifted(seconds)
        return (
            SqliteMemory(tmp_path / "warm.sqlite3", clock=clock),
            FolderMemory(tmp_path / "cold", clock=clock, fsync=False),
        )

    stack = AsyncExitStack()

    async def client(seconds: float = 0.0) -> MemoryClient:
        warm, cold = tiers(seconds)
        memory = MemoryClient(
            hot=ProcessMemory(), warm=warm, cold=cold, rules=RULES, clock=Shifted(seconds), budget=roomy()
        )
        return await stack.enter_async_context(memory)

    async with stack:
        keys = [Key("tenant", f"scope/{number % 3}", f"name/{number}") for number in range(KEYS)]
        early = await client(-2 * DAYS)  # two days ago: what it left is older than the grace
        past = Writers(keys, [early], seed=1)
        await past.fill()
        await early.demote(tenant="tenant")
        writers = Writers(keys, [await client() for _ in range(WRITERS)], seed=5)
        writers.expected = past.expected
        reader = await client()

        async def ready() -> tuple[Any, Any]:
            engine = reader._engine
            return engine.below_hot()[0], engine.cold

        there = old(tmp_path)
        places = await killed_again_and_again(nursery, {"folder": str(tmp_path)}, writers, ready)
        assert len(set(places)) > 6, places
        assert writers.writes > 50
        expected = {key: wanted for key, wanted in writers.expected.items() if wanted is not None}
        assert await reader.get_many(expected) == expected
        assert old(tmp_path) < there, "orphans that were old enough went"


def old(folder: Path) -> int:
    """Payload files that are older than the grace."""
    paths = [path for path in (folder / "cold" / "tc1").rglob("*") if path.is_file() and len(path.name) == 64]
    return sum(path.stat().st_mtime < Shifted(-DAYS).wall_ms() / 1000 for path in paths)


async def test_sweep_over_cosmos_and_blobs_killed_twenty_times(nursery: Nursery, world: World) -> None:
    keys = [world.key(f"name/{number}", f"scope/{number % 3}") for number in range(KEYS)]
    clients = [await world.open(cold=True, rules=RULES) for _ in range(WRITERS)]
    writers = Writers(keys, clients, seed=7)
    await writers.fill()
    reader = await world.open(hot=None, cold=True)

    async def ready() -> tuple[Any, Any]:
        engine = reader._engine
        return engine.below_hot()[0], engine.cold

    job = {
        "cosmos": world.cosmos.url,
        "cosmos_key": world.cosmos.key,
        "blob": world.azurite.blob_url,
        "blob_key": world.azurite.key,
        "name": world.name,
    }
    places = await killed_again_and_again(nursery, job, writers, ready, far=50)
    assert len(set(places)) > 6, places
    assert writers.writes > 50
    expected = {key: wanted for key, wanted in writers.expected.items() if wanted is not None}
    assert await reader.get_many(expected) == expected
