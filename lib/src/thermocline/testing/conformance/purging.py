"""`PurgesConformance`: removing what is dead, after its grace and never before, and nothing else (P4)."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar, Protocol

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import CorruptRecord, InvalidArgument
from thermocline.model import Key
from thermocline.protocols import Purges, Versions
from thermocline.testing.clocks import ManualClock
from thermocline.testing.conformance.capabilities import Capability, needs
from thermocline.testing.conformance.samples import NASTY_NAMES, delete, new_key, put, soon
from thermocline.testing.conformance.versions_base import VersionsBase


class Purging(Versions, Purges, Protocol):
    """An authority that is purged by hand."""


class PurgesConformance(VersionsBase):
    """Give it ``tier``, a `Versions` that `Purges` too, and its ``grace`` T. What other tests left dead in the same store is purged as well.

    The tests that let T pass need a clock that can be moved (`Capability.MOVABLE_CLOCK`).
    """

    grace: ClassVar[timedelta] = timedelta(days=1)

    async def use(self, tier: Any, deadline: Deadline) -> object:
        return await tier.purge(dead_before_ms=1, limit=1, deadline=deadline)

    async def purged(self, tier: Purges, dead_before_ms: int, *, limit: int = 100) -> int:
        """Purge until nothing is left to purge; how many were removed."""
        removed = 0
        for _ in range(1_000):
            answer = await tier.purge(dead_before_ms=dead_before_ms, limit=limit, deadline=soon())
            assert 0 <= answer <= limit
            if answer == 0:
                return removed
            removed += answer
        pytest.fail("a purge should end")

    async def held(self, tier: Versions, keys: Iterable[Key]) -> list[str]:
        """The names of those of which the tier knows anything."""
        return sorted([key.name for key in keys if await tier.read(key, deadline=soon()) is not None])

    def pass_grace(self, clock: Clock) -> int:
        """Let a little more than T pass; the time that is now."""
        assert isinstance(clock, ManualClock), (
            "override the fixture `clock`, or declare Capability.MOVABLE_CLOCK in `gaps`"
        )
        clock.advance(self.grace.total_seconds() + 1)
        return clock.wall_ms()

    async def states(self, tier: Versions, clock: Clock) -> dict[str, Key]:
        """A key in each state: live, with a lifetime ahead, expired, deleted, deleted and written again, expired and written again."""
        scope = new_key()
        names = ["live", "ends", "expired", "deleted", "revived", "renewed"]
        keys = {name: Key(scope.tenant, scope.scope, name) for name in names}
        far = clock.wall_ms() + 10 * self.grace // timedelta(milliseconds=1)
        await self.took(tier, put(keys["live"], None))
        await self.took(tier, put(keys["ends"], expires_ms=far))
        await self.took(tier, put(keys["expired"], expires_ms=clock.wall_ms() - 1_000))
        await self.took(tier, put(keys["deleted"]))
        await self.took(tier, delete(keys["deleted"]))
        await self.took(tier, put(keys["revived"]))
        await self.took(tier, delete(keys["revived"]))
        await self.took(tier, put(keys["revived"], 0))
        await self.took(tier, put(keys["renewed"], expires_ms=clock.wall_ms() - 1_000))
        await self.took(tier, put(keys["renewed"], "", expires_ms=far))
        return keys

    async def test_within_the_grace_nothing_is_removed(self, tier: Purging, clock: Clock) -> None:
        """Whatever the caller says: late copies of writes must still find what they were refused by."""
        keys = await self.states(tier, clock)

        await self.purged(tier, clock.wall_ms() + 100 * self.grace // timedelta(milliseconds=1))

        assert await self.held(tier, keys.values()) == sorted(keys)

    @needs(Capability.MOVABLE_CLOCK)
    async def test_after_the_grace_the_dead_are_removed(self, tier: Purging, clock: Clock) -> None:
        keys = await self.states(tier, clock)
        now = self.pass_grace(clock)

        assert await self.purged(tier, now) >= 2

        assert await self.held(tier, keys.values()) == ["ends", "live", "renewed", "revived"]
        assert await self.purged(tier, now) == 0

    @needs(Capability.MOVABLE_CLOCK)
    async def test_who_died_later_than_the_caller_says_stays(self, tier: Purging, clock: Clock) -> None:
        scope = new_key()
        early, late = (Key(scope.tenant, scope.scope, name) for name in ("early", "late"))
        for key in (early, late):
            await self.took(tier, put(key))
        await self.took(tier, delete(early))
        self.pass_grace(clock)
        between = clock.wall_ms()
        self.pass_grace(clock)
        await self.took(tier, delete(late))
        self.pass_grace(clock)

        await self.purged(tier, between)
        assert await self.held(tier, [early, late]) == ["late"]
        await self.purged(tier, clock.wall_ms())
        assert await self.held(tier, [early, late]) == []

    @needs(Capability.MOVABLE_CLOCK)
    async def test_record_that_ends_by_itself_has_its_grace_from_there(self, tier: Purging, clock: Clock) -> None:
        key = new_key()
        ends = clock.wall_ms() + 5 * self.grace // timedelta(milliseconds=1)
        await self.took(tier, put(key, expires_ms=ends))
        for _ in range(5):
            await self.purged(tier, self.pass_grace(clock))

        assert await self.held(tier, [key]) == ["name"]
        await self.purged(tier, self.pass_grace(clock))
        assert await self.held(tier, [key]) == []

    @needs(Capability.MOVABLE_CLOCK)
    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_limit_bounds_each_call(self, tier: Purging, limit: int, clock: Clock) -> None:
        scope = new_key()
        keys = [Key(scope.tenant, f"s{number % 3}", f"n{number}") for number in range(8)]
        for key in keys:
            await self.took(tier, put(key))
            if key.name not in ("n0", "n5"):
                await self.took(tier, delete(key))
        now = self.pass_grace(clock)

        assert await self.purged(tier, now, limit=limit) >= 6
        assert await self.held(tier, keys) == ["n0", "n5"]

    @needs(Capability.MOVABLE_CLOCK)
    async def test_any_name_can_be_purged(self, tier: Purging, clock: Clock) -> None:
        scope = new_key()
        keys = [Key(scope.tenant, scope.scope, name) for name in NASTY_NAMES.values()]
        for key in keys:
            await self.took(tier, put(key, expires_ms=clock.wall_ms() - 1))
        now = self.pass_grace(clock)

        assert await self.purged(tier, now) >= len(keys)
        assert await self.held(tier, keys) == []

    @needs(Capability.MOVABLE_CLOCK)
    async def test_what_is_created_anew_goes_on_from_there(self, tier: Purging, clock: Clock) -> None:
        """P4: versions grow over removal too."""
        key = new_key()
        await self.took(tier, put(key))
        gone = await self.took(tier, delete(key))
        await self.purged(tier, self.pass_grace(clock))
        assert await tier.read(key, deadline=soon()) is None

        assert await self.took(tier, put(key, "anew", if_absent=True)) > gone
        await self.purged(tier, self.pass_grace(clock))
        assert await self.value(tier, key) == "anew"

    @needs(Capability.MOVABLE_CLOCK)
    async def test_damaged_record_ends_nothing_and_stays(self, tier: Purging, clock: Clock) -> None:
        """It may be one that lives: nobody can tell."""
        if Capability.DAMAGE in self.gaps:
            pytest.skip(f"gap: DAMAGE: {self.gaps[Capability.DAMAGE]}")
        scope = new_key()
        keys = [Key(scope.tenant, scope.scope, f"n{number}") for number in range(5)]
        for key in keys:
            await self.took(tier, put(key, b"some value" * 10, expires_ms=clock.wall_ms() - 1))
        lives = Key(scope.tenant, scope.scope, "lives")
        await self.took(tier, put(lives, b"some value" * 10))
        await self.damage(tier, lives)
        now = self.pass_grace(clock)

        assert await self.purged(tier, now) >= 5
        assert await self.held(tier, keys) == []
        with pytest.raises(CorruptRecord):
            await tier.read(lives, deadline=soon())

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_purge_of_nothing_is_refused(self, tier: Purging, limit: int) -> None:
        with pytest.raises(InvalidArgument):
            await tier.purge(dead_before_ms=1, limit=limit, deadline=soon())
