"""How a client degrades: `Resilience`, the one place for the numbers of breakers, hedges, retries and waiting lines. docs/degrading.md explains each."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from thermocline.configured import duration, part, share, whole
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
        share(self.share, "Hedging: share")
        share(self.quantile, "Hedging: quantile", one=False)
        whole(self.samples, "Hedging: samples", least=1, most=256)


@dataclass(frozen=True, slots=True)
class Limits:
    """One tier's.

    ``at_once``: calls under way; further ones wait their turn, ``waiting`` of them at most: one more is refused at once (`Overloaded`).

    The breaker opens when ``failures`` calls failed within ``window`` and no more than that went well meanwhile; and, where ``slow_after`` is given, when
    ``slow_calls`` were answered later than that part of the tier's share (0.5: half of it) and no more than that were quick. (For hot only while the
    tier below is faster.) Open, it leaves the tier alone for ``open_for``, and after each try that fails for twice as long, ``open_at_most`` at the longest;
    it closes after ``probes`` good tries in a row. Durations are timedeltas or seconds, and timedeltas afterwards. Raises `ConfigurationError`.
    """

    at_once: int = AT_ONCE
    waiting: int = WAITING
    failures: int = 5
    window: timedelta | float = timedelta(seconds=10)
    slow_after: float | None = None
    slow_calls: int = 20
    open_for: timedelta | float = timedelta(seconds=1)
    open_at_most: timedelta | float = timedelta(seconds=30)
    probes: int = 1

    def __post_init__(self) -> None:
        for name, least in (("at_once", 1), ("waiting", 0), ("failures", 1), ("slow_calls", 1), ("probes", 1)):
            whole(getattr(self, name), f"Limits: {name}", least=least)
        for name in ("window", "open_for", "open_at_most"):
            object.__setattr__(self, name, duration(getattr(self, name), f"Limits: {name}"))
        if self.open_for > self.open_at_most:  # type: ignore[operator]  # both are timedeltas by now
            raise ConfigurationError(
                f"Limits: open_for ({self.open_for}) is at most open_at_most ({self.open_at_most}): make one fit the other"
            )
        if self.slow_after is not None:
            share(self.slow_after, "Limits: slow_after (a part of the tier's share, or None)")


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
        if self.hedge is not None:
            part(self.hedge, "Resilience: hedge", Hedging)
        share(self.retry_ratio, "Resilience: retry_ratio", zero=True)
        whole(self.retry_burst, "Resilience: retry_burst", least=1)
        for name in ("hot", "warm", "cold"):
            part(getattr(self, name), f"Resilience: {name}", Limits)

    def limits(self, tier: MemoryTier) -> Limits:
        """Those of ``tier``."""
        if tier is MemoryTier.HOT:
            return self.hot
        return self.cold if tier is MemoryTier.COLD else self.warm
