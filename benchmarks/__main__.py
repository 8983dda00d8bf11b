"""``python -m benchmarks``: all parts or some, each in a process of its own; prints the tables, stores what was found, exits with 1 if a target is missed.

--only PART,PART   some of the parts
--quick            tiny numbers, to see that everything works; no verdict
--rounds N         of each group, 7 or more
--json             JSON instead of tables
--write            store under benchmarks/results, and write the plots and the tables of docs/performance.md anew
--profile PART     no figures: what one part's client spends its time on (cProfile)
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.page import write_page
from benchmarks.parts import PARTS
from benchmarks.plots import write_plots
from benchmarks.report import shown
from benchmarks.results import STORED, Result, as_json, load, load_all, store
from benchmarks.running import MISSING
from benchmarks.scale import ROUNDS

LEAST_ROUNDS = 7
QUICK_ROUNDS = 2
PATIENCE = 600  # seconds that one part may take
SCRATCH = Path(__file__).parents[1] / ".cache" / "bench"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--profile", choices=PARTS)
    given = parser.parse_args()
    parts = [part.strip() for part in given.only.split(",")]
    if given.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds is {LEAST_ROUNDS} or more, not {given.rounds}")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"there is no part {', '.join(map(repr, unknown))}; the parts are: {', '.join(PARTS)}")
    if given.quick and given.write:
        parser.error("--quick measures nothing that is worth writing down")
    if given.page:
        written()
        return 0
    if given.profile is not None:
        folder = (STORED if given.write else SCRATCH) / "profiles"
        child = [sys.executable, "-m", "benchmarks.profiling", given.profile, str(folder)]
        return subprocess.run(child + (["--quick"] if given.quick else []), check=False).returncode
    results: dict[str, Result] = {}
    failed: list[str] = []
    for part in parts:
        result = measured(part, given.rounds, quick=given.quick)
        if isinstance(result, Result):
            results[part] = result
            if given.write:  # at once: what is measured is not lost to what comes after it
                store(result, STORED)
            if not given.json:
                print(f"== {part}, {result.seconds:.0f} s ==\n{shown(result)}\n", flush=True)
        elif result != MISSING:
            failed.append(part)
    if given.json:
        print(json.dumps(as_json(results), indent=2))
    if given.write:
        written()
    return told(results, failed, quick=given.quick)


def measured(part: str, rounds: int, *, quick: bool) -> Result | int:
    """What the part found, in a process of its own; the process' exit code if it found nothing."""
    child = [sys.executable, "-m", "benchmarks.running", part, str(SCRATCH)]
    child += ["--rounds", str(QUICK_ROUNDS if quick else rounds), *(["--quick"] if quick else [])]
    try:
        code = subprocess.run(child, check=False, timeout=PATIENCE).returncode
    except subprocess.TimeoutExpired:
        return -1
    if code != 0:
        return code
    result = load(SCRATCH / f"{part}.json")
    result.command = "make bench" + (f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else "")
    return result


def written() -> None:
    """Draw the plots and write the tables of what is stored; parts that were not measured now keep their earlier figures."""
    everything = load_all()
    for path in [*write_plots(everything), write_page(everything)]:
        print(f"written: {path.relative_to(Path(__file__).parents[1])}", file=sys.stderr)


def told(results: dict[str, Result], failed: list[str], *, quick: bool) -> int:
    """Say what was missed; the exit code."""
    missed = [] if quick else [f"{name}: {one}" for name, result in results.items() for one in result.missed]
    for title, some in (("missed", missed), ("failed", failed)):
        if some:
            print(f"\n{title}:\n  " + "\n  ".join(some), file=sys.stderr)
    return 1 if missed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
