"""The commands ``backup`` and ``restore``."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import typer

from thermocline.cli.options import Scope, Session, Tenant, command
from thermocline.cli.terminal import Exit, counted, moment, size
from thermocline.errors import InvalidArgument
from thermocline.model import instant
from thermocline.transfer import Backup, BackupPlace, BlobPlace, FolderPlace, Manifest, Restore, Space, verify_backup
from thermocline.wiring import MemoryBuilder

_Place = Annotated[
    str,
    typer.Argument(
        metavar="PLACE", help="A folder, or the URL of a blob container and a prefix in it.", show_default=False
    ),
]
_AZURE = ".blob.core."


@command
async def backup(
    session: Session,
    place: _Place,
    tenant: Tenant = None,
    scope: Scope = None,
    verify: Annotated[bool, typer.Option("--verify", help="Only check the backup that lies there.")] = False,
) -> int:
    """Write all records, or those of a tenant or scope, into files that describe themselves. Goes on where it was cut short."""
    async with _place(session, place, create=not verify) as where:
        if verify:
            manifest = await verify_backup(where)
        else:
            async with session.builder().build() as memory:
                manifest = await Backup(memory, where, space=Space(tenant, scope)).run()
    terminal = session.terminal
    if terminal.as_json:
        terminal.document(asdict(manifest))
    else:
        terminal.say(_told(manifest))
        for words in manifest.damaged:
            terminal.note(f"thermocline: not in it, for it cannot be read: {words}")
        if manifest.elsewhere:
            terminal.note(
                f"thermocline: not in it: {counted(manifest.elsewhere, 'record')} under another authority than these settings give;"
                " a program's own routes reach them (docs/moving-data.md)"
            )
    return Exit.CORRUPT if manifest.damaged_count and not verify else Exit.OK


def _told(manifest: Manifest) -> str:
    began = moment(instant(manifest.began_ms))
    return (
        f"{counted(manifest.records, 'record')}, {size(manifest.bytes)} stored, in {counted(len(manifest.chunks), 'chunk')};"
        f" begun {began}; every checksum fits"
    )


@command
async def restore(
    session: Session,
    place: _Place,
    tenant: Tenant = None,
    scope: Scope = None,
    to_tenant: Annotated[str | None, typer.Option(help="Restore --tenant under this name.", show_default=False)] = None,
    to_scope: Annotated[str | None, typer.Option(help="Restore --scope under this name.", show_default=False)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also over what was written or deleted since, and over damaged records.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be done.")] = False,
) -> int:
    """Write a backup's records as new versions. What is newer stays; what was forgotten since stays so."""
    async with _place(session, place, create=False) as where, session.builder().build() as memory:
        space = Space(tenant, scope, to_tenant, to_scope)
        report = await Restore(memory, where, space=space).run(overwrite=overwrite, dry_run=dry_run)
    terminal = session.terminal
    if terminal.as_json:
        terminal.document(asdict(report))
    else:
        would = "would be " if dry_run else ""
        terminal.say(
            f"{counted(report.records, 'record')}: {report.written} {would}written ({size(report.bytes)}), {report.same} there already,"
            f" {report.newer} written since, {report.deleted} deleted since, {report.forgotten} forgotten since,"
            f" {report.expired} expired, {report.outside} of other scopes, {report.failed} failed"
        )
        if (report.newer or report.deleted) and not overwrite:
            terminal.say("what was written or deleted since was left; --overwrite restores that too")
        if report.epoch:
            terminal.say(report.epoch)
        for error in report.errors:
            terminal.note(f"thermocline: {error}")
    return Exit.CORRUPT if report.failed else Exit.OK


@asynccontextmanager
async def _place(session: Session, text: str, *, create: bool) -> AsyncGenerator[BackupPlace, None]:
    """A folder, or ``https://account.blob.core.windows.net/container/prefix`` (``http://host:port/account/container/prefix`` of an emulator), perhaps with a
    SAS behind it."""
    if "://" not in text:
        yield FolderPlace(text)
        return
    parts = urlsplit(text)
    words = [word for word in parts.path.split("/") if word]
    account = [] if _AZURE in (parts.hostname or "") else words[:1]
    words = words[len(account) :]
    if parts.scheme not in ("http", "https") or not words:
        raise InvalidArgument(f"a backup's place is a folder, or a URL with a container in it, not {parts.scheme}://…")
    from thermocline.tiers.cold import ColdMemory

    url = urlunsplit(parts._replace(path="/".join(["", *account])))
    made = MemoryBuilder()
    credential = None if "sig=" in parts.query else made.identity()
    blobs = ColdMemory(url, words[0], credential=credential, create=create)
    try:
        yield BlobPlace(blobs, "/".join(words[1:]))
    finally:
        await blobs.close()
        await made.close()
