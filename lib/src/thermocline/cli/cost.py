"""The command ``cost``: what a profile costs a month, idle, as planned, or as a running memory was counted."""

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from thermocline.cli.options import Session, command
from thermocline.cli.terminal import Exit
from thermocline.cli.values import lifetime
from thermocline.cost.bill import PEAK, Bill, bill
from thermocline.cost.prices import Prices, list_prices
from thermocline.cost.profiles import PROFILES, profile
from thermocline.cost.units import units_by_operation
from thermocline.cost.workload import MONTH, MOST, Plan, Workload, added, counted, planned
from thermocline.errors import InvalidArgument

_STORED = ("hot", "warm", "cold")


@command
async def cost(
    session: Session,
    profile_name: Annotated[
        str | None, typer.Option("--profile", help="dev, team, private or regulated (all).", show_default=False)
    ] = None,
    stats: Annotated[
        list[Path] | None,
        typer.Option(
            help="File with client.stats() as JSON; - for standard input. Several are added up.", show_default=False
        ),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(help="How long the statistics were counted: 24h, 7d (a month, 730h).", show_default=False),
    ] = None,
    operations: Annotated[
        str | None,
        typer.Option(help=f"Or a plan for a month, as get=1e7,set=2e6: {', '.join(Plan.names())}.", show_default=False),
    ] = None,
    stored: Annotated[
        str | None, typer.Option(help="GB that are held, as warm=12,cold=300,hot=0.4.", show_default=False)
    ] = None,
    peak: Annotated[float, typer.Option(help="An hour's highest throughput, in means of the month.")] = PEAK,
    prices: Annotated[
        Path | None, typer.Option(help="File with prices that replace the list's.", show_default=False)
    ] = None,
) -> int:
    """Reckon what a deployment costs a month. An estimate by list prices; docs/cost.md has the formula."""
    workload = _workload(stats or [], over, operations, stored)
    known = list_prices() if prices is None else list_prices().with_file(_text(prices), str(prices))
    if stats and over is None:
        session.terminal.note(
            "the statistics are taken for a whole month's: say by --over how long they were counted", style="yellow"
        )
    if stats and not workload.warm and not workload.cold:
        session.terminal.note(
            "the statistics have no operations that are billed, as those of the embedded tiers: the figures are those of a deployment with nothing to do",
            style="yellow",
        )
    names = PROFILES if profile_name is None else (profile_name,)
    bills = [bill(profile(name), workload, known, peak=peak) for name in names]
    if session.terminal.as_json:
        session.terminal.document(_document(bills, workload, known))
    else:
        _show(session, bills, workload, known)
    return Exit.OK


def _workload(stats: list[Path], over: str | None, operations: str | None, stored: str | None) -> Workload:
    if stats and operations is not None:
        raise InvalidArgument("give --stats or --operations, not both")
    held = {f"stored_{name}": amount for name, amount in _pairs(stored, "--stored", _STORED).items()}
    if stats:
        seconds = MONTH.total_seconds() if over is None else lifetime(over)
        if seconds is None or not 1 <= seconds < 1e10:
            raise InvalidArgument("--over is a time of a second or longer that ends, as 90s, 24h or 7d")
        parts = [counted(_statistics(path), timedelta(seconds=seconds)) for path in stats]
        return added(parts, **held)
    if over is not None:
        raise InvalidArgument(
            "--over says how long statistics were counted: give it with --stats; a plan is for a month"
        )
    plan = planned(Plan(**_pairs(operations, "--operations", Plan.names())))
    return added([plan], **held)


def _pairs(text: str | None, option: str, known: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, sign, value = part.strip().partition("=")
        try:
            number = float(value)
        except ValueError:
            sign = ""
            number = 0.0
        if not sign or name not in known or not 0 <= number <= MOST:
            raise InvalidArgument(
                f"{option} has {part.strip()!r}: it is NAME=NUMBER with a comma between, of {', '.join(known)}"
            )
        if name in found:
            raise InvalidArgument(f"{option} has {name} twice")
        found[name] = number
    return found


def _text(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path} cannot be read as a text file in UTF-8: {error}") from error


def _statistics(path: Path) -> Mapping[str, Any]:
    text = _text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is no JSON: {error}") from error
    if isinstance(found, dict):  # of the memory's API (/v1/stats) they lie one deeper
        found = found.get("memory", found)
    if not isinstance(found, dict):
        raise InvalidArgument(f"{path} must hold what client.stats() gives, as a JSON object")
    return found


def _document(bills: list[Bill], workload: Workload, prices: Prices) -> dict[str, Any]:
    return {
        "currency": prices.currency,
        "region": prices.region,
        "as_of": prices.as_of,
        "request_units": {
            "formula": round(workload.units, 2),
            "charged": None if workload.charged is None else round(workload.charged, 2),
            "by_operation": {name: round(units, 2) for name, units in units_by_operation(workload.warm).items()},
        },
        "commands": round(workload.commands),
        "blob_operations": {name: round(count) for name, count in workload.blob_operations.items()},
        "gigabytes": {
            "hot": workload.stored_hot,
            "warm": workload.stored_warm,
            "cold": workload.stored_cold,
            "moved": workload.moved,
        },
        "profiles": {
            one.profile: {
                "total": round(one.total, 2),
                "fixed": round(one.fixed, 2),
                "notes": one.notes,
                "lines": [
                    {
                        "service": line.service,
                        "what": line.what,
                        "amount": line.amount,
                        "unit": line.unit,
                        "price": line.price,
                        "cost": round(line.cost, 4),
                        "fixed": line.fixed,
                        "estimate": line.estimate,
                    }
                    for line in one.lines
                ],
            }
            for one in bills
        },
    }


def _show(session: Session, bills: list[Bill], workload: Workload, prices: Prices) -> None:
    terminal = session.terminal
    rows = []
    for same in zip(*(one.lines for one in bills), strict=True):  # every bill has the same lines
        if any(round(line.cost, 2) for line in same):
            what = same[0].what + " *" * any(line.estimate for line in same)
            rows.append((same[0].service, what, *(f"{line.cost:,.2f}" for line in same)))
    columns = ("service", "what", *(one.profile for one in bills))
    terminal.table("", columns, rows, numbers=",".join(columns[2:]))
    for one in bills:
        terminal.say(
            f"{one.profile}: {one.total:,.2f} {one.currency} a month, {one.fixed:,.2f} of it though nothing is done"
        )
        for note in one.notes:
            terminal.note(f"{one.profile}: {note}", style="yellow")
    if workload.units:
        charged = "" if workload.charged is None else f", {workload.charged:,.0f} as charged"
        terminal.say(f"request units a month: {workload.units:,.0f} by the formula{charged}")
        seconds = MONTH.total_seconds()
        terminal.say(
            f"Redis commands: {workload.commands:,.0f} a month, {workload.commands / seconds:,.1f} a second on average;"
            f" Blob Storage operations: {sum(workload.blob_operations.values()):,.0f}; moved: {workload.moved:,.1f} GB"
        )
    terminal.say(
        f"List prices of {prices.region}, {prices.as_of}; * is an estimate of a price. docs/cost.md says what is assumed and what is not counted."
    )
