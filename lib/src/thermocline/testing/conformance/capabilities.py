"""What a tier may leave out, if it says so."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeVar

_MARK: Final = "_thermocline_needs"

Test = TypeVar("Test", bound=Callable[..., Any])


class Capability(StrEnum):
    """The extended part of the contract. Everything that is not named here is base: no tier can leave it out."""

    DAMAGE = "a record that was damaged from outside is told from a sound one (the suite damages it by ``damage``)"
    MOVABLE_CLOCK = "the tier takes a clock that the suite can move, so that long lifetimes are tested as well"
    OVERSIZE = "the tier has a bound on one value's size (``oversize``): an entry acts without the value above it, an authority refuses it"
    PERSISTENCE = "what was written is there for another instance on the same store (the suite opens it by ``reopen``)"


def needs(capability: Capability) -> Callable[[Test], Test]:
    """Mark a test of the extended part."""

    def mark(test: Test) -> Test:
        setattr(test, _MARK, capability)
        return test

    return mark


def needed_by(test: object) -> Capability | None:
    """Return the capability that a test was marked with, if it is of the extended part."""
    found = getattr(test, _MARK, None)
    return found if isinstance(found, Capability) else None
