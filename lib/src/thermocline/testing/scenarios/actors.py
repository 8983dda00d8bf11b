"""The clients of a scenario: in this process, or each in a process of its own."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from thermocline.clock import Clock
from thermocline.testing.clocks import JumpingClock
from thermocline.testing.history import Recorder
from thermocline.testing.scenarios.calls import Callers, Mix
from thermocline.testing.scenarios.places import Places
from thermocline.testing.scenarios.verbs import Verbs

Make = Callable[[Places, Clock], Any]

_GLANCE = 0.01  # seconds between two looks at the recovery queue
_PATIENCE = 60.0  # seconds, for what is due at the end


class Here:
    """A client in this process. ``clock`` is its own, and can be turned."""

    def __init__(self, name: str, places: Places, mix: Mix, seed: int, make: Make) -> None:
        self.name = name
        self.clock = JumpingClock()
        self.memory = make(places, self.clock)
        self._recorder = Recorder(Path(places.folder) / f"client-{name}.jsonl", name)
        self.callers = Callers(self.memory, self._recorder, mix, seed)
        self._calling: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.memory.connect()
        self._calling = asyncio.create_task(self.callers.run(), name=f"callers of {self.name}")
        if hasattr(self.memory, "stats"):
            self._watching = asyncio.create_task(self._watch(), name=f"watch over {self.name}")

    async def stop(self) -> None:
        """Let the calls under way end; then hot is told of everything that it missed."""
        self.callers.stop()
        if self._calling is not None:
            await self._calling
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            if not await self.memory.settled(timeout=_PATIENCE):
                raise RuntimeError(f"hot was not told of everything within {_PATIENCE:.0f} s")
            self._recorder.settled()

    async def quieten(self) -> None:
        """From now on half of the keys are only read."""
        self.callers.quiet = True

    async def read_all(self, names: list[str]) -> None:
        await self.callers.read_all(names)

    def well(self) -> bool:
        """Whether nothing is due in the recovery queue and every breaker is closed."""
        return not hasattr(self.memory, "stats") or is_well(self.memory)

    async def close(self) -> None:
        for task in (self._calling, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        try:
            await self.memory.close()
        finally:
            self._recorder.close()

    async def _watch(self) -> None:
        """Write down when the recovery queue is empty again."""
        while True:
            watch_queue(self.memory, self.callers, self._recorder)
            await asyncio.sleep(_GLANCE)


def is_well(memory: Any) -> bool:
    figures = memory.stats()
    states = [part["breaker"] for part in figures.values() if "breaker" in part]
    return not figures["client"]["recovery_queue"] and all(state == "closed" for state in states)


def watch_queue(memory: Any, callers: Verbs, recorder: Recorder) -> None:
    if memory.stats()["client"]["recovery_queue"]:
        callers.untold = True
    elif callers.untold:
        callers.untold = False
        recorder.settled()


class Apart:
    """A client in a process of its own, which does as it is told: it can be stalled, killed, or left without room on its disk."""

    def __init__(self, name: str, places: Places, mix: Mix, seed: int) -> None:
        self.name = name
        self._spec = {"name": name, "places": places.dump(), "mix": asdict(mix), "seed": seed}
        self._path = Path(places.folder) / f"client-{name}.jsonl"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._said: dict[str, asyncio.Event] = {word: asyncio.Event() for word in ("ready", "stopped", "read")}
        self._well = True

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "thermocline.testing.scenarios.caller",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ,
        )
        self._reading = asyncio.create_task(self._read(self._process), name=f"history of {self.name}")
        await self._tell(self._spec)
        await self._hear("ready")

    async def tell(self, what: str, value: float = 0) -> None:
        """``stall`` (seconds), ``jump`` (seconds), ``room`` (bytes that each of its files may have; 0: no end)."""
        await self._tell({"do": what, "value": value})

    async def stop(self) -> None:
        await self.tell("stop")
        await self._hear("stopped")

    async def quieten(self) -> None:
        await self.tell("quieten")

    async def read_all(self, names: list[str]) -> None:
        self._said["read"].clear()
        await self._tell({"do": "read", "names": names})
        await self._hear("read")

    def well(self) -> bool:
        return self._well

    async def close(self) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()  # it ends by itself then
        try:
            async with asyncio.timeout(_PATIENCE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    async def _tell(self, words: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # that it is gone is told by `_hear`
            await self._process.stdin.drain()

    async def _hear(self, word: str) -> None:
        """Raises RuntimeError if it ends before it has said so."""
        assert self._reading is not None
        hearing = asyncio.create_task(self._said[word].wait())
        await asyncio.wait([hearing, self._reading], return_when=asyncio.FIRST_COMPLETED)
        if not hearing.done():
            hearing.cancel()
            raise RuntimeError(f"the client process {self.name} ended before it was {word}")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Its history comes by the pipe: a disk that is full is then no matter to what is written down."""
        assert process.stdout is not None
        with self._path.open("wb", buffering=0) as file:
            async for line in process.stdout:
                if not line.startswith(b'{"said"'):
                    file.write(line)
                    continue
                word = json.loads(line)["said"]
                if word in self._said:
                    self._said[word].set()
                else:
                    self._well = word == "well"


Actor = Here | Apart


async def until_well(actors: list[Actor], patience: float) -> float:
    """Wait until all are well, and say when that was (seconds of the monotonic clock). Infinity: not within ``patience`` seconds."""
    ends = time.monotonic() + patience
    while not all(actor.well() for actor in actors):
        if time.monotonic() > ends:
            return float("inf")
        await asyncio.sleep(_GLANCE)
    return time.monotonic()
