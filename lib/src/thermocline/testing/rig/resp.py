"""As much of the Redis protocol (RESP2) as the rig needs to set its servers up, over a plain socket."""

import socket
from datetime import timedelta
from types import TracebackType
from typing import Self

Reply = bytes | int | None | list["Reply"]


class RespError(OSError):
    """The server answered with an error, or closed the connection; the message is its own."""


class RespConnection:
    """One blocking connection. Raises OSError if there is nobody, or nobody answers within ``timeout``."""

    def __init__(self, port: int, *, password: str | None = None, timeout: timedelta = timedelta(seconds=2)) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout.total_seconds())
        self._input = self._socket.makefile("rb")
        if password is not None:
            try:
                self.call("AUTH", password)
            except OSError:
                self.close()
                raise

    def call(self, *words: str | int) -> Reply:
        """Send one command and return its reply. Raises RespError with the server's own message."""
        parts = [str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(request)
        return self._reply()

    def fields(self, *words: str | int) -> dict[str, str]:
        """Send a command whose reply is lines of ``name:value`` (INFO, CLUSTER INFO) and return them."""
        reply = self.call(*words)
        assert isinstance(reply, bytes)
        return dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)

    def close(self) -> None:
        """Close the connection."""
        self._input.close()
        self._socket.close()

    def _reply(self) -> Reply:
        line = self._input.readline()
        if not line.endswith(b"\r\n"):
            raise RespError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RespError(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._input.read(size + 2)[:-2]
        if kind == b"*":
            return None if int(rest) < 0 else [self._reply() for _ in range(int(rest))]
        raise RespError(f"unknown reply {line!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
