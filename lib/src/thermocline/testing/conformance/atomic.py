"""`AtomicConformance`: several writes of one scope that take effect together or not at all."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Protocol

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import InvalidArgument, TierTimeout, TooLarge
from thermocline.model import Key
from thermocline.protocols import Atomic, Effect, Versions, Write, Written
from thermocline.testing.conformance.base import cancelled_after
from thermocline.testing.conformance.capabilities import Capability, needs
from thermocline.testing.conformance.samples import FALSY, delete, new_key, put, same, soon, touch, value_of
from thermocline.testing.conformance.versions_base import VersionsBase

HOUR_MS = 3_600_000


class Together(Versions, Atomic, Protocol):
    """An authority that takes several writes as one."""


def keys_of(scope: Key, number: int) -> list[Key]:
    return [Key(scope.tenant, scope.scope, f"n{place}") for place in range(number)]


class AtomicConformance(VersionsBase):
    """Give it ``tier``, a `Versions` that is `Atomic` too."""

    async def use(self, tier: Any, deadline: Deadline) -> object:
        return await tier.write_atomic([put(key) for key in keys_of(new_key(), 2)], deadline=deadline)

    async def all_took(self, tier: Together, writes: Sequence[Write]) -> list[Written]:
        """Make writes that have to take effect."""
        answers = await tier.write_atomic(writes, deadline=soon())
        assert [answer.effect for answer in answers] == [Effect.TOOK] * len(writes)
        return answers

    async def effects(self, tier: Together, writes: Sequence[Write]) -> list[Effect]:
        return [answer.effect for answer in await tier.write_atomic(writes, deadline=soon())]

    # --- all of them -------------------------------------------------------------------------------------------------

    async def test_all_take_effect(self, tier: Together) -> None:
        keys = keys_of(new_key(), 5)
        answers = await self.all_took(tier, [put(key, key.name) for key in keys])

        for key, answer in zip(keys, answers, strict=True):
            envelope = await self.read(tier, key)
            assert (envelope.version, value_of(envelope)) == (answer.version, key.name)
            assert envelope.header.authority is tier.authority
            assert answer.envelope == envelope

    async def test_every_verb_takes_part(self, tier: Together, clock: Clock) -> None:
        new, old, gone, kept = keys_of(new_key(), 4)
        versions = [await self.took(tier, put(key, "old")) for key in (old, gone, kept)]
        late = clock.wall_ms() + HOUR_MS
        answers = await self.all_took(tier, [put(new, "new"), put(old, "newer"), delete(gone), touch(kept, late)])

        assert all(answer.version > before for answer, before in zip(answers[1:], versions, strict=True))
        assert [await self.value(tier, key) for key in (new, old, kept)] == ["new", "newer", "old"]
        assert (await self.read(tier, gone)).tombstone
        assert (await self.read(tier, kept)).header.expires_ms == late

    async def test_falsy_values(self, tier: Together) -> None:
        scope = new_key()
        keys = {name: Key(scope.tenant, scope.scope, name) for name in FALSY}
        await self.all_took(tier, [put(key, FALSY[name]) for name, key in keys.items()])

        for name, key in keys.items():
            assert same(await self.value(tier, key), FALSY[name])

    async def test_conditions_that_hold(self, tier: Together) -> None:
        one, two, three = keys_of(new_key(), 3)
        version = await self.took(tier, put(one, 1))
        deleted = await self.took(tier, put(two, 1))
        deleted = await self.took(tier, delete(two, if_version=deleted))
        writes = [put(one, 2, if_version=version), put(two, 2, if_absent=True), put(three, 2, if_absent=True)]

        answers = await self.all_took(tier, writes)

        assert answers[1].version > deleted
        assert [await self.value(tier, key) for key in (one, two, three)] == [2, 2, 2]

    async def test_a_single_write_and_none(self, tier: Together) -> None:
        key = new_key()
        await self.all_took(tier, [put(key, "alone")])

        assert await self.value(tier, key) == "alone"
        assert await tier.write_atomic([], deadline=soon()) == []

    async def test_as_many_as_the_tier_says(self, tier: Together) -> None:
        scope = new_key()
        keys = keys_of(scope, tier.atomic_most + 1)

        with pytest.raises(InvalidArgument):
            await tier.write_atomic([put(key) for key in keys], deadline=soon())
        page = await tier.scan(scope.tenant, scope.scope, "", limit=10, cursor=None, deadline=soon())
        assert page.items == []
        await self.all_took(tier, [put(key) for key in keys[:-1]])

    async def test_delete_and_touch_that_find_nothing_hinder_nobody(self, tier: Together, clock: Clock) -> None:
        """As by itself: nothing is no condition."""
        one, two, three = keys_of(new_key(), 3)
        effects = await self.effects(tier, [put(one, 1), delete(two), touch(three, clock.wall_ms() + HOUR_MS)])

        assert effects == [Effect.TOOK, Effect.NOTHING, Effect.NOTHING]
        assert await self.value(tier, one) == 1
        assert await tier.read_many([two, three], deadline=soon()) == [None, None]

    # --- or none -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("place", [0, 2, 4])
    @pytest.mark.parametrize("condition", ["version", "absent", "version of nothing"])
    async def test_one_refused_means_none(self, tier: Together, place: int, condition: str) -> None:
        keys = keys_of(new_key(), 5)
        there = await self.took(tier, put(keys[place], "old")) if condition != "version of nothing" else 0
        before = await tier.read_many(keys, deadline=soon())
        writes = [put(key, "new") for key in keys]
        writes[place] = (
            put(keys[place], "new", if_absent=True)
            if condition == "absent"
            else put(keys[place], "new", if_version=there + 7)
        )

        answers = await tier.write_atomic(writes, deadline=soon())

        assert answers[place].effect is Effect.REFUSED
        assert answers[place].version in (0, there)
        others = [answer.effect for number, answer in enumerate(answers) if number != place]
        assert others == [Effect.NOTHING] * 4
        assert await tier.read_many(keys, deadline=soon()) == before

    async def test_every_refused_one_is_told(self, tier: Together) -> None:
        one, two, three, four = keys_of(new_key(), 4)
        await self.took(tier, put(one))
        await self.took(tier, put(three))

        effects = await self.effects(tier, [put(one, if_absent=True), put(two), delete(three, if_version=5), put(four)])

        assert effects == [Effect.REFUSED, Effect.NOTHING, Effect.REFUSED, Effect.NOTHING]
        assert await tier.read(two, deadline=soon()) is None

    @needs(Capability.OVERSIZE)
    async def test_one_too_large_means_none(self, tier: Together) -> None:
        if self.oversize == 0:
            pytest.skip("gap: OVERSIZE: no bound is given (`oversize`)")
        keys = keys_of(new_key(), 3)
        big = put(keys[1], secrets.token_bytes(self.oversize + 1))

        with pytest.raises(TooLarge):
            await tier.write_atomic([put(keys[0]), big, put(keys[2])], deadline=soon())

        assert await tier.read_many(keys, deadline=soon()) == [None, None, None]

    async def test_past_its_deadline_certainly_none(self, tier: Together, clock: Clock) -> None:
        keys = keys_of(new_key(), 2)
        with pytest.raises(TierTimeout):
            await tier.write_atomic([put(key) for key in keys], deadline=Deadline.after(-1, clock))

        assert await tier.read_many(keys, deadline=soon()) == [None, None]

    async def test_other_scopes_and_the_same_key_twice_are_refused(self, tier: Together) -> None:
        key = new_key()
        for other in (
            Key(key.tenant, f"{key.scope}x", "other"),
            Key(f"{key.tenant}x", key.scope, "other"),
            key,
        ):
            with pytest.raises(InvalidArgument):
                await tier.write_atomic([put(key), put(other)], deadline=soon())
        with pytest.raises(InvalidArgument):
            await tier.write_atomic([put(key, if_absent=True, if_version=1)], deadline=soon())

        assert await tier.read(key, deadline=soon()) is None

    # --- copies, others, cancelling ----------------------------------------------------------------------------------

    async def test_same_writes_twice_take_effect_once(self, tier: Together) -> None:
        """The second copy finds its own work, and must not call it a conflict."""
        one, two, three = keys_of(new_key(), 3)
        version = await self.took(tier, put(one, 0))
        await self.took(tier, put(three, 0))
        writes = [put(one, 1, if_version=version), put(two, 1, if_absent=True), delete(three)]
        first = await self.all_took(tier, writes)
        again = await self.all_took(tier, writes)

        assert [answer.version for answer in again] == [answer.version for answer in first]
        read = [await self.read(tier, key) for key in (one, two, three)]
        assert [envelope.version for envelope in read] == [answer.version for answer in first]

    async def test_late_copy_does_not_undo_what_came_after(self, tier: Together) -> None:
        keys = keys_of(new_key(), 3)
        writes = [put(key, "first") for key in keys]
        first = await self.all_took(tier, writes)
        await self.took(tier, put(keys[1], "later"))
        again = await self.all_took(tier, writes)

        assert [answer.version for answer in again] == [answer.version for answer in first]
        assert [await self.value(tier, key) for key in keys] == ["first", "later", "first"]

    async def test_single_copy_of_one_of_them_is_known(self, tier: Together) -> None:
        keys = keys_of(new_key(), 2)
        writes = [put(key, "first") for key in keys]
        answers = await self.all_took(tier, writes)

        assert await self.took(tier, writes[1]) == answers[1].version

    async def test_readers_see_all_or_none(self, tier: Together) -> None:
        """Read in order, a later key is never behind an earlier one."""
        keys = keys_of(new_key(), 4)
        await self.all_took(tier, [put(key, 0) for key in keys])
        done = asyncio.Event()

        async def write_on() -> None:
            try:
                for number in range(1, 15):
                    await self.all_took(tier, [put(key, number) for key in keys])
            finally:
                done.set()

        writer = asyncio.create_task(write_on())
        while not done.is_set():
            seen = [value_of(await self.read(tier, key)) for key in keys]
            assert seen == sorted(seen)
            await asyncio.sleep(0)  # a tier may answer without ever waiting
        await writer
        assert [await self.value(tier, key) for key in keys] == [14] * 4

    async def test_transfers_keep_the_sum(self, tier: Together) -> None:
        keys = keys_of(new_key(), 3)
        await self.all_took(tier, [put(key, 100) for key in keys])

        async def transfer(turn: int) -> None:
            giver, taker = keys[turn % 3], keys[(turn + 1) % 3]
            while True:
                there = [await self.read(tier, key) for key in (giver, taker)]
                values = [value_of(envelope) for envelope in there]
                writes = [
                    put(giver, values[0] - turn, if_version=there[0].version),
                    put(taker, values[1] + turn, if_version=there[1].version),
                ]
                if Effect.TOOK in await self.effects(tier, writes):
                    return

        await asyncio.gather(*(transfer(turn) for turn in range(1, 7)))

        assert [await self.value(tier, key) for key in keys] == [
            100 - 3 - 6 + 2 + 5,
            100 - 1 - 4 + 3 + 6,
            100 - 2 - 5 + 1 + 4,
        ]

    async def test_cancelled_ones_happened_all_or_not_at_all(self, tier: Together) -> None:
        """P10."""
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34):
            keys = keys_of(new_key(), 3)
            await self.all_took(tier, [put(key, "first") for key in keys])
            writes = [put(key, "second") for key in keys]
            await cancelled_after(turns, tier.write_atomic(writes, deadline=soon()))
            again = await self.all_took(tier, writes)

            read = [await self.read(tier, key) for key in keys]
            assert [(value_of(one), one.version) for one in read] == [("second", answer.version) for answer in again]
