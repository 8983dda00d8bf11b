"""One schedule: real clients over embedded tiers on a `SeededLoop`, random work, and the judgement of `Truth` over all that they answered."""

import asyncio
import gc
import math
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.schedules.recording import RecordingSqlite
from tests.schedules.truth import Truth
from tests.schedules.wire import AuthorityLine, HotLine, TellingLine, Weather, Wire
from tests.schedules.work import Actor, choose_menu

from thermocline.client import MemoryClient
from thermocline.client.near import NearCache
from thermocline.client.owners import NAME, SIGNED
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.coherence import Announced
from thermocline.model import Envelope, Key
from thermocline.policy import MemoryRules
from thermocline.protocols import Verb, Write, Written
from thermocline.resilience import CircuitBreaker
from thermocline.testing.schedule import EPOCH_MS, SeededLoop
from thermocline.testing.telling import TellingMemory
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory

CODEC = Codec()
Spoil = Callable[[MemoryClient], None]
QUIET = 31.0  # virtual seconds after which every breaker lets a call try


@dataclass(frozen=True)
class World:
    """What may happen. ``exact``: the promise has no excuse (COHERENCE section 3); else it is the bounded one."""

    name: str
    weather: Weather = field(default_factory=Weather)
    exact: bool = True
    evict: float = 0.0  # how often hot loses an entry, per step of the disturber
    evict_announced: bool = False
    breakers: bool = False  # hot's circuit breaker counts; it turns failed calls into lost announcements
    shared: bool = (
        True  # one hot tier for all clients, as Redis is; else each has its own, and its own connection to the file
    )
    errors: bool = True  # calls may fail
    timeouts: bool = False  # some calls get very short deadlines
    no_recovery: float = 0.0  # in so many schedules no recovery queue ever gets to work
    near: bool = False  # each client has a near cache, which is told of changes in the same moment, and of none while its connection is broken


CALM = World("calm", evict=0.3, errors=False)
LOSSES = World(
    "losses",
    Weather(announce=0.3, refuse=0.1, read=0.05, doubt=0.15, late=20.0),
    evict=0.6,
    evict_announced=True,
    no_recovery=0.3,
)
FAILURES = World(
    "failures", Weather(tell=0.3, look=0.1, refuse=0.1, read=0.05, doubt=0.15, late=2.0), evict=0.3, no_recovery=0.5
)
LAG = World("lag", Weather(refuse=0.05, doubt=0.15, late=20.0, lag=3.0))
MIXED = World(
    "mixed",
    Weather(announce=0.2, tell=0.2, look=0.1, read=0.1, refuse=0.1, doubt=0.15, late=20.0, outage=0.4),
    exact=False,
    evict=0.5,
    evict_announced=True,
    breakers=True,
    timeouts=True,
)
# A near cache that is told at once is as exact as hot itself; what the delay of that costs is bounded, and judged by tests/histories.
NEAR = World(
    "near",
    Weather(announce=0.2, refuse=0.1, read=0.05, doubt=0.15, late=20.0),
    evict=0.4,
    evict_announced=True,
    near=True,
)
EMBEDDED = World("embedded", shared=False, errors=False, evict=0.2)
WORLDS = (CALM, LOSSES, FAILURES, LAG, MIXED, NEAR, EMBEDDED)


class MovedClock:
    """The clock of whatever loop is running a schedule, for tiers that outlive their loops."""

    def __init__(self) -> None:
        self.loop: SeededLoop | None = None

    def wall_ms(self) -> int:
        return EPOCH_MS if self.loop is None else self.loop.clock.wall_ms()

    def monotonic(self) -> float:
        return 0.0 if self.loop is None else self.loop.time()


