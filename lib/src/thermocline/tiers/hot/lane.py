"""One connection to one server that many calls share: what is said in one tick of the event loop goes out in one write, and replies come in the order
of what was said.

A call that gives up leaves its place in that order, and the reply that belongs there is thrown away: so none is ever read by another call (P10).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

try:
    import hiredis
except ModuleNotFoundError:  # calls have a connection for themselves then: see Link
    hiredis = None  # type: ignore[assignment]

THERE: Final = hiredis is not None
PACK: Final[Callable[[Any], bytes] | None] = getattr(hiredis, "pack_command", None)
APART: Final = 65_536  # bytes from which on what goes out is not joined with others' into one write
_MORE: Final = object()  # what the parser says where it needs more bytes


class Said:
    """What one call has said, and what was answered so far. ``name``: of the key, if it is one plain GET, which others of the same tick may share."""

    __slots__ = ("also", "data", "error", "future", "heard", "left", "name", "replies", "sent")

    def __init__(self, data: list[bytes], count: int, name: bytes | None = None) -> None:
        self.data = data
        self.left = count  # replies that have still to come
        self.name = name
        self.replies: list[Any] = []
        self.sent = False  # it may have reached the server
        self.error: Exception | None = None  # what ended it before all replies were there
        self.heard = 0  # how often the lane had heard something by then
        self.also: list[Said] | None = None
        self.future: asyncio.Future[None] | None = None

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future is None or self.future.done()

    def wanted(self) -> bool:
        return not self.over or (self.also is not None and any(not one.over for one in self.also))


class Lane(asyncio.Protocol):
    """Takes over an open connection of the SDK for as long as it lasts. ``parse``: makes an exception of an error's text; ``forgotten``: its class for the
    answer that the server does not know who we are; ``garbled``: what to raise for what is no RESP."""

    def __init__(
        self,
        connection: Any,
        *,
        parse: Callable[[str], Exception],
        forgotten: type[Exception],
        garbled: type[Exception],
    ) -> None:
        self.connection = connection  # to be kept: the SDK's objects close the socket where they are dropped
        self.heard = 0  # pieces of data that have come
        self.live = 0  # calls that wait; kept by `Lanes`
        self.forgot = False  # it was answered that the server does not know who we are
        self.leaving = False  # takes no further calls
        self.broken = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._parse = parse
        self._forgotten = forgotten
        self._garbled = garbled
        self._transport = connection._writer.transport  # noqa: SLF001 - the SDK has no name for it
        self._reader = hiredis.Reader(protocolError=garbled, replyError=self._error, notEnoughData=_MORE)
        self._waiting: deque[Said] = deque()
        self._out: list[Said] = []
        self._shared: dict[bytes, Said] = {}  # the GETs among these
        self._flushing = False
        self._paused = False
        early = bytes(connection._reader._buffer)  # noqa: SLF001 - what came behind the greeting
        self._transport.set_protocol(self)
        if early:
            self.data_received(early)

    # --- saying ------------------------------------------------------------------------------------------------------

    def put(self, said: Said) -> "asyncio.Future[None]":
        """Say it: at once if nothing is under way, else with all others of this tick. The future ends when all replies are there."""
        future = said.future = self._loop.create_future()
        said.heard = self.heard
        if self.over():
            self._fail(said, ConnectionResetError("the server has closed the connection"))
        elif not self._waiting and not self._out and not self._paused:
            self._write([said])
        else:
            name = said.name
            if name is not None:
                first = self._shared.get(name)
                if first is not None:
                    first.also = [*(first.also or ()), said]
                    return future
                self._shared[name] = said
            self._out.append(said)
            if not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        """The end of a tick, or the server has read what was held back."""
        self._flushing = False
        if self._out and not self._paused and not self.broken:
            out, self._out, self._shared = self._out, [], {}
            self._write(out)

    def _write(self, out: list[Said]) -> None:
        """What nobody waits for any more is not sent, so that ``sent`` has told the truth to who gave up."""
        parts: list[bytes] = []
        for said in out:
            if said.wanted():
                said.sent = True
                for one in said.also or ():
                    one.sent = True
                self._waiting.append(said)
                parts += said.data
            said.data = []
        write = self._transport.write
        if len(parts) == 1:
            write(parts[0])
            return
        small: list[bytes] = []
        for part in parts:
            if len(part) < APART:
                small.append(part)
                continue
            write(b"".join(small))
            write(part)
            small = []
        if small:
            write(b"".join(small))

    def pause_writing(self) -> None:
        """The transport holds as much as it may: what is said waits here until the server has read."""
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    # --- hearing -----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self.heard += 1
        waiting, gets = self._waiting, self._reader.gets
        try:
            self._reader.feed(data)
            while (reply := gets(False)) is not _MORE:
                if type(reply) is hiredis.PushNotification:  # which nobody here has asked for
                    continue
                if not waiting:
                    raise ConnectionResetError("the server has answered what nobody asked")
                said = waiting[0]
                said.left -= 1
                if not said.over:
                    said.replies.append(reply)
                if said.left == 0:
                    waiting.popleft()
                    self._answered(said, reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing that follows can be understood
            self.fail(error)

    def _answered(self, said: Said, reply: Any) -> None:
        if said.future is not None and not said.future.done():
            said.future.set_result(None)
        if said.also is not None:
            for one in said.also:
                if one.future is not None and not one.future.done():
                    one.replies.append(reply)
                    one.left = 0
                    one.future.set_result(None)

    def _error(self, text: str) -> Exception:
        error = self._parse(text)
        if isinstance(error, self._forgotten):
            self.forgot = True
        return error

    # --- the end -----------------------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """Nothing more can be said or heard: all who wait are told, and the connection is closed. Idempotent."""
        if self.broken:
            return
        self.broken = True
        waiting, out = list(self._waiting), self._out
        self._waiting.clear()
        self._out, self._shared = [], {}
        for said in (*waiting, *out):
            self._fail(said, error)
            for one in said.also or ():
                self._fail(one, error)
        self._transport.abort()

    def _fail(self, said: Said, error: Exception) -> None:
        if said.future is not None and not said.future.done():
            known = isinstance(error, ConnectionError | self._garbled)
            own = type(error)(*error.args) if known else ConnectionResetError(f"the connection was given up: {error}")
            own.__cause__ = error.__cause__ if known else error
            said.future.set_exception(own)

    def eof_received(self) -> None:
        self.fail(ConnectionResetError("the server has closed the connection"))

    def over(self) -> bool:
        """Whether nothing can be said any more; the transport may know it a turn of the event loop before it tells."""
        return self.broken or self._transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        lost = ConnectionResetError("the server has closed the connection" if exc is None else str(exc))
        lost.__cause__ = exc
        self.fail(lost)
        self.connection._close()  # noqa: SLF001 - there is nothing left to close: the SDK's objects shall know
        if not self.gone.done():
            self.gone.set_result(None)

    def close(self) -> None:
        """Close the connection now; who waits is told that it was closed. `gone` ends when it is. Idempotent."""
        self.fail(ConnectionResetError("the connection was closed"))
