"""Plain names, as code before this library used them."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.protocols.tier import Tier


@dataclass(frozen=True, slots=True)
class PlainCopy:
    """What stands under a plain name; ``expires_ms`` 0: it stays."""

    value: Any
    expires_ms: int = 0


@runtime_checkable
class PlainCopies(Tier, Protocol):
    """A key space of plain names beside the cascade's, laid out as the code that this library replaces did. No versions, no conditions."""

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        """What stands there. Raises `InvalidKey` for a name that the tier cannot hold or keeps for itself, and what `Versions.read` raises."""
        ...

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        """Remove it; whether there was something. May be sent again."""
        ...


@runtime_checkable
class PlainNames(PlainCopies, Protocol):
    """One that can be written, too."""

    async def plain_set(self, name: str, value: Any, *, lasting_ms: int, deadline: Deadline) -> None:
        """Store a value of any kind that the codec takes, over what is there; ``lasting_ms`` 0: for good. May be sent again."""
        ...


@runtime_checkable
class PlainListing(PlainNames, Protocol):
    """One whose names can be found, too."""

    async def plain_list(self, prefix: str, *, deadline: Deadline) -> list[str]:
        """All names that begin with ``prefix`` (ASCII letters, digits, and ``. - _ = ~``), in no order. For rare calls: it may look at all that
        the tier holds."""
        ...
