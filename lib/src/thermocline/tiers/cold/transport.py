"""How requests to Blob Storage leave: large bodies in parts, and signed with the SAS of this moment where that changes while the program runs."""

import io
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from azure.core.pipeline.transport import AioHttpTransport

from thermocline.errors import ConfigurationError
from thermocline.resilience import Rotating

_WHOLE: Final = 2**20  # bytes that aiohttp takes as they are


class Transport(AioHttpTransport):  # type: ignore[misc] # azure-core gives it out by __getattr__, without a type
    """Hands large bodies to aiohttp as a file: as bytes they would be written in one go, which holds the event loop up (and warns).

    ``sas``: puts it on each request's URL, and out of sight again; where it is refused, the request was not carried out, and goes once more with a
    newer one if there is any.
    """

    def __init__(self, sas: Rotating[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._sas = sas

    async def send(self, request: Any, **options: Any) -> Any:
        if self._sas is None:
            return await self._send(request, request.data, **options)
        url, data, sas = request.url, request.data, self._sas
        try:
            request.url = signed(url, await sas.current())
            seen = sas.generation
            response = await self._send(request, data, **options)
            if response.status_code in (401, 403) and not _about_the_container(url) and await sas.renew(seen):
                request.url = signed(url, await sas.current())
                response = await self._send(request, data, **options)
            return response
        finally:
            request.url = url

    async def _send(self, request: Any, data: Any, **options: Any) -> Any:
        request.data = io.BytesIO(data) if isinstance(data, bytes) and len(data) > _WHOLE else data
        return await super().send(request, **options)


def _about_the_container(url: str) -> bool:
    """Whether it asks for the container's properties, or to make it, which a SAS of a container may never."""
    query = urlsplit(url).query
    return "restype=container" in query and "comp=" not in query


def signed(url: str, sas: str) -> str:
    """The URL with the SAS behind its own parameters. Raises `ConfigurationError` for what is none."""
    sas = sas.strip().removeprefix("?")
    if "sig=" not in sas or any(mark in sas for mark in ("://", "?", "#", " ", "\n")):
        raise ConfigurationError(
            "cold: the secret that BLOB_SAS_SECRET_NAME names holds no SAS (sv=…&sig=…): store the token alone, without the account's URL"
        )
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=f"{parts.query}&{sas}" if parts.query else sas))
