"""One part in a process of its own, so that what goes wrong in it is its own business: ``python -m benchmarks.running PART FILE [--rounds N] [--quick]``."""

import argparse
import asyncio
import importlib
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.parts import PARTS
from benchmarks.results import Result, machine, store, today
from benchmarks.scale import ROUNDS, Scale
from thermocline.testing.rig.errors import MissingPart

MISSING = 3  # the exit code where a server or a package is not to be had


def found(part: str) -> Callable[[Scale], Awaitable[Result]]:
    module, name = PARTS[part].split(":")
    part_of: Callable[[Scale], Awaitable[Result]] = getattr(importlib.import_module(module), name)
    return part_of


def run(part: str, scale: Scale) -> Result:
    """Measure it here and now. Raises MissingPart."""
    before, began = machine(), time.perf_counter()  # how busy others keep it, not we
    result = asyncio.run(_awaited(part, scale))
    result.machine, result.taken, result.quick = before, today(), scale.quick
    result.seconds = round(time.perf_counter() - began, 1)
    return result


async def _awaited(part: str, scale: Scale) -> Result:
    return await found(part)(scale)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.running", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    try:
        result = run(given.part, Scale(given.rounds, given.quick))
    except MissingPart as missing:
        print(f"{given.part} is left out: {missing}", file=sys.stderr)
        return MISSING
    store(result, given.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
