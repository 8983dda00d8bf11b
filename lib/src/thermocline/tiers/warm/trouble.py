"""What a failed call to Cosmos DB means: for the caller an error of our tree, for the write path whether the request may have taken effect. Pure."""

from enum import Enum
from typing import Final

from thermocline.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidArgument,
    ThermoclineError,
    Throttled,
    TierFull,
    TierUnavailable,
    TooLarge,
)

TIER: Final = "warm"  # of every error here
ROLE: Final = "Cosmos DB Built-in Data Contributor"


class Kind(Enum):
    MISSING = "404: no such item"
    EXISTS = "409: there is one"
    REFUSED = "412: the condition does not hold"
    AGAIN = "certainly without effect, and worth trying again"
    LOST = "no answer, or one that does not tell: it may have taken effect"
    FATAL = "certainly without effect, and no use trying again"


class Trouble(Exception):
    """Leaves the SDK's door; never leaves the tier. ``error`` is what the caller gets, ``retry_after`` the service's wish in seconds, ``away`` whether
    it could not be reached at all."""

    def __init__(
        self, kind: Kind, error: ThermoclineError, *, retry_after: float | None = None, away: bool = False
    ) -> None:
        super().__init__(str(error))
        self.away = away
        self.kind = kind
        self.error = error
        self.retry_after = retry_after

    @property
    def unanswered(self) -> bool:
        """Whether the service did not say that the request is to be sent again: repeating it is load on a service that may be sick."""
        return self.away or self.kind is Kind.LOST

    @classmethod
    def denied(cls, why: str) -> "Trouble":
        return cls(Kind.FATAL, AccessDenied(why, tier=TIER))


class BatchRefused(Trouble):
    """A transaction of which nothing was done, because of its operation number ``at`` (from 0)."""

    def __init__(self, why: Trouble, at: int) -> None:
        super().__init__(why.kind, why.error, retry_after=why.retry_after)
        self.at = at


def in_doubt(status: int | None) -> bool:
    """Whether a request with this answer (None: without one) may have taken effect although the answer does not say so."""
    return status is None or status == 408 or status >= 500


def by_status(status: int, substatus: int, message: str, retry_after: float | None = None) -> Trouble:
    """An HTTP answer that is no success, by status and substatus."""
    told = f"{status}/{substatus}: {_short(message)}"
    if status == 404:
        return _missing(substatus, told)
    if status == 403:
        return _forbidden(substatus, message, told)
    if status == 429:
        error = Throttled(f"Cosmos DB is over its request units ({told})", tier=TIER, retry_after=retry_after)
        return Trouble(Kind.AGAIN, error, retry_after=retry_after)
    if status in (410, 449):
        return Trouble(Kind.AGAIN, TierUnavailable(f"Cosmos DB asks to try again ({told})", tier=TIER))
    if in_doubt(status) or status == 0:  # 0: an answer without a status
        return Trouble(Kind.LOST, TierUnavailable(f"Cosmos DB failed ({told})", tier=TIER))
    return _refused(status, substatus, told)


def _refused(status: int, substatus: int, told: str) -> Trouble:
    if status == 409:
        return Trouble(Kind.EXISTS, InvalidArgument(f"the item exists already ({told})"))
    if status == 412:
        return Trouble(Kind.REFUSED, InvalidArgument(f"a condition does not hold ({told})"))
    if status == 413:
        return Trouble(
            Kind.FATAL, TooLarge(f"Cosmos DB holds items of at most 2 MB; a larger value belongs in cold ({told})")
        )
    if status == 401:
        return Trouble.denied(
            f"Cosmos DB refused the signature: is it this account's key, are keys allowed, is the clock right? ({told})"
        )
    if (status, substatus) == (400, 1001):
        return Trouble(Kind.FATAL, InvalidArgument(f"the item's partition key is not the container's ({told})"))
    return Trouble(Kind.FATAL, InvalidArgument(f"Cosmos DB refused the request ({told})"))


def _missing(substatus: int, told: str) -> Trouble:
    if substatus == 1002:
        # The replica is behind the session's token: that says nothing about the item.
        return Trouble(Kind.AGAIN, TierUnavailable(f"Cosmos DB's replica is behind this session ({told})", tier=TIER))
    if substatus in (1003, 1013):
        return Trouble(
            Kind.FATAL,
            ConfigurationError(
                f"the Cosmos DB database or container does not exist; check COSMOS_DATABASE and COSMOS_CONTAINER ({told})"
            ),
        )
    return Trouble(Kind.MISSING, InvalidArgument(f"there is no such item ({told})"))


def _forbidden(substatus: int, message: str, told: str) -> Trouble:
    if substatus == 1014:
        return Trouble(
            Kind.FATAL,
            TierFull(f"this tenant's scope has reached the 20 GB that a logical partition holds ({told})", tier=TIER),
        )
    if substatus in (3, 1008):
        return Trouble(
            Kind.AGAIN,
            TierUnavailable(f"this region does not take writes: a failover is under way ({told})", tier=TIER),
            away=True,
        )
    if substatus == 5300:
        return Trouble.denied(
            f"an Entra token may not create databases or containers: deploy them (Bicep), or connect with a key ({told})"
        )
    if substatus == 5302 or "RBAC" in message:
        return Trouble.denied(
            f'the identity lacks the data role "{ROLE}" on the account, which also lets it read the account\'s metadata; assign it with '
            f"`az cosmosdb sql role assignment create` and allow some minutes ({told})"
        )
    if "originated from" in message:
        return Trouble.denied(
            f"the account's firewall does not let this network in: allow its address, or use the private endpoint ({told})"
        )
    return Trouble.denied(f"Cosmos DB forbids the request ({told})")


def unreachable(message: str, *, sent: bool) -> Trouble:
    """No answer came over the network; ``sent`` says whether a request may have left this machine."""
    text = _short(message)
    if sent:
        return Trouble(Kind.LOST, TierUnavailable(f"the connection to Cosmos DB was lost: {text}", tier=TIER))
    return Trouble(
        Kind.AGAIN,
        TierUnavailable(
            f"Cosmos DB cannot be reached, check COSMOS_ACCOUNT_URI and the network: {text}", tier=TIER, sent=False
        ),
        away=True,
    )


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= 300 else line[:297] + "..."
