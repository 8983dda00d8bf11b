"""Conditions: `if_version` and `if_absent`, on every state of a key, and among many at once."""

import asyncio

import pytest

from thermocline.clock import Clock
from thermocline.protocols import Effect, Versions
from thermocline.testing.conformance.samples import delete, new_key, put, soon, touch, value_of
from thermocline.testing.conformance.versions_base import VersionsBase

HOUR_MS = 3_600_000


class VersionConditions(VersionsBase):
    # --- if_version --------------------------------------------------------------------------------------------------

    async def test_write_of_the_right_version_takes_effect(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        version = await self.took(tier, put(key, "first"))
        version = await self.took(tier, put(key, "second", if_version=version))
        version = await self.took(tier, touch(key, clock.wall_ms() + HOUR_MS, if_version=version))
        version = await self.took(tier, delete(key, if_version=version))
        await self.took(tier, put(key, "third", if_version=version))

        assert await self.value(tier, key) == "third"

    @pytest.mark.parametrize("known", [False, True])
    async def test_write_of_another_version_is_refused(self, tier: Versions, known: bool, clock: Clock) -> None:
        key = new_key()
        old = await self.took(tier, put(key, "first"))
        now = await self.took(tier, put(key, "second"))
        before = await self.read(tier, key)
        floor = now if known else None

        for wrong in (old, now + 1, now + 100):
            await self.refused(tier, put(key, "third", if_version=wrong, known=floor), now=now)
            await self.refused(tier, delete(key, if_version=wrong, known=floor), now=now)
            late = clock.wall_ms() + HOUR_MS
            await self.refused(tier, touch(key, late, if_version=wrong, known=floor), now=now)

        assert await self.read(tier, key) == before

    async def test_write_of_a_version_onto_nothing_is_refused(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        for write in (
            put(key, if_version=5),
            delete(key, if_version=5),
            touch(key, clock.wall_ms() + HOUR_MS, if_version=5),
        ):
            await self.refused(tier, write, now=0)

        assert await tier.read(key, deadline=soon()) is None

    async def test_old_version_does_not_replace_a_tombstone(self, tier: Versions) -> None:
        """P4."""
        key = new_key()
        version = await self.took(tier, put(key, "first"))
        deleted = await self.took(tier, delete(key))

        await self.refused(tier, put(key, "second", if_version=version), now=deleted)

        assert (await self.read(tier, key)).tombstone

    async def test_refused_write_told_again_is_still_refused(self, tier: Versions) -> None:
        key = new_key()
        now = await self.took(tier, put(key))
        write = put(key, "x", if_version=now + 7)

        await self.refused(tier, write, now=now)
        await self.refused(tier, write, now=now)

    async def test_conditional_write_twice_takes_effect_once(self, tier: Versions) -> None:
        """The second copy finds its own work, and must not call it a conflict."""
        key = new_key()
        first = await self.took(tier, put(key, "first"))
        write = put(key, "second", if_version=first)
        version = await self.took(tier, write)

        assert await self.took(tier, write) == version
        await self.took(tier, put(key, "third"))
        assert await self.took(tier, write) == version
        assert await self.value(tier, key) == "third"

    async def test_one_of_many_with_the_same_version_takes_effect(self, tier: Versions) -> None:
        key = new_key()
        first = await self.took(tier, put(key, "first"))
        writes = [put(key, number, if_version=first) for number in range(10)]

        answers = await asyncio.gather(*(tier.write(write, deadline=soon()) for write in writes))

        effects = [answer.effect for answer in answers]
        assert effects.count(Effect.TOOK) == 1
        assert effects.count(Effect.REFUSED) == 9
        winner = effects.index(Effect.TOOK)
        envelope = await self.read(tier, key)
        assert envelope.version == answers[winner].version
        assert await self.value(tier, key) == winner

    async def test_optimistic_writers_lose_no_update(self, tier: Versions) -> None:
        key = new_key()
        await self.took(tier, put(key, 0))

        async def count() -> None:
            while True:
                envelope = await self.read(tier, key)
                write = put(key, value_of(envelope) + 1, if_version=envelope.version)
                written = await tier.write(write, deadline=soon())
                if written.effect is Effect.TOOK:
                    return

        await asyncio.gather(*(count() for _ in range(6)))

        assert await self.value(tier, key) == 6

    # --- if_absent ---------------------------------------------------------------------------------------------------

    async def test_if_absent_creates(self, tier: Versions) -> None:
        key = new_key()
        await self.took(tier, put(key, "first", if_absent=True))

        assert await self.value(tier, key) == "first"

    @pytest.mark.parametrize("value", [None, 0, "", {}, b""], ids=repr)
    async def test_if_absent_is_refused_where_there_is_a_value(self, tier: Versions, value: object) -> None:
        """A falsy value is one."""
        key = new_key()
        now = await self.took(tier, put(key, value))

        await self.refused(tier, put(key, "second", if_absent=True), now=now)
        await self.refused(tier, put(key, "second", if_absent=True, known=now), now=now)

        assert (await self.read(tier, key)).version == now

    @pytest.mark.parametrize("known", [False, True])
    async def test_if_absent_onto_a_tombstone_creates(self, tier: Versions, known: bool) -> None:
        key = new_key()
        await self.took(tier, put(key, "first"))
        deleted = await self.took(tier, delete(key))

        version = await self.took(tier, put(key, "second", if_absent=True, known=deleted if known else None))

        assert version > deleted
        assert await self.value(tier, key) == "second"

    async def test_if_absent_onto_an_expired_record_creates(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        expired = await self.took(tier, put(key, "first", expires_ms=clock.wall_ms() - 1_000))

        version = await self.took(tier, put(key, "second", if_absent=True))

        assert version > expired
        assert await self.value(tier, key) == "second"

    async def test_if_absent_twice_takes_effect_once(self, tier: Versions) -> None:
        """The second copy finds its own work, and must not call it a conflict."""
        key = new_key()
        write = put(key, "it", if_absent=True)
        version = await self.took(tier, write)

        assert await self.took(tier, write) == version

    @pytest.mark.parametrize("state", ["absent", "deleted"])
    async def test_one_of_many_creators_takes_effect(self, tier: Versions, state: str) -> None:
        key = new_key()
        if state == "deleted":
            await self.took(tier, put(key))
            await self.took(tier, delete(key))
        writes = [put(key, number, if_absent=True) for number in range(10)]

        answers = await asyncio.gather(*(tier.write(write, deadline=soon()) for write in writes))

        effects = [answer.effect for answer in answers]
        assert effects.count(Effect.TOOK) == 1
        assert effects.count(Effect.REFUSED) == 9
        assert await self.value(tier, key) == effects.index(Effect.TOOK)
