"""Epochs: what voids every version that was known."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class HasEpoch(Protocol):
    """An authority whose versions can turn back by a fail-over or a restore, which the runbook for it says by raising the epoch."""

    async def epoch(self) -> int:
        """The number of the epoch, 0 until it was first raised. Raises `TierUnavailable`."""
        ...


@runtime_checkable
class OfEpoch(Protocol):
    """Entries that belong to an epoch: those of every other one are void."""

    def enter_epoch(self, epoch: int) -> None:
        """From now on only entries of this epoch count. Makes no request."""
        ...
