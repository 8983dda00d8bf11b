"""Credentials that change while a program runs, as a tier sees them."""

from typing import Protocol, TypeVar, runtime_checkable

Credentials = TypeVar("Credentials", covariant=True)


@runtime_checkable
class Rotating(Protocol[Credentials]):
    """What a tier signs in with, where that changes while it runs: a secret of a vault (str), or a login of Redis (user and password, or token)."""

    @property
    def generation(self) -> int:
        """Grows with each new value."""
        ...

    @property
    def previous(self) -> Credentials | None:
        """The value before this one, for a while: the service may not know the new one yet."""
        ...

    async def current(self) -> Credentials:
        """The value now; fetched if need be. Raises `AccessDenied`, `TierUnavailable`."""
        ...

    async def renew(self, seen: int) -> bool:
        """The service refused the value of generation ``seen``: have it read again, once. Whether there is a newer one. Raises why it cannot be read."""
        ...
