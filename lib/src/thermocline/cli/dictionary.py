"""The commands ``dictionary``: what makes many small similar records much smaller; trained from a tenant's values, listed, shown, removed."""

import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from thermocline.cli.options import Session, command
from thermocline.cli.terminal import Exit, counted, moment, size
from thermocline.client.dictionaries import DictionaryInfo
from thermocline.client.training import LEAST_GAIN, SAMPLES, SHARED_BY, Dictionaries
from thermocline.errors import InvalidArgument
from thermocline.model import DEFAULT_TENANT, instant

dictionary = typer.Typer(no_args_is_help=True, help="Dictionaries: many small similar records, stored much smaller.")

_UNITS: Final = {"": 1, "k": 1024, "kb": 1024}

OfTenant = Annotated[str, typer.Option("--tenant", help="Whose: a dictionary belongs to one tenant.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Its id, as `dictionary list` has it.", show_default=False)]
_UNSHARED: Final = (
    "--shared-by 1 copies whatever pays into the dictionary, also what is one person's alone, and it stays there when the person is forgotten:"
    " say --yes if that is allowed here (docs/dictionaries.md)"
)


@dictionary.command("train")
@command
async def train(
    session: Session,
    tenant: OfTenant = DEFAULT_TENANT,
    scope: Annotated[str | None, typer.Option(help="Only values of this scope.", show_default=False)] = None,
    prefix: Annotated[str, typer.Option(help="Only of names that begin so.", show_default=False)] = "",
    samples: Annotated[int, typer.Option(help="Values to learn from and to measure with, at most.")] = SAMPLES,
    bytes_: Annotated[str, typer.Option("--size", help="Bytes at most, as 32k.")] = "32k",
    shared_by: Annotated[
        int, typer.Option(help="Only fragments that so many scopes share; 1: any, which forget cannot undo.")
    ] = SHARED_BY,
    force: Annotated[
        bool, typer.Option("--force", help=f"Store it though it saves less than {LEAST_GAIN:.0%}.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Allow --shared-by 1.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train and measure, and store nothing.")] = False,
) -> int:
    """Train a dictionary from a tenant's values, measure it on others, and store it if it is worth it."""
    if shared_by == 1 and not yes and not dry_run:
        raise InvalidArgument(_UNSHARED)
    terminal = session.terminal
    async with session.builder().build() as memory:
        found = await Dictionaries(memory).train(
            tenant=tenant,
            scope=scope,
            prefix=prefix,
            samples=samples,
            size=_bytes(bytes_),
            shared_by=shared_by,
            force=force,
            dry_run=dry_run,
        )
    info = found.info
    if terminal.as_json:
        terminal.document(_document(info) | {"stored": found.stored, "new": found.new, "why": found.why})
    else:
        terminal.say(f"dictionary {info.id}: {size(info.size)}, of {counted(info.samples, 'value')}")
        terminal.say(
            f"  other values: {size(info.raw)}; stored without it {size(info.without)}, with it {size(info.packed)}: {info.gain:.0%} saved"
        )
        if found.stored:
            terminal.say(
                f"  {'stored' if found.new else 'it was stored already'}; use it with THERMOCLINE_DICTIONARY=latest (or ={info.id}), once every program reads"
                " dictionaries"
            )
        else:
            terminal.note(f"thermocline: not stored: {found.why}")
    return Exit.OK if found.stored or dry_run else Exit.CONFLICT


@dictionary.command("list")
@command
async def list_(session: Session, tenant: OfTenant = DEFAULT_TENANT) -> None:
    """A tenant's dictionaries, the newest first."""
    async with session.builder().build() as memory:
        shelf = Dictionaries(memory)
        found, latest = await shelf.stored(tenant=tenant), await shelf.latest(tenant=tenant)
    terminal = session.terminal
    if terminal.as_json:
        terminal.document({"dictionaries": [_document(info) for info in found], "latest": latest})
        return
    if not found:
        terminal.say(f"the tenant {tenant} has no dictionaries")
        return
    rows = [
        (
            info.id,
            moment(instant(info.trained_ms)),
            size(info.size),
            info.samples,
            info.shared_by,
            f"{info.gain:.0%}",
            "latest" if info.id == latest else "",
        )
        for info in found
    ]
    columns = ("id", "trained", "size", "samples", "shared by", "saved", "")
    terminal.table("", columns, rows, numbers="size,samples,shared by,saved")


@dictionary.command("show")
@command
async def show(
    session: Session,
    id_: Id,
    tenant: OfTenant = DEFAULT_TENANT,
    count: Annotated[bool, typer.Option("--count", help="Also count the records that need it (a census).")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Write its bytes into this new file, as zstd -D takes it.", show_default=False)
    ] = None,
) -> None:
    """What is known of a dictionary, and whether it is whole."""
    async with session.builder().build() as memory:
        shelf = Dictionaries(memory)
        info, content = await shelf.show(id_, tenant=tenant)
        users = await shelf.users(id_, tenant=tenant) if count else None
    if save is not None:
        _write(save, content)
    terminal = session.terminal
    if terminal.as_json:
        terminal.document(_document(info) | {"records": users})
        return
    terminal.say(f"dictionary {info.id} of the tenant {info.tenant}: whole, {size(info.size)}, SHA-256 {info.sha256}")
    whence = f"scope {info.scope}" if info.scope is not None else "all scopes"
    terminal.say(
        f"  trained  {moment(instant(info.trained_ms))} of {counted(info.samples, 'value')} of {whence}, names {info.prefix}*"
    )
    if info.shared_by > 1:
        terminal.say(f"  holds    fragments that {info.shared_by} scopes share")
    else:
        terminal.say(
            "  holds    whatever pays, also what is one scope's alone: forget does not undo it", style="yellow"
        )
    terminal.say(f"  saved    {info.gain:.0%} of the bytes of values that it was not trained with")
    if users is not None:
        terminal.say(f"  needed   by {counted(users, 'record')}")


@dictionary.command("remove")
@command
async def remove(
    session: Session,
    id_: Id,
    tenant: OfTenant = DEFAULT_TENANT,
    yes: Annotated[bool, typer.Option("--yes", help="No program writes with it any more.")] = False,
) -> None:
    """Remove a dictionary that no record needs. What a program still writes with it afterwards can never be read."""
    if not yes:
        raise InvalidArgument(
            "first see to it that no program writes with it (THERMOCLINE_DICTIONARY names another or none, and all were started anew), then say --yes"
        )
    async with session.builder().build() as memory:
        info = await Dictionaries(memory).remove(id_, tenant=tenant)
    if session.terminal.as_json:
        session.terminal.document(_document(info) | {"removed": True})
    else:
        session.terminal.say(f"dictionary {info.id} is removed; no record needed it")


def _document(info: DictionaryInfo) -> dict[str, Any]:
    told = {name: getattr(info, name) for name in info.__dataclass_fields__ if name not in ("format", "trained_ms")}
    return told | {"trained": instant(info.trained_ms), "gain": round(info.gain, 4)}


def _bytes(text: str) -> int:
    number = text.lower().rstrip("kb")
    unit = _UNITS.get(text.lower()[len(number) :])
    if unit is None or not number.isdecimal():
        raise InvalidArgument(f"--size is a number of bytes, as 32768 or 32k, not {text!r:.40}")
    return int(number) * unit


def _write(path: Path, content: bytes) -> None:
    try:
        made = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
        )  # fragments of people's data: for its owner alone
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be made: {error.strerror}; name a file that is not there yet") from None
    with os.fdopen(made, "wb") as file:
        file.write(content)
