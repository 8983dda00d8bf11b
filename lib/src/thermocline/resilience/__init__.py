"""What keeps one sick tier from taking the rest along: deadlines, a circuit breaker, a retry budget, credentials that change. No I/O."""

from thermocline.resilience.breaker import BreakerState, CircuitBreaker
from thermocline.resilience.deadline import Budget
from thermocline.resilience.retry_budget import RetryBudget
from thermocline.resilience.rotating import Rotating
from thermocline.resilience.signing import Signing, unsigned

__all__ = ["BreakerState", "Budget", "CircuitBreaker", "RetryBudget", "Rotating", "Signing", "unsigned"]
