"""What a near cache is asked for."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from thermocline.errors import ConfigurationError

LEAST: Final = timedelta(milliseconds=20)
MOST: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NearCache:
    """Keep what hot answered inside the process, too: at most ``max_entries`` and ``max_bytes`` (of memory, overheads included). What it answers is at
    most ``stale_at_most`` old, 20 ms to a minute: so often the servers are asked whether they are heard. Raises `ConfigurationError` for what cannot be."""

    max_entries: int = 10_000
    max_bytes: int = 64 * 2**20
    stale_at_most: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        for name in ("max_entries", "max_bytes"):
            given: Any = getattr(self, name)
            if type(given) is not int or given < 1:
                raise ConfigurationError(f"a near cache's {name} is a whole number, at least 1, not {given!r}")
        bound: Any = self.stale_at_most
        if not isinstance(bound, timedelta) or not LEAST <= bound <= MOST:
            raise ConfigurationError(
                f"a near cache's stale_at_most is a timedelta from 20 ms to a minute, not {self.stale_at_most!r}"
            )
