"""`PayloadsConformance`: what a store of immutable payloads must do (COHERENCE section 5)."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import CorruptRecord, TierTimeout
from thermocline.model import Key, Pointer
from thermocline.protocols import Payloads
from thermocline.testing.conformance.base import TierConformance, cancelled_after
from thermocline.testing.conformance.capabilities import Capability, needs
from thermocline.testing.conformance.samples import LOOKALIKES, NASTY_NAMES, near, new_key, new_word, soon

PART = bytes(range(256)) * 1024  # 256 kB
CONTENTS = {"empty": b"", "byte": b"\x00", "text": "grün".encode(), "part": PART, "large": PART * 20}
CLOCKS_APART_MS = 60_000  # a service stamps by its own clock


class Broken(Exception):
    """What the suite's own stream raises."""


async def parts(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


class PayloadsConformance(TierConformance):
    """Give it ``tier``, a `Payloads`.

    ``damage(tier, key, pointer)`` changes the stored content from outside (`Capability.DAMAGE`).
    """

    async def damage(self, tier: Any, key: Key, pointer: Pointer) -> None:
        """Change a byte of the stored content, from outside (`Capability.DAMAGE`)."""
        pytest.fail("override `damage`, or declare Capability.DAMAGE in `gaps`")

    async def use(self, tier: Any, deadline: Deadline) -> object:
        return await tier.put_payload(new_key(), b"x", deadline=deadline)

    async def streamed(self, tier: Payloads, key: Key, pointer: Pointer) -> bytes:
        return b"".join([chunk async for chunk in tier.stream_payload(key, pointer, deadline=soon())])

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    async def test_put_is_got(self, tier: Payloads, content: bytes) -> None:
        key = new_key()

        pointer = await tier.put_payload(key, content, deadline=soon())

        assert await tier.get_payload(key, pointer, deadline=soon()) == content
        assert await self.streamed(tier, key, pointer) == content

    async def test_pointer_says_what_it_names(self, tier: Payloads, clock: Clock) -> None:
        pointer = await tier.put_payload(new_key(), b"content", deadline=soon())

        assert pointer.size == 7
        assert pointer.sha256 == hashlib.sha256(b"content").hexdigest()
        assert pointer.path
        assert abs(pointer.written_ms - clock.wall_ms()) <= CLOCKS_APART_MS

    @pytest.mark.parametrize(
        "chunks", [(), (b"",), (b"a", b"", b"bc"), (PART,) * 20], ids=["none", "empty", "small", "large"]
    )
    async def test_stream_is_put(self, tier: Payloads, chunks: tuple[bytes, ...]) -> None:
        key, whole = new_key(), b"".join(chunks)

        pointer = await tier.put_payload(key, parts(*chunks), deadline=soon())

        assert (pointer.size, pointer.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
        assert await tier.get_payload(key, pointer, deadline=soon()) == whole

    async def test_stream_and_bytes_make_the_same_payload(self, tier: Payloads) -> None:
        key = new_key()
        one = await tier.put_payload(key, b"abc", deadline=soon())
        other = await tier.put_payload(key, parts(b"a", b"bc"), deadline=soon())

        assert replace(one, written_ms=0) == replace(other, written_ms=0)

    async def test_stream_that_breaks_leaves_nothing(self, tier: Payloads) -> None:
        """A payload is whole or it is not there."""

        async def breaks() -> AsyncIterator[bytes]:
            yield PART
            raise Broken

        key = new_key()
        probe = await tier.put_payload(key, b"probe", deadline=soon())
        with pytest.raises(Broken):
            await tier.put_payload(key, breaks(), deadline=soon())

        assert await tier.get_payload(key, renamed(probe, PART), deadline=soon()) is None
        assert await tier.get_payload(key, probe, deadline=soon()) == b"probe"

    async def test_contents_of_one_key_lie_beside_each_other(self, tier: Payloads) -> None:
        """Immutable: a new content does not replace the old one, which somebody may still point to."""
        key = new_key()
        old = await tier.put_payload(key, b"old", deadline=soon())
        new = await tier.put_payload(key, b"new!", deadline=soon())

        assert old.path != new.path
        assert await tier.get_payload(key, old, deadline=soon()) == b"old"
        assert await tier.get_payload(key, new, deadline=soon()) == b"new!"

    async def test_same_content_again_is_the_same_payload_renewed(self, tier: Payloads) -> None:
        key = new_key()
        first = await tier.put_payload(key, b"same", deadline=soon())
        second = await tier.put_payload(key, b"same", deadline=soon())

        assert replace(first, written_ms=0) == replace(second, written_ms=0)
        assert second.written_ms >= first.written_ms
        assert await tier.get_payload(key, first, deadline=soon()) == b"same"

    async def test_same_content_at_the_same_time(self, tier: Payloads) -> None:
        key = new_key()

        pointers = await asyncio.gather(*(tier.put_payload(key, PART, deadline=soon()) for _ in range(6)))

        assert len({replace(pointer, written_ms=0) for pointer in pointers}) == 1
        assert await tier.get_payload(key, pointers[0], deadline=soon()) == PART

    # --- keys --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", NASTY_NAMES.values(), ids=NASTY_NAMES.keys())
    async def test_any_name_will_do(self, tier: Payloads, name: str) -> None:
        key = new_key(name)
        content = name.encode()

        pointer = await tier.put_payload(key, content, deadline=soon())

        assert await tier.get_payload(key, pointer, deadline=soon()) == content

    @pytest.mark.parametrize("pair", LOOKALIKES, ids=lambda pair: repr(str(pair[0]))[:40])
    async def test_lookalikes_have_payloads_of_their_own(self, tier: Payloads, pair: tuple[Key, Key]) -> None:
        """P9: with the same content, so that only the key tells the names apart."""
        word = new_word()
        one, other = (near(key, word) for key in pair)

        first = await tier.put_payload(one, b"same", deadline=soon())
        second = await tier.put_payload(other, b"same", deadline=soon())

        assert first.path != second.path
        assert await tier.get_payload(one, first, deadline=soon()) == b"same"
        assert await tier.get_payload(other, second, deadline=soon()) == b"same"

    # --- what is missing or damaged ----------------------------------------------------------------------------------

    async def test_missing_payload(self, tier: Payloads) -> None:
        key = new_key()
        pointer = await tier.put_payload(key, b"there", deadline=soon())
        gone = renamed(pointer, b"never written")

        assert await tier.get_payload(key, gone, deadline=soon()) is None
        assert await tier.renew_payload(key, gone, deadline=soon()) is None
        with pytest.raises(CorruptRecord):
            await self.streamed(tier, key, gone)

    @needs(Capability.DAMAGE)
    @pytest.mark.parametrize("content", [b"some content", PART * 10], ids=["small", "large"])
    async def test_damaged_payload_is_never_returned(self, tier: Payloads, content: bytes) -> None:
        key = new_key()
        pointer = await tier.put_payload(key, content, deadline=soon())
        await self.damage(tier, key, pointer)

        with pytest.raises(CorruptRecord):
            await tier.get_payload(key, pointer, deadline=soon())
        with pytest.raises(CorruptRecord):
            await self.streamed(tier, key, pointer)

    async def test_pointer_of_another_size_or_digest_is_corrupt(self, tier: Payloads) -> None:
        """The name is right, and what lies there is not what the pointer promises."""
        key = new_key()
        pointer = await tier.put_payload(key, b"content", deadline=soon())
        wrong = replace(pointer, sha256=hashlib.sha256(b"other").hexdigest())

        with pytest.raises(CorruptRecord):
            await tier.get_payload(key, wrong, deadline=soon())
        with pytest.raises(CorruptRecord):
            await self.streamed(tier, key, wrong)

    # --- renewing ----------------------------------------------------------------------------------------------------

    async def test_renewed_payload_is_the_same_and_younger(self, tier: Payloads) -> None:
        key = new_key()
        first = await tier.put_payload(key, b"kept", deadline=soon())

        second = await tier.renew_payload(key, first, deadline=soon())

        assert second is not None
        assert replace(second, written_ms=0) == replace(first, written_ms=0)
        assert second.written_ms >= first.written_ms
        assert await tier.get_payload(key, second, deadline=soon()) == b"kept"

    @needs(Capability.MOVABLE_CLOCK)
    async def test_renewing_tells_the_time(self, tier: Payloads, clock: Any) -> None:
        key = new_key()
        first = await tier.put_payload(key, b"kept", deadline=soon())
        clock.advance(3_600)
        renewed = await tier.renew_payload(key, first, deadline=soon())
        again = await tier.put_payload(key, b"kept", deadline=soon())

        assert renewed is not None
        assert renewed.written_ms - first.written_ms >= 3_599_000
        assert again.written_ms >= renewed.written_ms

    # --- time and cancellation ---------------------------------------------------------------------------------------

    async def test_every_verb_heeds_its_deadline(self, tier: Payloads, clock: Clock) -> None:
        key = new_key()
        pointer = await tier.put_payload(key, b"content", deadline=soon())
        late = Deadline.after(-1, clock)

        with pytest.raises(TierTimeout):
            await tier.get_payload(key, pointer, deadline=late)
        with pytest.raises(TierTimeout):
            await tier.renew_payload(key, pointer, deadline=late)
        with pytest.raises(TierTimeout):
            [chunk async for chunk in tier.stream_payload(key, pointer, deadline=late)]

    async def test_cancelled_put_left_all_or_nothing(self, tier: Payloads) -> None:
        for turns in (0, 1, 2, 4, 8, 16, 32, 64):
            key = new_key(f"n{turns}")
            probe = await tier.put_payload(key, b"probe", deadline=soon())
            content = PART + bytes([turns])
            await cancelled_after(turns, tier.put_payload(key, parts(PART, bytes([turns])), deadline=soon()))

            assert await tier.get_payload(key, renamed(probe, content), deadline=soon()) in (None, content)
            pointer = await tier.put_payload(key, content, deadline=soon())
            assert await tier.get_payload(key, pointer, deadline=soon()) == content

    async def test_stream_that_is_left_early_disturbs_nobody(self, tier: Payloads) -> None:
        key = new_key()
        pointer = await tier.put_payload(key, PART * 20, deadline=soon())
        for _ in range(3):
            stream = tier.stream_payload(key, pointer, deadline=soon())
            assert PART.startswith((await anext(stream))[:256])
            assert isinstance(stream, AsyncGenerator)
            await stream.aclose()

        assert await tier.get_payload(key, pointer, deadline=soon()) == PART * 20


def renamed(pointer: Pointer, content: bytes) -> Pointer:
    """The pointer that the same key would have with another content."""
    digest = hashlib.sha256(content).hexdigest()
    assert pointer.sha256 in pointer.path, "a payload's name holds its digest"
    return replace(pointer, path=pointer.path.replace(pointer.sha256, digest), sha256=digest, size=len(content))
