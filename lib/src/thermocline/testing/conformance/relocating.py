"""`RelocatesConformance`: moving a payload between the authority and cold changes where it lies, and nothing else (P7)."""

import asyncio
import hashlib
from dataclasses import replace
from typing import Any, Protocol

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.codec import Codec
from thermocline.errors import InvalidArgument, PointerTooOld
from thermocline.keys import payload_path
from thermocline.model import Envelope, Key, Pointer
from thermocline.protocols import Relocates, Versions
from thermocline.testing.conformance.base import cancelled_after
from thermocline.testing.conformance.samples import delete, new_key, put, record, soon, touch, value_of
from thermocline.testing.conformance.versions_base import VersionsBase
from thermocline.writes import PAYLOAD_GRACE_MS

HOUR_MS = 3_600_000
VALUE = "value " * 2_000
CODEC = Codec()


class Relocating(Versions, Relocates, Protocol):
    """An authority whose payloads can be moved."""


def demoted(old: Envelope, written_ms: int) -> Envelope:
    """The same record with a pointer to its payload in cold, as a demotion makes it."""
    digest = hashlib.sha256(old.payload).hexdigest()
    return CODEC.point(old, Pointer(payload_path(old.key, digest), digest, len(old.payload), written_ms))


class RelocatesConformance(VersionsBase):
    """Give it ``tier``, a `Versions` that is `Relocates` too. No payload is stored anywhere: the tier does not follow pointers."""

    async def use(self, tier: Any, deadline: Deadline) -> object:
        """A relocation of what does not exist."""
        never = replace(record(new_key(), VALUE, 5), etag="1")
        return await tier.relocate(never, never, deadline=deadline)

    async def written(self, tier: Versions, key: Key, **options: Any) -> Envelope:
        """A record as it is read, with its mark."""
        await self.took(tier, put(key, VALUE, **options))
        there = await self.read(tier, key)
        assert there.etag is not None, "read() has to give the copy's etag"
        return there

    async def moved(self, tier: Relocates, old: Envelope, new: Envelope) -> bool:
        return await tier.relocate(old, new, deadline=soon())

    # --- what changes and what does not --------------------------------------------------------------------------------

    async def test_down_and_up_again_the_record_is_the_same(self, tier: Relocating, clock: Clock) -> None:
        key = new_key()
        old = await self.written(tier, key, expires_ms=clock.wall_ms() + HOUR_MS)
        assert await self.moved(tier, old, demoted(old, clock.wall_ms()))
        below = await self.read(tier, key)

        assert below.pointer
        assert CODEC.pointer_of(below).size == len(old.payload)
        assert _kept(below) == _kept(old)
        assert below.etag not in (None, old.etag)

        assert await self.moved(tier, below, CODEC.with_payload(below, old.payload))
        above = await self.read(tier, key)

        assert not above.pointer
        assert value_of(above) == VALUE
        assert _kept(above) == _kept(old)
        assert above.etag not in (None, below.etag)

    async def test_listing_tells_where_it_lies(self, tier: Relocating, clock: Clock) -> None:
        key = new_key()
        old = await self.written(tier, key)
        assert await self.moved(tier, old, demoted(old, clock.wall_ms()))

        page = await tier.scan(key.tenant, key.scope, "", limit=10, cursor=None, deadline=soon())

        [item] = page.items
        assert (item.key, item.version, item.pointer, item.raw_size) == (key, old.version, True, old.header.raw_length)

    async def test_copy_of_a_batch_can_be_moved_too(self, tier: Relocating, clock: Clock) -> None:
        key = new_key()
        await self.written(tier, key)
        [old] = await tier.read_many([key], deadline=soon())

        assert isinstance(old, Envelope)
        assert await self.moved(tier, old, demoted(old, clock.wall_ms()))
        assert (await self.read(tier, key)).pointer

    async def test_write_ids_stay(self, tier: Relocating, clock: Clock) -> None:
        """A late copy of the write whose payload was moved is known, and undoes nothing."""
        key = new_key()
        write = put(key, VALUE)
        version = await self.took(tier, write)
        old = await self.read(tier, key)
        assert await self.moved(tier, old, demoted(old, clock.wall_ms()))

        assert await self.took(tier, write) == version
        assert (await self.read(tier, key)).pointer

    async def test_conditions_see_the_same_version(self, tier: Relocating, clock: Clock) -> None:
        key = new_key()
        old = await self.written(tier, key)
        assert await self.moved(tier, old, demoted(old, clock.wall_ms()))

        await self.refused(tier, put(key, if_absent=True), now=old.version)
        later = await self.took(tier, put(key, "later", if_version=old.version))

        assert later > old.version
        assert await self.value(tier, key) == "later"

    async def test_touch_keeps_the_pointer(self, tier: Relocating, clock: Clock) -> None:
        key = new_key()
        old = await self.written(tier, key)
        below = demoted(old, clock.wall_ms())
        assert await self.moved(tier, old, below)
        expires = clock.wall_ms() + HOUR_MS
        await self.took(tier, touch(key, expires))

        touched = await self.read(tier, key)

        assert touched.pointer
        assert CODEC.pointer_of(touched) == CODEC.pointer_of(below)
        assert touched.header.expires_ms == expires

    # --- only the copy that was read ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("meanwhile", ["put", "same", "delete", "touch"])
    async def test_written_meanwhile_it_stays_as_it_is(self, tier: Relocating, meanwhile: str, clock: Clock) -> None:
        key = new_key()
        old = await self.written(tier, key)
        write = {
            "put": put(key, "newer"),
            "same": put(key, VALUE),
            "delete": delete(key),
            "touch": touch(key, clock.wall_ms() + HOUR_MS),
        }[meanwhile]
        version = await self.took(tier, write)
        before = await self.read(tier, key)

        assert not await self.moved(tier, old, demoted(old, clock.wall_ms()))

        after = await self.read(tier, key)
        assert (after, after.version, after.etag) == (before, version, before.etag)

    async def test_moved_meanwhile_it_stays_as_it_is(self, tier: Relocating, clock: Clock) -> None:
        key = new_key()
        old = await self.written(tier, key)
        first = demoted(old, clock.wall_ms())
        assert await self.moved(tier, old, first)

        assert not await self.moved(tier, old, demoted(old, clock.wall_ms() - 1_000))

        assert await self.read(tier, key) == first

    async def test_what_is_gone_is_not_brought_back(self, tier: Relocating, clock: Clock) -> None:
        old = await self.written(tier, new_key())
        never = replace(old, key=new_key())

        assert not await self.moved(tier, never, demoted(never, clock.wall_ms()))

        assert await tier.read(never.key, deadline=soon()) is None

    async def test_one_of_many_moves_takes_effect(self, tier: Relocating, clock: Clock) -> None:
        key = new_key()
        old = await self.written(tier, key)
        now = clock.wall_ms()  # once: two moves that are the same would both say that they took effect
        moves = [demoted(old, now - number) for number in range(6)]

        answers = await asyncio.gather(*(self.moved(tier, old, move) for move in moves))

        assert answers.count(True) == 1
        assert await self.read(tier, key) == moves[answers.index(True)]

    async def test_a_write_at_the_same_time_is_never_lost(self, tier: Relocating, clock: Clock) -> None:
        for number in range(8):
            key = new_key()
            old = await self.written(tier, key)
            write = put(key, number, known=old.version)
            await asyncio.gather(
                self.moved(tier, old, demoted(old, clock.wall_ms())), tier.write(write, deadline=soon())
            )
            assert await self.value(tier, key) == number

    async def test_cancelled_move_happened_or_not(self, tier: Relocating, clock: Clock) -> None:
        """P10, P7: the old payload or the pointer, of the same version."""
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34):
            key = new_key(f"n{turns}")
            old = await self.written(tier, key)
            new = demoted(old, clock.wall_ms())
            await cancelled_after(turns, tier.relocate(old, new, deadline=soon()))

            there = await self.read(tier, key)
            assert _kept(there) == _kept(old)
            assert there.pointer or value_of(there) == VALUE
            later = await self.took(tier, put(key, "later", known=old.version))
            assert (await self.read(tier, key)).version == later

    # --- what is refused ---------------------------------------------------------------------------------------------

    async def test_pointer_whose_payload_is_old_is_not_set(self, tier: Relocating, clock: Clock) -> None:
        """The sweeper may have taken the payload for an orphan already (COHERENCE section 5)."""
        key = new_key()
        old = await self.written(tier, key)

        with pytest.raises(PointerTooOld):
            await self.moved(tier, old, demoted(old, clock.wall_ms() - PAYLOAD_GRACE_MS // 2 - 60_000))

        there = await self.read(tier, key)
        assert (there, there.etag) == (old, old.etag)

    async def test_copy_without_its_mark_is_refused(self, tier: Relocating, clock: Clock) -> None:
        old = await self.written(tier, new_key())

        with pytest.raises(InvalidArgument):
            await self.moved(tier, replace(old, etag=None), demoted(old, clock.wall_ms()))

    async def test_another_keys_record_is_refused(self, tier: Relocating, clock: Clock) -> None:
        """P9."""
        old = await self.written(tier, new_key())
        other = await self.written(tier, new_key())

        with pytest.raises(InvalidArgument):
            await self.moved(tier, old, demoted(other, clock.wall_ms()))

        assert await self.value(tier, old.key) == VALUE


def _kept(envelope: Envelope) -> tuple[object, ...]:
    header = envelope.header
    times = (header.expires_ms, header.created_ms, header.modified_ms)
    return (envelope.version, header.authority, *times, header.raw_length, dict(envelope.tags), envelope.media_type)
