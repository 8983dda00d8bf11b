"""The guards of a client, made by its `Resilience`: who is asked how, when it counts as slow, and who looks whether it is back."""

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from thermocline import telemetry
from thermocline.client.engine import Engine
from thermocline.client.gate import Stalls
from thermocline.client.guard import Guard
from thermocline.client.probing import Prober
from thermocline.client.recovery import Recovery
from thermocline.clock import Clock
from thermocline.configured import seconds_of
from thermocline.model import MemoryTier
from thermocline.policy import Routes
from thermocline.protocols import Tier
from thermocline.resilience import Budget, Cause, CircuitBreaker, Hedges, Resilience, RetryBudget
from thermocline.telemetry import Stats


class Guarding:
    """Makes the guards of one client."""

    def __init__(self, routes: Routes, budget: Budget, rules: Resilience, stats: Stats, clock: Clock) -> None:
        self._budget = budget
        self._rules = rules
        self._stats = stats
        self._clock = clock
        self._stalls = Stalls()
        self._authorities = dict.fromkeys(plan.tier for plan in routes.plans())
        self.guards: dict[MemoryTier, Guard] = {}

    def make(self, tiers: Mapping[MemoryTier, Tier]) -> dict[MemoryTier, Guard]:
        """One for each tier. A tier is told where to count, and one that repeats requests is given its retry budget."""
        rules, stats = self._rules, self._stats
        for name, tier in tiers.items():
            self.guards[name] = self._guard(name)
            if hasattr(tier, "stats"):
                tier.stats = stats
            if hasattr(tier, "retries"):
                refused = partial(stats.count, telemetry.RETRIES_REFUSED, name)
                tier.retries = RetryBudget(ratio=rules.retry_ratio, burst=rules.retry_burst, refused=refused)
        return self.guards

    def _guard(self, name: MemoryTier) -> Guard:
        stats, clock, limits = self._stats, self._clock, self._rules.limits(name)
        share = self._budget.seconds(name)
        copies = name is MemoryTier.HOT and name not in self._authorities  # hot has others' records, and only theirs
        judged = limits.slow_after is not None and (copies or name is not MemoryTier.HOT)
        breaker = CircuitBreaker(
            clock,
            failures=limits.failures,
            window_s=seconds_of(limits.window),
            slow_calls=limits.slow_calls,
            open_for_s=seconds_of(limits.open_for),
            open_at_most_s=seconds_of(limits.open_at_most),
            closing=1 if copies else limits.probes,  # of copies the prober counts them
            pays=self._faster_below if copies else lambda _: True,
            opened=lambda cause: stats.count(
                telemetry.BREAKER_SLOWNESS if cause is Cause.SLOWNESS else telemetry.BREAKER_ERRORS, name
            ),
        )
        hedges = None
        if self._rules.hedge is not None and name is not MemoryTier.HOT:
            sent, won = (
                partial(stats.count, telemetry.HEDGES_SENT, name),
                partial(stats.count, telemetry.HEDGES_WON, name),
            )
            hedges = Hedges(self._rules.hedge, clock, sent=sent, won=won)
        return Guard(
            name,
            share,
            breaker,
            stats,
            clock,
            self._stalls,
            limits=limits,
            slow=share * limits.slow_after if judged and limits.slow_after is not None else math.inf,
            below=min(self._budget.seconds(tier) for tier in self._authorities) if copies else 0.0,
            hedges=hedges,
        )

    def _faster_below(self, seconds: float) -> bool:
        """Whether every authority that has been read lately was quicker than that at the median, so that it pays to leave hot alone."""
        usual = [self.guards[tier].lately.usual() for tier in self._authorities]
        known = [took for took in usual if took is not None]
        return bool(known) and max(known) < seconds


class CodecThreads:
    """The threads in which one client compresses and decodes large values: its own, so that nothing else in the process (a disk that hangs, a name server
    that does not answer) can take them. Started as they are needed."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="thermocline-codec")

    async def close(self) -> None:
        """Begin no more."""
        self.threads.shutdown(wait=False)


def watch_hot(engine: Engine, tiers: Mapping[MemoryTier, Tier], recovery: Recovery, rules: Resilience) -> None:
    """Give a hot tier of copies its prober. Of one that is an authority callers' own calls are the probes: they have nowhere else to go."""
    guard = engine.guards.get(MemoryTier.HOT)
    if guard is None or any(plan.tier is MemoryTier.HOT for plan in engine.routes.plans()):
        return
    guard.prober = Prober(
        tiers[MemoryTier.HOT],
        guard.breaker,
        engine.clock,
        pings=rules.hot.probes,
        quick=min(guard.share, guard.slow),
        repair=recovery.repaired,
    )
