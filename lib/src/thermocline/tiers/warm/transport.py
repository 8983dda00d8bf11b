"""How requests to Cosmos DB leave: watched one by one, with our limits of connections, and signed with the key of this moment."""

import asyncio
import io
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
from azure.core import exceptions as core
from azure.core.pipeline.transport import AioHttpTransport

from thermocline.resilience.connections import Connector
from thermocline.resilience.priority import is_background
from thermocline.resilience.signing import unsigned
from thermocline.telemetry import correlate
from thermocline.tiers.warm.billing import Billed, billed
from thermocline.tiers.warm.signing import Signer
from thermocline.tiers.warm.trouble import by_status, in_doubt
from thermocline.tiers.warm.watching import NEVER, current

CONNECTIONS: Final = 100  # at most, as of aiohttp
HEADER_BYTES: Final = 2**17  # a query's continuation token repeats what it is ordered by, such as a name of 16 kB
AT_ONCE_BYTES: Final = 2**20  # aiohttp warns of a longer body in one piece, and sends a stream in parts

Answered = Callable[[int, Mapping[str, str], float], None]
"""Called for each response with its status, its headers, and the seconds since its request was sent."""

Bills = Callable[[Billed], None]
"""Called for what a request is billed as."""


class Watching(AioHttpTransport):  # type: ignore[misc]  # azure.core exports it lazily, without a type
    session: aiohttp.ClientSession | None

    def __init__(
        self, answered: Answered, bills: Bills, connection_limit: int | None, signer: Signer | None = None
    ) -> None:
        super().__init__()
        self._answered = answered
        self._bills = bills
        self._signer = signer
        self._limit = connection_limit

    async def open(self) -> None:
        if self.session is None and not self._has_been_opened:
            # As AioHttpTransport opens it, but for the limit of connections; and where the environment names no proxy, aiohttp need not look for one:
            # it would, for each request, in a thread, and once more for a password in ~/.netrc, which only clashes with Azure's own sign-in.
            self.session = aiohttp.ClientSession(
                connector=Connector(self._limit or CONNECTIONS),
                trust_env=bool(getproxies()),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                max_line_size=HEADER_BYTES,
                max_field_size=HEADER_BYTES,
                middlewares=(unsigned,),
            )
        await super().open()

    def _get_request_data(self, request: Any) -> Any:
        data = super()._get_request_data(request)
        return io.BytesIO(data) if isinstance(data, bytes) and len(data) > AT_ONCE_BYTES else data

    async def send(self, request: Any, **config: Any) -> Any:
        if self._signer is None:
            return await self._send(request, **config)
        seen = await self._signer.sign(request)
        response = await self._send(request, **config)
        if response.status_code == 401 and await self._signer.renewed(
            seen
        ):  # a request that was refused has done nothing
            await self._signer.sign(request)
            response = await self._send(request, **config)
        return response

    async def _send(self, request: Any, **config: Any) -> Any:
        sent = current()
        statuses: list[int | None] = sent.statuses if sent is not None and "/docs" in request.url else []
        place = len(statuses)
        statuses.append(None)
        correlate(request.headers)
        if is_background():
            request.headers["x-ms-cosmos-priority-level"] = (
                "Low"  # the service refuses these first where it is asked for too much
            )
        started = asyncio.get_running_loop().time()
        try:
            response = await super().send(request, **config)
        except core.ServiceRequestError as error:
            if never_left(error):
                statuses[place] = NEVER
            raise
        statuses[place] = response.status_code
        self._answered(response.status_code, response.headers, asyncio.get_running_loop().time() - started)
        status, size = response.status_code, _size_of(response)
        done = billed(request.method, request.url, request.headers, status, response.headers, size)
        if done is not None:
            self._bills(done)
        if in_doubt(response.status_code) and "/docs" in request.url:
            # The SDK would wait half a second and send it again, writes too. Not an AzureError, so it leaves the SDK at once.
            raise by_status(response.status_code, substatus_of(response.headers), response.text())
        return response


def _size_of(response: Any) -> int:
    """Bytes of the answer's body, once it is read; else what its header says. The service may send it in chunks, without a length."""
    try:
        return len(response.body())
    except ValueError:  # not read yet
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else 0


def never_left(error: core.ServiceRequestError) -> bool:
    """Whether no connection was made. (azure-core calls a connection that the server dropped a ServiceRequestError too.)"""
    inner = error.inner_exception
    return isinstance(inner, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL)


def substatus_of(headers: Mapping[str, str]) -> int:
    found = headers.get("x-ms-substatus", "")
    return int(found) if found.isdigit() else 0
