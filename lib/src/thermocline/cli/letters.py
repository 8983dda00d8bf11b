"""The commands ``letters``: what the change feed's worker could not settle, listed, shown, settled again, dropped."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import typer

from thermocline.cli.options import Session, command
from thermocline.cli.terminal import Exit, Terminal, counted, moment
from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidArgument, NotFound, TierUnavailable
from thermocline.feed import Replay, Replayed, letters_of
from thermocline.functions.settings import AppSettings
from thermocline.letters import Cause, Letter, LetterFilter, Letters
from thermocline.settings import DOTENV

letters = typer.Typer(no_args_is_help=True, help="Dead letters of the change feed: what could not be settled in hot.")

_SECONDS: Final = 30.0

Container = Annotated[
    str | None,
    typer.Option("--container", help="Where they are (THERMOCLINE_DEAD_LETTERS_CONTAINER).", show_default=False),
]
OfCause = Annotated[
    Cause | None, typer.Option("--cause", help="Only those: corrupt, unreadable, unavailable.", show_default=False)
]
OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.", show_default=False)]
OfScope = Annotated[str | None, typer.Option("--scope", help="Only of this scope of the tenant.", show_default=False)]
Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids of letters, as `letters list` has them.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All that the filters take, instead of ids.")]


@asynccontextmanager
async def _open(session: Session, container: str | None) -> AsyncIterator[tuple[MemoryClient, Letters]]:
    env_file = DOTENV if session.env_file is None else session.env_file
    name = AppSettings(env_file=env_file).dead_letters_container if container is None else container
    async with session.builder().build() as memory:
        place = letters_of(memory, name)
        try:
            await place.connect()
            yield memory, place
        finally:
            await place.close()


def _soon() -> Deadline:
    return Deadline.after(_SECONDS)


def _of_ids(ids: list[str] | None, every: bool, wanted: LetterFilter) -> list[str] | None:
    """The ids, or None for all that the filter takes. Raises `InvalidArgument`."""
    if every and ids:
        raise InvalidArgument("give ids or --all, not both")
    if not every and not ids:
        raise InvalidArgument("say which letters: their ids, or --all (of --cause, --tenant, --scope)")
    if ids and wanted != LetterFilter():
        raise InvalidArgument("--cause, --tenant and --scope go with --all")
    return None if every else ids


def _document(letter: Letter) -> dict[str, Any]:
    key = letter.key
    return {
        "id": letter.id,
        "cause": letter.cause.value,
        "error": letter.error,
        "key": None if key is None else {"tenant": key.tenant, "scope": key.scope, "name": key.name},
        "version": letter.version,
        "attempts": letter.attempts,
        "set_aside": _at(letter),
        "document": dict(letter.document),
    }


def _at(letter: Letter) -> datetime:
    return datetime.fromtimestamp(letter.set_aside_ms / 1000, UTC)


@letters.command("list")
@command
async def list_(
    session: Session,
    cause: OfCause = None,
    tenant: OfTenant = None,
    scope: OfScope = None,
    limit: Annotated[int, typer.Option(help="So many at most, 1 to 1,000.", min=1, max=1000)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.", show_default=False)] = None,
    container: Container = None,
) -> None:
    """One page of the letters."""
    async with _open(session, container) as (_, place):
        page = await place.page(LetterFilter(cause, tenant, scope), limit=limit, cursor=cursor, deadline=_soon())
    terminal = session.terminal
    if terminal.as_json:
        terminal.document({"letters": [_document(one) for one in page.letters], "cursor": page.cursor})
        return
    if not page.letters:
        terminal.say("no dead letters" if cursor is None else "no more dead letters")
    else:
        rows = [
            (one.id, one.cause.value, moment(_at(one)), _whose(one), one.version or "", one.error)
            for one in page.letters
        ]
        terminal.table("", ("id", "cause", "set aside", "key", "version", "error"), rows, numbers="version")
    if page.cursor is not None:
        terminal.note(f"thermocline: there are more: --cursor {page.cursor}")


def _whose(letter: Letter) -> str:
    if letter.key is not None:
        return str(letter.key)
    return f"{'/'.join(letter.partition)}/? ({letter.document.get('id', 'no id')})"


@letters.command("show")
@command
async def show(
    session: Session,
    letter: Annotated[str, typer.Argument(help="The letter's id.", show_default=False)],
    container: Container = None,
) -> None:
    """One letter, with the outline of its document; the value is not in it."""
    async with _open(session, container) as (_, place):
        found = await place.read(letter, deadline=_soon())
    if found is None:
        raise NotFound(f"there is no dead letter {letter}")
    terminal = session.terminal
    if terminal.as_json:
        terminal.document(_document(found))
        return
    terminal.say(f"{found.id}: {found.cause.value}, set aside {moment(_at(found), zone=True)}")
    terminal.say(f"  key       {_whose(found)}")
    terminal.say(f"  version   {found.version or 'not known'}")
    terminal.say(f"  attempts  {found.attempts}")
    terminal.say(f"  error     {found.error}")
    for name, value in found.document.items():
        terminal.say(f"  {name:9} {value}")


_T = TypeVar("_T")
_Work = Callable[[MemoryClient, Letters, list[str] | None, LetterFilter], Awaitable[_T]]


def _chosen(name: str, tell: Callable[[Terminal, _T], int]) -> Callable[[_Work[_T]], _Work[_T]]:
    """Make a command of what is done with letters that are chosen by their ids, or (None) by a filter. ``tell`` says what came of it, and the exit code."""

    def made(work: _Work[_T]) -> _Work[_T]:
        async def run(
            session: Session,
            ids: Ids = None,
            every: All = False,
            cause: OfCause = None,
            tenant: OfTenant = None,
            scope: OfScope = None,
            container: Container = None,
        ) -> int:
            wanted = LetterFilter(cause, tenant, scope)
            given = _of_ids(ids, every, wanted)
            async with _open(session, container) as (memory, place):
                done = await work(memory, place, given, wanted)
            return tell(session.terminal, done)

        run.__doc__ = work.__doc__
        letters.command(name)(command(run))
        return work

    return made


def _tell_replayed(terminal: Terminal, done: Replayed) -> int:
    if terminal.as_json:
        kept = {letter: str(error) for letter, error in done.kept.items()}
        terminal.document({"settled": done.settled, "kept": kept, "stopped": done.stopped})
    else:
        terminal.say(f"{counted(done.settled, 'letter')} settled, {len(done.kept)} kept")
        for letter, error in done.kept.items():
            terminal.note(f"thermocline: {letter}: {error}")
        if done.stopped:
            terminal.note(f"thermocline: stopped: {done.stopped}")
    errors = list(done.kept.values())
    if not errors and not done.stopped:
        return Exit.OK
    if done.stopped or any(isinstance(error, TierUnavailable) for error in errors):
        return Exit.UNAVAILABLE
    return Exit.NOT_FOUND if all(isinstance(error, NotFound) for error in errors) else Exit.CORRUPT


@_chosen("replay", _tell_replayed)
async def replay(memory: MemoryClient, place: Letters, ids: list[str] | None, wanted: LetterFilter) -> Replayed:
    """Ask the authority for the present versions of their keys, tell hot, and drop the letters."""
    work = Replay(memory, place)
    return await (work.all(wanted) if ids is None else work.these(ids))


def _tell_dropped(terminal: Terminal, done: tuple[int, list[str]]) -> int:
    dropped, missing = done
    if terminal.as_json:
        terminal.document({"dropped": dropped, "missing": missing})
    else:
        terminal.say(f"{counted(dropped, 'letter')} dropped")
        for one in missing:
            terminal.note(f"thermocline: there is no dead letter {one}")
    return Exit.NOT_FOUND if missing else Exit.OK


@_chosen("drop", _tell_dropped)
async def drop(_: MemoryClient, place: Letters, ids: list[str] | None, wanted: LetterFilter) -> tuple[int, list[str]]:
    """Remove letters without settling them."""
    if ids is None:
        return await _drop_all(place, wanted), []
    missing = [one for one in dict.fromkeys(ids) if not await _drop_one(place, one)]
    return len(set(ids)) - len(missing), missing


async def _drop_one(place: Letters, letter: str) -> bool:
    try:
        found = await place.read(letter, deadline=_soon())
    except CorruptRecord:  # damaged: to drop it by its id is all that can be done
        return await place.discard(letter, deadline=_soon())
    return found is not None and await place.drop(found, deadline=_soon())


async def _drop_all(place: Letters, wanted: LetterFilter) -> int:
    dropped, cursor = 0, None
    while True:
        page = await place.page(wanted, cursor=cursor, deadline=_soon())
        for one in page.letters:
            dropped += await place.drop(one, deadline=_soon())
        cursor = page.cursor
        if cursor is None:
            return dropped
