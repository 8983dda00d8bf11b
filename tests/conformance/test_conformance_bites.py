"""The suite is worth something only if a tier that is wrong fails it: here are wrong ones, and the tests that must catch them."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from thermocline.clock import SYSTEM_CLOCK, Deadline
from thermocline.errors import ThermoclineError, TierTimeout, TierUnavailable
from thermocline.model import Envelope, Key
from thermocline.protocols import (
    Announce,
    Busy,
    EntryOperation,
    Found,
    Look,
    Page,
    Publish,
    Renew,
    Settle,
    Verb,
    Versions,
    Withdraw,
    Write,
    Written,
)
from thermocline.testing.conformance import EntriesConformance, HoldsConformance, VersionsConformance
from thermocline.testing.conformance.base import TierConformance
from thermocline.testing.conformance.samples import new_id
from thermocline.testing.conformance.steps import TABLE
from thermocline.tiers.local.process import ProcessMemory

Catcher = Callable[[ProcessMemory], Awaitable[None]]

entries = EntriesConformance()
versions = VersionsConformance()


async def whole_table(tier: ProcessMemory) -> None:
    for steps, expected in TABLE:
        await entries.test_history_leaves_the_entry_of_the_table(tier, steps, expected)


class FillsWithoutLease(ProcessMemory):
    """Any reader fills, as a naive cascade does."""

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        if isinstance(operation, Settle) and operation.envelope is not None:
            await super().operate(Look(operation.key, "thief", 60_000), deadline=deadline)
            return await super().operate(dataclasses.replace(operation, reader="thief"), deadline=deadline)
        return await super().operate(operation, deadline=deadline)


class ForgetsFloors(ProcessMemory):
    """Nothing stays where an operation ends without a value."""

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        answer = await super().operate(operation, deadline=deadline)
        if (
            isinstance(operation, Withdraw | Publish | Settle)
            and await self.peek(operation.key, deadline=deadline) is None
        ):
            await self.drop([operation.key], deadline=deadline)
        return answer


class WithdrawRestores(ProcessMemory):
    """A refused write brings the old value back."""

    def __init__(self) -> None:
        super().__init__()
        self.old: dict[Key, Envelope] = {}

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        before = await self.peek(operation.key, deadline=deadline)
        if isinstance(operation, Announce) and before is not None:
            self.old[operation.key] = before
        answer = await super().operate(operation, deadline=deadline)
        if isinstance(operation, Withdraw) and (old := self.old.pop(operation.key, None)) is not None:
            await super().operate(Look(operation.key, "x", 60_000), deadline=deadline)
            await super().operate(Settle(operation.key, "x", old.version, old), deadline=deadline)
        return answer


class OutageIsAbsence(ProcessMemory):
    """A timeout answers None (P1)."""

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        try:
            return await super().peek(key, deadline=deadline)
        except TierUnavailable:
            return None

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        try:
            return await super().read(key, deadline=deadline)
        except TierTimeout:
            return None


class EachCopyTakesEffect(ProcessMemory):
    """Write ids are not looked at."""

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        return await super().write(dataclasses.replace(write, id=new_id()), deadline=deadline)


class IgnoresConditions(ProcessMemory):
    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        return await super().write(dataclasses.replace(write, if_version=None, if_absent=False), deadline=deadline)


class FalsyIsAbsent(ProcessMemory):
    """A value is tested by truth."""

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        if (
            write.if_absent
            and (there := await self.read(write.key, deadline=deadline)) is not None
            and not there.payload
        ):
            await super().write(Write(Verb.DELETE, new_id(), write.envelope), deadline=deadline)
        return await super().write(write, deadline=deadline)


class TouchRevives(ProcessMemory):
    """A touch does not look whether the record still lives."""

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        there = await self.read(write.key, deadline=deadline)
        if write.verb is Verb.TOUCH and there is not None:
            return await super().write(dataclasses.replace(write, verb=Verb.PUT), deadline=deadline)
        return await super().write(write, deadline=deadline)


class JoinsNames(ProcessMemory):
    """``a/b`` + ``c`` is ``a`` + ``b/c``."""

    def _flat(self, key: Key) -> Key:
        return Key("t", "s", f"{key.tenant}/{key.scope}/{key.name}")

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        found = await super().read(self._flat(key), deadline=deadline)
        return None if found is None else dataclasses.replace(found, key=key)

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        envelope = dataclasses.replace(write.envelope, key=self._flat(write.key))
        return await super().write(dataclasses.replace(write, envelope=envelope), deadline=deadline)


class BatchInAnyOrder(ProcessMemory):
    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        return await super().read_many(sorted(keys), deadline=deadline)


class PagesByOffset(ProcessMemory):
    """A cursor that counts loses or repeats keys when others come and go."""

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        whole = await super().scan(tenant, scope, prefix, limit=10_000, cursor=None, deadline=deadline)
        start = int(cursor or 0)
        end = start + limit
        return Page(whole.items[start:end], str(end) if end < len(whole.items) else None)


class ListsAcrossScopes(ProcessMemory):
    """The scope is a prefix of the name, and nothing ends it."""

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        parent, _, rest = f"{scope}/{prefix}".rpartition("/")
        return await super().scan(tenant, parent or scope, rest, limit=limit, cursor=None, deadline=deadline)


class ListsTheDead(ProcessMemory):
    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        page = await super().scan(tenant, scope, prefix, limit=limit, cursor=cursor, deadline=deadline)
        dead = [item for item in page.items if item.key.name == "live"]
        return Page(
            [*page.items, *(dataclasses.replace(i, key=Key(tenant, scope, "deleted")) for i in dead)], page.cursor
        )


class RenewsForAnyone(ProcessMemory):
    """A renewal gives the lease to whoever asks."""

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        if isinstance(operation, Renew):
            return await super().operate(Look(operation.key, operation.reader, 60_000), deadline=deadline)
        return await super().operate(operation, deadline=deadline)


class TellsNoReader(ProcessMemory):
    """Does not tell a lease from an announcement."""

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        found = await super().operate(operation, deadline=deadline)
        return dataclasses.replace(found, leased=False, holder=None) if isinstance(found, Busy) else found


class HoldsOfAll(ProcessMemory):
    """One hold for everybody."""

    async def release_hold(self, key: Key, token: str, *, deadline: Deadline) -> None:
        self._holds.pop(key, None)


WRONG: list[tuple[type[ProcessMemory], Catcher]] = [
    (FillsWithoutLease, whole_table),
    (ForgetsFloors, whole_table),
    (WithdrawRestores, whole_table),
    (OutageIsAbsence, lambda tier: entries.test_past_deadline_is_a_timeout(tier, SYSTEM_CLOCK)),
    (OutageIsAbsence, lambda tier: versions.test_past_deadline_is_a_timeout(tier, SYSTEM_CLOCK)),
    (EachCopyTakesEffect, lambda tier: versions.test_same_write_twice_takes_effect_once(tier, "there")),
    (EachCopyTakesEffect, lambda tier: versions.test_late_copy_does_not_undo_what_came_after(tier, known=True)),
    (EachCopyTakesEffect, versions.test_late_copy_does_not_bring_back_what_was_deleted),
    (EachCopyTakesEffect, versions.test_copies_at_the_same_time_take_effect_once),
    (IgnoresConditions, versions.test_one_of_many_with_the_same_version_takes_effect),
    (IgnoresConditions, versions.test_old_version_does_not_replace_a_tombstone),
    (IgnoresConditions, lambda tier: versions.test_one_of_many_creators_takes_effect(tier, "absent")),
    (FalsyIsAbsent, lambda tier: versions.test_if_absent_is_refused_where_there_is_a_value(tier, b"")),
    (TouchRevives, lambda tier: versions.test_touch_of_what_is_not_live_does_nothing(tier, "deleted", SYSTEM_CLOCK)),
    (
        JoinsNames,
        lambda tier: versions.test_lookalikes_are_two_keys(tier, (Key("a", "b/c", "d"), Key("a/b", "c", "d"))),
    ),
    (BatchInAnyOrder, versions.test_read_many_keeps_equal_names_apart),
    (PagesByOffset, versions.test_key_that_is_there_throughout_appears_once),
    (PagesByOffset, versions.test_cursor_belongs_to_its_listing),
    (ListsAcrossScopes, versions.test_no_tenant_lists_anothers_keys),
    (RenewsForAnyone, lambda tier: entries.test_renewal_is_the_holders_alone_and_revives_nothing(tier, SYSTEM_CLOCK)),
    (TellsNoReader, entries.test_busy_tells_a_reader_from_a_writer),
    (HoldsOfAll, HoldsConformance().test_released_by_its_holder_alone),
    (ListsTheDead, lambda tier: versions.test_dead_keys_are_absent(tier, SYSTEM_CLOCK)),
]


@pytest.fixture
async def connected() -> AsyncIterator[Callable[[type[ProcessMemory]], Awaitable[ProcessMemory]]]:
    opened: list[ProcessMemory] = []

    async def connect(kind: type[ProcessMemory]) -> ProcessMemory:
        opened.append(kind())
        await opened[-1].connect()
        return opened[-1]

    yield connect
    for tier in opened:
        await tier.close()


@pytest.mark.parametrize(("kind", "catch"), WRONG, ids=lambda case: getattr(case, "__name__", None))
async def test_wrong_tier_is_caught(
    kind: type[ProcessMemory],
    catch: Catcher,
    connected: Callable[[type[ProcessMemory]], Awaitable[ProcessMemory]],
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await catch(await connected(kind))

    await catch(await connected(ProcessMemory))


def test_base_part_cannot_be_declared_as_a_gap() -> None:
    """Only what `Capability` names can be left out; a made-up word fails the suite."""

    class Shy(TierConformance):
        gaps = {"versions": "too hard"}  # type: ignore[dict-item]  # noqa: RUF012

    with pytest.raises(ValueError, match="versions"):
        Shy().test_each_gap_has_its_reason()


def test_suite_covers_the_contract() -> None:
    """Every verb of the protocols is called by the suite: a verb that is added without tests shows here."""
    import inspect

    from thermocline.protocols import Entries, Holds, Payloads
    from thermocline.testing.conformance import PayloadsConformance

    for protocol, suite in (
        (Entries, EntriesConformance),
        (Holds, HoldsConformance),
        (Versions, VersionsConformance),
        (Payloads, PayloadsConformance),
    ):
        said = "".join(inspect.getsource(part) for part in suite.__mro__ if part is not object)
        verbs = [name for name in vars(protocol) if not name.startswith("_") and callable(getattr(protocol, name))]
        assert verbs
        assert [verb for verb in verbs if f"tier.{verb}(" not in said] == []
