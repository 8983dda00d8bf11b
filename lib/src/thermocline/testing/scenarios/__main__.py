"""``python -m thermocline.testing.scenarios``: run them, and print one page. Ends with 1 if one did not come out as stated, or could not be played."""

import argparse
import asyncio
import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from thermocline.testing.scenarios.catalogue import SCENARIOS, by_name
from thermocline.testing.scenarios.places import FEATURES, switched_on
from thermocline.testing.scenarios.report import Report, page, put_into
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
    options = parser.parse_args()
    options.features = tuple(name for name in options.features.split(",") if name)
    try:  # before the minutes that it takes, and not after
        options.chosen = [by_name(name) for name in options.only] if options.only else list(SCENARIOS)
        switched_on(options.features)
        if not 0 < options.seconds < float("inf"):
            raise ValueError(f"--seconds is how long each fault lasts, more than 0, not {options.seconds:g}")
        if options.page is not None:
            put_into(options.page, None, BEGIN, END)
    except (KeyError, ValueError, OSError) as error:
        parser.error(str(error.args[0] if isinstance(error, KeyError) else error))
    return options


async def run(options: argparse.Namespace) -> tuple[list[Report], dict[str, str]]:
    """The reports, and why a scenario has none: one that cannot be played does not cost the others."""
    reports: list[Report] = []
    unplayed: dict[str, str] = {}
    for scenario in options.chosen:
        try:
            report = await play(scenario, seed=options.seed, seconds=options.seconds, features=options.features)
        except Exception as error:  # noqa: BLE001 - it is on the page, and the command ends with 1
            unplayed[scenario.name] = f"{type(error).__name__}: {error}"
            print(f"{scenario.name} (seed {options.seed}): NOT PLAYED: {unplayed[scenario.name]}", flush=True)
            traceback.print_exception(error)
        else:
            print(report, flush=True)
            reports.append(report)
    return reports, unplayed


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What is broken on purpose is warned of by the thousand: the page tells it once."""
    levels = {logger: logger.level for logger in (logging.getLogger("azure"), logging.getLogger("thermocline"))}
    try:
        for logger in levels:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def main() -> int:
    options = arguments()
    with _quietly():
        return told(options)


def told(options: argparse.Namespace) -> int:
    """Play what was chosen, and print or write what came of it; what the command ends with."""
    if options.list:
        for scenario in SCENARIOS:
            print(
                f"{scenario.name}: {scenario.says}\n    {scenario.outcome}\n    errors that calls may see: {scenario.errors}"
            )
        return 0
    reports, unplayed = asyncio.run(run(options))
    features = f", with {', '.join(options.features)}" if options.features else ""
    title = f"Scenarios (seed {options.seed}, faults of {options.seconds:g} s{features})"
    text = page(reports, title=title, unplayed=unplayed)
    print(f"\n{text}")
    if options.report is not None:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text, encoding="utf-8")
    if options.page is not None:
        put_into(options.page, text, BEGIN, END)
    return 0 if all(report.kept for report in reports) and not unplayed else 1


if __name__ == "__main__":
    sys.exit(main())
