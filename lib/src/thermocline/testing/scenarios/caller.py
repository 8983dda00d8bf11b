"""One client process of a scenario: ``python -m thermocline.testing.scenarios.caller``. Not for use by hand.

It is told what to do by lines of JSON on standard input, the first of which is its spec; its history and what it has to say go to standard output.
When standard input ends, so does it.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from thermocline.testing.clocks import JumpingClock
from thermocline.testing.history import Recorder
from thermocline.testing.scenarios.actors import is_well, watch_queue
from thermocline.testing.scenarios.calls import Callers, Mix
from thermocline.testing.scenarios.places import Places

_GLANCE = 0.01
_PATIENCE = 60.0


def say(word: str) -> None:
    sys.stdout.write(json.dumps({"said": word}) + "\n")
    sys.stdout.flush()


async def orders() -> AsyncIterator[dict[str, Any]]:
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)


async def watch(memory: Any, callers: Callers, recorder: Recorder) -> None:
    said = True
    while True:
        watch_queue(memory, callers, recorder)
        well = is_well(memory)
        if well != said:
            said = well
            say("well" if well else "unwell")
        await asyncio.sleep(_GLANCE)


def leave_room(size: int) -> None:
    """No file of this process may grow beyond ``size`` bytes; 0: no limit but the system's."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size or hard, hard))


async def serve(spec: dict[str, Any], recorder: Recorder, told: AsyncIterator[dict[str, Any]]) -> None:
    clock = JumpingClock()
    async with Places.load(spec["places"]).client(clock=clock) as memory:
        callers = Callers(memory, recorder, Mix(**spec["mix"]), spec["seed"])
        calling = asyncio.create_task(callers.run())
        watching = asyncio.create_task(watch(memory, callers, recorder))
        say("ready")
        async for order in told:
            what, value = order["do"], order.get("value", 0)
            if what == "stall":
                time.sleep(value)  # noqa: ASYNC251 - a loop that is held up is what was asked for
            elif what == "jump":
                clock.jump(value)
            elif what == "room":
                leave_room(int(value))
            elif what == "quieten":
                callers.quiet = True
            elif what == "read":
                await callers.read_all(order["names"])
                say("read")
            elif what == "stop":
                callers.stop()
                await calling
                if not await memory.settled(timeout=_PATIENCE):
                    raise RuntimeError(f"hot was not told of everything within {_PATIENCE:.0f} s")
                recorder.settled()
                say("stopped")
        watching.cancel()
        calling.cancel()
        await asyncio.gather(watching, calling, return_exceptions=True)


async def main() -> None:
    told = orders()
    spec = await anext(told)
    with Recorder(Path("/dev/stdout"), spec["name"]) as recorder:
        await serve(spec, recorder, told)


if __name__ == "__main__":
    logging.getLogger("azure").setLevel(logging.ERROR)
    asyncio.run(main())
