"""What the parts of `VersionsConformance` share."""

from typing import Any, ClassVar

import pytest

from thermocline.clock import Deadline
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Versions, Write, Written
from thermocline.testing.conformance.base import TierConformance
from thermocline.testing.conformance.samples import new_key, soon, value_of


class VersionsBase(TierConformance):
    """The verbs in which the tests are written."""

    oversize: ClassVar[int] = 0  # bytes of a value that is over the tier's bound (`Capability.OVERSIZE`)

    async def damage(self, tier: Any, key: Key) -> None:
        """Change bytes of the record's stored form, from outside (`Capability.DAMAGE`)."""
        pytest.fail("override `damage`, or declare Capability.DAMAGE in `gaps`")

    async def reopen(self, tier: Any) -> Versions:
        """Give a second, connected instance on the same store (`Capability.PERSISTENCE`)."""
        pytest.fail("override `reopen`, or declare Capability.PERSISTENCE in `gaps`")

    async def use(self, tier: Any, deadline: Deadline) -> object:
        return await tier.read(new_key(), deadline=deadline)

    async def took(self, tier: Versions, write: Write) -> int:
        """Make a write that has to take effect; its version."""
        written = await tier.write(write, deadline=soon())
        assert written.effect is Effect.TOOK, f"{write.verb.value} should take effect, but: {written}"
        assert 0 < written.version < 2**53
        return written.version

    async def refused(self, tier: Versions, write: Write, *, now: int) -> None:
        """Make a write that has to be refused; ``now`` is the version that is there."""
        written = await tier.write(write, deadline=soon())
        assert written.effect is Effect.REFUSED, f"{write.verb.value} should be refused, but: {written}"
        assert written.version in (0, now)

    async def nothing(self, tier: Versions, write: Write) -> None:
        """Make a write that has to find nothing to act on."""
        written = await tier.write(write, deadline=soon())
        assert written.effect is Effect.NOTHING, f"{write.verb.value} should find nothing, but: {written}"

    async def read(self, tier: Versions, key: Key) -> Envelope:
        envelope = await tier.read(key, deadline=soon())
        assert envelope is not None, f"{str(key)[:60]!r} should be there"
        assert envelope.key == key
        return envelope

    async def value(self, tier: Versions, key: Key) -> object:
        return value_of(await self.read(tier, key))


def effect_of(answer: object) -> Effect | type:
    """Of an answer of a batch: what happened, or the error's class."""
    return answer.effect if isinstance(answer, Written) else type(answer)