class Grounds:
    """What schedules share because opening it takes longer than a schedule: one SQLite file with three connections to it, and a folder."""

    def __init__(self, folder: Path, make_hot: Callable[..., ProcessMemory] = ProcessMemory) -> None:
        self.clock = MovedClock()
        self.files = [RecordingSqlite(folder / "authority.db", clock=self.clock, executor=_Nobody()) for _ in range(3)]
        self.folder = folder / "cold"
        self.make_hot = make_hot
        self._all(lambda file: file.connect())
        self._run(self._own())
        gc.collect()
        gc.freeze()  # else each collection walks over pytest and all modules

    async def _own(self) -> None:
        """The folder is the file's from the beginning, or the first schedule that puts a payload would take other steps than the same one later."""
        await self.files[0].write_note(NAME, b"grounds", deadline=Deadline.never())
        async with FolderMemory(self.folder, clock=self.clock, fsync=False) as cold:
            await cold.write_note(SIGNED + "grounds", b"warm", deadline=Deadline.never())

    def clear(self) -> None:
        """Make room for the next schedule."""
        with self.files[0]._file.transaction(Deadline.never()) as transaction:
            transaction.execute("DELETE FROM records")
            transaction.commit()

    def close(self) -> None:
        gc.unfreeze()
        self._all(lambda file: file.close())

    def _all(self, call: Callable[[RecordingSqlite], Coroutine[Any, Any, None]]) -> None:
        self._run(*map(call, self.files))

    def _run(self, *calls: Coroutine[Any, Any, None]) -> None:
        loop = SeededLoop(0)
        try:
            for call in calls:
                loop.run_until_complete(call)
        finally:
            loop.close()


class _Nobody(Executor):
    """A seeded loop runs every job itself."""


@dataclass(slots=True)
class Report:
    """What came of one schedule."""

    seed: int
    world: str
    problems: list[str]
    digest: int
    steps: int
    operations: int
    commits: int
    history: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Member:
    """One client and what is its own."""

    number: int
    client: MemoryClient
    file: RecordingSqlite
    hot: ProcessMemory
    life: int = 0  # restarts so far
    closing: bool = False
    forgot: bool = False  # a client was closed with a recovery queue

    @property
    def identity(self) -> tuple[int, int]:
        return (self.number, self.life)


