"""What goes wrong with Redis, in plain words. No I/O."""

import socket
import ssl
from typing import Final

from thermocline.errors import AccessDenied, ThermoclineError, TierDamaged, TierFull, TierTimeout, TierUnavailable
from thermocline.model import MemoryTier

_HOT: Final = MemoryTier.HOT


class NoScript(TierUnavailable):
    """The server has not seen the script: send its text. Never leaves the tier."""


class CrossSlot(TierUnavailable):
    """The server spreads its keys, though it looks like one: send what belongs to several of them apart. Never leaves the tier."""


class Hint:
    """A kind of error, and what to say. ``refused``: the server answered, and certainly did nothing."""

    __slots__ = ("kind", "refused", "text")

    def __init__(self, kind: type[TierUnavailable], text: str, *, refused: bool = True) -> None:
        self.kind = kind
        self.text = text
        self.refused = refused

    def made(self, text: str, *, sent: bool) -> TierUnavailable:
        return self.kind(text, tier=_HOT, sent=sent)


BROKEN: Final = Hint(TierUnavailable, "the connection broke", refused=False)
UNEXPECTED: Final = Hint(TierUnavailable, "an unexpected answer", refused=False)
DENIED: Final = Hint(
    AccessDenied, "the credential is missing or wrong: check the password, or the identity's access policy on the cache"
)
FORBIDDEN: Final = Hint(
    AccessDenied,
    "the user lacks a permission: it needs the data access policy of an owner, or ACL +@read +@write +@scripting",
)
LOADING: Final = Hint(TierUnavailable, "the server has just started and is still loading its data")
READONLY: Final = Hint(TierUnavailable, "the server is a replica, which takes no writes: use the primary's address")
FULL: Final = Hint(TierFull, "the memory is full: raise maxmemory, or set an eviction policy such as volatile-lru")
CLUSTER: Final = Hint(TierUnavailable, "the cluster is not complete or being changed")
MOVED: Final = Hint(TierUnavailable, "the server is a node of a cluster: give cluster=True")
BUSY_POOL: Final = Hint(TierUnavailable, "there are no connections left: raise max_connections")

TIMED_OUT: Final = Hint(TierTimeout, "no answer in time", refused=False)
UNREACHED: Final = Hint(TierUnavailable, "the cluster's nodes could not be asked", refused=False)
NOT_REDIS: Final = Hint(
    TierUnavailable, "the answer is not in Redis' protocol: is this the address of a Redis?", refused=False
)

REPLIES: Final = {
    "MISCONF": Hint(TierUnavailable, "the server cannot save to its disk and takes no writes"),
    "NOREPLICAS": Hint(TierUnavailable, "the server has too few replicas in sync and takes no writes"),
    "BUSY": Hint(TierUnavailable, "the server is busy with a long script"),
    "NOAUTH": DENIED,
    "WRONGTYPE": Hint(TierDamaged, "something else lies under the key, which this library did not write"),
    "Error compiling script": Hint(TierUnavailable, "the server is too old: Redis 7.0 or newer is needed"),
    "unknown command": Hint(TierUnavailable, "the server lacks a command: Redis 7.0 or newer is needed"),
}
"""Replies for which the SDK has no class of its own, by their first word."""


def by_reply(text: str) -> Hint | None:
    """What a reply means for which the SDK has no class of its own."""
    return next((hint for code, hint in REPLIES.items() if text.startswith(code)), None)


def network(error: BaseException) -> Hint:
    """What lies behind a broken connection, as far as the operating system says."""
    cause: BaseException | None = error
    while cause is not None:
        for kind, hint in NETWORK.items():
            if isinstance(cause, kind):
                return hint
        cause = cause.__cause__ or cause.__context__
    return BROKEN


NETWORK: Final[dict[type[BaseException], Hint]] = {
    socket.gaierror: Hint(
        TierUnavailable, "the host's name cannot be resolved: check the URL and the DNS (private endpoint?)"
    ),
    ConnectionRefusedError: Hint(
        TierUnavailable, "nobody listens there: check host and port, and whether the server runs"
    ),
    ssl.SSLError: Hint(
        TierUnavailable, "TLS failed: check rediss:// and the port (10000 on Azure Managed Redis), and the CA"
    ),
}


def behind(error: BaseException) -> BaseException | None:
    """What stands behind the words for an error: the error, or behind one of our own, as of a sign-in, what stood there before; never itself."""
    return error.__cause__ if isinstance(error, ThermoclineError) else error
