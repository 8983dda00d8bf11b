"""What a scenario says: what is broken, for how long, and what its users may then see."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from thermocline.testing.scenarios.calls import Mix
from thermocline.testing.scenarios.needs import Needs

if TYPE_CHECKING:
    from thermocline.testing.scenarios.stage import Stage

Break = Callable[["Stage", float], Coroutine[Any, Any, None]]

AWAY = frozenset({"TierUnavailable", "TierTimeout", "CircuitOpen"})  # what is said of a tier that cannot be asked
UNSURE = frozenset({"UnknownOutcome"})  # and of a write whose answer did not come
_WORDS = (
    (frozenset({"Throttled"}), "throttled"),
    (frozenset({"AccessDenied"}), "denied"),
    (frozenset({"TierFull"}), "full"),
    (AWAY, "away"),
    (UNSURE, "of unknown outcome"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """``breaks(stage, seconds)`` breaks something, waits, and mends it again; it mends also if it is cancelled.

    The statement: every answer is explained by some legal order of the calls (P1 to P6; `thermocline.testing.history`); calls fail with the
    ``allowed`` errors alone, and with none once the memory is well again, which it is within ``recovers``. ``bounded``: answers may be behind what was
    known because of this scenario, for so long after the last version that hot was not told of; None: none is. ``rolls_back``: hot may forget what it
    was told. ``loses``: acknowledged writes of keys of which Redis has the word may be lost, and a client that knows of one says so (`TierUnavailable`)
    until the key is written again. What the two cost is counted. ``clocks_within``: records may expire so much earlier or later than they say.
    """

    name: str
    says: str  # what is broken, in a few words
    outcome: str  # what its users see, in a sentence
    breaks: Break
    needs: Needs = field(default_factory=Needs)
    mix: Mix = field(default_factory=Mix)
    allowed: frozenset[str] = frozenset()
    bounded: timedelta | None = None
    rolls_back: bool = False
    loses: bool = False
    clocks_within: timedelta = timedelta()
    recovers: timedelta = timedelta(seconds=60)

    @property
    def errors(self) -> str:
        """What ``allowed`` says, in words: with what any call may fail, whatever its verb, and is judged as stated."""
        told = [words for kinds, words in _WORDS if kinds <= self.allowed]
        told += sorted(self.allowed - {kind for kinds, _ in _WORDS for kind in kinds})
        return " or ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told or ["none"])
