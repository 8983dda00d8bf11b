"""What `BlobService` is given and gives: the account, blobs, listings. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Transfer = Literal["sdk", "obstore"]

BLOCK: Final = 4 * 2**20  # bytes of one block: what one request carries at most, up and down
FAST_AT_ONCE: Final = (
    16 * 2**20
)  # bytes that go up by obstore in one request: blocks cost ten times the CPU, and more would be slow on one connection
PARALLEL: Final = 4  # blocks of one payload under way at once


@dataclass(frozen=True, slots=True)
class Account:
    """Where the container is and how to get in. ``credential``: an asynchronous TokenCredential, an account key, a SAS (perhaps `Rotating`), or None.
    ``transfer``: what carries payloads and reads heads."""

    url: str
    container: str
    credential: Any = None
    connection_string: str | None = None
    pool_size: int = 100
    connection_timeout: float = 5.0  # seconds, per connection
    read_timeout: float = 30.0  # seconds of silence on a connection; the call's deadline is usually shorter
    transfer: Transfer = "sdk"


@dataclass(frozen=True, slots=True)
class Blob:
    data: bytes
    etag: str
    metadata: Mapping[str, str] = field(default_factory=dict)


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
