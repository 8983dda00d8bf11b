"""The commands of people's rights: export and forget."""

import os
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from thermocline.cli.options import Scope, Session, Tenant, command
from thermocline.cli.terminal import Exit, Terminal, counted, moment, size
from thermocline.client.fences import WAIT
from thermocline.client.receipt import Receipt, ServiceRetention
from thermocline.errors import InvalidArgument

_Days = Annotated[
    float | None,
    typer.Option(help="Days for which the service keeps what was erased; left out: the longest.", show_default=False),
]


@command
async def export(
    session: Session,
    tenant: Tenant = None,
    scope: Scope = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the lines into this new file.")] = None,
) -> int:
    """Give out all that is held of a scope or a tenant, as lines of JSON."""
    terminal = session.terminal
    damaged, records = False, 0
    async with session.builder().build() as memory, aclosing(memory.export(scope=scope, tenant=tenant)) as lines:
        if output is None:
            async for line in lines:
                typer.echo(line)
                damaged = _not_whole(line)
            return _told(terminal, damaged)
        try:
            made = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # a person's data: for its owner alone
            file = os.fdopen(made, "w", encoding="utf-8")
        except OSError as error:
            raise InvalidArgument(
                f"{output} cannot be made: {error.strerror}; name a file that is not there yet"
            ) from None
        with file:
            async for line in lines:
                file.write(line + "\n")
                records += 1
                damaged = _not_whole(line)
    terminal.note(f"thermocline: {counted(records - 2, 'line')} of records in {output}")
    return _told(terminal, damaged)


def _not_whole(line: str) -> bool:
    """Whether it is a last line that says that something is missing."""
    return line.startswith('{"records":') and ('"unsearched":' in line or not line.endswith('"damaged":[]}'))


def _told(terminal: Terminal, damaged: bool) -> int:
    if not damaged:
        return Exit.OK
    terminal.note(
        "thermocline: something is damaged or could not be searched, and is not in it; the last line says what"
    )
    return Exit.CORRUPT


@command
async def forget(
    session: Session,
    by: Annotated[str, typer.Option(help="Who asks for it; goes into the audit record.", show_default=False)],
    tenant: Tenant = None,
    scope: Scope = None,
    reason: Annotated[str, typer.Option(help="Why; goes into the audit record.", show_default=False)] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be erased, and erase nothing.")] = False,
    longest_write: Annotated[
        float | None,
        typer.Option(help="Seconds that a write of any client may take; 30 if left out.", show_default=False),
    ] = None,
    cosmos_backup_days: _Days = None,
    blob_soft_delete_days: _Days = None,
) -> int:
    """Erase a scope or a tenant from every tier, and print the receipt."""
    kept = ServiceRetention(
        cosmos_backup=None if cosmos_backup_days is None else timedelta(days=cosmos_backup_days),
        blob_soft_delete=None if blob_soft_delete_days is None else timedelta(days=blob_soft_delete_days),
    )
    terminal = session.terminal
    if not dry_run and not terminal.quiet:
        seconds = WAIT if longest_write is None else longest_write
        terminal.note(f"thermocline: erasing; writes that are under way are waited out, {seconds:g} seconds")
    async with session.builder().build() as memory:
        receipt = await memory.forget(
            scope=scope,
            tenant=tenant,
            by=by,
            reason=reason,
            dry_run=dry_run,
            retention=kept,
            longest_write=None if longest_write is None else timedelta(seconds=longest_write),
        )
    if terminal.as_json:
        terminal.document(receipt.as_dict())
    else:
        _tell(session, receipt)
    return Exit.OK if receipt.complete or dry_run else Exit.CORRUPT


def _tell(session: Session, receipt: Receipt) -> None:
    terminal = session.terminal
    whose = f"{receipt.tenant}/{receipt.scope}" if receipt.scope is not None else f"the tenant {receipt.tenant}"
    records = ", ".join(f"{count} in {tier}" for tier, count in receipt.records.items()) or "none"
    would = "would be " if receipt.dry_run else ""
    terminal.say(f"{whose}: {would}erased")
    terminal.say(f"  records   {records}")
    terminal.say(f"  payloads  {receipt.payloads} in cold, {size(receipt.bytes)}")
    if receipt.dry_run:
        return
    terminal.say(f"  receipt   {receipt.id}, {moment(receipt.finished, zone=True)}, asked for by {receipt.by}")
    for left in receipt.remains:
        latest = " at the latest (nobody said how it is set up)" if left.assumed else ""
        terminal.say(f"  until {moment(left.until, zone=True)}{latest}: {left.tier}, {left.what}")
    for damaged in receipt.damaged:
        terminal.note(f"thermocline: not erased, for it cannot be read: {damaged}; remove it by hand")
    for unsearched in receipt.unsearched:
        terminal.note(f"thermocline: not searched: {unsearched}")
    for kept in receipt.dictionaries:
        terminal.note(f"thermocline: {kept}")
    if receipt.untold:
        terminal.note(
            f"thermocline: hot could not be told of {counted(receipt.untold, 'key')}; its copies end within an hour"
        )
