"""A migration is killed at twenty random points, by processes that also write through both worlds, and taken up by others: nothing is lost, nothing doubled."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.promises.nursery import Ended, Nursery
from tests.promises.transfer_child import sides, value
from tests.promises.world import World

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.model import Authority, Key
from thermocline.transfer import DualMemory, Migration, Phase, Space

pytestmark = pytest.mark.timeout(300)  # it takes long, and longer where others have the machine

KILLS = 20
KEYS = 30
VERBS = {
    Phase.COPY: ["copy", "dual_write"],
    Phase.DUAL: ["copy", "cut_over", "cut_over"],
    Phase.FENCED: ["cut_over", "rollback"],
    Phase.TARGET: ["rollback"],
    Phase.RETURNING: ["rollback"],
}


class Truth:
    """What each key may hold: what was last acknowledged, and what was tried after that and never answered."""

    def __init__(self, keys: list[Key]) -> None:
        self.keys = {key.name: key for key in keys}
        self.may: dict[str, list[bytes | None]] = {key.name: [None] for key in keys}

    def note(self, ended: Ended) -> int:
        acknowledged = 0
        for step in ended.steps:
            word, _, rest = step.partition(" ")
            if word == "trying":
                name, _, data = rest.partition(" ")
                self.may[name].append(None if data == "-" else bytes.fromhex(data))
            elif word == "wrote":
                self.may[rest] = self.may[rest][-1:]
                acknowledged += 1
        return acknowledged

    async def check(self, memory: MemoryClient) -> None:
        found = await everything(memory)
        assert found.keys() <= set(self.keys), "nothing that nobody wrote"
        for name, may in self.may.items():
            assert found.get(name) in may, f"{name} is lost"
        # what a killed writer may or may not have done is decided from here on
        self.may = {name: [found.get(name)] for name in self.may}


async def everything(memory: MemoryClient) -> dict[str, Any]:
    """All live records by the census, with their values, each once."""
    tier: Any = memory._engine.authorities[Authority.WARM]
    cursor: str | None = None
    names: dict[str, Any] = {}
    while True:
        page = await tier.census(tenant="t", limit=100, cursor=cursor, deadline=Deadline.after(20))
        for item in page.items:
            if not item.header.flags & 1:
                names[item.key.name] = await memory.get(item.key)
        cursor = page.cursor
        if cursor is None:
            return names


@pytest.mark.parametrize("where", ["services", "embedded"])
async def test_a_migration_killed_twenty_times(nursery: Nursery, world: World, tmp_path: Path, where: str) -> None:
    services = None
    if where == "services":
        services = {
            "cosmos": world.cosmos.url,
            "cosmos_key": world.cosmos.key,
            "blob": world.azurite.blob_url,
            "blob_key": world.azurite.key,
            "name": world.name,
        }
    rng = random.Random(11)
    keys = [Key("t", f"s/{n % 3}", f"n-{n}") for n in range(KEYS)]
    truth = Truth(keys)
    source, target = sides(str(tmp_path), 0.0, None, services)
    async with source, target:
        first = {key: value(rng, key, 0) for key in keys}
        (await source.set_many(first)).raise_errors()
        truth.may = {key.name: [first[key]] for key in keys}
    begun = await nursery.run(job="transfer", folder=str(tmp_path), verb="copy", services=services)
    assert begun.acknowledged == 1
    run = Run(nursery, tmp_path, keys, services, truth, rng)
    while len(run.places) < KILLS or run.phase is not Phase.TARGET:
        await run.one()
    assert len(set(run.places)) > 6, run.places
    assert run.writes > 20
    assert run.done.keys() >= {"copy", "dual_write", "cut_over", "rollback"}
    source, target = sides(str(tmp_path), run.ahead, None, services)
    async with source, target:
        await truth.check(target)


class Run:
    """The processes, one after the other."""

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        keys: list[Key],
        services: dict[str, str] | None,
        truth: Truth,
        rng: random.Random,
    ) -> None:
        self._nursery, self._folder, self._services = nursery, folder, services
        self._keys, self._truth, self._rng = keys, truth, rng
        self.phase = Phase.COPY
        self.ahead = 0.0
        self.turn = self.writes = 0
        self.places: list[str] = []
        self.done: Counter[str] = Counter()

    async def one(self) -> None:
        """One process: perhaps some writes, then a step of the migration, killed somewhere or not."""
        rng = self._rng
        self.turn += 1
        assert self.turn < 150, "it comes to its end"
        self.ahead += 2.5  # the lease of the one before, of a second, is over
        verb = rng.choice(VERBS[self.phase])
        kills = len(self.places) < KILLS and rng.random() < 0.8
        ended = await self._nursery.run(
            job="transfer",
            folder=str(self._folder),
            verb=verb,
            ahead=self.ahead,
            die_at=rng.randint(1, 70) if kills else None,
            writes=4
            if rng.random() < 0.5 and not self.phase.waits
            else 0,  # else they would wait for the step behind them
            seed=self.turn,
            keys=[[key.tenant, key.scope, key.name] for key in self._keys],
            services=self._services,
        )
        self.writes += self._truth.note(ended)
        if ended.killed:
            self.places.append(f"{verb}: " + [step for step in ended.steps if step.startswith(("before", "after"))][-1])
        else:
            assert ended.acknowledged == 1, ended.steps[-1]
            self.done[verb] += 1
        source, target = sides(str(self._folder), self.ahead, None, self._services)
        async with source, target:
            state, _ = await Migration(source, target, space=Space("t")).status()
            self.phase = Phase.COPY if state is None else state.phase
            if not self.phase.waits:
                await self._truth.check(target if self.phase.in_target else source)


async def test_writers_beside_processes_that_are_killed(nursery: Nursery, tmp_path: Path) -> None:
    """Writers of another process go on all the time, through the switch and back. Each reads what it wrote, and in the end all of it is there."""
    keys = [Key("t", f"s/{n % 3}", f"n-{n}") for n in range(KEYS)]
    expected: dict[Key, bytes | None] = {}
    stop = asyncio.Event()
    source, target = sides(str(tmp_path), 0.0, None, None)
    async with source, target:
        memory = DualMemory(source, target, space=Space("t"))
        rng = random.Random(5)
        for key in keys:
            expected[key] = value(rng, key, 0)
            await memory.set(key, expected[key])
        begun = await nursery.run(job="transfer", folder=str(tmp_path), verb="copy")
        assert begun.acknowledged == 1
        writes = 0

        async def write(mine: list[Key], seed: int) -> None:
            nonlocal writes
            own, turn = random.Random(seed), 0
            while not stop.is_set():
                turn += 1
                key = own.choice(mine)
                if own.random() < 0.2:
                    await memory.delete(key)
                    expected[key] = None
                else:
                    new = value(own, key, turn)
                    await memory.set(key, new)
                    expected[key] = new
                assert await memory.get(key) == expected[key]
                writes += 1
                await asyncio.sleep(0.002)

        async def migrate() -> Counter[str]:
            done: Counter[str] = Counter()
            kills = 0
            try:
                while kills < 7 or await memory.phase() is not Phase.TARGET:
                    verb = rng.choice(VERBS[await memory.phase()])
                    die_at = rng.randint(1, 60) if kills < 7 else None
                    ended = await nursery.run(job="transfer", folder=str(tmp_path), verb=verb, die_at=die_at)
                    kills += ended.killed
                    done[verb] += ended.acknowledged == 1  # else the lease of a killed one is not over
            finally:
                stop.set()
            return done

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(write(keys[number::3], number))
            migrating = group.create_task(migrate())
        assert migrating.result()["cut_over"] >= 1
        assert writes > 100
        wanted = {key.name: new for key, new in expected.items() if new is not None}
        assert await everything(target) == wanted
        assert await memory.phase() is Phase.TARGET
        assert await memory.repair() == 0
        assert await everything(source) == wanted, "the writers brought what came after it back, too"
