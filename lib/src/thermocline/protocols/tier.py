"""What every tier has."""

from typing import Protocol

from thermocline.clock import Deadline
from thermocline.model import MemoryTier


class Tier(Protocol):
    """What every tier has. ``connect`` is idempotent and binds to the running loop; ``close`` closes only what the tier opened itself. One that
    has ``connected`` (a bool) and is so when a client connects stays open when that client closes."""

    tier: MemoryTier

    async def connect(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self, *, deadline: Deadline) -> None:
        """Ask the service for the cheapest thing that shows it reachable and usable. Raises what is wrong, in plain words."""
        ...
