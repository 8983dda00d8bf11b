"""How far the server's clock is from this machine's, as its ``Date`` headers show it. Pure."""

import math
from email.utils import parsedate_to_datetime
from typing import Final

SECOND_MS: Final = 1000  # a Date header has whole seconds
BELIEVED_MS: Final = 1000  # COHERENCE section 2: a difference is corrected when it is beyond a second


class Skew:
    """Each answer bounds the difference: the server read its clock between the request and the answer, and cut it to a second. The bounds are
    intersected; an answer that fits none of them says that a clock was set, and starts anew."""

    __slots__ = ("_date", "_high", "_low", "_server", "ms")

    def __init__(self) -> None:
        self._low, self._high = -math.inf, math.inf
        self._date: str | None = None  # the last one, which most answers of its second have too
        self._server = 0.0
        self.ms = 0  # the server's clock less ours; 0 where that is possible or near

    def answered(self, date: str, sent_ms: float, answered_ms: float) -> None:
        """An answer with this ``Date`` to a request of this time, both on our clock. A date that is none is passed over."""
        if date != self._date:
            try:
                self._server = parsedate_to_datetime(date).timestamp() * 1000
            except (TypeError, ValueError, OverflowError):
                return
            self._date = date
        server = self._server
        low, high = server - answered_ms, server + SECOND_MS - sent_ms
        if low > self._high or high < self._low:
            self._low, self._high = low, high
        else:
            self._low, self._high = max(low, self._low), min(high, self._high)
        self.ms = self._believed()

    def _believed(self) -> int:
        """Of a late answer's wide bounds the end that is nearer to no difference at all, and half of a Date's second: such an answer moves no clock far."""
        low, high = self._low, self._high
        if low <= 0 <= high:
            return 0
        middle = (low + high) / 2
        believed = min(middle, low + SECOND_MS / 2) if low > 0 else max(middle, high - SECOND_MS / 2)
        return round(believed) if abs(believed) > BELIEVED_MS else 0
