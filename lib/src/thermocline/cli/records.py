"""The commands that read and write records: get, set, rm, ls."""

from pathlib import Path
from typing import Annotated, Any

import typer

from thermocline.cli.options import Scope, Session, Tenant, command, key_of
from thermocline.cli.terminal import Exit, counted, moment, size
from thermocline.cli.values import Form, as_bytes, lifetime, read_value, show_value, tags_of, write_file
from thermocline.client import NOT_GIVEN, ListedKey
from thermocline.errors import InvalidArgument
from thermocline.model import Hit, Key, Miss, NotAsked

Name = Annotated[str, typer.Argument(help="The key's name.", show_default=False)]


def named(key: Key) -> dict[str, str]:
    """A key for machines."""
    return {"tenant": key.tenant, "scope": key.scope, "name": key.name}


@command
async def get(
    session: Session,
    name: Name,
    tenant: Tenant = None,
    scope: Scope = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the value into this file.")] = None,
) -> int:
    """Print a value: text as it is, anything else as JSON, bytes to a file or a pipe."""
    key = key_of(name, tenant, scope)
    async with session.builder().build() as memory:
        outcome = await memory.lookup(key)
    terminal = session.terminal
    if isinstance(outcome, Miss | NotAsked):
        if terminal.as_json:
            terminal.document({"key": named(key), "found": False, "version": getattr(outcome, "version", 0)})
        else:
            terminal.note(f"thermocline: there is no value under {name!r}")
        return Exit.NOT_FOUND
    if not isinstance(outcome, Hit):
        raise outcome.error
    value, record = outcome.value, outcome.record
    if output is not None:
        write_file(output, as_bytes(value))
    if terminal.as_json:
        document: dict[str, Any] = {
            "key": named(key),
            "found": True,
            "version": record.version,
            "tier": outcome.tier,
            "expires": record.expires,
            "modified": record.modified,
            "media_type": record.media_type,
            "tags": dict(record.tags),
        }
        if output is not None:
            document["output"] = str(output)
        else:
            document |= {"base64": value} if isinstance(value, bytes) else {"value": value}
        terminal.document(document)
    elif output is None:
        show_value(terminal, value)
    return Exit.OK


@command
async def set_(
    session: Session,
    name: Name,
    value: Annotated[str | None, typer.Argument(help="The value; '-' or none: standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the value from this file.")] = None,
    as_text: Annotated[bool, typer.Option("--text", help="Store it as text, even if it looks like JSON.")] = False,
    only_json: Annotated[bool, typer.Option("--only-json", help="Refuse what is no JSON.")] = False,
    as_binary: Annotated[bool, typer.Option("--bytes", help="Store it as bytes.")] = False,
    ttl: Annotated[str | None, typer.Option(help="How long it lives: 90s, 15m, 2h, 7d, never.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag, name=value; may be repeated.")] = None,
    media_type: Annotated[str | None, typer.Option(help="What the value is, as image/png.")] = None,
    if_version: Annotated[int | None, typer.Option(help="Only if the key is at this version.")] = None,
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Only if the key has no value.")] = False,
    tenant: Tenant = None,
    scope: Scope = None,
) -> int:
    """Store a value: JSON if it is JSON, else text, else bytes."""
    key = key_of(name, tenant, scope)
    given: tuple[tuple[Form, bool], ...] = (("text", as_text), ("json", only_json), ("bytes", as_binary))
    forms = [form for form, chosen in given if chosen]
    if len(forms) > 1:
        raise InvalidArgument("--text, --only-json and --bytes exclude each other")
    stored = read_value(value, file, forms[0] if forms else "auto")
    async with session.builder().build() as memory:
        result = await memory.set(
            key,
            stored,
            ttl=NOT_GIVEN if ttl is None else lifetime(ttl),
            tags=tags_of(tag or []),
            media_type=media_type,
            if_version=if_version,
            if_absent=if_absent,
        )
    if session.terminal.as_json:
        session.terminal.document(
            {
                "key": named(key),
                "version": result.version,
                "durable": result.durable,
                "hot": result.hot,
                "hot_until": result.hot_until,
                "expires": result.expires,
            }
        )
    else:
        ends = f", until {moment(result.expires)}" if result.expires is not None else ""
        kept = "" if result.durable else ", in hot alone (it ends with that server)"
        session.terminal.say(f"{name}: version {result.version}{ends}{kept}")
        if not result.hot:
            session.terminal.note(
                f"hot could not be told; until {moment(result.hot_until)} others may see the old value"
            )
    return Exit.OK


@command
async def rm(
    session: Session,
    names: Annotated[list[str], typer.Argument(help="The keys' names.", show_default=False)],
    tenant: Tenant = None,
    scope: Scope = None,
) -> int:
    """Delete records. Ends with 1 if one of them was not there."""
    keys = {key_of(name, tenant, scope): name for name in names}
    async with session.builder().build() as memory:
        there = {key: await memory.exists(key) for key in keys}  # a delete finds tombstones too
        batch = await memory.delete_many(keys)
    for error in batch.errors.values():
        raise error
    deleted = [keys[key] for key in batch if there[key]]
    missing = [name for key, name in keys.items() if name not in deleted]
    if session.terminal.as_json:
        session.terminal.document({"deleted": deleted, "missing": missing})
    else:
        for name in deleted:
            session.terminal.say(f"{name}: deleted")
        for name in missing:
            session.terminal.note(f"thermocline: there is no value under {name!r}")
    return Exit.NOT_FOUND if missing else Exit.OK


@command
async def ls(
    session: Session,
    prefix: Annotated[str, typer.Argument(help="Only names that begin with this.")] = "",
    tenant: Tenant = None,
    scope: Scope = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many keys.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on where a listing ended.", show_default=False)] = None,
) -> int:
    """List live keys: those of a scope, or without --scope the plain names."""
    if tenant is not None and scope is None:
        raise InvalidArgument("--tenant needs --scope: name the scope whose keys to list")
    found: list[ListedKey] = []
    async with session.builder().build() as memory:
        while len(found) < limit:
            page = await memory.list(
                prefix, scope=scope, tenant=tenant, limit=min(1000, limit - len(found)), cursor=cursor, timeout=60.0
            )
            found += page.items
            cursor = page.cursor
            if cursor is None:
                break
    terminal = session.terminal
    if terminal.as_json:
        items = [
            {
                **named(item.key),
                "version": item.version,
                "tier": item.tier,
                "size": item.size,
                "raw_size": item.raw_size,
                "expires": item.expires,
                "modified": item.modified,
                "tags": item.tags,
            }
            for item in found
        ]
        terminal.document({"items": items, "cursor": cursor})
        return Exit.OK
    rows = [
        (item.key.name, item.version, item.tier, size(item.raw_size), size(item.size), moment(item.expires))
        for item in found
    ]
    columns = ("name", "version", "payload in", "raw", "stored", "expires")
    if rows:
        terminal.table("", columns, rows, numbers="version,raw,stored")
    count = counted(len(rows), "key")
    terminal.note(count + (f"; there are more: --cursor '{cursor}'" if cursor is not None else ""))
    return Exit.OK
