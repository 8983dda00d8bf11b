"""Playing a scenario: a calm while, the fault, and after it; then every key is read once more, and all of it is judged."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from thermocline.clock import Clock
from thermocline.testing.history import Bound, Fault, History, check, read_history
from thermocline.testing.scenarios.actors import Actor, Apart, Here, until_well
from thermocline.testing.scenarios.model import Scenario
from thermocline.testing.scenarios.needs import Needs
from thermocline.testing.scenarios.places import NEAR, ONLY, Places
from thermocline.testing.scenarios.report import Phases, Report, reported
from thermocline.testing.scenarios.stage import Stage, staged

_CALM = 0.25  # of the fault's time
_AFTER = 0.5
_FEW = 20  # calls of each client, at the least, before the fault and after it
_GLANCE = 0.02  # seconds
_LOUD = 0.9  # of it, all keys are written; then only half of them


async def play(
    scenario: Scenario,
    *,
    seed: int = 1,
    seconds: float = 4.0,
    features: tuple[str, ...] = (),
    make: Callable[[Places, Clock], Any] | None = None,
    change: Callable[[Any], None] | None = None,
    folder: Path | None = None,
) -> Report:
    """Play it: ``seconds`` is how long the fault lasts; before and after it come a quarter and half of that, and the time that recovery takes.

    ``make`` makes the memories that are judged, instead of this library's client: of a `Places` and a clock, with the verbs lookup, get, exists, set, delete,
    touch, ``connect`` and ``close``. ``change`` is called with each client of this process before it is used. ``folder`` (empty) keeps what was
    recorded. The seed decides what is called and broken, but not what the operating system lets happen first.
    Raises MissingPart for a server that cannot be had, RuntimeError if a client ended or could not tell hot of all that it missed within a minute.
    """
    kept = folder is not None
    home = (
        folder if folder is not None else Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="thermocline-chaos-"))
    )
    try:
        async with staged(scenario.needs, str(home), seed, features) as stage:
            run = _Run(scenario, stage, seed, seconds, make or _client, change)
            return await run.report(home)
    finally:
        if not kept:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


def _client(places: Places, clock: Clock) -> Any:
    return places.client(clock=clock)


@dataclass(slots=True)
class _Run:
    scenario: Scenario
    stage: Stage
    seed: int
    seconds: float
    make: Callable[[Places, Clock], Any]
    change: Callable[[Any], None] | None

    async def report(self, home: Path) -> Report:
        phases = Phases(begun=time.monotonic())
        try:
            await self._start(self.scenario.needs)
            await self._called(self.seconds * _CALM)
            await self._break(phases)
            await self._after(phases)
            actors = self.stage.actors
            await asyncio.gather(*(actor.stop() for actor in actors))
            phases.stopped = time.monotonic()
            await self._last_word(home, actors)
        finally:
            await self._close()
        fault = Fault(self.scenario.name, phases.broken, phases.mended)
        history = await asyncio.to_thread(_read, home, fault)
        near = NEAR if "near" in self.stage.places.features else timedelta()
        return await asyncio.to_thread(_judged, self.scenario, self.seed, phases, history, near)

    async def _start(self, needs: Needs) -> None:
        stage, mix = self.stage, self.scenario.mix
        for number in range(needs.here):
            client = Here(f"here{number}.0", stage.places, mix, self.seed, self.make)
            if self.change is not None:
                self.change(client.memory)
            stage.here.append(client)
        stage.apart += [Apart(f"apart{number}.0", stage.places, mix, self.seed) for number in range(needs.apart)]
        # One after the other: the first makes what is missing.
        for actor in stage.actors:
            await actor.start()

    async def _break(self, phases: Phases) -> None:
        phases.broken = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.scenario.breaks(self.stage, self.seconds))
            await asyncio.sleep(self.seconds * _LOUD)
            for actor in self.stage.actors:
                await actor.quieten()
        phases.mended = time.monotonic()

    async def _after(self, phases: Phases) -> None:
        """Calls go on until all are well again, and then for a while."""
        phases.well = await until_well(self.stage.actors, self.scenario.recovers.total_seconds())
        await self._called(max(0.6, self.seconds * _AFTER))
        if self.scenario.rolls_back and self.scenario.bounded is not None:
            forgotten = phases.mended + self.scenario.bounded.total_seconds()
            await asyncio.sleep(max(0.0, forgotten - time.monotonic()))

    async def _called(self, seconds: float) -> None:
        """For so long, and until each client has called a few times: a busy machine may take longer."""
        done = {client.name: client.callers.calls for client in self.stage.here}
        await asyncio.sleep(seconds)
        ends = time.monotonic() + self.scenario.recovers.total_seconds()
        while any(client.callers.calls < done[client.name] + _FEW for client in self.stage.here):
            if time.monotonic() > ends:
                raise RuntimeError(f"a client made fewer than {_FEW} calls in {self.scenario.recovers}")
            await asyncio.sleep(_GLANCE)

    async def _last_word(self, home: Path, actors: list[Actor]) -> None:
        """Every client reads every key once more, and so do two fresh ones: one through hot, one from the authority alone."""
        mix, places = self.scenario.mix, self.stage.places
        names = [f"key-{number}" for number in range(mix.keys)]
        only = [f"{ONLY}{number}" for number in range(mix.keys)] if mix.only_hot else []
        fresh = Here("fresh.0", places, mix, self.seed, self.make)
        self.stage.here.append(fresh)
        await fresh.memory.connect()
        await fresh.read_all(names + only)  # first: what others have seen themselves they would mend by reading it
        await asyncio.gather(*(actor.read_all(names + only) for actor in actors))
        if self.make is _client:
            below = Here(
                "below.0", places, mix, self.seed, lambda found, clock: found.client(clock=clock, with_hot=False)
            )
            self.stage.here.append(below)
            await below.memory.connect()
            await below.read_all(names)

    async def _close(self) -> None:
        errors: list[Exception] = []
        for actor in self.stage.actors:
            try:
                await actor.close()
            except Exception as error:  # noqa: BLE001 - the others must be closed too; raised below
                errors.append(error)
        if errors:
            raise ExceptionGroup("clients of the scenario could not be closed", errors)


def _read(home: Path, fault: Fault) -> History:
    return read_history(sorted(home.glob("*.jsonl")), [fault])


def _judged(scenario: Scenario, seed: int, phases: Phases, history: History, near: timedelta) -> Report:
    """The verdict on keys with an authority below, the one on keys of Redis alone, and the figures."""
    slack = scenario.clocks_within // timedelta(milliseconds=1)
    parts = [History(faults=history.faults, settled=history.settled) for _ in range(2)]
    for event in history.events:
        event.begin_ms -= slack
        event.end_ms += slack
        parts[event.key.startswith(ONLY)].events.append(event)
    bound = None
    if scenario.bounded is not None or near:
        causes = frozenset({scenario.name}) if scenario.bounded is not None else frozenset()
        rollbacks = causes if scenario.rolls_back else frozenset()
        bound = Bound(causes, scenario.bounded or timedelta(), rollbacks, near)
    only_hot = Bound(frozenset(), timedelta(), near=near) if near else None
    return reported(scenario, seed, phases, history.events, check(parts[0], bound), check(parts[1], only_hot))
