"""Every error that thermocline raises.

::

    ThermoclineError
    ├── InvalidArgument (ValueError)          what the caller gave cannot be used; nothing was done
    │   ├── InvalidKey                        empty, too long, not text
    │   └── TooLarge                          value, tag or name over a limit
    ├── NotSerialisable (TypeError)           the value is of a kind that no serialiser takes; nothing was done
    ├── TypeMismatch                          a stored value does not fit the ``type=`` that was asked for
    ├── ConfigurationError (ValueError)       settings, rules or a service's shape that cannot work; names what to change
    ├── NotFound (LookupError)                a tier's direct method found nothing of that name
    ├── Conflict                              a condition of the write does not hold; nothing was written
    │   └── Forgotten                         its scope was erased after the write began; nothing was written
    ├── UnknownOutcome                        the authority may or may not have taken the write
    ├── CorruptRecord                         the authority's own copy is damaged, and there is nothing below it
    ├── UnreadableRecord                      written by a newer format: upgrade this program
    │   └── UnknownDictionary                 compressed with a dictionary that its store does not have any more
    ├── TierUnavailable (ConnectionError)     a tier could not be asked
    │   ├── TierTimeout (TimeoutError)        ... within its share of the deadline
    │   ├── Throttled                         ... it said: too many requests; the call certainly had no effect
    │   ├── CircuitOpen                       ... it failed so often that it is left alone for a while
    │   ├── Overloaded                        ... so many calls of this process wait for it that one more is refused
    │   ├── PointerTooOld                     ... it lets no pointer in whose payload was uploaded too long ago; renew it
    │   ├── AccessDenied                      ... wrong or missing credential or role
    │   ├── TierFull                          ... no space left (disk, memory, partition)
    │   └── TierDamaged                       ... its store as a whole cannot be read (a corrupt database file)
    ├── FactoryTimeout (TimeoutError)         the factory of `get_or_set` has made no value yet; it goes on
    ├── TokenRefused                          a caller's token is none that this service takes: 401
    │   └── RoleMissing                       ... it is, and does not allow what was asked: 403
    └── ClientClosed (RuntimeError)           used before it was connected, after it was closed, or from another event loop

An outage is a `TierUnavailable`, never a missing value: a missing value is an answer.
"""

from typing import Any


class ThermoclineError(Exception):
    """The root: catch this to catch all."""


class InvalidArgument(ThermoclineError, ValueError):
    """What the caller gave cannot be used. Nothing was done."""


class InvalidKey(InvalidArgument):
    """A key's part is empty, too long or not text that UTF-8 can hold."""


class TooLarge(InvalidArgument):
    """A value, a tag or a name is over a stated limit. Nothing was written."""


class NotSerialisable(ThermoclineError, TypeError):
    """No serialiser takes a value of this kind. Nothing was written."""


class TypeMismatch(ThermoclineError):
    """The stored value does not fit the type that was asked for. The record is untouched."""


class ConfigurationError(ThermoclineError, ValueError):
    """Settings, rules or the shape of a service that cannot work; the message names what to change."""


class NotFound(ThermoclineError, LookupError):
    """A tier's direct method was asked for something that is not there. The client's verbs answer with a miss instead."""


class Conflict(ThermoclineError):
    """The condition of a write (``if_version``, ``if_absent``) does not hold. Nothing was written.

    ``version`` is the version that is there now, or 0 where nothing is or it is not known.
    """

    def __init__(self, message: str, *, version: int = 0) -> None:
        super().__init__(message)
        self.version = version


class Forgotten(Conflict):
    """The key's scope was erased (`forget`) after this write began. Nothing was written, so that nothing erased comes back."""


class UnknownOutcome(ThermoclineError):
    """The authority may or may not have taken the write; it takes effect at most once.

    Read the key before you write again. ``write_id`` is the id that all requests of the write carried.
    """

    def __init__(self, message: str, *, write_id: str) -> None:
        super().__init__(message)
        self.write_id = write_id


class CorruptRecord(ThermoclineError):
    """The authority's own copy of a record is damaged; there is nothing below it to repair it from."""


class UnreadableRecord(ThermoclineError):
    """A well-formed record of a newer format. It is left as it is: upgrade this program to read it."""


class UnknownDictionary(UnreadableRecord):
    """A record was compressed with a dictionary that its store does not have, or not whole. The record is left alone: it can be read once the dictionary is
    back (docs/dictionaries.md)."""


class TierUnavailable(ThermoclineError, ConnectionError):
    """A tier could not be asked. Says nothing about whether the key exists.

    ``tier`` is the tier's name, ``sent`` whether a request may have reached it (a write may then have taken effect).
    """

    def __init__(self, message: str, *, tier: str, sent: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.tier = tier
        self.sent = sent
        self.retry_after = retry_after  # seconds, as the service asked for, if it did

    def __reduce__(self) -> tuple[Any, ...]:
        return (_revive, (type(self), str(self), self.tier, self.sent, self.retry_after))


class TierTimeout(TierUnavailable, TimeoutError):
    """A tier did not answer within its share of the deadline."""


class Throttled(TierUnavailable):
    """A tier refused the request because of too many requests. It certainly had no effect."""


class CircuitOpen(TierUnavailable):
    """A tier failed so often that it is not asked for a while. Nothing was sent."""


class Overloaded(TierUnavailable):
    """So many calls of this process wait for a tier that a further one is refused at once. Nothing was sent."""


class PointerTooOld(TierUnavailable):
    """A pointer was not set, because the sweeper may have taken its payload for an orphan. Renew the payload and write again."""


class AccessDenied(TierUnavailable):
    """A tier refused the credential, or a role is missing; the message names which."""


class TierFull(TierUnavailable):
    """A tier has no space left. The write certainly had no effect."""


class TierDamaged(TierUnavailable):
    """A tier's store as a whole cannot be read, as a database file that is corrupt; or, in Redis, another program has put something else under the key."""


class FactoryTimeout(ThermoclineError, TimeoutError):
    """The factory of `get_or_set` has made no value within the time that its caller gave it. It goes on, and what it makes is stored: ask again."""


class TokenRefused(ThermoclineError):
    """A caller's token is not one that this service takes. The message says why, and holds nothing of the token."""


class RoleMissing(TokenRefused):
    """A caller's token is good, and has none of ``roles``, of which what was asked needs one."""

    def __init__(self, message: str, *, roles: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.roles = roles


class ClientClosed(ThermoclineError, RuntimeError):
    """A client or tier was used before it was connected, after it was closed, or from another event loop."""


def _revive(
    kind: type[TierUnavailable], text: str, tier: str, sent: bool, retry_after: float | None
) -> TierUnavailable:
    return kind(text, tier=tier, sent=sent, retry_after=retry_after)
