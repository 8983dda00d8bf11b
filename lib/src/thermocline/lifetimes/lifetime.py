"""One lifetime: durations, the presets, and what a `Lifetime` says. Pure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from thermocline.errors import ConfigurationError, InvalidArgument
from thermocline.model import Header

HOT_CEILING: Final = timedelta(
    hours=1
)  # the longest that an entry stays in hot above an authority (COHERENCE section 2)
LONGEST_LIFETIME: Final = timedelta(days=365_250)  # a thousand years; for longer say None, which is for ever
MOST_JITTER: Final = 0.5

_MS: Final = timedelta(milliseconds=1)
_CEILING_MS: Final = HOT_CEILING // _MS
_LONGEST_US: Final = LONGEST_LIFETIME // timedelta(microseconds=1)


def lifetime_ms(value: timedelta | float | None, what: str = "a lifetime") -> int:
    """A lifetime in milliseconds, rounded up; 0 for None, which is for ever. Numbers are seconds.

    Raises `InvalidArgument` for what is no number, zero, negative, not finite, or longer than a thousand years.
    """
    if value is None:
        return 0
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(f"{what} is a timedelta, a number of seconds or None, not {type(value).__name__}")
    elif not isinstance(value, int) and not math.isfinite(value):
        raise InvalidArgument(f"{what} must be finite, not {value!r}; for a record without end give None")
    elif value * 1_000_000 > _LONGEST_US:
        micros = _LONGEST_US + 1
    else:
        micros = round(value * 1_000_000) or (1 if value > 0 else 0)
    if micros <= 0:
        shown = value if isinstance(value, timedelta) else f"{value:g} s" if value > -(10**9) else "less"
        raise InvalidArgument(
            f"{what} must be longer than zero, not {shown}; to remove a record call delete, for one without end give None"
        )
    if micros > _LONGEST_US:
        raise InvalidArgument(f"{what} is longer than a thousand years; for a record without end give None")
    return -(-micros // 1000)


def configured_ms(value: Any, what: str) -> int:
    """`lifetime_ms` of a part of the configuration: raises `ConfigurationError`."""
    try:
        return lifetime_ms(value, what)
    except InvalidArgument as error:
        raise ConfigurationError(str(error)) from error


class MemoryConfig:
    """Lifetimes that users of the system this one re-thinks know by name, in seconds; None is for ever. `PRESETS` are made of them."""

    SESSION_TTL: Final = 300
    USER_PROFILE_TTL: Final = 86_400
    SEARCH_HISTORY_TTL: Final = 2_592_000
    CATALOG_SNAPSHOT_TTL: Final = None


class AsRouted(Enum):
    """The type of `AS_ROUTED`: a lifetime that the key's route gives."""

    AS_ROUTED = "as the route says"


AS_ROUTED: Final = AsRouted.AS_ROUTED


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a record lives, and how long hot keeps a copy. Durations are timedeltas or seconds, and timedeltas afterwards.

    - ``ttl``: of a record that is written without one. None: for ever. Left out: as the key's route says (`MemoryRules`).
    - ``hot``: how long a copy stays in hot, in place of the route's ``hot_ttl_seconds``; at most one hour, and never past the record's own end. Where hot is
      the authority itself it is the records' lifetime if ``ttl`` is left out.
    - ``sliding``: a read that comes after half of the record's time renews it for another ``ttl``. A record that was written with a ``ttl=`` of its own, other
      than this one, is not renewed: it ends when its writer said.
    - ``jitter``: the share, 0 to 0.5, by which hot's copies and lifetimes given by this rule are shortened at random, so that what was written
      together does not end together. A ``ttl=`` that a call gives is taken as it is.
    - ``demote_after`` (time since the last write), ``demote_idle`` (time since the last read), ``demote_above`` (stored bytes): when a sweep moves the
      payload to cold. A record need fulfil one of those that are given.

    ``ttl_ms`` (None: as routed, 0: for ever) and ``hot_ms`` (None: as routed) are the same in milliseconds. Raises `ConfigurationError`.
    """

    ttl: timedelta | float | AsRouted | None = AS_ROUTED
    hot: timedelta | float | None = None
    sliding: bool = field(default=False, kw_only=True)
    jitter: float = field(default=0.0, kw_only=True)
    demote_after: timedelta | float | None = field(default=None, kw_only=True)
    demote_idle: timedelta | float | None = field(default=None, kw_only=True)
    demote_above: int | None = field(default=None, kw_only=True)
    ttl_ms: int | None = field(init=False, compare=False, repr=False)
    hot_ms: int | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("ttl", "hot", "demote_after", "demote_idle"):
            given = getattr(self, name)
            ms = None if given is AS_ROUTED else configured_ms(given, f"a lifetime's {name}")
            if ms:
                object.__setattr__(self, name, timedelta(milliseconds=ms))
            if name == "ttl":
                object.__setattr__(self, "ttl_ms", ms)
            elif name == "hot":
                object.__setattr__(self, "hot_ms", ms or None)
        if self.hot_ms is not None and self.hot_ms > _CEILING_MS:
            raise ConfigurationError(
                f"hot={self.hot} is longer than HOT_CEILING, the {HOT_CEILING} that a copy stays in hot at most; make it shorter, or give ttl"
            )
        if not isinstance(self.sliding, bool):
            raise ConfigurationError(f"a lifetime's sliding is True or False, not {self.sliding!r}")
        if self.sliding and (self.ttl is AS_ROUTED or self.ttl is None):
            raise ConfigurationError("sliding=True renews a record for its ttl, and no ttl is given: give one")
        jitter: object = self.jitter
        if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= MOST_JITTER:
            raise ConfigurationError(f"a lifetime's jitter is a share of 0 to {MOST_JITTER}, not {jitter!r}")
        above: object = self.demote_above
        if above is not None and (isinstance(above, bool) or not isinstance(above, int) or above < 0):
            raise ConfigurationError(f"demote_above is a whole number of bytes, at least 0, not {above!r}")

    def shortened(self, ms: int, draw: Callable[[], float]) -> int:
        """``ms`` less the jitter's share of it; ``draw`` gives a number of 0 to 1."""
        return ms - int(ms * self.jitter * draw()) if self.jitter else ms


PRESETS: Final[Mapping[str, Lifetime]] = MappingProxyType(
    {
        "session": Lifetime(hot=MemoryConfig.SESSION_TTL),
        "profile": Lifetime(MemoryConfig.USER_PROFILE_TTL),
        "search_history": Lifetime(MemoryConfig.SEARCH_HISTORY_TTL),
        "catalogue_snapshot": Lifetime(MemoryConfig.CATALOG_SNAPSHOT_TTL),
    }
)


def slid(header: Header, lifetime: Lifetime) -> bool:
    """Whether the record's time is what the rule gives: one with a ``ttl=`` of its own ends when its writer said, and one without end needs no renewal."""
    given, span = header.expires_ms - header.modified_ms, lifetime.ttl_ms or 0
    return header.expires_ms > 0 and lifetime.shortened(span, lambda: 1.0) <= given <= span
