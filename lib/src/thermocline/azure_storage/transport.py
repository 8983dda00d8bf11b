"""How requests to Azure Storage leave: each at most once, large bodies in parts, and signed with the SAS of this moment where that changes."""

import io
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

from thermocline.resilience import Signing, unsigned
from thermocline.resilience.connections import Connector

AT_ONCE: Final = (
    2**18
)  # bytes of an answer that are read in one go; the default, where the SDK is given a session, is 4 kB
_WHOLE: Final = 2**20  # bytes that aiohttp takes in one piece without complaint


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to get into an account. ``credential``: an asynchronous TokenCredential, an account key, a SAS (perhaps `Rotating`), the SDK's credential, or
    None."""

    credential: Any = field(default=None, repr=False)
    pool_size: int = 100
    connection_timeout: float = 5.0  # seconds, per connection
    read_timeout: float = 30.0  # seconds of silence on a connection; the call's deadline is usually shorter


class Transport(AioHttpTransport):  # type: ignore[misc] # azure-core gives it out by __getattr__, without a type
    """A session of aiohttp for the SDK, which closes it. Hands large bodies to aiohttp as a file: as bytes they would be written in one go, which holds the
    event loop up (and warns).

    ``signing``: puts a SAS that changes on each request's URL.
    """

    def __init__(self, access: Access, signing: Signing | None) -> None:
        super().__init__(
            session=aiohttp.ClientSession(
                connector=Connector(access.pool_size),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=AT_ONCE,
                # Without a proxy in the environment aiohttp need not look for one: it would for each request, in a thread, and into ~/.netrc as well.
                trust_env=bool(getproxies()),
                middlewares=(unsigned, _send_once),
            ),
            connection_timeout=access.connection_timeout,
            read_timeout=access.read_timeout,
            connection_data_block_size=AT_ONCE,
        )
        self._signing = signing

    def renewable(self, url: str) -> bool:
        """Whether a newer SAS may let a request in that was refused."""
        return True

    async def send(self, request: Any, **options: Any) -> Any:
        send = super().send
        if self._signing is None:
            return await send(request, **options)
        again = self.renewable(request.url)
        return await self._signing.send(request, lambda: send(request, **options), again=again)

    def _get_request_data(self, request: Any) -> Any:
        data = super()._get_request_data(request)
        if isinstance(data, str):
            data = data.encode()
        return io.BytesIO(data) if isinstance(data, bytes) and len(data) > _WHOLE else data


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp sends a PUT or DELETE again by itself if a kept-alive connection breaks. A writer must know of each copy, so end that here."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # never sent, and never sent again
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method in ("GET", "HEAD"):
            raise
        raise aiohttp.ClientConnectionError(f"the connection broke: {error}") from error
