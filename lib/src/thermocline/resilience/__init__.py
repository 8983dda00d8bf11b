"""What keeps one sick tier from taking the rest along: deadlines, circuit breakers, retry budgets, hedged reads, credentials that change. No I/O of its own."""

from thermocline.resilience.breaker import BreakerState, Cause, CircuitBreaker
from thermocline.resilience.deadline import Budget
from thermocline.resilience.hedge import Hedges, is_second
from thermocline.resilience.latencies import Lately
from thermocline.resilience.lookups import Lookups
from thermocline.resilience.priority import in_background, is_background
from thermocline.resilience.retry_budget import RetryBudget
from thermocline.resilience.rotating import Rotating
from thermocline.resilience.rules import Hedging, Limits, Resilience
from thermocline.resilience.signing import Signing, unsigned
from thermocline.resilience.skew import Skew

__all__ = [
    "BreakerState",
    "Budget",
    "Cause",
    "CircuitBreaker",
    "Hedges",
    "Hedging",
    "Lately",
    "Limits",
    "Lookups",
    "Resilience",
    "RetryBudget",
    "Rotating",
    "Signing",
    "Skew",
    "in_background",
    "is_background",
    "is_second",
    "unsigned",
]
