"""Many small records in the embedded tiers, written and read back in a process of its own, whose memory is watched.

    python -m benchmarks.embedded [RECORDS] [HOT_BYTES]

prints the figures as JSON.
"""

import asyncio
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.results import Fact, Result, rounded
from benchmarks.scale import Scale

RECORDS = 100_000
HOT_BYTES = 16 * 2**20
_BATCH = 1000


def record(number: int) -> dict[str, Any]:
    """A small record: about 100 bytes of JSON."""
    return {
        "n": number,
        "who": f"user/{number % 997}",
        "text": f"remembered thing number {number}",
        "weight": number / 7,
    }


async def write_and_read(records: int, hot_bytes: int, folder: Path) -> dict[str, float]:
    """Write all, read all back in another order, compare each. Raises AssertionError for a record that is lost or another."""
    from benchmarks.payload import patient
    from thermocline.client import MemoryClient
    from thermocline.tiers.local.folder import FolderMemory
    from thermocline.tiers.local.process import ProcessMemory
    from thermocline.tiers.local.sqlite import SqliteMemory

    client = MemoryClient(
        hot=ProcessMemory(hot_bytes),
        warm=SqliteMemory(folder / "warm.sqlite3"),
        cold=FolderMemory(folder / "cold"),
        budget=patient(),
    )
    async with client:
        await client.set("first", record(0))
        before = _peak_mib()
        began = time.perf_counter()
        for start in range(0, records, _BATCH):
            numbers = range(start, min(start + _BATCH, records))
            batch = await client.set_many({f"record/{number}": record(number) for number in numbers})
            assert not batch.errors, batch.errors
        wrote = time.perf_counter() - began
        after_writes = _peak_mib()
        began = time.perf_counter()
        for start in range(0, records, _BATCH):
            wanted = [number * 7919 % records for number in range(start, min(start + _BATCH, records))]
            found = await client.get_many([f"record/{number}" for number in wanted])
            for number in wanted:
                assert found[f"record/{number}"] == record(number), f"record {number} came back as another"
        read = time.perf_counter() - began
        stats = client.stats()
    return {
        "records": records,
        "hot_mib": hot_bytes / 2**20,
        "writes_per_second": records / wrote,
        "reads_per_second": records / read,
        "hot_hits": stats["hot"].get("hits", 0),
        "rss_before_mib": before,
        "rss_growth_writing_mib": after_writes - before,
        "rss_growth_mib": _peak_mib() - before,
    }


def in_process(records: int, hot_bytes: int) -> dict[str, float]:
    """The same in a process of its own, so that its memory is nobody else's."""
    command = [sys.executable, "-m", "benchmarks.embedded", str(records), str(hot_bytes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


async def embedded(scale: Scale) -> Result:
    """100,000 records by `set_many` and `get_many`, 1,000 at a time, each value compared."""
    result, title = Result("embedded"), "embedded tiers"
    found = in_process(scale.of(RECORDS, 2000), HOT_BYTES)
    for name, key, unit in _FACTS:
        result.facts.append(Fact(title, name, rounded(found[key]), unit))
    return result


_FACTS: Final = (
    ("records", "records", ""),
    ("written", "writes_per_second", "a second"),
    ("read back", "reads_per_second", "a second"),
    ("process memory set to", "hot_mib", "MiB"),
    ("growth of the process at its peak", "rss_growth_mib", "MiB"),
)


def _peak_mib() -> float:
    """The most memory that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # of this program alone: the other way the parent's peak is inherited
        return int(re.findall(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    records, hot_bytes = [*given, *(RECORDS, HOT_BYTES)[len(given) :]]
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(write_and_read(records, hot_bytes, Path(folder)))))


if __name__ == "__main__":
    main()
