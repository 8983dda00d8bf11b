"""What a tier must be able to do, to stand in its place."""

from typing import Final

from thermocline.errors import ConfigurationError
from thermocline.model import MemoryTier
from thermocline.protocols import Entries, Payloads, Versions

_VERSIONS: Final[tuple[tuple[type, ...], str]] = (Versions,), "give out versions (protocols.Versions)"
_FITTING: Final[dict[MemoryTier, tuple[tuple[type, ...], str]]] = {
    MemoryTier.HOT: ((Entries,), "hold coherent entries (protocols.Entries)"),
    MemoryTier.WARM: _VERSIONS,
    MemoryTier.WARM_PLUS: _VERSIONS,
    MemoryTier.COLD: (
        (Payloads, Versions),
        "hold payloads (protocols.Payloads) or give out versions (protocols.Versions)",
    ),
}


def check_tier(given: object, place: MemoryTier, what: str) -> None:
    """Whether it can be the tier of that place, or is None; ``what`` names the argument. Raises `ConfigurationError`."""
    if given is None:
        return
    parts, must = _FITTING[place]
    if isinstance(given, type):  # which has all the methods, too
        raise ConfigurationError(f"{what} is an object, and {given.__name__} is a class: make one of it")
    if not isinstance(given, parts):
        raise ConfigurationError(f"{what} must {must}, and {type(given).__name__} does not")
