"""What keeps one sick tier from taking the rest along: deadlines, a circuit breaker, a retry budget. No I/O."""

from thermocline.resilience.breaker import BreakerState, CircuitBreaker
from thermocline.resilience.deadline import Budget
from thermocline.resilience.retry_budget import RetryBudget

__all__ = ["BreakerState", "Budget", "CircuitBreaker", "RetryBudget"]
