"""Counting at the wire: a TCP proxy that passes every byte on as it came, and reads the requests that go by."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit, urlunsplit

import hiredis

GREETINGS = frozenset({"HELLO", "CLIENT", "AUTH", "SELECT", "PING"})
"""Commands of a new or idle connection, which belong to no verb."""

_CHUNK = 65_536
_QUIET = 0.03  # seconds without a byte: then what a verb left behind is over


class Reader(Protocol):
    """Takes a direction's bytes as they come and returns the names of the requests that began or ended in them."""

    def feed(self, data: bytes) -> list[str]: ...


class Commands:
    """Redis commands by their first word."""

    def __init__(self) -> None:
        self._parser = hiredis.Reader()

    def feed(self, data: bytes) -> list[str]:
        self._parser.feed(data)
        found: list[str] = []
        while True:
            command: Any = self._parser.gets()
            if command is False:
                return found
            found.append(command[0].decode().upper())


class HttpRequests:
    """HTTP/1.1 requests as ``METHOD target``. Bodies have a length or come in chunks."""

    def __init__(self) -> None:
        self._held = b""
        self._body = 0  # bytes of the body that are still to come
        self._chunks = False

    def feed(self, data: bytes) -> list[str]:
        self._held += data
        found: list[str] = []
        while self._held:
            if self._body:
                skipped = min(self._body, len(self._held))
                self._held, self._body = self._held[skipped:], self._body - skipped
            elif self._chunks:
                if not self._next_chunk():
                    return found
            else:
                head, end, rest = self._held.partition(b"\r\n\r\n")
                if end == b"":
                    return found
                self._held = rest
                first, *fields = head.decode("latin-1").split("\r\n")
                method, target, _ = first.split(" ")
                found.append(f"{method} {target}")
                given = {
                    name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)
                }
                self._chunks = given.get("transfer-encoding", "").lower() == "chunked"
                self._body = int(given.get("content-length", "0"))
        return found

    def _next_chunk(self) -> bool:
        """Whether a chunk's head, or the end of them, was there to be read."""
        head, end, rest = self._held.partition(b"\r\n")
        if end == b"":
            return False
        size = int(head.split(b";")[0], 16)
        self._held = rest
        self._body = size + 2  # and the end of its line
        self._chunks = size > 0
        return True


@dataclass(slots=True)
class Count:
    """What passed between two moments. ``requests`` by name; bytes as the client sees them."""

    requests: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        return self.requests.total()


class Tap:
    """In front of ``upstream`` (a URL of 127.0.0.1). Use it with ``async with``; `url` is the upstream's by way of it."""

    def __init__(self, upstream: str, reader: Callable[[], Reader], *, without: frozenset[str] = frozenset()) -> None:
        self._parts = urlsplit(upstream)
        self._reader, self._without = reader, without
        self._count = Count()
        self._moved = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Raises AssertionError before it is entered."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        login, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{login}{at}127.0.0.1:{port}"))

    async def settled(self) -> None:
        """Wait until nothing has passed for a moment."""
        while True:
            before = self._moved
            await asyncio.sleep(_QUIET)
            if self._moved == before:
                return

    async def begin(self) -> None:
        """Count from now on."""
        await self.settled()
        self._count = Count()

    async def end(self) -> Count:
        """What passed since `begin`."""
        await self.settled()
        return self._count

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        from_server, to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        reader = self._reader()
        try:
            await asyncio.gather(self._pass(from_client, to_server, reader), self._pass(from_server, to_client, None))
        except asyncio.CancelledError:
            return  # it is closed: the end of its pairs is no error of theirs
        finally:
            for writer in (to_client, to_server):
                writer.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, reader: Reader | None) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                self._moved += len(data)
                if reader is None:
                    self._count.received += len(data)
                else:
                    self._count.sent += len(data)
                    self._count.requests.update(name for name in reader.feed(data) if name not in self._without)
                sink.write(data)
                await sink.drain()
            sink.write_eof()
