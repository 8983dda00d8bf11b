"""What `get_or_set` is asked for beside the key and the factory, and how fresh a value is by it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from thermocline.client.result import NotGiven
from thermocline.configured import duration
from thermocline.errors import InvalidArgument
from thermocline.lifetimes import LONGEST_LIFETIME, lifetime_ms
from thermocline.model import Header

SOFT_TIMEOUT: Final = (
    0.1  # seconds that a caller waits for the refresh of a value that is past its freshness, before it gets that
)

Lifetime = timedelta | float | None


class Freshness(Enum):
    FRESH = "fresh"
    AHEAD = "ahead"  # fresh, and so near its end that a refresh is due, for which nobody waits
    PAST = "past"  # it may be served, but a refresh is due


@dataclass(frozen=True, slots=True)
class Options:
    """Times in milliseconds; 0 of ``fresh_ms`` and ``ahead_ms``: not asked for. ``hard``: seconds, None: the call's own deadline."""

    ttl: Lifetime | NotGiven
    tags: Mapping[str, str] | None
    fresh_ms: int
    ahead_ms: int
    soft: float
    hard: float | None
    timeout: Lifetime

    @property
    def plain(self) -> bool:
        """Whether every value that is there is as good as any."""
        return not self.fresh_ms and not self.ahead_ms

    def freshness(self, header: Header, now_ms: int) -> Freshness:
        """Of a live record. It counts from when the record was last modified; a refresh ahead, back from the end of its freshness or, where that is not
        limited, of its life."""
        ends = header.modified_ms + self.fresh_ms if self.fresh_ms else header.expires_ms
        if not ends:
            return Freshness.FRESH
        if now_ms >= ends:
            return Freshness.PAST
        return Freshness.AHEAD if now_ms >= ends - self.ahead_ms and self.ahead_ms else Freshness.FRESH


def options_of(
    *,
    ttl: Lifetime | NotGiven,
    fresh_for: Lifetime,
    refresh_ahead: Lifetime,
    soft_timeout: Lifetime,
    hard_timeout: Lifetime,
    tags: Mapping[str, str] | None,
    timeout: Lifetime,
) -> Options:
    """Raises `InvalidArgument` for times that cannot be."""
    fresh_ms = _ms(fresh_for, "fresh_for")
    ahead_ms = _ms(refresh_ahead, "refresh_ahead")
    lasts_ms = 0 if isinstance(ttl, NotGiven) else lifetime_ms(ttl, "ttl")
    if fresh_ms and lasts_ms and fresh_ms >= lasts_ms:
        raise InvalidArgument(
            f"fresh_for ({fresh_ms} ms) must be shorter than ttl ({lasts_ms} ms): between the two a value may still be served"
        )
    if ahead_ms and ahead_ms >= (fresh_ms or lasts_ms or ahead_ms + 1):
        raise InvalidArgument(
            f"refresh_ahead ({ahead_ms} ms) must be shorter than {'fresh_for' if fresh_ms else 'ttl'}, or each hit would refresh"
        )
    soft = SOFT_TIMEOUT if soft_timeout is None else _seconds(soft_timeout, "soft_timeout")
    hard = None if hard_timeout is None else _seconds(hard_timeout, "hard_timeout")
    return Options(ttl, tags, fresh_ms, ahead_ms, soft, hard, timeout)


def _ms(given: Lifetime, name: str) -> int:
    """0 for None: not asked for."""
    return 0 if given is None else lifetime_ms(duration(given, name, most=LONGEST_LIFETIME, raises=InvalidArgument))


def _seconds(given: timedelta | float, name: str) -> float:
    """0 is a time too: not to wait at all."""
    span = duration(given, name, least=timedelta(0), most=LONGEST_LIFETIME, raises=InvalidArgument)
    return span.total_seconds()
