"""How requests to Blob Storage leave: large bodies in parts, and signed with the SAS of this moment where that changes while the program runs.
And how what comes is kept: as it came, without a copy for every layer."""

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


class Parts:
    """What the SDK downloads into, in place of a `BytesIO`: it keeps each part as it is, so that a blob of one part is never copied, and a larger one
    once. The SDK asks for these methods of a file and no others."""

    def __init__(self) -> None:
        self._parts: dict[int, bytes] = {}  # by where they begin
        self._at = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int) -> int:
        self._at = offset
        return offset

    def write(self, data: bytes) -> int:
        self._parts[self._at] = data
        self._at += len(data)
        return len(data)

    def joined(self) -> bytes:
        parts = [self._parts[at] for at in sorted(self._parts)]
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _about_the_container(url: str) -> bool:
    """Whether it asks for the container's properties, or to make it, which a SAS of a container may never."""
    query = urlsplit(url).query
    return "restype=container" in query and "comp=" not in query
