"""A budget for extra requests, so that retries and hedges cannot multiply the load on a tier that is already in trouble."""

from collections.abc import Callable

from thermocline.errors import ConfigurationError


class RetryBudget:
    """Extra requests may be at most ``ratio`` of the ordinary ones, and ``burst`` on top at any moment. Counts, and needs no clock.

    The defaults are those of gRPC's retry throttling and of Finagle's RetryBudget in spirit: 10 % extra. ``full=False``: nothing on top; what is not
    used is kept, up to ``burst``. ``refused`` is called for each that is not granted.
    """

    __slots__ = ("_burst", "_ratio", "_refused", "_tokens")

    def __init__(
        self,
        *,
        ratio: float = 0.1,
        burst: int = 10,
        full: bool = True,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        if not 0 <= ratio <= 1 or burst < 1:
            raise ConfigurationError(
                f"a retry budget needs a ratio from 0 to 1 and a burst of 1 or more, not {ratio!r} and {burst!r}"
            )
        self._ratio = ratio
        self._burst = float(burst)
        self._tokens = float(burst) if full else 0.0
        self._refused = refused

    def request(self) -> None:
        """An ordinary request goes out."""
        tokens = self._tokens + self._ratio
        self._tokens = tokens if tokens < self._burst else self._burst

    def take(self) -> bool:
        """Whether one extra request may go out; True spends it."""
        if self._tokens < 1:
            self._refused()
            return False
        self._tokens -= 1
        return True
