"""What a process keeps of a million keys that pass through it, with a near cache of ten thousand.

    python -m benchmarks.memory PORT KEYS[,KEYS...]

reads keys of a Redis that holds them, never the same twice, and prints the process' resident memory at each of the counts as JSON.
"""

import asyncio
import gc
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import say
from benchmarks.payload import patient
from benchmarks.results import Fact, Grid, Result, Series, at_most, rounded
from benchmarks.scale import Scale
from benchmarks.seeding import seed, small, small_key
from thermocline import NearCache
from thermocline.client import MemoryClient
from thermocline.testing.rig import RedisServer
from thermocline.testing.rig.errors import MissingPart

NEAR = 10_000
COUNTS = (20_000, 50_000, 100_000, 200_000, 400_000, 600_000, 800_000, 1_000_000)
JUDGED = (100_000, 1_000_000)
MOST = 1.1
_AT_ONCE = 100


async def memory(scale: Scale) -> Result:
    resident_mib()
    result = Result("memory")
    counts = scale.of(COUNTS, (500, 1_000, 2_000))
    with RedisServer() as server:
        say(f"memory: {counts[-1]:,} keys put into Redis")
        await seed(server.port, [small_key(number) for number in range(counts[-1])])
        say("memory: read by a process of its own")
        command = [sys.executable, "-m", "benchmarks.memory", str(server.port), ",".join(map(str, counts))]
        ran = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        out, _ = await ran.communicate()
        if ran.returncode != 0:
            raise RuntimeError(f"the reading process ended with {ran.returncode}")
    found = json.loads(out)
    points = [(float(count), rounded(mib)) for count, mib in found["mib"]]
    result.series.append(Series("memory", f"near cache of {NEAR:,}", points))
    result.grids.append(Grid("resident memory", ["keys passed through", "MiB"], [[f"{c:,.0f}", m] for c, m in points]))
    by = dict(points)
    low, high = (by.get(float(count), points[-1][1]) for count in JUDGED)
    title = "memory of a process"
    result.facts.append(Fact(title, "before the first read", rounded(found["before"]), "MiB"))
    result.facts.append(at_most(title, "entries in the near cache at the end", found["kept"], NEAR))
    result.facts.append(at_most(title, f"at {JUDGED[1]:,} keys over that at {JUDGED[0]:,}", high / low, MOST))
    return result


async def read(port: int, counts: list[int], folder: Path) -> dict[str, Any]:
    """Read them all, ``_AT_ONCE`` callers at a time. Raises AssertionError for a value that is not its key's."""
    from thermocline.tiers.hot import HotMemory
    from thermocline.tiers.local.sqlite import SqliteMemory

    hot = HotMemory(f"redis://127.0.0.1:{port}/0")
    warm = SqliteMemory(folder / "warm.sqlite3")
    async with MemoryClient(hot=hot, warm=warm, budget=patient(), near=NearCache(max_entries=NEAR)) as client:
        await client.get(small_key(0))
        before = resident_mib()
        mib: list[tuple[int, float]] = []
        done = 0
        for count in counts:
            while done < count:
                numbers = range(done, min(done + _AT_ONCE, count))
                values = await asyncio.gather(*(client.get(small_key(number)) for number in numbers))
                assert values[0] == small(numbers[0]), f"key {numbers[0]} came back as {values[0]!r}"
                done = numbers[-1] + 1
            gc.collect()
            mib.append((count, resident_mib()))
        kept = client.stats()["near"]["near_entries"]
    return {"kept": kept, "before": before, "mib": mib}


def resident_mib() -> float:
    """What this process has in memory now, in MiB. Raises MissingPart where there is no /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError as error:
        raise MissingPart("resident memory is read from /proc, which this system does not have") from error
    return int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0]) / 2**10


def main() -> None:
    port, counts = int(sys.argv[1]), [int(count) for count in sys.argv[2].split(",")]
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(read(port, counts, Path(folder)))))


if __name__ == "__main__":
    main()
