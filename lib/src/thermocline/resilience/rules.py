"""How a client degrades: `Resilience`, the one place for the numbers of breakers, hedges, retries and waiting lines. docs/degrading.md explains each."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from thermocline.errors import ConfigurationError
from thermocline.model import MemoryTier

WAITING: Final = 20_000  # calls; each costs its task and a future, about 3 kB
AT_ONCE: Final = 32  # more would wait for the tier's connections, and burn the tier's share of their deadlines there


@dataclass(frozen=True, slots=True)
class Hedging:
    """A second, identical read is sent where the first has not answered within the usual time; the first answer wins.

    ``share``: at most so many more reads (0.05: five in a hundred), counted from the beginning. ``quantile``: the usual time is this quantile of the last
    256 reads of the kind. ``samples``: of fewer nothing is hedged. Raises `ConfigurationError`.
    """

    share: float = 0.05
    quantile: float = 0.95
    samples: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or not 0 < self.quantile < 1 or not 1 <= self.samples <= 256:
            raise ConfigurationError(
                "Hedging needs a share over 0 and up to 1, a quantile between 0 and 1, and 1 to 256 samples"
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """One tier's.

    ``at_once``: calls under way; further ones wait their turn, ``waiting`` of them at most: one more is refused at once (`Overloaded`).

    The breaker opens when ``failures`` calls failed within ``window`` and no more than that went well meanwhile; and, where ``slow_after`` is given, when
    ``slow_calls`` were answered later than that part of the tier's share (0.5: half of it) and no more than that were quick. (For hot only while the
    tier below is faster.) Open, it leaves the tier alone for ``open_for``, and after each try that fails for twice as long, ``open_at_most`` at the longest;
    it closes after ``probes`` good tries in a row. Raises `ConfigurationError`.
    """

    at_once: int = AT_ONCE
    waiting: int = WAITING
    failures: int = 5
    window: timedelta = timedelta(seconds=10)
    slow_after: float | None = None
    slow_calls: int = 20
    open_for: timedelta = timedelta(seconds=1)
    open_at_most: timedelta = timedelta(seconds=30)
    probes: int = 1

    def __post_init__(self) -> None:
        whole = (self.at_once, self.failures, self.slow_calls, self.probes)
        if min(whole) < 1 or self.waiting < 0:
            raise ConfigurationError(
                "Limits needs at_once, failures, slow_calls and probes of 1 or more, and waiting of 0 or more"
            )
        if not timedelta(0) < self.open_for <= self.open_at_most or self.window <= timedelta(0):
            raise ConfigurationError("Limits needs a window over zero, and open_for over zero and at most open_at_most")
        if self.slow_after is not None and not 0 < self.slow_after <= 1:
            raise ConfigurationError(
                f"slow_after is a part of the tier's share, over 0 and up to 1, or None; not {self.slow_after!r}"
            )


HOT: Final = Limits(slow_after=0.5, probes=3)


@dataclass(frozen=True, slots=True)
class Resilience:
    """What one client does about tiers that are slow, sick or away. Everything but hedging is on by default.

    ``hedge``: second reads of warm and cold that are late; None: none. ``retry_ratio`` and ``retry_burst``: requests that are repeated because they got no
    answer may be at most this part of the ordinary ones, and so many on top at any moment, for each tier. ``hot``, ``warm`` (also of warm plus) and ``cold``:
    their `Limits`. Raises `ConfigurationError`.
    """

    hedge: Hedging | None = None
    retry_ratio: float = 0.1
    retry_burst: int = 10
    hot: Limits = field(default=HOT)
    warm: Limits = field(default=Limits())
    cold: Limits = field(default=Limits())

    def __post_init__(self) -> None:
        if not 0 <= self.retry_ratio <= 1 or self.retry_burst < 1:
            raise ConfigurationError("Resilience needs a retry_ratio from 0 to 1 and a retry_burst of 1 or more")

    def limits(self, tier: MemoryTier) -> Limits:
        """Those of ``tier``."""
        if tier is MemoryTier.HOT:
            return self.hot
        return self.cold if tier is MemoryTier.COLD else self.warm
