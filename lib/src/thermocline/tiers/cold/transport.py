"""How requests to Blob Storage leave: large bodies in parts, and signed with the SAS of this moment where that changes while the program runs."""

import io
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.pipeline.transport import AioHttpTransport

from thermocline.resilience import Signing

_WHOLE: Final = 2**20  # bytes that aiohttp takes as they are


class Transport(AioHttpTransport):  # type: ignore[misc] # azure-core gives it out by __getattr__, without a type
    """Hands large bodies to aiohttp as a file: as bytes they would be written in one go, which holds the event loop up (and warns).

    ``signing``: puts a SAS that changes on each request's URL.
    """

    def __init__(self, signing: Signing | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._signing = signing

    async def send(self, request: Any, **options: Any) -> Any:
        data = request.data
        if self._signing is None:
            return await self._send(request, data, **options)
        again = not _about_the_container(request.url)
        return await self._signing.send(request, lambda: self._send(request, data, **options), again=again)

    async def _send(self, request: Any, data: Any, **options: Any) -> Any:
        request.data = io.BytesIO(data) if isinstance(data, bytes) and len(data) > _WHOLE else data
        return await super().send(request, **options)


def _about_the_container(url: str) -> bool:
    """Whether it asks for the container's properties, or to make it, which a SAS of a container may never."""
    query = urlsplit(url).query
    return "restype=container" in query and "comp=" not in query
