"""A service of Azure Storage, opened: calls of its SDK within a deadline, every failure one of ours, requests counted, its clock compared with ours.

The SDK's own retries are off, and aiohttp's silent resend of a PUT over a connection that broke is too: each call sends its request at most once; only
reads may be asked again underneath.
"""

import asyncio
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from azure.core.exceptions import HttpResponseError

from thermocline.azure_storage.door import CAUGHT, Door
from thermocline.azure_storage.transport import Access, Transport
from thermocline.clock import Clock, Deadline
from thermocline.errors import ClientClosed, ThermoclineError, Throttled, TierTimeout
from thermocline.resilience import Rotating, Signing, Skew
from thermocline.telemetry import REQUESTS, THROTTLED, Stats, correlate

_SENT: Final = "thermocline sent"  # in a request's context: when it was sent, in ms


class Closes(Protocol):
    """What all the SDKs' clients have in common."""

    async def close(self) -> None: ...


C = TypeVar("C", bound=Closes)
T = TypeVar("T")


class StorageService(ABC, Generic[C]):
    """A client of an SDK. `open` binds it to the running loop."""

    door: ClassVar[Door]
    sas_variable: ClassVar[str]  # which names the secret that holds a SAS
    _account: Access

    def __init__(self, account: Access, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._client: C | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._skew = Skew()
        self.stats = Stats()

    @abstractmethod
    def _made(self, signing: Signing | None, options: dict[str, Any]) -> C:
        """The SDK's client with these options. ``signing``: its requests are signed by the transport. Raises `ConfigurationError`."""

    def _transport(self, signing: Signing | None) -> Transport:
        return Transport(self._account, signing)

    async def open(self) -> bool:
        """Bind to the running loop; nothing is sent. False: it was open already."""
        if self._client is not None:
            self._open()
            return False
        signing: Signing | None = None
        if isinstance(self._account.credential, Rotating):
            signing = Signing(self._account.credential, tier=self.door.tier, variable=self.sas_variable)
            await signing.check()
        transport = self._transport(signing)
        options = {
            "transport": transport,
            "retry_total": 0,
            "retry_connect": 0,
            "retry_read": 0,
            "retry_status": 0,
            "retry_to_secondary": False,
            "raw_request_hook": self._on_request,
            "raw_response_hook": self._on_response,
        }
        try:
            client = self._made(signing, options)
        except BaseException:
            await transport.close()
            raise
        self._client, self._loop = client, asyncio.get_running_loop()
        return True

    async def close(self) -> None:
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.close()

    def now_ms(self) -> int:
        """The wall clock, corrected by the service's where they differ by more than a second."""
        return self._clock.wall_ms() + self._skew.ms

    @property
    def skew_ms(self) -> int:
        """The service's clock less this machine's, in ms; 0 where the difference is below a second."""
        return self._skew.ms

    # --- for the calls of a service ----------------------------------------------------------------------------------

    def _open(self) -> C:
        if self._client is None:
            raise ClientClosed(f"{self.door.tier}: not connected, or closed; call connect() first")
        if self._loop is not asyncio.get_running_loop():
            raise ClientClosed(f"{self.door.tier}: connected in another event loop; make one client per loop")
        return self._client

    async def _unless(
        self, answer: Callable[[HttpResponseError], bool], call: Awaitable[T], deadline: Deadline, doing: str
    ) -> T | None:
        """The call's result; None where the service gives that ``answer``."""
        try:
            return await self._call(call, deadline, doing, raw=True)
        except HttpResponseError as error:
            if answer(error):
                return None
            raise self._failed(error, doing) from error

    async def _call(self, call: Awaitable[T], deadline: Deadline, doing: str, *, raw: bool = False) -> T:
        """Await a call of the SDK within the deadline, all its exceptions translated; with ``raw`` an answer of the service is left as it is."""
        tier, remaining = self.door.tier, deadline.remaining()
        if remaining <= 0:
            if inspect.iscoroutine(call):
                call.close()
            raise TierTimeout(f"{tier}: no time left to {doing}", tier=tier, sent=False)
        limit = asyncio.timeout(None if math.isinf(remaining) else remaining)
        try:
            async with limit:
                return await call
        except ThermoclineError:
            raise  # a credential's own
        except CAUGHT as error:
            if limit.expired():
                raise TierTimeout(f"{tier}: no answer in time to {doing}", tier=tier) from error
            if raw and isinstance(error, HttpResponseError):
                raise
            raise self._failed(error, doing) from error

    def _failed(self, error: Exception, doing: str) -> ThermoclineError:
        failure = self.door.translate(error, doing)
        if isinstance(failure, Throttled):
            self.stats.count(THROTTLED, self.door.tier)
        return failure

    def _on_request(self, request: Any) -> None:
        self.stats.count(REQUESTS, self.door.tier)
        correlate(request.http_request.headers)
        request.context[_SENT] = self._clock.wall_ms()

    def _on_response(self, response: Any) -> None:
        date = response.http_response.headers.get("Date")
        if date is not None:
            now = self._clock.wall_ms()
            self._skew.answered(date, response.context.get(_SENT, now), now)
