"""The command ``migrate``: the steps of moving data from one set of tiers, tenant or authority to another."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from thermocline.cli.options import Scope, Session, Tenant, command
from thermocline.cli.terminal import Exit, counted, size
from thermocline.client import MemoryClient
from thermocline.errors import InvalidArgument
from thermocline.model import Authority, MemoryTier
from thermocline.policy import LegacySource, Route
from thermocline.settings import FileSettings, MemorySettings
from thermocline.transfer import CopyReport, Differences, Migration, MigrationPlan, Space, State, old_keys, old_memory
from thermocline.wiring import builder


class Step(StrEnum):
    """What is to be done."""

    PLAN = "plan"
    COPY = "copy"
    DUAL_WRITE = "dual-write"
    VERIFY = "verify"
    CUT_OVER = "cut-over"
    ROLLBACK = "rollback"
    FINISH = "finish"
    STATUS = "status"


class Word(StrEnum):
    """Which tier has the word."""

    WARM = "warm"
    COLD = "cold"
    HOT = "hot"


@command
async def migrate(
    session: Session,
    step: Annotated[Step, typer.Argument(metavar="STEP", help=f"One of {', '.join(Step)}.", show_default=False)],
    to: Annotated[
        Path | None,
        typer.Option(help="File with the target's variables, which alone count for it; left out: the same tiers."),
    ] = None,
    name: Annotated[str, typer.Option(help="The migration's name, the same for all of its steps.")] = "migration",
    tenant: Tenant = None,
    scope: Scope = None,
    to_tenant: Annotated[
        str | None, typer.Option(help="What --tenant is called in the target.", show_default=False)
    ] = None,
    to_scope: Annotated[
        str | None, typer.Option(help="What --scope is called in the target.", show_default=False)
    ] = None,
    from_authority: Annotated[
        Word | None, typer.Option(help="Which of the source's tiers has the word.", show_default=False)
    ] = None,
    to_authority: Annotated[
        Word | None, typer.Option(help="Which of the target's tiers is to have it.", show_default=False)
    ] = None,
    legacy: Annotated[
        bool,
        typer.Option("--legacy", help="The source is what an application before this library left, under plain names."),
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="The target has records: the later one of each key counts.")
    ] = False,
    source_wins: Annotated[bool, typer.Option("--source-wins", help="Overwrite what is newer in the target.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="copy: only count what would be done.")] = False,
    quiet: Annotated[
        float, typer.Option(help="Seconds that a cut-over waits for writers in both worlds; said with the first copy.")
    ] = 30.0,
    max_records_per_second: Annotated[
        float | None, typer.Option(help="Look at no more than so many.", show_default=False)
    ] = None,
) -> int:
    """Move data while an application goes on. The source is where the memory is; each step can be killed and given again."""
    mine = session.settings()
    theirs = mine if to is None else FileSettings(env_file=to)
    if legacy and (to is None or step not in (Step.PLAN, Step.COPY, Step.VERIFY)):
        raise InvalidArgument(
            "--legacy goes with --to FILE and with plan, copy or verify: nothing but the new application writes the target"
        )
    old, made = _legacy(mine) if legacy else (None, _client(mine, from_authority))
    moved = (to_tenant, to_scope) != (None, None)  # else both sides' keys have the same names in one hot tier
    async with made as source, _client(theirs, to_authority, hot=to is not None or moved) as target:
        migration = Migration(
            source,
            target,
            name=name,
            space=Space(tenant, scope, to_tenant, to_scope),
            keys=None if old is None else await old_keys(old),
            quiet=timedelta(seconds=quiet),
            max_records_per_second=max_records_per_second,
        )
        return await _do(session, migration, step, merge=merge or legacy, source_wins=source_wins, dry_run=dry_run)


def _client(settings: MemorySettings, word: Word | None, *, hot: bool = True) -> MemoryClient:
    made = builder(settings)
    if not hot:
        made.without_hot()
    if word is not None:
        made.with_route(Route("", authority=Authority[word.name]))
    return made.build()


def _legacy(settings: MemorySettings) -> tuple[LegacySource, MemoryClient]:
    """The services of the settings as the old application used them."""
    from thermocline.tiers.local.process import ProcessMemory

    if not settings.any_service():
        raise InvalidArgument("--legacy reads Redis, Cosmos DB and Blob Storage: name at least one of them")
    made = builder(settings)
    tiers: dict[MemoryTier, Any] = dict(made.tiers())
    documents: Any = None
    if settings.cosmos_account_uri is not None:
        from thermocline.tiers.warm import LegacyDocuments

        key = settings.cosmos_key.get_secret_value() if settings.cosmos_key is not None else None
        documents = LegacyDocuments(
            settings.cosmos_account_uri,
            settings.cosmos_database,
            settings.cosmos_container,
            credential=None if key is not None else made.identity(),
            key=key,
        )
    legacy = LegacySource(hot=tiers.get(MemoryTier.HOT), warm=documents, cold=tiers.get(MemoryTier.COLD))
    return legacy, old_memory(legacy, ProcessMemory(), closes=[made])


async def _do(
    session: Session, migration: Migration, step: Step, *, merge: bool, source_wins: bool, dry_run: bool
) -> int:
    if dry_run and step is not Step.COPY:
        raise InvalidArgument("--dry-run goes with copy; plan writes nothing anyway")
    if step is Step.PLAN:
        return _tell_plan(session, await migration.plan(merge=merge))
    if step is Step.COPY:
        return _tell_copy(session, await migration.copy(merge=merge, source_wins=source_wins, dry_run=dry_run))
    if step is Step.VERIFY:
        return _tell_differences(session, await migration.verify())
    if step is Step.CUT_OVER:
        return _tell_copy(session, await migration.cut_over(source_wins=source_wins), "the target has the word")
    if step is Step.ROLLBACK:
        return _tell_copy(session, await migration.rollback(), "the source has the word")
    if step is Step.STATUS:
        return await _tell_status(session, migration)
    state = await (migration.dual_write() if step is Step.DUAL_WRITE else migration.finish())
    return _tell_state(session, state)


def _tell(session: Session, document: dict[str, Any], lines: Sequence[str], notes: Sequence[str] = ()) -> None:
    terminal = session.terminal
    if terminal.as_json:
        terminal.document(document)
        return
    for line in lines:
        terminal.say(line)
    for note in notes:
        terminal.note(f"thermocline: {note}")


def _tell_plan(session: Session, plan: MigrationPlan) -> int:
    lines = [
        f"{counted(plan.records, 'record')}, {size(plan.bytes)} stored, {plan.payloads} of them in cold ({size(plan.payload_bytes)});"
        f" {plan.dead} dead ones stay behind",
        f"one pass takes about {counted(plan.requests, 'request')}, and {counted(round(plan.request_units), 'request unit')} of Cosmos DB"
        " by the published figures",
        f"the target holds {counted(plan.in_target, 'live record')} in this place",
        "it can be moved"
        if plan.possible
        else f"it cannot be moved as it is (concerned: {counted(plan.blocked, 'record')}):",
    ]
    if plan.elsewhere:
        lines.insert(
            1,
            f"{counted(plan.elsewhere, 'record')} under another authority than these settings give: not moved"
            " (a program's own routes reach them; docs/moving-data.md)",
        )
    _tell(session, asdict(plan) | {"possible": plan.possible}, lines, plan.problems)
    return Exit.OK if plan.possible else Exit.CONFLICT


def _tell_copy(session: Session, report: CopyReport, ending: str = "") -> int:
    would = "would be " if report.dry_run else ""
    lines = [
        f"{counted(report.records, 'record')}: {report.written} {would}written ({size(report.bytes)}), {report.deleted} {would}deleted, {report.same} the same,"
        f" {report.kept} newer in the target, {report.forgotten} forgotten there, {report.dead} dead, {report.failed} failed",
        *([ending] if ending else []),
    ]
    newer = [f"newer in the target, left as it is: {key}" for key in report.newer]
    _tell(session, asdict(report) | {"clean": report.clean}, lines, [*report.errors, *newer])
    return Exit.CORRUPT if report.failed or report.damaged else Exit.OK


def _tell_differences(session: Session, found: Differences) -> int:
    notes = [
        f"{kind}: {words}" for kind in ("missing", "extra", "different", "damaged") for words in getattr(found, kind)
    ]
    counts = found.missing_count, found.extra_count, found.different_count, found.damaged_count
    if unnamed := sum(counts) - len(notes):
        notes.append(f"and {unnamed} more")
    _tell(session, asdict(found) | {"none": found.none}, [found.told()], notes)
    return Exit.OK if found.none else Exit.CORRUPT


def _tell_state(session: Session, state: State) -> int:
    _tell(session, asdict(state), [f"the migration is in the phase {state.phase}"])
    return Exit.OK


async def _tell_status(session: Session, migration: Migration) -> int:
    state, place = await migration.status()
    if state is None:
        _tell(session, {"phase": None}, [f"there is no migration {migration.name!r} yet"])
        return Exit.NOT_FOUND
    lines = [f"the migration is in the phase {state.phase}" + (f", at {state.doing}" if state.owner else "")]
    if place is not None:
        told = ", ".join(f"{name} {count}" for name, count in place.counts.items() if name != "resumed")
        how = "finished" if place.done else f"not finished, at {place.step}"
        lines.append(f"the last pass ({place.kind}) is {how}: {told}")
    _tell(session, {"state": asdict(state), "pass": None if place is None else asdict(place)}, lines)
    return Exit.OK
