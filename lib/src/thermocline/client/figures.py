"""A client's figures: what it counted, and what it is like now."""

from collections.abc import Iterator
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.assembly import Parts
from thermocline.client.near import NEAR
from thermocline.protocols import Tier
from thermocline.resilience import BreakerState

_STATES: Final = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


def pool_of(tier: Tier) -> tuple[int, int] | None:
    """A tier's connections in use and at most, where it has a pool and says so."""
    pool: Any = getattr(tier, "pool", None)
    found: Any = pool() if callable(pool) else None
    return found if isinstance(found, tuple) else None


class Figures:
    """Known to `telemetry.CLIENTS` for as long as its client is there and not closed."""

    __slots__ = ("__weakref__", "_parts")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        telemetry.CLIENTS.add(self, parts.engine.stats)

    def close(self) -> None:
        telemetry.CLIENTS.remove(self)

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """Key, tier, value. May be asked for in another thread: it takes lengths and looks at states, and waits for nothing."""
        parts = self._parts
        yield telemetry.RECOVERY_QUEUE, telemetry.CLIENT, len(parts.recovery)
        yield telemetry.FLOORS, telemetry.CLIENT, len(parts.engine.floors)
        yield telemetry.READS_UNDER_WAY, telemetry.CLIENT, len(parts.cascade.flights)
        if parts.near is not None:
            parts.near.tell()
            yield telemetry.NEAR_ENTRIES, NEAR, len(parts.near)
            yield telemetry.NEAR_BYTES, NEAR, parts.near.held_bytes
            yield telemetry.NEAR_HEARS, NEAR, 1 if parts.near.how else 0
        for name, guard in parts.engine.guards.items():
            yield telemetry.BREAKER, guard.name, _STATES[guard.breaker.state]
            yield telemetry.WAITING, guard.name, guard.waiting
            found = pool_of(parts.tiers[name])
            if found is not None:
                yield telemetry.POOL_IN_USE, guard.name, found[0]
                yield telemetry.POOL_LIMIT, guard.name, found[1]

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """All of it by tier and key, as `telemetry.names.METRICS` has them; the breaker's state as a word."""
        stats, near = self._parts.engine.stats, self._parts.near
        if near is not None:
            near.tell()
        found = stats.snapshot()
        found.setdefault(telemetry.CLIENT, {}).setdefault(telemetry.FLIGHTS_SHARED, 0)
        for key, tier, value in self.gauges():
            found.setdefault(tier, {})[key] = int(value)
        if near is not None:
            found[NEAR]["how"] = near.how
        for guard in self._parts.engine.guards.values():
            found[guard.name][telemetry.BREAKER] = guard.breaker.state.value
        return found
