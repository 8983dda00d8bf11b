"""Connecting a tier on Azure Storage, and closing it."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Generic, Self, TypeVar

from thermocline import configured
from thermocline.azure_storage.service import StorageService
from thermocline.clock import Clock, Deadline
from thermocline.errors import ConfigurationError
from thermocline.resilience import Rotating
from thermocline.telemetry import Stats

_CONNECTING: Final = 15.0  # seconds

S = TypeVar("S", bound=StorageService[Any])


class StorageTier(ABC, Generic[S]):
    """A tier's own side of its service. Nothing is sent before `connect`; `close` is needed, or use it in ``async with``."""

    _service: S
    _clock: Clock
    _connected = False

    @property
    def stats(self) -> Stats:
        """Where requests, and bytes where they are billed, are counted under the tier's name; a client puts its own here."""
        return self._service.stats

    @stats.setter
    def stats(self, stats: Stats) -> None:
        self._service.stats = stats

    @property
    def skew_ms(self) -> int:
        """By how much the service's clock is ahead of this machine's, 0 within a second."""
        return self._service.skew_ms

    @property
    def connected(self) -> bool:
        """Whether it is open: a client neither connects nor closes a tier that was opened before."""
        return self._connected

    async def connect(self) -> None:
        """Open the connections and look at what the tier is kept in, a container or a table, within 15 s. Idempotent.

        Raises `ConfigurationError` if that is missing (and ``create`` was not asked for), or is a container that is open to the public; `AccessDenied`
        for a wrong credential or role; `TierUnavailable` if the service cannot be reached.
        """
        opened = await self._service.open()
        if not opened:
            return
        try:
            await self._examine(Deadline.after(_CONNECTING, self._clock))
        except BaseException:
            await self._service.close()
            raise
        self._connected = True

    @abstractmethod
    async def _examine(self, deadline: Deadline) -> None:
        """Look at what the tier is kept in, and make it first if that was asked for."""

    async def close(self) -> None:
        """Close the connections. Idempotent. The credential is its owner's to close."""
        self._connected = False
        await self._service.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def check_credential(credential: Any, *, tier: str) -> None:
    """Raise `ConfigurationError` for a credential that would block the event loop, and for what is none."""
    get_token = getattr(credential, "get_token", None) or getattr(credential, "get_token_info", None)
    if get_token is not None and not inspect.iscoroutinefunction(get_token):
        raise ConfigurationError(
            f"{tier}: {type(credential).__name__} is a synchronous credential, which would block the event loop: take the one of azure.identity.aio"
        )
    kinds = (str, Mapping, Rotating)
    known = get_token is not None or any(hasattr(credential, name) for name in ("named_key", "signature"))  # the SDK's
    if credential is not None and not known and not isinstance(credential, kinds):
        raise ConfigurationError(
            f"{tier}: credential is an asynchronous token credential, an account key or a SAS, not a {type(credential).__name__}"
        )


def limits_of(
    tier: str,
    *,
    connection_pool_size: int | None,
    connection_timeout: timedelta | float | None,
    read_timeout: timedelta | float | None,
) -> dict[str, Any]:
    """What of `Access` was given (None: its default). Raises `ConfigurationError` for numbers that leave no connection, or no time."""
    limits: dict[str, Any] = {}
    if connection_pool_size is not None:
        limits["pool_size"] = configured.whole(connection_pool_size, f"{tier}: connection_pool_size", least=1)
    for name, given in (("connection_timeout", connection_timeout), ("read_timeout", read_timeout)):
        if given is not None:
            limits[name] = configured.duration(given, f"{tier}: {name}").total_seconds()
    return limits
