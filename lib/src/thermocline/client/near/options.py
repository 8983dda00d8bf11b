"""What a near cache is asked for."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from thermocline.configured import duration, whole

LEAST: Final = timedelta(milliseconds=20)
MOST: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NearCache:
    """Keep what hot answered inside the process, too: at most ``max_entries`` and ``max_bytes`` (of memory, overheads included). What it answers is at
    most ``stale_at_most`` old (a timedelta or seconds, and a timedelta afterwards), 20 ms to a minute: so often the servers are asked whether they are heard.
    Raises `ConfigurationError` for what cannot be."""

    max_entries: int = 10_000
    max_bytes: int = 64 * 2**20
    stale_at_most: timedelta | float = timedelta(seconds=1)

    def __post_init__(self) -> None:
        for name in ("max_entries", "max_bytes"):
            whole(getattr(self, name), f"NearCache: {name}", least=1)
        bound = duration(self.stale_at_most, "NearCache: stale_at_most", least=LEAST, most=MOST)
        object.__setattr__(self, "stale_at_most", bound)
