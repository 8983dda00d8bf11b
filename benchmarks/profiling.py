"""What the client's arms of a part spend their time on, by cProfile: ``python -m benchmarks.profiling PART FOLDER [--quick]``.

One text file for each arm, in seconds of CPU. A profiler makes Python's own functions dearer than those in C: the order counts and the calls, not the seconds.
"""

import argparse
import asyncio
import cProfile
import io
import pstats
import re
import sys
import time
from pathlib import Path

from benchmarks.measuring import do_instead
from benchmarks.parts import PARTS
from benchmarks.rounds import Arm, Group
from benchmarks.running import found
from benchmarks.scale import Scale

TURNS = 4
SHOWN = 40  # functions


class Profiler:
    """Takes the place of measuring. ``files``: what was written."""

    def __init__(self, part: str, folder: Path) -> None:
        self._part, self._folder = part, folder
        self.files: list[Path] = []

    async def __call__(self, group: Group) -> None:
        for arm in group.arms:
            if arm.name.startswith("client."):
                self.files.append(self._put(group, arm, await profiled(arm, group.operations)))

    def _put(self, group: Group, arm: Arm, text: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "-", f"{self._part} {group.title} {arm.name}".lower()).strip("-")
        path = self._folder / f"{name}.txt"
        path.write_text(f"{group.title}: {arm.name}, {TURNS * group.operations} operations\n\n{text}", encoding="utf-8")
        return path


async def profiled(arm: Arm, operations: int) -> str:
    """The functions that take most, their own time first; files without their folders."""
    await arm.run(max(operations // 4, arm.at_once))
    profile = cProfile.Profile(time.process_time)  # of the CPU: what others do to the machine is no function of ours
    for _ in range(TURNS):
        if arm.before is not None:
            await arm.before()
        profile.enable()
        await arm.run(operations)
        profile.disable()
    out = io.StringIO()
    pstats.Stats(profile, stream=out).strip_dirs().sort_stats("tottime").print_stats(SHOWN)
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines()) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    profiler = Profiler(given.part, given.folder)
    do_instead(profiler)
    asyncio.run(_awaited(given.part, Scale(quick=given.quick)))
    for path in profiler.files:
        print(path.name)
    if not profiler.files:
        print(f"no arm of the client is compared in {given.part}", file=sys.stderr)
    return 0 if profiler.files else 1


async def _awaited(part: str, scale: Scale) -> None:
    await found(part)(scale)


if __name__ == "__main__":
    sys.exit(main())
