"""One client process: ``python -m tests.histories.client_process FILE``, its Spec on standard input.

It says ``ready``, and told ``go`` its progress and ``done`` on standard output; told ``drain`` it waits until hot knows all that it missed, and ends.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.histories.spec import Spec
from tests.histories.work import Work

from thermocline.errors import TierUnavailable
from thermocline.testing.history import Recorder
from thermocline.testing.scenarios.actors import watch_queue

PATIENCE = 60.0  # seconds, for what is due at the end
PAUSE = 0.1  # seconds between two tries to connect
GLANCE = 0.01  # seconds between two looks at the recovery queue


def say(word: object) -> None:
    print(word, flush=True)


@asynccontextmanager
async def opened(spec: Spec) -> AsyncIterator[Any]:
    memory: Any = spec.tiers.client() if not spec.naive else _naive(spec)
    try:
        while True:
            try:
                await memory.connect()
                break
            except TierUnavailable:  # a process that is started anew may find the authority down
                await asyncio.sleep(PAUSE)
        if spec.unfenced:
            memory._engine.hot.fence = None
        yield memory
    finally:
        await memory.close()


def _naive(spec: Spec) -> Any:
    from tests.histories.naive import NaiveCascade  # for the SDKs that it needs

    return NaiveCascade(spec.tiers)


async def watch(memory: Any, work: Work, recorder: Recorder) -> None:
    """Write down when the recovery queue is empty again."""
    while True:
        watch_queue(memory, work, recorder)
        await asyncio.sleep(GLANCE)


async def run(spec: Spec, recorder: Recorder) -> None:
    async with opened(spec) as memory:
        work = Work(spec, memory, recorder, say)
        if spec.keys:
            await work.read_all(spec.keys)
            return
        watching = asyncio.create_task(watch(memory, work, recorder)) if spec.watched else None
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        await work.run()
        say("done")
        await asyncio.to_thread(sys.stdin.readline)
        if not spec.naive and not await memory.settled(timeout=PATIENCE):
            raise RuntimeError(f"hot was not told of everything within {PATIENCE} s")
        recorder.settled()
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def main() -> None:
    logging.getLogger("azure").setLevel(logging.ERROR)
    spec = Spec.load(sys.stdin.readline())
    with Recorder(Path(sys.argv[1]), spec.name) as recorder:
        asyncio.run(run(spec, recorder))


if __name__ == "__main__":
    main()
