"""The worlds: which tiers, which faults; and the conductor that runs one and has it judged."""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

from tests.histories.faults import CLIENT, COSMOS, FAULTS, KILLED, OUTAGE, TABLE, WAY, Faults
from tests.histories.spec import KEYS, ROUND, Spec, Tiers
from tests.histories.taught import teach

from thermocline.testing.history import Bound, Fault, History, Verdict, check, read_history
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisServer
from thermocline.testing.scenarios import Needs, Stage
from thermocline.testing.scenarios.breaking import leave_room
from thermocline.testing.scenarios.stage import staged

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class World:
    """``faults`` strike one after the other; more of the same name make it more frequent. ``bound`` None: nothing is excused."""

    name: str
    faults: tuple[str, ...]
    services: bool = True
    blob: bool = False  # Azurite; else a folder
    table: bool = False  # Azurite's tables have the word, instead of Cosmos DB
    proxied: bool = False  # each client reaches Redis through a proxy of its own
    room: int | None = None  # bytes that Redis has for entries, before it evicts the least recently used
    hot_ttl: float = 300.0
    hot_share: float = 2.0
    processes: int = 3
    naive: bool = False
    unfenced: bool = False
    reads: float = 0.7
    tasks: int = 4  # of each process
    pace: float = 1.0  # the longest pause between two faults, seconds
    always: tuple[str, ...] = ()  # what is broken throughout
    warm_share: float = 1.0  # seconds
    bound: Bound | None = None
    taught: bool = False  # its clients write with a dictionary
    near: float = 0.0  # seconds: the bound of its clients' near caches; 0: they have none
    hedge: bool = False  # whether some reads of warm and cold are sent a second time where the first is late


# What hot was not told it is told within the recovery queue's pause (5 s); if its writer was killed, hot's copy ends after 5 s here. And a margin.
LASTING = timedelta(seconds=20)
SHORT = 5.0
HOT_MISSES = frozenset({*CLIENT, "redis paused", "redis crashed", "redis rolled back"}) - {KILLED}

EXACT = World("exact", ("redis flushed", "redis flushed", KILLED, *COSMOS), room=500_000, tasks=3, pace=0.5)
OUTAGES = World("outages", tuple(OUTAGE), pace=3.0, warm_share=0.5)
LAGGING = World("lagging", ("replica lags", "replica lags", "cosmos slow", KILLED), pace=0.3, hedge=True)
EMBEDDED = World("embedded", (KILLED,), services=False, taught=True)
AZURITE = World("azurite", ("redis flushed", KILLED, "cosmos drops answers"), blob=True, taught=True)
IN_A_TABLE = World("table", ("redis flushed", KILLED, *TABLE), table=True, taught=True)
# Breakers open and close in each client at other moments, so a crash of Redis is for some writes as if they alone were cut off from it.
CRASHING = World(
    "crashing",
    ("redis crashed", "redis crashed", "redis crashed", KILLED, "cosmos slow after the write"),
    hot_ttl=SHORT,
    bound=Bound(frozenset({"redis crashed"}), LASTING),
    hedge=True,
)
CUT = World(
    "cut",
    ("redis flushed", "redis crashed", "redis paused", "redis rolled back", *CLIENT, *CLIENT, "cosmos drops answers"),
    proxied=True,
    hot_ttl=SHORT,
    hot_share=0.25,
    bound=Bound(HOT_MISSES, LASTING, frozenset({"redis rolled back"})),
)
# What the near caches may be behind is excused, and nothing else is.
NEAR = World(
    "near",
    ("redis flushed", "redis flushed", KILLED, "cosmos drops answers"),
    tasks=3,
    pace=0.5,
    near=1.0,
    bound=Bound(frozenset(), timedelta(), near=timedelta(seconds=1)),
)
NAIVE = World("naive", (), naive=True, reads=0.6, tasks=6, always=("authority answers late",))
UNFENCED = replace(EMBEDDED, name="unfenced", unfenced=True, faults=(), taught=False)
WORLDS = (EXACT, OUTAGES, LAGGING, EMBEDDED, AZURITE, IN_A_TABLE, CRASHING, CUT, NEAR)


@dataclass(slots=True)
class Report:
    world: World
    seed: int
    verdict: Verdict
    faults: dict[str, int]
    evicted: int = 0  # entries, by a Redis that was full
    near: int = 0  # lookups that near caches answered

    def __str__(self) -> str:
        struck = ", ".join(f"{count} × {name}" for name, count in sorted(self.faults.items()))
        full = f", {self.evicted} entries evicted" if self.world.room is not None else ""
        return f"{self.world.name} (seed {self.seed}): {self.verdict}; faults: {struck or 'none'}{full}"


