"""What one call to Cosmos DB sent, request by request, so that a write knows whether a copy of it may be at large. Pure."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from thermocline.tiers.warm.trouble import in_doubt


@dataclass(slots=True)
class Sent:
    """What one call sent: the status of each request for an item, None while it is unanswered; `NEVER` if it did not leave this machine."""

    statuses: list[int | None] = field(default_factory=list)

    def left_doubt(self, *, failed: bool) -> bool:
        """Whether one of the requests may have taken effect although nothing says so: one without an answer, or, where the call ``failed``
        nevertheless, one that was answered with success."""
        return any(
            in_doubt(status) or (failed and status is not None and 0 < status < 400 and status != NONE_DONE)
            for status in self.statuses
        )


NEVER: Final = -1
NONE_DONE: Final = 207  # the answer to a batch of which nothing was done
_sent: ContextVar[Sent | None] = ContextVar("thermocline_cosmos_sent", default=None)


@contextmanager
def watching() -> Iterator[Sent]:
    """Watch what the calls inside send. Tasks that they start are watched too."""
    sent = Sent()
    token = _sent.set(sent)
    try:
        yield sent
    finally:
        _sent.reset(token)


def current() -> Sent | None:
    """What is being watched here."""
    return _sent.get()
