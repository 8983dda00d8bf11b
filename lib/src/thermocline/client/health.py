"""How well a client is: a verdict for each tier, with its reasons in plain words, and one for the whole.

A tier is **down** if it cannot be asked now. It is **degraded** if it answers, but its breaker is not closed, more than a hundredth of its calls went
unanswered lately, one in a hundred took longer than its share of a deadline, its connections are all in use, or (hot) writes wait to be told to it.
"""

import asyncio
from collections import deque
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.assembly import Parts
from thermocline.client.figures import pool_of
from thermocline.client.guard import Guard
from thermocline.client.legacy import sources_of
from thermocline.clock import Deadline
from thermocline.errors import AccessDenied, ThermoclineError, Throttled
from thermocline.model import MemoryTier
from thermocline.protocols import PlainCopies, Tier
from thermocline.resilience import BreakerState
from thermocline.telemetry import Histogram, Stats

LATELY: Final = (
    300.0  # seconds: what is judged is what happened since the last look that long ago, or since the client was made
)
ERROR_SHARE: Final = 0.01
FEW: Final = 20  # calls: of fewer no share and no quantile is judged
_LOOKS: Final = 60  # that are kept, at most one in five seconds
_WIDE: Final = 2**0.25  # a quantile is known to within a bucket: only what is certainly longer counts