class Schedule:
    """The run of one seed."""

    def __init__(
        self, seed: int, world: World, grounds: Grounds, *, spoil: Spoil | None = None, journal: bool = False
    ) -> None:
        self.seed = seed
        self.world = world
        self.grounds = grounds
        self.random = random.Random(f"{world.name} {seed}")
        self.loop = SeededLoop(seed)
        self.clock = self.loop.clock
        self.truth = Truth(self.clock, CODEC, self._payload_of, exact=world.exact, journal=journal)
        self.wire = Wire(self.random, world.weather.swarm(self.random), self.truth)
        self.menu = choose_menu(self.random)
        self.leisure = self.random.choice((0.0, 0.2, 0.5))  # how often a caller waits before a call
        self.evicts = self.world.evict * self.random.choice((0.0, 0.2, 0.5))
        self.tempo = self.random.choice(
            ((0.0, 0.001, 0.002), (0.001, 0.005, 0.02), (0.005, 0.3, 3.0))
        )  # of the disturber
        self.cold = FolderMemory(grounds.folder, clock=self.clock, fsync=False) if self.random.random() < 0.05 else None
        self.rules = MemoryRules(
            cold_threshold_bytes=200,
            write_around=self.random.random() < 0.15,
            promote_on_read=self.random.random() > 0.05,
        )
        names = [f"k{n}" for n in range(self.random.choice((1, 1, 1, 1, 2, 3)))]
        self.keys = [Key("t", "s", name) for name in names]
        self.counter = Key("t", "s", "counter")
        self._no_recovery = self.random.random() < world.no_recovery
        self.members: list[Member] = []
        self.operations = 0
        self._spoil = spoil
        self._serial = 0
        self._hot = self._make_hot()

    # --- the parts ---------------------------------------------------------------------------------------------------

    def _make_hot(self) -> ProcessMemory:
        return (TellingMemory if self.world.near else self.grounds.make_hot)(clock=self.clock)

    def _payload_of(self, envelope: Envelope) -> Envelope:
        if self.cold is None:
            raise AssertionError("a pointer without a cold tier")
        path = self.grounds.folder / CODEC.pointer_of(envelope).path
        return CODEC.with_payload(envelope, path.read_bytes())

    def client_for(self, member: Member) -> MemoryClient:
        hot: Any = member.hot
        if self.world.shared:
            line = TellingLine if self.world.near else HotLine
            hot = line(self.wire, member.hot, self.evict_sometimes)
        warm: Any = member.file if not self.world.shared else AuthorityLine(self.wire, member.file)
        client = MemoryClient(
            hot=hot,
            warm=warm,
            cold=self.cold,
            rules=self.rules,
            codec=CODEC,
            clock=self.clock,
            tokens=random.Random(self.random.random()),
            near=NearCache() if self.world.near else None,
        )
        if not self.world.breakers:
            for guard in client._engine.guards.values():
                guard.breaker = CircuitBreaker(self.clock, failures=1_000_000_000, slow_calls=1_000_000_000)
        if self._no_recovery:
            client._recovery.add = lambda key, version: None  # type: ignore[method-assign]
        if self._spoil is not None:
            self._spoil(client)
        return client

    def value(self, on: int | None = None) -> dict[str, Any]:
        """A value that no other write has. ``on``: the number of the value that it was made from, 0 for none."""
        self._serial += 1
        value: dict[str, Any] = {"n": self._serial}
        if on is not None:
            value["on"] = on
        if self.cold is not None and self.random.random() < 0.5:
            value["long"] = "".join(self.random.choices("abcdefgh", k=900))
        return value

    async def restart(self, member: Member) -> None:
        """Close a client, whatever it is doing, and make a new one in its place."""
        if member.closing:
            return
        self.truth.note("restart", member.identity)
        member.closing = True
        await member.client.close()
        member.forgot = member.forgot or len(member.client._recovery) > 0
        if not self.world.shared:
            member.hot = self._make_hot()
            await member.hot.connect()
        member.life += 1
        member.client = self.client_for(member)
        member.closing = False

    # --- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        grounds = self.grounds
        grounds.clear()
        grounds.clock.loop = self.loop
        for file in grounds.files:
            file.sink = self.truth.commit
        try:
            self.loop.run_until_complete(self._main())
        except Exception as error:  # noqa: BLE001 - whatever it is, it has to be reported with its seed
            self.truth.problem(f"the schedule itself failed: {error!r}")
        finally:
            for file in grounds.files:
                file.sink = None
            self.loop.close()
            grounds.clock.loop = None
        for context in self.loop.errors:
            self.truth.problem(f"nobody heard of an error: {context.get('message')} {context.get('exception')!r}")
        commits = sum(map(len, self.truth.log.values()))
        return Report(
            self.seed,
            self.world.name,
            self.truth.problems,
            self.loop.digest,
            self.loop.steps,
            self.operations,
            commits,
            self.truth.history,
        )

    async def _main(self) -> None:
        await self._hot.connect()
        if self.cold is not None:
            await self.cold.connect()
        for number in range(self.random.choice((2, 2, 2, 3))):
            file = self.grounds.files[0 if self.world.shared else number]
            hot = self._hot if self.world.shared else self._make_hot()
            await hot.connect()
            member = Member(number, None, file, hot)  # type: ignore[arg-type]  # made in the next line
            member.client = self.client_for(member)
            self.members.append(member)
        await self._prefill()
        actors = [Actor(self, member) for member in self.members for _ in range(self.random.choice((1, 1, 2)))]
        disturber = self.loop.create_task(self._disturb(), name="disturber") if self.world.evict else None
        await self._work(actors)
        if disturber is not None:
            disturber.cancel()
            await asyncio.gather(disturber, return_exceptions=True)
        await self._judge_the_end()
        for member in self.members:
            await member.client.close()
        if self.wire.under_way:
            await asyncio.gather(*self.wire.under_way)
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            self.truth.problem(f"tasks outlived their clients: {left}")

    async def _work(self, actors: list[Actor]) -> None:
        """All at once; or in rounds, with a look at what came of each."""
        rounds = self.random.choice((1, 1, 2))
        for _ in range(rounds):
            calls = self.random.choice((1, 2)) if rounds > 1 else self.random.choice((1, 2, 3))
            work = [self.loop.create_task(actor.work(calls), name=f"actor {at}") for at, actor in enumerate(actors)]
            await asyncio.gather(*work)
            await self._read_all(may_fail=True)

    async def _prefill(self) -> None:
        """In most schedules the keys have a value before the work begins, in some hot has it as well."""
        if self.random.random() < 0.2:
            return
        writes = []
        for key in self.keys:
            envelope = CODEC.encode(key, self.value(), now_ms=self.clock.wall_ms())
            writes.append(Write(Verb.PUT, f"prefill {key.name}", envelope))
        for written in await self.members[0].file.write_many(writes, deadline=Deadline.never()):
            if isinstance(written, Written) and written.envelope is not None:
                self.truth.acknowledge("prefill", written.envelope.key, written.version)
        await asyncio.sleep(self.world.weather.lag)  # nobody promised that a replica has it at once
        if self.random.random() < 0.5:
            await self._read_all(may_fail=True)

    async def _disturb(self) -> None:
        """Hot loses what it holds."""
        for _ in range(self.random.randint(2, 12)):
            await asyncio.sleep(self.random.choice(self.tempo))
            if self.world.near and self.random.random() < 0.2:
                await self._break_links()
            if self.random.random() < 0.5:
                await self._evict(self.random.choice(self.keys + [self.counter] * ("increment" in self.menu)))

    async def _break_links(self) -> None:
        """For a while nobody is told of what changes in hot."""
        assert isinstance(self._hot, TellingMemory)
        self._hot.cut()
        try:
            await asyncio.sleep(self.random.choice(self.tempo))
        finally:
            self._hot.mend()
            self._hot.beat(math.inf)

    async def _evict(self, key: Key) -> None:
        for hot in {id(member.hot): member.hot for member in self.members}.values():
            slot = hot._markers.get(key)
            if slot is None or not isinstance(slot.entry, Announced) or self.world.evict_announced:
                await hot.drop([key], deadline=Deadline.never())
                self.truth.note("hot loses", key)

    async def evict_sometimes(self, key: Key) -> None:
        """Just before an operation arrives, where it matters most."""
        if self.evicts and not self.wire.calm and self.random.random() < self.evicts:
            await self._evict(key)

    async def _judge_the_end(self) -> None:
        """The faults end. What is under way arrives, the queues empty, and then there is no excuse."""
        self.wire.calm = True
        if self.wire.under_way:
            await asyncio.gather(*self.wire.under_way)
            await self._read_all(may_fail=True)
        if self.world.errors:
            await asyncio.sleep(QUIET)
            for member in self.members:
                if not await member.client.settled(timeout=60):
                    self.truth.problem(f"client {member.number}: its recovery queue does not become empty")
        if not any(member.forgot for member in self.members):
            self.truth.exact = True
        if self.world.errors:
            await self._read_all(may_fail=False)

    async def _read_all(self, *, may_fail: bool) -> None:
        for key in list(self.truth.log):
            self.random.shuffle(self.members)  # then the one whose own floor protects it least
            member = min(self.members, key=lambda one: self.truth.seen.get((one.identity, key), 0))
            required = self.truth.required(member.identity, key)
            outcome = await member.client.lookup(key)
            self.truth.looked_up(member.identity, key, required, outcome)
            error = getattr(outcome, "error", None)
            if error is not None and not (may_fail and self.world.errors):
                self.truth.problem(f"{key}: a read failed although nothing is wrong any more: {error!r}")


def run_schedule(
    seed: int, world: World, grounds: Grounds, *, spoil: Spoil | None = None, journal: bool = False
) -> Report:
    """Run one seed in one world. ``spoil`` breaks a client on purpose; ``journal`` keeps the history in words."""
    return Schedule(seed, world, grounds, spoil=spoil, journal=journal).run()
