"""``python -m thermocline.testing.scenarios``: run them, and print one page. Ends with 1 if one did not come out as stated."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from thermocline.testing.scenarios.catalogue import SCENARIOS, by_name
from thermocline.testing.scenarios.places import FEATURES
from thermocline.testing.scenarios.report import Report, page
from thermocline.testing.scenarios.runner import play

BEGIN, END = "<!-- scenarios: begin -->", "<!-- scenarios: end -->"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m thermocline.testing.scenarios", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides what is called and broken (default 1)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each fault lasts (default 10)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this scenario; may be repeated")
    parser.add_argument("--features", default="", help=f"switched on, with commas between: {', '.join(FEATURES)}")
    parser.add_argument("--report", type=Path, help="write the page to this file, too")
    parser.add_argument("--page", type=Path, help="put it into this document, between its markers")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    return parser.parse_args()


async def run(options: argparse.Namespace) -> list[Report]:
    chosen = [by_name(name) for name in options.only] if options.only else SCENARIOS
    features = tuple(name for name in options.features.split(",") if name)
    reports: list[Report] = []
    for scenario in chosen:
        report = await play(scenario, seed=options.seed, seconds=options.seconds, features=features)
        print(report, flush=True)
        reports.append(report)
    return reports


def put_into(document: Path, text: str) -> None:
    """Replace what is between the markers. Raises ValueError where there are none."""
    before, found, rest = document.read_text().partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{document} has no place for the page, between {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def main() -> int:
    logging.getLogger("azure").setLevel(logging.ERROR)
    logging.getLogger("thermocline").setLevel(logging.ERROR)
    options = arguments()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name}: {scenario.says}\n    {scenario.outcome}")
        return 0
    reports = asyncio.run(run(options))
    features = f", with {options.features}" if options.features else ""
    text = page(reports, title=f"Scenarios (seed {options.seed}, faults of {options.seconds:g} s{features})")
    print(f"\n{text}")
    if options.report is not None:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text)
    if options.page is not None:
        put_into(options.page, text)
    return 0 if all(report.kept for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
