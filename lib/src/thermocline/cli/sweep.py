"""The command ``sweep``: one pass over everything, or the rest of one."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer

from thermocline.cli.options import Session, command
from thermocline.cli.terminal import Exit, counted, moment, size
from thermocline.cli.values import lifetime
from thermocline.client import SweepReport
from thermocline.errors import InvalidArgument
from thermocline.lifetimes import Lifetime, LifetimeRule, Lifetimes


def _span(text: str | None, name: str) -> timedelta | None:
    if text is None:
        return None
    seconds = lifetime(text)
    if seconds is None or not 0 < seconds < 1e10:
        raise InvalidArgument(f"{name} is a time longer than zero that ends, as 90s, 15m, 2h or 7d")
    return timedelta(seconds=seconds)


@command
async def sweep(
    session: Session,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be done.")] = False,
    demote_after: Annotated[
        str | None, typer.Option(help="Demote what was not written for so long: 2h, 30d.", show_default=False)
    ] = None,
    demote_idle: Annotated[
        str | None, typer.Option(help="... neither written nor, as far as is known, read.", show_default=False)
    ] = None,
    demote_above: Annotated[
        int | None, typer.Option(help="... of more than so many stored bytes.", min=0, show_default=False)
    ] = None,
    max_records_per_second: Annotated[
        float | None, typer.Option(help="Look at no more than so many.", show_default=False)
    ] = None,
    max_request_units: Annotated[
        float | None, typer.Option(help="Stop when Cosmos DB has charged so many.", show_default=False)
    ] = None,
    max_duration: Annotated[str | None, typer.Option(help="Stop after so long: 90s, 15m.", show_default=False)] = None,
    even_if_empty: Annotated[
        bool, typer.Option("--even-if-empty", help="Remove payloads though there are no records at all.")
    ] = False,
    disown: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the authorities whose names stand in cold, one that is gone for good.", show_default=False
        ),
    ] = None,
) -> int:
    """Demote by the given rules, remove orphans and dead records. Goes on where the last pass was cut short."""
    lasting = _span(max_duration, "--max-duration")
    rule = Lifetime(
        demote_after=_span(demote_after, "--demote-after"),
        demote_idle=_span(demote_idle, "--demote-idle"),
        demote_above=demote_above,
    )
    builder = session.builder()
    if rule != Lifetime():
        builder.with_lifetimes(Lifetimes([LifetimeRule(prefix="", lifetime=rule)]))
    async with builder.build() as memory:
        report = await memory.sweep(
            dry_run=dry_run,
            max_records_per_second=max_records_per_second,
            max_request_units=max_request_units,
            max_duration=lasting,
            even_if_empty=even_if_empty,
            disown=disown or (),
        )
    terminal = session.terminal
    if terminal.as_json:
        terminal.document(_document(report))
    else:
        for line in _told(report):
            terminal.say(line)
        for error in (*report.errors, *report.demotions.errors.values()):
            terminal.note(f"thermocline: {error}")
    return Exit.UNAVAILABLE if report.stopped.startswith("a tier") else Exit.OK


def _document(report: SweepReport) -> dict[str, Any]:
    """The report for machines."""
    return report.counts() | {
        "dry_run": report.dry_run,
        "finished": report.finished,
        "stopped": report.stopped,
        "where": report.where,
        "busy_until": report.busy_until,
        "request_units": round(report.request_units, 2),
        "saves": asdict(report.saves),
        "errors": [*report.errors, *map(str, report.demotions.errors.values())],
    }


def _told(report: SweepReport) -> Sequence[str]:
    """The report in lines for people."""
    if report.busy_until is not None:
        return [f"{report.stopped}, at least until {moment(report.busy_until)}; nothing was done"]
    would = "would be " if report.dry_run else ""
    down, saves = report.demotions, report.saves
    lines = [
        f"{counted(report.records, 'record')}: {report.dead} dead, {down.moved} {would}demoted ({size(down.bytes_moved)}),"
        f" {report.shortened} {would}shortened and {report.deleted} {would}deleted by ceilings, {report.purged} purged",
        f"{counted(report.payloads, 'payload')}: {report.pointed} in use, {report.young} in their grace,"
        f" {counted(report.orphans, 'orphan')} {would}removed ({size(report.orphan_bytes)}), {report.unresolved} left as nobody can tell",
    ]
    if saves.bytes_moved:
        lines.append(
            f"on Azure, by list prices, that saves {saves.dollars_a_month:.4f} USD a month, costs {counted(round(saves.units_to_move), 'request unit')} once,"
            f" and {saves.units_per_read_of_all:.0f} less for each time that all of it is read from Cosmos DB"
        )
    if not report.finished:
        lines.append(f"not finished: {report.stopped}; the next sweep goes on at: {report.where}")
    return lines
