"""Lifetimes: how long records live, how long hot keeps copies of them, and what is never kept longer than a ceiling. Pure, no I/O.

Three things are apart: a `Lifetime` says how long, a `LifetimeRule` of which records, a `Ceiling` what no ``ttl=`` can go beyond. `Lifetimes` holds them
and answers.
"""

from thermocline.lifetimes.book import Lifetimes
from thermocline.lifetimes.lifetime import (
    AS_ROUTED,
    HOT_CEILING,
    LONGEST_LIFETIME,
    PRESETS,
    AsRouted,
    Lifetime,
    MemoryConfig,
    lifetime_ms,
)
from thermocline.lifetimes.rules import Ceiling, LifetimeRule

__all__ = [
    "AS_ROUTED",
    "HOT_CEILING",
    "LONGEST_LIFETIME",
    "PRESETS",
    "AsRouted",
    "Ceiling",
    "Lifetime",
    "LifetimeRule",
    "Lifetimes",
    "MemoryConfig",
    "lifetime_ms",
]
