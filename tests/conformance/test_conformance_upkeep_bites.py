"""The suites of those who keep an authority in order are worth something only if a tier that is wrong fails them: here are wrong ones."""

import dataclasses
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline import protocols
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument
from thermocline.model import Envelope
from thermocline.protocols import Effect, Inventory, Note, Write, Written
from thermocline.testing import ManualClock
from thermocline.testing.conformance import (
    AtomicConformance,
    CensusConformance,
    NotesConformance,
    PurgesConformance,
    RelocatesConformance,
)
from thermocline.testing.conformance.samples import new_id, stamp_by
from thermocline.tiers.local.sqlite import SqliteMemory

Catcher = Callable[[SqliteMemory, ManualClock], Awaitable[None]]

census = CensusConformance()
relocates = RelocatesConformance()
purges = PurgesConformance()
notes = NotesConformance()
atomic = AtomicConformance()


class CountsByOffset(SqliteMemory):
    """A cursor that counts loses records when others are removed, and belongs to no census."""

    async def census(self, *, limit: int, cursor: str | None, deadline: Deadline, **of: Any) -> Inventory:
        whole = await super().census(limit=10_000, cursor=None, deadline=deadline, **of)
        start = int(cursor or 0)
        return Inventory(
            whole.items[start : start + limit], str(start + limit) if start + limit < len(whole.items) else None
        )


class CountsTheLiving(SqliteMemory):
    async def census(self, **of: Any) -> Inventory:
        found = await super().census(**of)
        now = self._clock.wall_ms()
        living = [s for s in found.items if not s.header.flags & 1 and not s.header.expired(now)]
        return dataclasses.replace(found, items=living)


class CountsOtherTenants(SqliteMemory):
    """The tenant is taken for the beginning of a name."""

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        whole = await super().census(limit=10_000, cursor=None, deadline=deadline)
        mine = [s for s in whole.items if s.key.tenant.startswith(tenant or "") and scope in (None, s.key.scope)]
        return Inventory(mine, None)


class MovesByVersion(SqliteMemory):
    """The mark is the version, which a move does not change."""

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        there = await self.read(old.key, deadline=deadline)
        if old.etag is not None and there is not None and there.version == old.version:
            old = dataclasses.replace(old, etag=there.etag)
        return await super().relocate(old, new, deadline=deadline)


class MovesByWriting(SqliteMemory):
    """A relocation is a write like any other."""

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        written = await self.write(Write(protocols.Verb.PUT, new_id(), new, if_version=old.version), deadline=deadline)
        return written.effect is Effect.TOOK


class PurgesAtOnce(SqliteMemory):
    async def purge(self, *, dead_before_ms: int, limit: int, deadline: Deadline) -> int:
        self._grace_ms = 0
        with self._file.transaction(deadline) as transaction:
            transaction.execute("UPDATE records SET purge_ms = 1 WHERE purge_ms > 0")
            transaction.commit()
        return await super().purge(dead_before_ms=dead_before_ms, limit=limit, deadline=deadline)


class PurgesNothing(SqliteMemory):
    async def purge(self, *, dead_before_ms: int, limit: int, deadline: Deadline) -> int:
        return 0


class EtagIsTheContent(SqliteMemory):
    async def write_note(
        self, name: str, data: bytes, *, lasting: timedelta | None = None, **options: Any
    ) -> Note | None:
        note = await super().write_note(name, data, lasting=lasting, **options)
        return None if note is None else dataclasses.replace(note, etag=str(hash(data)))


class NotesHeedNothing(SqliteMemory):
    async def write_note(self, name: str, data: bytes, *, deadline: Deadline, **_: Any) -> Note | None:
        return await super().write_note(name, data, deadline=deadline)


class NotesAreRecords(SqliteMemory):
    """Notes in the same place as the keys."""

    async def list_notes(
        self, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[str], str | None]:
        found = await super().list_notes(prefix, limit=limit, cursor=cursor, deadline=deadline)
        whole = await self.census(limit=1_000, cursor=None, deadline=deadline)
        return [*found[0], *(s.key.name for s in whole.items if s.key.name.startswith(prefix))], found[1]


