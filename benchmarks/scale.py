"""How much a run does: the whole of it, or as little as shows that each part works."""

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

ROUNDS = 13


@dataclass(frozen=True, slots=True)
class Scale:
    """``rounds`` of each group. ``quick``: tiny numbers, whose figures mean nothing."""

    rounds: int = ROUNDS
    quick: bool = False

    def of(self, full: T, quick: T) -> T:
        return quick if self.quick else full

    def operations(self, full: int, at_once: int = 1) -> int:
        """Of one turn."""
        return max(at_once, full // 30) if self.quick else full
