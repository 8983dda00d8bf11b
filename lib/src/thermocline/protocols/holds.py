"""Holds: who is at work on a key's value, across processes."""

from typing import Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.model import Key


@runtime_checkable
class Holds(Protocol):
    """A hot tier that keeps others from doing the same work twice: a hold is a small thing of its own beside the key's entry, which says nothing of the value
    and is lost with the tier. Whoever has it may be the only one at work; correctness never rests on it, for what is made is written under a condition.

    Each method is atomic and may be sent again. ``token``: the holder's, new for each hold, 1 to 255 bytes. Raise `TierUnavailable`.
    """

    async def take_hold(self, key: Key, token: str, lasting_ms: int, *, deadline: Deadline) -> bool:
        """Take the hold, or renew one's own, for ``lasting_ms`` by the tier's clock; False: another has it."""
        ...

    async def release_hold(self, key: Key, token: str, *, deadline: Deadline) -> None:
        """Give up one's own hold; another's stays."""
        ...
