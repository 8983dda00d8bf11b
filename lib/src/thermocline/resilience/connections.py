"""The connections of one service's client over aiohttp, which end with it: also those that a request left behind when it was cancelled.

Such a request closes its connection politely, and over TLS politeness waits for the other side. aiohttp does not count these any more, so that a client
that is closed meanwhile would leave them open in a program that ends: sockets which nobody closes, and warnings about them.
"""

import asyncio
import ssl
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from thermocline.resilience.lookups import Lookups


class _Handler(ResponseHandler):
    """Is among ``there`` from when its connection is made until that is lost."""

    def __init__(self, there: "dict[_Handler, asyncio.BaseTransport]", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._there = there
        self.gone: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._there[self] = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._there.pop(self, None)
        if not self.gone.done():
            self.gone.set_result(None)
        super().connection_lost(exc)


class Connector(aiohttp.TCPConnector):
    """aiohttp's, with names that are looked up in threads of its own (`Lookups`). After `close` none of its connections is there."""

    def __init__(self, limit: int = 100, *, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(limit=limit, resolver=cast(Any, Lookups()), ssl=True if ssl_context is None else ssl_context)
        self._there: dict[_Handler, asyncio.BaseTransport] = {}
        self._factory: Any = self._handler  # what aiohttp calls for each new connection

    def _handler(self) -> _Handler:
        return _Handler(self._there, asyncio.get_running_loop())

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close what is open, and do not wait for the goodbyes of what is closing."""
        await super().close(abort_ssl=abort_ssl)
        left = dict(self._there)
        for transport in left.values():
            cast(asyncio.Transport, transport).abort()
        if left:
            await asyncio.wait([handler.gone for handler in left])
