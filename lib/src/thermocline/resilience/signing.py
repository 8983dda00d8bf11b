"""A SAS on the requests of a storage service: one that changes while the program runs, and none in an error. Knows no SDK: a request here has a ``url``."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from thermocline.errors import ConfigurationError
from thermocline.resilience.rotating import Rotating

_REFUSED: Final = (401, 403)
_QUERY: Final = re.compile(r"(://[^\s?]*)\?\S*")  # of a URL in a text

T = TypeVar("T")


class Signing:
    """Signs requests with the SAS of this moment. ``tier`` and ``variable`` are for what is told of a secret that holds none."""

    def __init__(self, sas: Rotating[str], *, tier: str, variable: str) -> None:
        self._sas = sas
        self._named = f"{tier}: the secret that {variable} names"

    async def check(self) -> None:
        """Have the secret read. Raises `ConfigurationError` if it holds no SAS, and why it cannot be read."""
        self._signed("", await self._sas.current())

    async def send(self, request: Any, send: Callable[[], Awaitable[Any]], *, again: bool = True) -> Any:
        """Have ``send`` carry the request with the SAS on its URL, which is out of sight again afterwards.

        A request that is refused (401, 403) was not carried out: unless ``again`` is False it goes once more with a newer SAS, if the secret has one.
        """
        url, sas = request.url, self._sas
        try:
            request.url = self._signed(url, await sas.current())
            seen = sas.generation
            response = await send()
            if response.status_code in _REFUSED and again and await sas.renew(seen):
                request.url = self._signed(url, await sas.current())
                response.internal_response.release()  # nobody reads it: else it holds a connection
                response = await send()
            return response
        finally:
            request.url = url

    def _signed(self, url: str, sas: str) -> str:
        """The URL with the SAS behind its own parameters."""
        sas = self._bare(sas)
        parts = urlsplit(url)
        return urlunsplit(parts._replace(query=f"{parts.query}&{sas}" if parts.query else sas))

    async def token(self) -> tuple[str, int]:
        """The SAS of this moment and its generation, for a client that signs by itself. Raises `ConfigurationError` if it is none, and why it
        cannot be read."""
        return self._bare(await self._sas.current()), self._sas.generation

    async def renew(self, seen: int) -> bool:
        """As `Rotating.renew`."""
        return await self._sas.renew(seen)

    def _bare(self, sas: str) -> str:
        sas = sas.strip().removeprefix("?")
        if "sig=" not in sas or any(mark in sas for mark in ("://", "?", "#", " ", "\n")):
            raise ConfigurationError(
                f"{self._named} holds no SAS (sv=…&sig=…): store the token alone, without the account's URL"
            )
        return sas


async def unsigned(request: Any, handler: Callable[[Any], Awaitable[T]]) -> T:
    """A middleware of an aiohttp session: takes what may hold a SAS or a token out of its errors, which name the whole URL where connecting takes too
    long, and have the headers beside it where the answer is no HTTP."""
    try:
        return await handler(request)
    except Exception as error:
        info: Any = getattr(error, "request_info", None)
        if info is None:
            error.args = tuple(_QUERY.sub(r"\1?…", word) if isinstance(word, str) else word for word in error.args)
        else:
            bare = info.url.with_query(None)
            told: Any = error
            told.request_info = info._replace(url=bare, real_url=bare, headers={})
            told.args = (told.request_info, *error.args[1:])
        raise
