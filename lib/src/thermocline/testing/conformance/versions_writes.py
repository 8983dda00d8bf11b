"""Writes: versions only grow, each write takes effect once, deletes leave tombstones, touches leave the value."""

import asyncio

import pytest

from thermocline.clock import Clock
from thermocline.codec import Codec
from thermocline.errors import InvalidArgument, TierUnavailable
from thermocline.keys import payload_path
from thermocline.model import Key, Pointer
from thermocline.protocols import Effect, Verb, Versions, Write
from thermocline.testing.conformance.samples import delete, new_id, new_key, put, sealed, soon, touch, value_of
from thermocline.testing.conformance.versions_base import VersionsBase
from thermocline.writes import PAYLOAD_GRACE_MS

HOUR_MS = 3_600_000
WRITERS = 12


class VersionWrites(VersionsBase):
    # --- versions ----------------------------------------------------------------------------------------------------

    async def test_versions_only_grow(self, tier: Versions, clock: Clock) -> None:
        """Over overwriting, touching, deletion and a new creation, by writers who know the version and by others."""
        key = new_key()
        versions = [await self.took(tier, put(key, 1))]
        versions.append(await self.took(tier, put(key, 2, known=versions[-1])))
        versions.append(await self.took(tier, put(key, 3)))
        versions.append(await self.took(tier, touch(key, clock.wall_ms() + HOUR_MS)))
        versions.append(await self.took(tier, delete(key)))
        versions.append(await self.took(tier, put(key, 4)))
        versions.append(await self.took(tier, delete(key, known=versions[-1])))
        versions.append(await self.took(tier, put(key, 5, known=versions[-1])))

        assert versions == sorted(set(versions))
        assert (await self.read(tier, key)).version == versions[-1]

    async def test_new_record_is_above_what_its_writer_knew(self, tier: Versions, clock: Clock) -> None:
        """The item may have been removed since: then its version must not come back."""
        known = (clock.wall_ms() + HOUR_MS) * 1000

        assert await self.took(tier, put(new_key(), known=known)) > known

    async def test_versions_grow_after_expiry(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        expired = await self.took(tier, put(key, "old", expires_ms=clock.wall_ms() - 1_000))

        assert await self.took(tier, put(key, "new")) > expired
        assert await self.value(tier, key) == "new"

    async def test_concurrent_writers_get_versions_of_their_own(self, tier: Versions) -> None:
        key = new_key()
        first = await self.took(tier, put(key, "first"))
        writes = [put(key, number, known=first if number % 2 else None) for number in range(WRITERS)]

        versions = await asyncio.gather(*(self.took(tier, write) for write in writes))

        assert len(set(versions)) == WRITERS
        assert min(versions) > first
        envelope = await self.read(tier, key)
        assert envelope.version == max(versions)
        assert value_of(envelope) == versions.index(max(versions))

    async def test_concurrent_creators_get_versions_of_their_own(self, tier: Versions) -> None:
        key = new_key()

        versions = await asyncio.gather(*(self.took(tier, put(key, number)) for number in range(WRITERS)))

        assert len(set(versions)) == WRITERS
        assert await self.value(tier, key) == versions.index(max(versions))

    # --- once --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("state", ["absent", "there", "deleted"])
    async def test_same_write_twice_takes_effect_once(self, tier: Versions, state: str) -> None:
        key = new_key()
        known = None
        if state != "absent":
            known = await self.took(tier, put(key, "before"))
        if state == "deleted":
            known = await self.took(tier, delete(key, known=known))
        write = put(key, "it", known=known)

        version = await self.took(tier, write)

        assert await self.took(tier, write) == version
        assert (await self.read(tier, key)).version == version

    @pytest.mark.parametrize("known", [False, True])
    async def test_late_copy_does_not_undo_what_came_after(self, tier: Versions, known: bool) -> None:
        key = new_key()
        first = await self.took(tier, put(key, "before"))
        write = put(key, "it", known=first if known else None)
        version = await self.took(tier, write)
        *_, last = [await self.took(tier, put(key, number)) for number in range(6)]

        assert await self.took(tier, write) == version
        envelope = await self.read(tier, key)
        assert (value_of(envelope), envelope.version) == (5, last)

    async def test_late_copy_of_the_creation_does_not_undo_what_came_after(self, tier: Versions) -> None:
        key = new_key()
        write = put(key, "it")
        version = await self.took(tier, write)
        for number in range(6):
            await self.took(tier, put(key, number))

        assert await self.took(tier, write) == version
        assert await self.value(tier, key) == 5

    async def test_late_copy_does_not_bring_back_what_was_deleted(self, tier: Versions) -> None:
        """P4."""
        key = new_key()
        write = put(key, "it")
        await self.took(tier, write)
        await self.took(tier, delete(key))

        await self.took(tier, write)

        assert (await self.read(tier, key)).tombstone

    async def test_copies_at_the_same_time_take_effect_once(self, tier: Versions) -> None:
        key = new_key()
        first = await self.took(tier, put(key, "before"))
        for write in (put(key, "it", known=first), put(new_key(), "new")):
            versions = await asyncio.gather(*(self.took(tier, write) for _ in range(4)))

            assert len(set(versions)) == 1
            assert (await self.read(tier, write.key)).version == versions[0]

    async def test_delete_twice_takes_effect_once(self, tier: Versions) -> None:
        key = new_key()
        known = await self.took(tier, put(key))
        write = delete(key, known=known)
        version = await self.took(tier, write)
        later = await self.took(tier, put(key, "new", known=version))

        assert await self.took(tier, write) == version
        envelope = await self.read(tier, key)
        assert (value_of(envelope), envelope.version) == ("new", later)

    # --- deletes -----------------------------------------------------------------------------------------------------

    async def test_delete_leaves_a_tombstone(self, tier: Versions) -> None:
        key = new_key()
        first = await self.took(tier, put(key, "secret"))
        version = await self.took(tier, delete(key))

        envelope = await self.read(tier, key)

        assert envelope.tombstone
        assert envelope.version == version > first
        assert (envelope.payload, dict(envelope.tags)) == (b"", {})

    @pytest.mark.parametrize("known", [None, 0])
    async def test_delete_of_nothing_writes_nothing(self, tier: Versions, known: int | None) -> None:
        key = new_key()
        await self.nothing(tier, delete(key, known=known))

        assert await tier.read(key, deadline=soon()) is None

    async def test_delete_of_a_tombstone_leaves_it_deleted(self, tier: Versions) -> None:
        key = new_key()
        await self.took(tier, put(key))
        version = await self.took(tier, delete(key))

        written = await tier.write(delete(key), deadline=soon())

        assert written.effect in (Effect.TOOK, Effect.NOTHING)
        envelope = await self.read(tier, key)
        assert envelope.tombstone
        assert envelope.version >= version

    # --- touches -----------------------------------------------------------------------------------------------------

    async def test_touch_moves_the_expiry_and_nothing_else(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        value = {"n": [1, None]}
        given = sealed(key, value, expires_ms=clock.wall_ms() + 60_000, media_type="m", tags={"t": "1"})
        first = await self.took(tier, Write(Verb.PUT, touch(key, 0).id, given))
        expires = clock.wall_ms() + HOUR_MS
        version = await self.took(tier, touch(key, expires))

        envelope = await self.read(tier, key)

        assert version > first
        assert envelope.version == version
        assert envelope.header.expires_ms == expires
        assert (value_of(envelope), envelope.media_type, dict(envelope.tags)) == (value, "m", {"t": "1"})

    async def test_touch_can_take_the_expiry_away(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        known = await self.took(tier, put(key, expires_ms=clock.wall_ms() + 60_000))
        await self.took(tier, touch(key, 0, known=known))

        assert (await self.read(tier, key)).header.expires_ms == 0

    @pytest.mark.parametrize("state", ["absent", "deleted", "expired"])
    async def test_touch_of_what_is_not_live_does_nothing(self, tier: Versions, state: str, clock: Clock) -> None:
        """P4: a touch must not bring back what was deleted or ran out."""
        key = new_key()
        if state == "expired":
            await self.took(tier, put(key, expires_ms=clock.wall_ms() - 1_000))
        elif state == "deleted":
            await self.took(tier, put(key))
            await self.took(tier, delete(key))
        before = await tier.read(key, deadline=soon())

        await self.nothing(tier, touch(key, clock.wall_ms() + HOUR_MS))
        if before is not None:
            await self.nothing(tier, touch(key, clock.wall_ms() + HOUR_MS, known=before.version))

        assert await tier.read(key, deadline=soon()) == before

    # --- pointers ----------------------------------------------------------------------------------------------------

    async def test_pointer_to_a_payload_that_the_sweeper_may_have_seen_is_not_set(
        self, tier: Versions, clock: Clock
    ) -> None:
        """P7: a pointer is set only while its payload is younger than half the sweeper's grace (COHERENCE section 5)."""
        key, new = new_key(), new_key()
        version = await self.took(tier, put(key, "there"))
        half_ms = PAYLOAD_GRACE_MS // 2

        for write in (pointed(key, clock.wall_ms() - half_ms, known=version), pointed(new, clock.wall_ms() - half_ms)):
            with pytest.raises(TierUnavailable) as caught:
                await tier.write(write, deadline=soon())
            assert not caught.value.sent
        assert await self.value(tier, key) == "there"
        assert await tier.read(new, deadline=soon()) is None

        await self.took(tier, pointed(key, clock.wall_ms() - half_ms + 60_000))
        assert (await self.read(tier, key)).pointer

    # --- what cannot be asked ----------------------------------------------------------------------------------------

    async def test_conditions_that_exclude_each_other_are_refused(self, tier: Versions) -> None:
        key = new_key()
        both = put(key, if_version=1, if_absent=True)
        absent_delete = Write(Verb.DELETE, both.id, delete(key).envelope, if_absent=True)

        for write in (both, absent_delete):
            with pytest.raises(InvalidArgument):
                await tier.write(write, deadline=soon())

        assert await tier.read(key, deadline=soon()) is None


def pointed(key: Key, uploaded_ms: int, *, known: int | None = None) -> Write:
    """A write of a pointer to a payload of that age."""
    sha256 = "ab" * 32
    envelope = Codec().point(sealed(key, b"x" * 100), Pointer(payload_path(key, sha256), sha256, 100, uploaded_ms))
    return Write(Verb.PUT, new_id(), envelope, known=known)