class OneAfterTheOther(SqliteMemory):
    async def write_atomic(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written]:
        if len({write.key for write in writes}) < len(writes):
            raise InvalidArgument("twice")
        return [await self.write(write, deadline=deadline) for write in writes]


class EachBatchIsNew(SqliteMemory):
    async def write_atomic(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written]:
        renamed = [dataclasses.replace(write, id=new_id()) for write in writes]
        return await super().write_atomic(renamed, deadline=deadline)


WRONG: list[tuple[type[SqliteMemory], Catcher]] = [
    (CountsByOffset, lambda tier, _: census.test_cursor_belongs_to_its_census(tier)),
    (CountsTheLiving, census.test_dead_records_are_counted),
    (CountsOtherTenants, lambda tier, _: census.test_no_tenant_counts_anothers_records(tier)),
    (CountsOtherTenants, lambda tier, _: census.test_tenants_that_look_alike_are_apart(tier)),
    (MovesByVersion, relocates.test_moved_meanwhile_it_stays_as_it_is),
    (MovesByWriting, relocates.test_down_and_up_again_the_record_is_the_same),
    (MovesByWriting, relocates.test_conditions_see_the_same_version),
    (PurgesAtOnce, purges.test_within_the_grace_nothing_is_removed),
    (PurgesNothing, purges.test_after_the_grace_the_dead_are_removed),
    (EtagIsTheContent, lambda tier, _: notes.test_each_write_changes_the_etag(tier)),
    (NotesHeedNothing, lambda tier, _: notes.test_if_absent_holds_once(tier)),
    (NotesHeedNothing, lambda tier, _: notes.test_one_of_many_creators_takes_effect(tier)),
    (NotesAreRecords, lambda tier, _: notes.test_no_key_reaches_a_note_and_no_note_a_key(tier)),
    (OneAfterTheOther, lambda tier, _: atomic.test_one_refused_means_none(tier, 4, "absent")),
    (OneAfterTheOther, lambda tier, _: atomic.test_other_scopes_and_the_same_key_twice_are_refused(tier)),
    (EachBatchIsNew, lambda tier, _: atomic.test_same_writes_twice_take_effect_once(tier)),
    (EachBatchIsNew, lambda tier, _: atomic.test_late_copy_does_not_undo_what_came_after(tier)),
]


@pytest.fixture
async def opened(
    tmp_path: Path,
) -> AsyncIterator[Callable[[type[SqliteMemory]], Awaitable[tuple[SqliteMemory, ManualClock]]]]:
    tiers: list[SqliteMemory] = []

    async def connect(kind: type[SqliteMemory]) -> tuple[SqliteMemory, ManualClock]:
        clock = ManualClock()
        stamp_by(clock)
        tiers.append(kind(tmp_path / f"{kind.__name__}.db", clock=clock))
        await tiers[-1].connect()
        return tiers[-1], clock

    yield connect
    for tier in tiers:
        await tier.close()


@pytest.mark.parametrize(("kind", "catch"), WRONG, ids=lambda case: getattr(case, "__name__", None))
async def test_wrong_tier_is_caught_by_the_suites_of_upkeep(
    kind: type[SqliteMemory],
    catch: Catcher,
    opened: Callable[[type[SqliteMemory]], Awaitable[tuple[SqliteMemory, ManualClock]]],
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await catch(*await opened(kind))

    await catch(*await opened(SqliteMemory))


def test_suites_of_upkeep_cover_the_contract() -> None:
    """Every verb of the protocols is called by its suite: a verb that is added without tests shows here."""
    for name in ("Census", "Relocates", "Purges", "Notes", "Atomic"):
        protocol = getattr(protocols, name)
        suite = {"Census": census, "Relocates": relocates, "Purges": purges, "Notes": notes, "Atomic": atomic}[name]
        said = "".join(inspect.getsource(part) for part in type(suite).__mro__ if part is not object)
        verbs = [verb for verb in vars(protocol) if not verb.startswith("_") and callable(getattr(protocol, verb))]
        assert verbs
        assert [verb for verb in verbs if f"tier.{verb}(" not in said] == []
