"""Records: what is written is read, whatever it is and whatever its key is called."""

import secrets
from dataclasses import replace

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import CorruptRecord, TierTimeout, TooLarge
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Effect, Verb, Versions, Write
from thermocline.testing.conformance.base import cancelled_after
from thermocline.testing.conformance.capabilities import Capability, needs
from thermocline.testing.conformance.samples import (
    LOOKALIKES,
    NASTY_NAMES,
    VALUES,
    near,
    new_id,
    new_key,
    new_word,
    put,
    same,
    sealed,
    soon,
    value_of,
)
from thermocline.testing.conformance.versions_base import VersionsBase, effect_of

INLINE = 100_000  # bytes of a value that every authority takes by itself


class VersionRecords(VersionsBase):
    async def test_unknown_key_is_none(self, tier: Versions) -> None:
        assert await tier.read(new_key(), deadline=soon()) is None

    async def test_authority_is_named(self, tier: Versions) -> None:
        assert isinstance(tier.authority, Authority)
        assert tier.authority is not Authority.NONE

    @pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
    async def test_write_is_read(self, tier: Versions, value: object) -> None:
        """The falsy values among them are values."""
        key = new_key()
        version = await self.took(tier, put(key, value))

        envelope = await self.read(tier, key)

        assert same(value_of(envelope), value)
        assert envelope.version == version
        assert envelope.header.authority is tier.authority

    async def test_what_belongs_to_a_record_is_kept(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        expires = clock.wall_ms() + 3_600_123
        given = sealed(
            key, "v", expires_ms=expires, media_type="text/x-note", tags={"a": "1", "empty": "", "ü": "grün 🦊"}
        )
        version = await self.took(tier, put_of(given))

        envelope = await self.read(tier, key)

        assert (envelope.media_type, dict(envelope.tags)) == (given.media_type, dict(given.tags))
        assert envelope.header.expires_ms == expires
        assert envelope.header.modified_ms == given.header.modified_ms
        assert envelope.version == version

    async def test_payload_that_needs_a_dictionary_is_kept_as_it_is(self, tier: Versions) -> None:
        """A tier knows no dictionary, and needs none."""
        key = new_key()
        plain = sealed(key, b"the same words again " * 100)
        assert plain.header.compressor
        header = replace(plain.header, dictionary=0x3F9A12C4)
        await self.took(tier, put_of(replace(plain, header=header, payload=bytes(range(200)), raw=None)))

        envelope = await self.read(tier, key)

        kept = envelope.header
        assert (kept.dictionary, kept.compressor, kept.raw_length) == (0x3F9A12C4, header.compressor, header.raw_length)
        assert envelope.payload == bytes(range(200))

    async def test_answer_to_a_put_has_the_record(self, tier: Versions) -> None:
        key = new_key()
        for value in ("first", "second"):
            written = await tier.write(put(key, value), deadline=soon())

            assert written.envelope is not None
            assert written.envelope.version == written.version
            assert written.envelope.header.authority is tier.authority
            assert value_of(written.envelope) == value

    async def test_overwriting_leaves_nothing_of_the_old_record(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        tagged = sealed(key, {"old": 1}, expires_ms=clock.wall_ms() + 60_000, media_type="text/x-old", tags={"t": "1"})
        await self.took(tier, put_of(tagged))
        new = sealed(key, b"new")
        await self.took(tier, put_of(new))

        envelope = await self.read(tier, key)

        assert value_of(envelope) == b"new"
        assert (envelope.media_type, dict(envelope.tags), envelope.header.expires_ms) == (new.media_type, {}, 0)

    async def test_expired_record_is_read_as_such(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        expires = clock.wall_ms() - 1_000
        version = await self.took(tier, put(key, "old", expires_ms=expires))

        envelope = await self.read(tier, key)

        assert envelope.version == version
        assert not envelope.live(clock.wall_ms())
        assert envelope.header.expires_ms == expires

    async def test_largest_value_that_stays_inline(self, tier: Versions) -> None:
        key = new_key()
        value = bytes(number * 7 % 251 for number in range(INLINE))
        await self.took(tier, put(key, value))

        assert await self.value(tier, key) == value

    @needs(Capability.OVERSIZE)
    async def test_value_over_the_bound_is_refused_and_nothing_is_written(self, tier: Versions) -> None:
        if self.oversize == 0:
            pytest.skip("gap: OVERSIZE: no bound is given (`oversize`)")
        there, absent = new_key("there"), new_key("absent")
        await self.took(tier, put(there, "small"))
        big = secrets.token_bytes(self.oversize + 1)

        for key in (there, absent):
            with pytest.raises(TooLarge):
                await tier.write(put(key, big), deadline=soon())
        answers = await tier.write_many([put(absent, big), put(there, "other")], deadline=soon())

        assert list(map(effect_of, answers)) == [TooLarge, Effect.TOOK]
        assert await self.value(tier, there) == "other"
        assert await tier.read(absent, deadline=soon()) is None

    # --- keys --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", NASTY_NAMES.values(), ids=NASTY_NAMES.keys())
    async def test_any_name_will_do(self, tier: Versions, name: str) -> None:
        key = new_key(name)
        await self.took(tier, put(key, name))

        assert await self.value(tier, key) == name
        page = await tier.scan(key.tenant, key.scope, name[:20], limit=10, cursor=None, deadline=soon())
        assert [item.key for item in page.items] == [key]

    @pytest.mark.parametrize("part", ["/", "a/b", "..", "ü" * 400, "%00", "\x00", "{x}", "a|b", '"', "'"])
    async def test_any_tenant_and_scope_will_do(self, tier: Versions, part: str) -> None:
        word = new_word()
        keys = [Key(part + word, "s", "n"), Key(f"t{word}", part, "n")]
        for key in keys:
            await self.took(tier, put(key, str(key)))

        assert [await self.value(tier, key) for key in keys] == [str(key) for key in keys]

    @pytest.mark.parametrize("pair", LOOKALIKES, ids=lambda pair: repr(str(pair[0]))[:40])
    async def test_lookalikes_are_two_keys(self, tier: Versions, pair: tuple[Key, Key]) -> None:
        """P9."""
        word = new_word()
        one, other = (near(key, word) for key in pair)
        await self.took(tier, put(one, "one"))

        assert await tier.read(other, deadline=soon()) is None
        await self.took(tier, put(other, "other"))
        assert [await self.value(tier, key) for key in (one, other)] == ["one", "other"]

    # --- the store ---------------------------------------------------------------------------------------------------

    @needs(Capability.PERSISTENCE)
    async def test_another_instance_reads_what_was_written(self, tier: Versions) -> None:
        key = new_key()
        version = await self.took(tier, put(key, "kept"))
        second = await self.reopen(tier)
        try:
            assert await self.value(second, key) == "kept"
            later = await self.took(second, put(key, "newer", known=version))
            assert later > version
        finally:
            await second.close()
        assert await self.value(tier, key) == "newer"

    @needs(Capability.DAMAGE)
    async def test_damaged_record_is_corrupt(self, tier: Versions) -> None:
        key = new_key()
        await self.took(tier, put(key, b"some value" * 10))
        await self.damage(tier, key)

        with pytest.raises(CorruptRecord):
            await tier.read(key, deadline=soon())

    @needs(Capability.DAMAGE)
    async def test_damaged_record_is_the_only_one_of_its_batch(self, tier: Versions) -> None:
        """P8."""
        keys = [new_key(f"n{number}") for number in range(5)]
        for key in keys:
            await self.took(tier, put(key, b"some value" * 10))
        await self.damage(tier, keys[2])

        answers = await tier.read_many(keys, deadline=soon())

        assert [isinstance(answer, CorruptRecord) for answer in answers] == [False, False, True, False, False]

    # --- time and cancellation ---------------------------------------------------------------------------------------

    async def test_write_past_its_deadline_certainly_had_no_effect(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        with pytest.raises(TierTimeout):
            await tier.write(put(key), deadline=Deadline.after(-1, clock))

        assert await tier.read(key, deadline=soon()) is None

    async def test_cancelled_readers_get_no_one_elses_reply(self, tier: Versions) -> None:
        """P10: every key has its own value, and an answer that went to another caller would show."""
        keys = [new_key(f"n{number}") for number in range(16)]
        for key in keys:
            await self.took(tier, put(key, key.name))

        stopped = [await cancelled_after(3 * turn, tier.read(key, deadline=soon())) for turn, key in enumerate(keys)]
        after = await tier.read_many(keys, deadline=soon())

        assert [value_of(answer) for answer in after if not isinstance(answer, Exception)] == [key.name for key in keys]
        for key, answer in zip(keys, stopped, strict=True):
            assert answer is None or answer == await self.read(tier, key)

    async def test_cancelled_write_happened_once_or_not_at_all(self, tier: Versions) -> None:
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34):
            key = new_key(f"n{turns}")
            first = await self.took(tier, put(key, "first"))
            write = put(key, "second", known=first)
            await cancelled_after(turns, tier.write(write, deadline=soon()))

            assert await self.value(tier, key) in ("first", "second")
            again = await self.took(tier, write)
            assert await self.took(tier, write) == again
            envelope = await self.read(tier, key)
            assert (value_of(envelope), envelope.version) == ("second", again)


def put_of(envelope: Envelope) -> Write:
    return Write(Verb.PUT, new_id(), envelope)
