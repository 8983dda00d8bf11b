"""How long ``import thermocline`` takes, each time in a new process; the bare interpreter is not counted."""

import statistics
import subprocess
import sys

from benchmarks.results import Fact, Result, at_most, rounded
from benchmarks.scale import Scale

CPU_MS = 150
_CODE = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import thermocline
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def import_ms(times: int = 11) -> tuple[float, float]:
    """Median wall and CPU time in ms, byte code being cached."""
    samples: list[tuple[float, float]] = []
    for _ in range(times + 1):
        done = subprocess.run([sys.executable, "-I", "-c", _CODE], capture_output=True, text=True, check=True)
        wall, cpu = map(float, done.stdout.split())
        samples.append((wall * 1000, cpu * 1000))
    kept = samples[1:]  # the first may have compiled
    return statistics.median(wall for wall, _ in kept), statistics.median(cpu for _, cpu in kept)


async def startup(scale: Scale) -> Result:
    wall, cpu = import_ms(scale.of(11, 2))
    facts = [
        at_most("import thermocline", "CPU", cpu, CPU_MS, "ms"),
        Fact("import thermocline", "wall", rounded(wall), "ms"),
    ]
    return Result("import", facts=facts)
