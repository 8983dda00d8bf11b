"""Which key comes next: seeded, the same for all arms, and nearly free to ask."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

IN_USE = 100
"""Keys of the groups whose callers may ask for the same one."""
DISTINCT = 1280
"""Keys of the groups whose callers never do: taken in turn."""

_DRAWS = 10_007


def at_random(some: Sequence[T], seed: int = 7) -> Callable[[], T]:
    """The next of ``some``, drawn alike; the draws repeat after ten thousand."""
    rng = random.Random(seed)
    return itertools.cycle([rng.choice(some) for _ in range(_DRAWS)]).__next__


def in_turn(some: Sequence[T]) -> Callable[[], T]:
    """One after the other, again and again."""
    return itertools.cycle(some).__next__
