"""How requests to Blob Storage leave: signed with the SAS of this moment, but where no SAS of a container helps.
And how what comes is kept: as it came, without a copy for every layer."""

from urllib.parse import urlsplit

from thermocline.azure_storage.transport import Transport


class BlobTransport(Transport):
    def renewable(self, url: str) -> bool:
        return not _about_the_container(url)


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
