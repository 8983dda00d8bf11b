"""What a `ChaosProxy` works with: one proxied connection, and how one direction is broken."""

import asyncio
import contextlib
import enum
import random
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from thermocline.testing.rig.errors import RigError
from thermocline.testing.rig.sockets import HOST, reset

CHUNK = 65_536


class Way(enum.Enum):
    """The two directions."""

    REQUESTS = "requests"
    ANSWERS = "answers"


@dataclass
class Traffic:
    """What has passed so far. ``lost_bytes`` were taken from one side and never given to the other."""

    opened: int = 0
    closed: int = 0
    request_bytes: int = 0
    answer_bytes: int = 0
    lost_bytes: int = 0

    @property
    def open(self) -> int:
        """Connections that are not over: a client that has gone may still have a request under way."""
        return self.opened - self.closed


@dataclass
class Faults:
    """How one direction is broken."""

    delay: float = 0.0  # seconds for each chunk of up to 64 kB
    delay_per_byte: float = 0.0
    blackhole: bool = False
    budget: int | None = None  # bytes until the cut
    cut: asyncio.Event | None = None
    instead: "Instead | None" = None  # of requests alone


@dataclass
class Instead:
    """What a share of the requests is answered with, in place of the server's answer."""

    answer: bytes
    share: float
    chance: random.Random = field(repr=False)

    def strikes(self) -> bool:
        return self.share >= 1 or self.chance.random() < self.share


class Connection:
    """A client and its connection to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.torn = False  # bytes are missing: it must never carry any again
        self.losing: asyncio.Event | None = None  # the answer to come is lost, then this is set
        self.answered = (
            False  # by the proxy: the server hears no more of it, and what its client still sends is dropped
        )

    def reset(self) -> None:
        """End both sides by RST."""
        self.torn = True
        reset(self.client)
        reset(self.server)

    async def answer(self, data: bytes) -> None:
        """Answer in the server's place, for the last time."""
        self.answered = self.torn = True
        reset(self.server)
        with contextlib.suppress(OSError):
            self.client.write(data)
            self.client.write_eof()  # but go on taking what it sends: an RST could overtake the answer
            await self.client.drain()


def open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


async def read_all(source: asyncio.StreamReader, read: asyncio.Queue[tuple[float, bytes]]) -> None:
    """Read eagerly, with the time of arrival: what a sender sent before it broke off is then not lost with it."""
    clock = asyncio.get_running_loop().time
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK):
            await read.put((clock(), data))
    await read.put((clock(), b""))


def address(upstream: str | int) -> tuple[str, int]:
    if isinstance(upstream, int):
        return HOST, upstream
    parts = urlsplit(upstream)
    if parts.hostname is None or parts.port is None:
        raise RigError(f"the proxy needs a URL with host and port, or a port; not {upstream!r}")
    return parts.hostname, parts.port