class Verdict(Enum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class TierHealth:
    """One tier's. ``ping_ms``: how long it took to answer just now; None: it did not. ``p99_ms`` and ``error_share`` (0 to 1) are of lately; None: of too
    few calls."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    ping_ms: float | None = None
    p99_ms: float | None = None
    error_share: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The whole: **down** if an authority is, since then some keys cannot be read or written; **degraded** if anything is not ok. ``tiers`` has the
    sources of legacy routes, too (``old copies in hot``), without which keys cannot be read that nobody has written since."""

    verdict: Verdict
    reasons: tuple[str, ...]
    tiers: dict[str, TierHealth] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether the client can do its work, perhaps slowly."""
        return self.verdict is not Verdict.DOWN

    def as_dict(self) -> dict[str, Any]:
        """For JSON: verdicts as words."""
        told = asdict(self)
        told["verdict"] = self.verdict.value
        for name, tier in self.tiers.items():
            told["tiers"][name]["verdict"] = tier.verdict.value
        return told


@dataclass(frozen=True, slots=True)
class _Look:
    """What had been counted at a moment, by tier."""

    at: float
    times: dict[str, Histogram]
    unanswered: dict[str, float]


class Checks:
    """Asks the tiers, and remembers what had been counted when it did so before."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looks: deque[_Look] = deque([_look(0.0, Stats())], maxlen=_LOOKS)

    async def run(self, deadline: Deadline) -> Health:
        """Ping all tiers at the same time, and judge. Takes until the deadline at most, and raises nothing that a tier is the cause of."""
        parts = self._parts
        guards = parts.engine.guards
        sources = sources_of(parts.engine)
        pings = await asyncio.gather(
            *(_ping(tier, deadline, guards[name].share) for name, tier in parts.tiers.items()),
            *(_ping(source, deadline, parts.engine.budget.seconds(source.tier)) for source in sources),
        )
        now = _look(parts.engine.clock.monotonic(), parts.engine.stats)
        before = self._before(now.at)
        tiers = {
            str(name): self._judge(guards[name], ping, now, before)
            for name, ping in zip(parts.tiers, pings, strict=False)
        }
        for at, source in enumerate(sources):
            ping = pings[len(parts.tiers) + at]
            reasons = () if ping.reason is None else (ping.reason,)
            verdict = Verdict.DOWN if ping.down else Verdict.DEGRADED if reasons else Verdict.OK
            tiers[_old(source, tiers)] = TierHealth(verdict, reasons, _ms(ping.seconds))
        if now.at - self._looks[-1].at >= LATELY / _LOOKS:
            self._looks.append(now)
        return self._whole(tiers)

    def _before(self, now: float) -> _Look:
        """The last look that is long enough ago, else the first that there is."""
        while len(self._looks) > 1 and self._looks[1].at <= now - LATELY:
            self._looks.popleft()
        return self._looks[0]

    def _judge(self, guard: Guard, ping: "_Ping", now: _Look, before: _Look) -> TierHealth:
        times = now.times.get(guard.name, Histogram()).since(before.times.get(guard.name))
        failed = now.unanswered.get(guard.name, 0.0) - before.unanswered.get(guard.name, 0.0)
        p99 = share = None
        if max(times.count, failed) >= FEW:
            share = min(1.0, failed / max(times.count, failed))
            p99 = times.quantile(0.99)
        reasons: list[str] = []
        if guard.breaker.state is not BreakerState.CLOSED:
            what = "answered slowly" if guard.answers_slowly else "failed"
            state = guard.breaker.state.value.replace("_", " ")
            reasons.append(f"it {what} repeatedly and is left alone for now (its circuit breaker is {state})")
        if share is not None and share > ERROR_SHARE:
            reasons.append(f"{share:.0%} of its calls went unanswered lately")
        if p99 is not None and p99 / _WIDE > guard.share:
            reasons.append(
                f"one call in a hundred takes {p99:.2g} s or longer, and its share of a call is {guard.share:.2g} s"
            )
        reasons += self._of_pool(guard)
        if guard.tier is MemoryTier.HOT:
            reasons += self._of_recovery()
            reasons += self._of_near()
        if ping.reason is not None:
            reasons.insert(0, ping.reason)
        verdict = Verdict.DOWN if ping.down else Verdict.DEGRADED if reasons else Verdict.OK
        return TierHealth(
            verdict, tuple(reasons), _ms(ping.seconds), _ms(p99), None if share is None else round(share, 4)
        )

    def _of_pool(self, guard: Guard) -> list[str]:
        found = pool_of(self._parts.tiers[guard.tier])
        if found is None or found[0] < found[1]:
            return []
        return [f"as many calls as there may be ({found[1]}) are under way: raise max_calls, or ask for less at once"]

    def _of_recovery(self) -> list[str]:
        recovery = self._parts.recovery
        due = len(recovery)
        reasons = [f"it is still to be told of {due} key{'s' if due > 1 else ''}"] if due else []
        if recovery.blind():
            reasons.append("so many writes passed it by that this client does not read it for now")
        return reasons

    def _of_near(self) -> list[str]:
        near = self._parts.near
        return [] if near is None or not near.why else [f"the near cache stays empty: {near.why}"]

    def _whole(self, tiers: dict[str, TierHealth]) -> Health:
        authorities = dict.fromkeys(str(plan.tier) for plan in self._parts.engine.routes.reached())
        reasons = [f"{name}: {reason}" for name, tier in tiers.items() for reason in tier.reasons]
        if any(tiers[name].verdict is Verdict.DOWN for name in authorities):
            return Health(Verdict.DOWN, tuple(reasons), tiers)
        return Health(Verdict.DEGRADED if reasons else Verdict.OK, tuple(reasons), tiers)


@dataclass(frozen=True, slots=True)
class _Ping:
    """``seconds`` None: no answer. ``down``: it cannot do its work."""

    seconds: float | None
    down: bool = False
    reason: str | None = None


async def _ping(tier: Tier, deadline: Deadline, share: float) -> _Ping:
    """Asked past the breaker, which is judged by itself."""
    clock = deadline.clock
    began = clock.monotonic()
    try:
        async with asyncio.timeout(deadline.remaining()):
            await tier.ping(deadline=deadline)
    except Throttled:
        return _Ping(clock.monotonic() - began, reason="it answers that there are too many requests")
    except AccessDenied:
        return _Ping(clock.monotonic() - began, True, "it refuses the credential, or a role is missing")
    except TimeoutError:  # TierTimeout is one
        return _Ping(None, True, "it did not answer in time")
    except ThermoclineError as error:
        return _Ping(None, True, f"it cannot be asked: {telemetry.without_secrets(str(error))[:300]}")
    except Exception as error:  # noqa: BLE001 - a tier of the program's own may raise anything, and to ask how it is must not
        return _Ping(None, True, f"it fails in a way that no tier should: {type(error).__name__}")
    seconds = clock.monotonic() - began
    slow = seconds > share
    return _Ping(
        seconds, reason=f"a ping took {seconds:.2g} s, and its share of a call is {share:.2g} s" if slow else None
    )


def _old(source: PlainCopies, named: dict[str, TierHealth]) -> str:
    """What a legacy route's source is called beside the tiers; a second one of its kind has a number."""
    name, n = f"old copies in {source.tier}", 1
    while (found := name if n == 1 else f"{name} ({n})") in named:
        n += 1
    return found


def unconnected(error: Exception) -> Health:
    """Of a client that could not connect to what it needs."""
    why = telemetry.without_secrets(str(error))[:300] or "its tiers did not answer in time"
    return Health(Verdict.DOWN, (f"the client cannot connect: {why}",))


def _look(at: float, stats: Stats) -> _Look:
    times: dict[str, Histogram] = {}
    for (tier, _), histogram in stats.by_verb().items():
        times.setdefault(tier, Histogram()).add(histogram)
    unanswered = {tier: n for (name, tier), n in stats.counters.items() if name == telemetry.UNAVAILABLE}
    return _Look(at, times, unanswered)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