class Client:
    """One client process through all its lives."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.life = 0
        self.process: asyncio.subprocess.Process | None = None
        self.reading: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()
        self.done = asyncio.Event()
        self.progress = 0
        self.ahead = 0

    async def start(self) -> None:
        self.ready.clear()
        name = f"{self.spec.name}.{self.life}"
        spec = replace(self.spec, name=name, done=self.progress, ahead=self.ahead)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.histories.client_process",
            str(self.folder / f"client-{name}.jsonl"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        await self.say(spec.dump())
        if self.life:
            await self.say("go")  # the others are at work
        self.reading = asyncio.create_task(self._read(self.process))

    async def say(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            word = line.decode().strip()
            if word == "ready":
                self.ready.set()
            elif word == "done":
                self.done.set()
            else:
                self.progress = int(word)

    async def kill(self) -> None:
        """SIGKILL, and a new life that goes on where this one was."""
        assert self.process is not None
        self.process.kill()
        await self.ended()
        self.life += 1
        await self.start()

    async def ended(self) -> int:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.reading is not None
        self.process.stdin.close()
        await self.reading
        return await self.process.wait()


class Run:
    """One run of a world."""

    def __init__(self, world: World, seed: int, operations: int, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.seed = seed
        self.random = random.Random(f"{world.name} {seed}")
        self.operations = operations
        self.log: list[Fault] = []
        self.clients: list[Client] = []
        self.evicted = 0

    async def history(self) -> History:
        async with self._staged() as (stage, tiers):
            if self.world.taught:
                await teach(tiers)
                tiers = replace(tiers, dictionaries="latest")
            each = self.operations // self.world.processes
            for number in range(self.world.processes):
                mine = tiers
                if self.world.proxied:
                    mine = replace(tiers, redis=stage.proxies[f"{WAY}{number}"].url)
                spec = Spec(
                    str(number),
                    self.seed,
                    mine,
                    each,
                    tasks=self.world.tasks,
                    naive=self.world.naive,
                    unfenced=self.world.unfenced,
                    reads=self.world.reads,
                    watched=self.world.bound is not None,
                )
                self.clients.append(Client(spec, self.folder))
            try:
                await self._work(stage)
                await self._read_all(tiers, each)
                if stage.server is not None:
                    self.evicted = await asyncio.to_thread(evictions, stage.server)
            finally:
                await self._end()
        return read_history(sorted(self.folder.glob("*.jsonl")), self.log)

    async def _work(self, stage: Stage) -> None:
        await asyncio.gather(*(client.start() for client in self.clients))
        await self._all("ready")
        for client in self.clients:  # together, so that they meet at their keys
            await client.say("go")
        faults = Faults(stage, self._kill, log=self.log)
        breaking = [asyncio.create_task(faults.run(list(self.world.faults), self.world.pace))]
        breaking += [asyncio.create_task(FAULTS[name](stage, float("inf"))) for name in self.world.always]
        try:
            await self._all("done")
        finally:
            for task in breaking:
                task.cancel()
            for task in breaking:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        for client in self.clients:
            await client.say("drain")
        for client in self.clients:
            code = await client.ended()
            assert code == 0, f"client {client.spec.name}.{client.life} ended with {code}"

    async def _all(self, what: str) -> None:
        """Wait until each client is there; a client that ends before fails the run."""
        for client in self.clients:
            event = client.ready if what == "ready" else client.done
            while not event.is_set():
                process = client.process
                assert process is not None
                waiting = asyncio.ensure_future(event.wait())
                dying = asyncio.ensure_future(process.wait())
                await asyncio.wait([waiting, dying], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                dying.cancel()
                died = process.returncode is not None and process is client.process and process.returncode != -9
                assert not died or event.is_set(), f"client {client.spec.name} ended with {process.returncode}"

    async def _kill(self) -> None:
        working = [client for client in self.clients if client.ready.is_set() and not client.done.is_set()]
        if working:
            victim = self.random.choice(working)
            victim.ahead = max(client.progress + client.ahead for client in self.clients) - victim.progress
            await victim.kill()

    async def _read_all(self, tiers: Tiers, each: int) -> None:
        """After all is over, two fresh clients read every key: one through hot, one from the authority alone."""
        last = (each + max(client.ahead for client in self.clients)) // ROUND
        keys = [f"{number}-{key}" for number in range(last + 1) for key in range(KEYS)]
        reader = Client(Spec("final", self.seed, tiers, 0, keys=keys, naive=self.world.naive), self.folder)
        self.clients.append(reader)
        await reader.start()
        assert await reader.ended() == 0

    async def _end(self) -> None:
        for client in self.clients:
            if client.process is not None and client.process.returncode is None:
                client.process.kill()
                await client.ended()

    @asynccontextmanager
    async def _staged(self) -> AsyncIterator[tuple[Stage, Tiers]]:
        """The servers of this run, started."""
        world = self.world
        needs = Needs(
            redis="server" if world.services else "none",
            warm="cosmos" if world.services and not world.table else "sqlite",
            cold="blob" if world.blob or world.table else "folder",
            settings={"maxmemory-policy": "allkeys-lru"},
        )
        features = ("hedge",) if world.hedge else ()
        async with staged(needs, str(self.folder), self.seed, features) as stage, AsyncExitStack() as stack:
            stage.random = self.random
            tiers = Tiers(
                **asdict(stage.places)
                | {
                    "hot_ttl": world.hot_ttl,
                    "hot_share": world.hot_share,
                    "warm_share": world.warm_share,
                    "near": world.near,
                }
            )
            if world.table:
                assert stage.azurite is not None
                proxy = await stack.enter_async_context(ChaosProxy(stage.azurite.table_url))
                stage.proxies["table"] = proxy
                tiers = replace(tiers, blob="", table=proxy.url, table_key=stage.azurite.key)
            if world.room is not None:
                await asyncio.to_thread(leave_room, stage.redis, world.room)
            if world.proxied:
                for number in range(world.processes):
                    stage.proxies[f"{WAY}{number}"] = await stack.enter_async_context(ChaosProxy(stage.redis.url))
            yield stage, tiers


def evictions(redis: RedisServer) -> int:
    """Since its last start."""
    with redis.connection() as connection:
        return int(connection.fields("INFO", "stats")["evicted_keys"])


async def run_world(world: World, seed: int, operations: int, folder: Path) -> Report:
    """Run it, and judge what happened. ``folder`` is empty, and keeps the histories, so that they can be looked at."""
    run = Run(world, seed, operations, folder)
    history = await run.history()
    verdict = await asyncio.to_thread(check, history, world.bound)
    struck = [fault.cause for fault in run.log]
    near = sum(event.tier == "near" for event in history.events)
    return Report(world, seed, verdict, {name: struck.count(name) for name in set(struck)}, run.evicted, near)
