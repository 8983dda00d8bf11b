"""The connections of one service's client over aiohttp, which end with it: also those that a request left behind when it was cancelled.

Such a request closes its connection politely, and over TLS politeness waits for the other side. aiohttp does not count these any more, so that a client
that is closed meanwhile would leave them open in a program that ends: sockets which nobody closes, and warnings about them.
"""

import asyncio
import ssl
from functools import partial
from typing import Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from thermocline.resilience.lookups import Lookups

_GONE: Final = 1.0  # seconds; it takes a turn or two of the event loop


class _Handler(ResponseHandler):
    """Is among ``there`` from when its connection is made until that is lost."""

    def __init__(self, there: "dict[_Handler, asyncio.BaseTransport]", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._there = there
        self.gone: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        for one, former in list(self._there.items()):
            if one.handed_on(former) and former.is_closing():
                del self._there[one]
        self._there[self] = transport
        super().connection_made(transport)

    def handed_on(self, transport: asyncio.BaseTransport) -> bool:
        """Whether ``transport`` serves TLS through a proxy by now, and will never say here that it is lost."""
        try:
            return transport.get_protocol() is not self
        except AttributeError:  # asyncio's over TLS has none any more where both sides have closed it
            return False

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
        self._factory: Any = partial(_Handler, self._there, self._loop)  # what aiohttp calls for each new connection

    async def close(self, **how: bool) -> None:  # abort_ssl, which the first of aiohttp 3.12 do not know
        """Close what is open, and do not wait for the goodbyes of what is closing."""
        if self._loop.is_closed():  # nothing can be said any more
            await super().close(**how)
            return
        try:
            await super().close(**how)
        finally:  # also where that was cancelled
            left = dict(self._there)
            told = [handler.gone for handler, transport in left.items() if not handler.handed_on(transport)]
            for transport in left.values():
                cast(asyncio.Transport, transport).abort()
        if told:
            await asyncio.wait(told, timeout=_GONE)
