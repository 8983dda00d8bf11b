"""The server's clock, which a test can move or stop. `_ts`, expiry, `GetCurrentTimestamp` and the `Date` header follow it."""

from __future__ import annotations

import time
from email.utils import formatdate


class ServerClock:
    """Wall time plus an offset, or frozen."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._frozen: float | None = None

    def now(self) -> float:
        """Seconds since 1970."""
        return self._frozen if self._frozen is not None else time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move forwards (or back, with a negative number)."""
        if self._frozen is not None:
            self._frozen += seconds
        else:
            self._offset += seconds

    def freeze(self) -> None:
        """Stop at the present moment."""
        self._frozen = self.now()

    def resume(self) -> None:
        """Run on from where it was frozen."""
        if self._frozen is not None:
            self._offset = self._frozen - time.time()
            self._frozen = None

    def reset(self) -> None:
        """Back to the machine's time."""
        self._offset = 0.0
        self._frozen = None

    def http_date(self) -> str:
        """Now as an HTTP date."""
        return formatdate(self.now(), usegmt=True)
