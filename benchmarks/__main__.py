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
    parts = given.only.split(",")
    if given.rounds < LEAST_ROUNDS or set(parts) - set(PARTS):
        parser.error(f"--rounds is {LEAST_ROUNDS} or more, and --only takes {','.join(PARTS)}")
    if given.quick and given.write:
        parser.error("--quick measures nothing that is worth writing down")
    if given.page:
        written({})
        return 0
    if given.profile is not None:
        folder = (STORED if given.write else SCRATCH) / "profiles"
        child = [sys.executable, "-m", "benchmarks.profiling", given.profile, str(folder)]
        return subprocess.run(child + (["--quick"] if given.quick else []), check=False).returncode
    results, failed = measured(parts, given.rounds, quick=given.quick)
    if given.json:
        print(json.dumps(as_json(results), indent=2))
    else:
        print("\n\n".join(f"== {name} ==\n{shown(result)}" for name, result in results.items()))
    if given.write:
        written(results)
    return told(results, failed, quick=given.quick)


def measured(parts: list[str], rounds: int, *, quick: bool) -> tuple[dict[str, Result], list[str]]:
    """What each part found, and the parts that failed."""
    command = "make bench" + (f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else "")
    results: dict[str, Result] = {}
    failed: list[str] = []
    for part in parts:
        child = [sys.executable, "-m", "benchmarks.running", part, str(SCRATCH)]
        child += ["--rounds", str(QUICK_ROUNDS if quick else rounds), *(["--quick"] if quick else [])]
        try:
            code = subprocess.run(child, check=False, timeout=PATIENCE).returncode
        except subprocess.TimeoutExpired:
            code = -1
        if code == 0:
            results[part] = load(SCRATCH / f"{part}.json")
            results[part].command = command
            store(results[part], SCRATCH)
        elif code != MISSING:
            failed.append(part)
    return results, failed


def written(results: dict[str, Result]) -> None:
    """Store, draw and write the tables; parts that were not measured keep their earlier figures."""
    for result in results.values():
        store(result, STORED)
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
