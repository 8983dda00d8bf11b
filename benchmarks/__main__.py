"""``python -m benchmarks [--json] [--only PART,PART] [--rounds N]``: all parts, or some of `PARTS`; ``make bench`` runs all of it in a few minutes.

Exits with 1 if a target is missed.
"""

import argparse
import asyncio
import json
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any

from benchmarks.batches import batch_groups
from benchmarks.embedded import HOT_BYTES, RECORDS, in_process
from benchmarks.hot import hot_groups
from benchmarks.report import Line, as_json, lines, machine, table
from benchmarks.rounds import Group
from benchmarks.services import cold_groups, warm_groups
from benchmarks.sessions import MOST_MIB, SESSIONS, in_redis
from benchmarks.sketch import Ratios, cpu_us, hit_ratios
from benchmarks.sketch import table as sketch_table
from benchmarks.startup import import_ms
from benchmarks.telemetry import telemetry_groups
from thermocline.testing.rig import MissingPart

PARTS = ("hot", "warm", "cold", "batches", "telemetry", "embedded", "sessions", "sketch", "import")
IMPORT_MS = 150


async def _measured(part: str, groups: AbstractAsyncContextManager[list[Group]]) -> list[Line]:
    try:
        async with groups as made:
            for group in made:
                print(f"measuring: {group.title}", file=sys.stderr)
                await group.measure()
            return lines(made)
    except MissingPart as missing:
        print(f"{part} is left out: {missing}", file=sys.stderr)
        return []


async def _compared(parts: list[str], rounds: int) -> list[Line]:
    found: list[Line] = []
    compared = (("hot", hot_groups), ("warm", warm_groups), ("cold", cold_groups), ("telemetry", telemetry_groups))
    for part, groups in compared:
        if part in parts:
            found += await _measured(part, groups(rounds))
    if "batches" in parts:
        found += await _measured("batches", batch_groups())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=15, help="at least 7")
    given = parser.parse_args()
    parts = given.only.split(",")
    if given.rounds < 7 or set(parts) - set(PARTS):
        parser.error(f"--rounds is 7 or more, and --only takes {','.join(PARTS)}")
    busy = machine()
    found = asyncio.run(_compared(parts, given.rounds))
    extra: dict[str, Any] = {"machine": busy}
    missed = [line.arm for line in found if line.reached is False]
    if "embedded" in parts:
        print(f"measuring: {RECORDS} records in the embedded tiers", file=sys.stderr)
        extra["embedded"] = in_process(RECORDS, HOT_BYTES)
    if "sessions" in parts:
        print(f"measuring: {SESSIONS} sessions in Redis", file=sys.stderr)
        extra["sessions"] = in_redis()
        if extra["sessions"]["redis_mib"] >= MOST_MIB:
            missed.append(f"{SESSIONS} sessions in Redis")
    if "sketch" in parts:
        print("measuring: hit ratios of the sketch", file=sys.stderr)
        ratios, (note, estimate) = hit_ratios(), cpu_us()
        extra["sketch"] = {"ratios": [asdict(line) for line in ratios], "note_us": note, "estimate_us": estimate}
        missed += [line.trace for line in ratios if line.missed]
    if "import" in parts:
        wall, cpu = import_ms()
        extra["import"] = {"wall_ms": wall, "cpu_ms": cpu}
        if cpu > IMPORT_MS:
            missed.append("import thermocline")
    if given.json:
        print(json.dumps(as_json(found, extra), indent=2))
    else:
        _show(found, extra)
    if missed:
        print(f"\nmissed: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def _show(found: list[Line], extra: dict[str, Any]) -> None:
    print(", ".join(f"{name} {value}" for name, value in extra["machine"].items()))
    print(table(found))
    if "embedded" in extra:
        e = extra["embedded"]
        print(
            f"\nembedded tiers: {e['records']:,} records written at {e['writes_per_second']:,.0f}/s and read back at {e['reads_per_second']:,.0f}/s;"
            f" process memory set to {e['hot_mib']:.0f} MiB, the process grew by {e['rss_growth_mib']:.0f} MiB"
            f" from {e['rss_before_mib']:.0f} MiB"
        )
    if "sessions" in extra:
        e = extra["sessions"]
        print(
            f"\nRedis: {e['sessions']:,} sessions ({e['keys']:,} keys, {e['json_mib']:.0f} MiB of JSON) take {e['redis_mib']:.0f} MiB"
            f" by INFO memory (target under {MOST_MIB}), {e['bytes_a_session']:,.0f} bytes a session"
        )
    if "sketch" in extra:
        e = extra["sketch"]
        print("\n" + sketch_table([Ratios(**line) for line in e["ratios"]], (e["note_us"], e["estimate_us"])))
    if "import" in extra:
        print(
            f"\nimport thermocline: {extra['import']['wall_ms']:.0f} ms, CPU {extra['import']['cpu_ms']:.0f} ms (target 150)"
        )


if __name__ == "__main__":
    sys.exit(main())
