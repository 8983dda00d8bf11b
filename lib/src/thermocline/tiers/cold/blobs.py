"""What `BlobService` is given and gives: the account, blobs, listings. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from thermocline.azure_storage.transport import Access

Transfer = Literal["sdk", "obstore"]

BLOCK: Final = 4 * 2**20  # bytes of one block: what one request carries at most, up and down
FAST_AT_ONCE: Final = (
    16 * 2**20
)  # bytes that go up by obstore in one request: blocks cost ten times the CPU, and more would be slow on one connection
PARALLEL: Final = 4  # blocks of one payload under way at once


@dataclass(frozen=True, slots=True)
class Account(Access):
    """Where the container is. ``transfer``: what carries payloads and reads heads."""

    url: str = field(repr=False)  # may hold a SAS
    container: str
    connection_string: str | None = field(default=None, repr=False)
    transfer: Transfer = "sdk"


@dataclass(frozen=True, slots=True)
class Blob:
    data: bytes
    etag: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of a blob, perhaps in the memory of who received them."""

    data: bytes | memoryview
    etag: str


@dataclass(frozen=True, slots=True)
class Put:
    """What was stored: its new ETag, and when by the service's clock (whole seconds, as ms since 1970)."""

    etag: str
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob in a listing."""

    name: str
    etag: str
    size: int
    modified_ms: int
    metadata: Mapping[str, str]
