"""`EntriesConformance`: what a hot tier's coherent entries must do (COHERENCE section 3)."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import CorruptRecord, TierTimeout
from thermocline.model import Envelope, Key
from thermocline.protocols import Announce, Busy, Entries, EntryOperation, Leased, Look, Publish, Settle
from thermocline.testing.conformance.base import cancelled_after, late_answers, once
from thermocline.testing.conformance.capabilities import Capability, needs
from thermocline.testing.conformance.leases import LeasesConformance
from thermocline.testing.conformance.samples import (
    LOOKALIKES,
    NASTY_NAMES,
    VALUES,
    near,
    new_key,
    new_word,
    record,
    same,
    soon,
    value_of,
)
from thermocline.testing.conformance.steps import (
    DEAD,
    LASTING_MS,
    TABLE,
    VALUE,
    Does,
    Finds,
    announce,
    busy,
    finds_value,
    free,
    look,
    publish,
    settle,
    told,
    value_at,
)

SHORT_MS = 80  # of leases and announcements that shall run out in a test


def name_of(case: object) -> str:
    return " - ".join(map(str, case)) or "nothing" if isinstance(case, tuple) else str(case)


class EntriesConformance(LeasesConformance):
    """Give it ``tier``, an `Entries`. Each test's keys are its own, except where it says otherwise."""

    oversize: ClassVar[int] = 0  # bytes of a value that is over the tier's bound (`Capability.OVERSIZE`)
    rest_ms: ClassVar[int] = 10_000  # how long a floor stays after everyone left

    async def damage(self, tier: Any, key: Key) -> None:
        """Change bytes of the entry's stored form, from outside (`Capability.DAMAGE`)."""
        pytest.fail("override `damage`, or declare Capability.DAMAGE in `gaps`")

    async def use(self, tier: Any, deadline: Deadline) -> object:
        return await tier.peek(new_key(), deadline=deadline)

    async def play(self, tier: Entries, key: Key, steps: Sequence[Does]) -> None:
        for step in steps:
            await tier.operate(step.of(key), deadline=soon())

    async def find(self, tier: Entries, key: Key) -> Finds:
        """What a reader finds that nobody has seen before."""
        return told(await tier.operate(look(new_word()).of(key), deadline=soon()))

    # --- the table ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(("steps", "expected"), TABLE, ids=name_of)
    async def test_history_leaves_the_entry_of_the_table(
        self, tier: Entries, steps: tuple[Does, ...], expected: Finds
    ) -> None:
        key = new_key()
        await self.play(tier, key, steps)
        peeked = await tier.peek(key, deadline=soon())

        assert await self.find(tier, key) == expected
        assert (None if peeked is None else told(peeked)) == (expected if expected.served else None)

    async def test_answers_are_of_the_kind_that_the_protocol_names(self, tier: Entries) -> None:
        key = new_key()
        assert await tier.operate(look("R1").of(key), deadline=soon()) == Leased(0)
        assert await tier.operate(settle("R1", 5).of(key), deadline=soon()) is None
        announced = await tier.operate(announce("W1").of(key), deadline=soon())
        assert isinstance(announced, Busy)
        assert announced.floor == 5
        assert await tier.operate(publish("W1", 6).of(key), deadline=soon()) is None
        assert told(await tier.operate(look("R2").of(key), deadline=soon())) == finds_value(6)
        assert await tier.operate(publish("W9", 9, valued=False).of(key), deadline=soon()) is None
        assert await tier.operate(look("R3").of(key), deadline=soon()) == Leased(9)

    async def test_busy_carries_the_last_value_or_none(self, tier: Entries) -> None:
        """For callers who accept stale answers: never one that is older than the floor, nor of another key."""
        key = new_key()
        given = record(key, "last", 5)
        await self.fill(tier, given)
        announced = await tier.operate(announce("W1").of(key), deadline=soon())
        found = await tier.operate(look("R1").of(key), deadline=soon())
        await tier.operate(settle("R2", 6, valued=False).of(key), deadline=soon())
        later = await tier.operate(look("R3").of(key), deadline=soon())

        assert isinstance(announced, Busy)
        assert isinstance(found, Busy)
        assert isinstance(later, Busy)
        assert announced.last in (None, given)
        assert found.last in (None, given)
        assert later == Busy(6)

    async def test_envelope_comes_back_as_it_went_in(self, tier: Entries) -> None:
        for kind, value in VALUES.items():
            key = new_key(kind)
            given = record(key, value, 5)
            await self.fill(tier, given)
            peeked = await tier.peek(key, deadline=soon())

            assert peeked == given
            assert same(value_of(peeked), value)

    async def test_tombstone_is_a_value(self, tier: Entries) -> None:
        key = new_key()
        await self.play(tier, key, DEAD)

        peeked = await tier.peek(key, deadline=soon())

        assert peeked is not None
        assert peeked.tombstone
        assert peeked.version == 5

    async def test_expired_value_is_never_returned_as_live(self, tier: Entries, clock: Clock) -> None:
        key = new_key()
        await self.fill(tier, record(key, "old", 5, expires_ms=clock.wall_ms() + SHORT_MS))

        async def gone() -> bool:
            peeked = await tier.peek(key, deadline=soon())
            return peeked is None or not peeked.live(clock.wall_ms())

        await once(gone, clock=clock, after_ms=SHORT_MS + 1)

    async def test_large_value(self, tier: Entries) -> None:
        key = new_key()
        given = record(key, bytes(range(256)) * 2_000, 5)
        await self.fill(tier, given)

        assert await tier.peek(key, deadline=soon()) == given

    @needs(Capability.OVERSIZE)
    async def test_value_over_the_bound_acts_without_a_value(self, tier: Entries) -> None:
        assert self.oversize > 0, "set `oversize`, or declare Capability.OVERSIZE in `gaps`"
        key = new_key()
        await self.play(tier, key, VALUE)
        big = record(key, secrets.token_bytes(self.oversize + 1), 7)
        await tier.operate(Publish(key, "W9", 7, big), deadline=soon())

        assert await tier.peek(key, deadline=soon()) is None
        assert await self.find(tier, key) == free(7)

    # --- running out -------------------------------------------------------------------------------------------------

    async def test_lease_runs_out_and_its_floor_stays(self, tier: Entries, clock: Clock) -> None:
        key = new_key()
        await self.play(tier, key, [settle("R0", 5, valued=False)])
        await tier.operate(Look(key, "R1", SHORT_MS), deadline=soon())

        await self.comes_to(tier, key, free(5), clock)

    async def test_settling_under_a_lease_that_ran_out_fills_nothing(self, tier: Entries, clock: Clock) -> None:
        key = new_key()
        await tier.operate(Look(key, "R1", SHORT_MS), deadline=soon())
        await self.comes_to(tier, key, free(0), clock)
        await self.play(tier, key, [settle("R1", 5)])

        assert await tier.peek(key, deadline=soon()) is None

    async def test_announcement_runs_out_and_its_floor_stays(self, tier: Entries, clock: Clock) -> None:
        key = new_key()
        await self.play(tier, key, VALUE)
        await tier.operate(Announce(key, "W1", SHORT_MS), deadline=soon())

        await self.comes_to(tier, key, free(5), clock)

    async def test_publish_after_its_announcement_ran_out_puts_no_value(self, tier: Entries, clock: Clock) -> None:
        key = new_key()
        await tier.operate(Announce(key, "W1", SHORT_MS), deadline=soon())
        await self.comes_to(tier, key, free(0), clock)
        await self.play(tier, key, [publish("W1", 7)])

        assert await tier.peek(key, deadline=soon()) is None

    async def test_mark_of_one_that_ran_out_keeps_every_value_away(self, tier: Entries, clock: Clock) -> None:
        """An announcement that runs out may have been written: the entry must not become a value by another's publish."""
        key, timer = new_key(), new_key()
        await tier.operate(Announce(key, "W1", SHORT_MS), deadline=soon())
        await tier.operate(Announce(key, "W2", LASTING_MS), deadline=soon())
        await tier.operate(Announce(timer, "W3", SHORT_MS), deadline=soon())
        await self.comes_to(tier, timer, free(0), clock)  # it began later, so W1's has run out as well
        await self.play(tier, key, [publish("W2", 7)])

        assert await tier.peek(key, deadline=soon()) is None
        assert await self.find(tier, key) == free(7)

    async def test_announcing_anew_renews_the_announcement(self, tier: Entries, clock: Clock) -> None:
        key, timer = new_key(), new_key()
        await tier.operate(Announce(key, "W1", SHORT_MS), deadline=soon())
        await tier.operate(Announce(key, "W1", LASTING_MS), deadline=soon())
        await tier.operate(Announce(timer, "W3", SHORT_MS), deadline=soon())
        await self.comes_to(tier, timer, free(0), clock)
        await self.play(tier, key, [publish("W1", 7)])

        assert await self.find(tier, key) == finds_value(7)

    @needs(Capability.MOVABLE_CLOCK)
    async def test_floor_rests_for_its_time_and_is_then_forgotten(self, tier: Entries, clock: Clock) -> None:
        early, late = new_key(), new_key()
        await self.play(tier, early, [settle("R0", 5, valued=False)])
        await self.play(tier, late, [settle("R0", 5, valued=False)])

        async def still() -> bool:
            return await self.find(tier, early) == free(5)

        async def forgotten() -> bool:
            return await self.find(tier, late) == free(0)

        await once(still, clock=clock, after_ms=self.rest_ms - 2)
        await once(forgotten, clock=clock, after_ms=4)

    # --- keys --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", NASTY_NAMES.values(), ids=NASTY_NAMES.keys())
    async def test_any_name_will_do(self, tier: Entries, name: str) -> None:
        key = new_key(name)
        given = record(key, name, 5)
        await self.fill(tier, given)

        assert await tier.peek(key, deadline=soon()) == given

    @pytest.mark.parametrize("pair", LOOKALIKES, ids=lambda pair: repr(str(pair[0]))[:40])
    async def test_lookalikes_are_two_entries(self, tier: Entries, pair: tuple[Key, Key]) -> None:
        """P9."""
        word = new_word()
        one, other = (near(key, word) for key in pair)
        await self.fill(tier, record(one, "one", 5))

        assert await tier.peek(other, deadline=soon()) is None
        await self.fill(tier, record(other, "other", 3))
        assert value_of(await tier.peek(one, deadline=soon())) == "one"
        assert value_of(await tier.peek(other, deadline=soon())) == "other"
        await tier.drop([other], deadline=soon())
        assert value_of(await tier.peek(one, deadline=soon())) == "one"

    # --- dropping, damage --------------------------------------------------------------------------------------------

    async def test_drop_leaves_nothing(self, tier: Entries) -> None:
        value, marker, nothing = new_key("value"), new_key("marker"), new_key("nothing")
        await self.play(tier, value, VALUE)
        await self.play(tier, marker, [*VALUE, announce("W1")])

        await tier.drop([value, marker, nothing], deadline=soon())
        await tier.drop([], deadline=soon())

        assert [await self.find(tier, key) for key in (value, marker, nothing)] == [free(0)] * 3

    @needs(Capability.DAMAGE)
    async def test_damaged_entry_is_corrupt_to_peek_and_absent_to_operations(self, tier: Entries) -> None:
        key, sound = new_key("damaged"), new_key("sound")
        await self.play(tier, key, VALUE)
        await self.play(tier, sound, VALUE)
        await self.damage(tier, key)

        with pytest.raises(CorruptRecord):
            await tier.peek(key, deadline=soon())
        answers = await tier.peek_many([sound, key], deadline=soon())
        assert value_of(answers[0] if isinstance(answers[0], Envelope) else None) == value_at(5)
        assert isinstance(answers[1], CorruptRecord)
        assert await self.find(tier, key) == free(0)
        await self.play(tier, key, [announce("W9"), publish("W9", 9)])
        assert await self.find(tier, key) == finds_value(9)

    # --- many at once ------------------------------------------------------------------------------------------------

    async def test_peek_many_answers_in_order(self, tier: Entries) -> None:
        keys = [new_key(f"n{number}") for number in range(40)]
        for key in keys[::2]:
            await self.fill(tier, record(key, key.name, 5))
        await tier.operate(Announce(keys[1], "W1", LASTING_MS), deadline=soon())

        answers = await tier.peek_many(keys, deadline=soon())

        assert [value_of(answer) if isinstance(answer, Envelope) else answer for answer in answers] == [
            key.name if number % 2 == 0 else None for number, key in enumerate(keys)
        ]
        assert await tier.peek_many([], deadline=soon()) == []

    async def test_peek_many_of_one_key_twice_answers_twice(self, tier: Entries) -> None:
        key = new_key()
        await self.play(tier, key, VALUE)

        answers = await tier.peek_many([key, key], deadline=soon())

        assert [told(answer) for answer in answers] == [finds_value(5)] * 2

    async def test_operate_many_answers_in_order(self, tier: Entries) -> None:
        keys = [new_key(f"n{number}") for number in range(30)]
        for key in keys[:10]:
            await self.fill(tier, record(key, key.name, 5))
        operations: list[EntryOperation] = [look(f"R{n}").of(key) for n, key in enumerate(keys[:20])]
        operations += [announce(f"W{n}").of(key) for n, key in enumerate(keys[20:])]

        answers = await tier.operate_many(operations, deadline=soon())

        assert [told(answer) for answer in answers] == [finds_value(5)] * 10 + [free(0)] * 10 + [busy(0)] * 10
        publishes = [publish(f"W{n}", 7).of(key) for n, key in enumerate(keys[20:])]
        assert await tier.operate_many(publishes, deadline=soon()) == [None] * 10
        assert [await self.find(tier, key) for key in keys[20:]] == [finds_value(7)] * 10
        assert await tier.operate_many([], deadline=soon()) == []

    async def test_batch_past_its_deadline_is_a_timeout(self, tier: Entries, clock: Clock) -> None:
        keys = [new_key(), new_key()]
        late = Deadline.after(-1, clock)

        looks = [look("R1").of(key) for key in keys]

        assert await late_answers(tier.peek_many(keys, deadline=late), 2) == [TierTimeout] * 2
        assert await late_answers(tier.operate_many(looks, deadline=late), 2) == [TierTimeout] * 2
        assert [await self.find(tier, key) for key in keys] == [free(0)] * 2

    # --- at the same time --------------------------------------------------------------------------------------------

    async def test_one_of_many_readers_gets_the_lease(self, tier: Entries) -> None:
        key = new_key()
        looks = (tier.operate(look(f"R{n}").of(key), deadline=soon()) for n in range(25))

        answers = [told(answer) for answer in await asyncio.gather(*looks)]

        assert sorted(map(str, answers)) == sorted([str(free(0)), *[str(busy(0))] * 24])

    async def test_many_writers_end_with_the_newest_or_none(self, tier: Entries) -> None:
        key = new_key()
        versions = range(1, 25)
        for version in versions:
            await tier.operate(announce(f"W{version}").of(key), deadline=soon())
        await asyncio.gather(*(tier.operate(publish(f"W{v}", v).of(key), deadline=soon()) for v in versions))

        assert await self.find(tier, key) in (finds_value(24), free(24))

    async def test_cancelled_readers_get_no_one_elses_reply(self, tier: Entries) -> None:
        """P10: every key has its own value, and an answer that went to another caller would show."""
        keys = [new_key(f"n{number}") for number in range(30)]
        for key in keys:
            await self.fill(tier, record(key, key.name, 5))

        stopped = [await cancelled_after(turn, tier.peek(key, deadline=soon())) for turn, key in enumerate(keys)]
        together = [
            asyncio.create_task(cancelled_after(n % 9, tier.peek(key, deadline=soon()))) for n, key in enumerate(keys)
        ]
        stopped += await asyncio.gather(*together)
        after = await asyncio.gather(*(tier.peek(key, deadline=soon()) for key in keys))

        assert [value_of(answer) for answer in after] == [key.name for key in keys]
        for key, answer in zip([*keys, *keys], stopped, strict=True):
            assert answer is None or value_of(answer if isinstance(answer, Envelope) else None) == key.name

    async def test_cancelled_operation_happened_or_not(self, tier: Entries) -> None:
        for turns in range(15):
            key = new_key()
            await self.play(tier, key, [*VALUE, announce("W1")])
            await cancelled_after(turns, tier.operate(publish("W1", 7).of(key), deadline=soon()))

            assert await self.find(tier, key) in (finds_value(7), busy(5))

    # --- what the tests are made of ----------------------------------------------------------------------------------

    async def fill(self, tier: Entries, envelope: Envelope) -> None:
        """Put an envelope the way a reader does."""
        reader = new_word()
        found = await tier.operate(Look(envelope.key, reader, LASTING_MS), deadline=soon())
        assert isinstance(found, Leased), f"the key should be free, but a look found {found!r}"
        await tier.operate(Settle(envelope.key, reader, envelope.version, envelope), deadline=soon())

    async def comes_to(self, tier: Entries, key: Key, expected: Finds, clock: Clock) -> None:
        """Wait until a reader finds this, once what lasts `SHORT_MS` has run out."""

        async def reached() -> bool:
            return await self.find(tier, key) == expected

        await once(reached, clock=clock, after_ms=SHORT_MS + 1)
