"""A TCP proxy that breaks connections on request, for anything that speaks TCP: Redis, HTTP, TLS.

    async with ChaosProxy(server.url) as proxy:
        client = redis.asyncio.from_url(proxy.url)
        proxy.blackhole(answers=True)   # requests arrive, answers are lost
        ...
        proxy.restore()

The proxy lives in the running event loop; clients may be in other processes. Every fault is a plain call that takes
effect at once, on open connections too. Faults add up until `restore`.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from thermocline.testing.proxied import Connection, Faults, Instead, Traffic, Way, address, open_gate, read_all
from thermocline.testing.rig.errors import RigError
from thermocline.testing.rig.sockets import HOST, bound, bound_somewhere, closed, reset

__all__ = ["ChaosProxy", "Traffic", "http_refusal"]

_READ_AHEAD = 1_024  # chunks of each direction that may wait for their delivery
_BACKLOG = 256


class ChaosProxy:
    """A proxy in front of ``upstream``: a URL with a port, or a port of 127.0.0.1.

    Use it with ``async with``; `port` and `url` stay the same throughout.
    """

    def __init__(self, upstream: str | int) -> None:
        self.traffic = Traffic()
        self._template = upstream
        self._target = address(upstream)
        self._listener: socket.socket | None = None
        self._accepting = False
        self._serving: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._changed = asyncio.Condition()
        self._port = 0
        self._faults = {way: Faults() for way in Way}
        self._gates = {way: open_gate() for way in Way}
        self._lose_request: asyncio.Event | None = None
        self._lose_answer: asyncio.Event | None = None

    @property
    def port(self) -> int:
        """The proxy's port on 127.0.0.1. Raises RigError before it is entered."""
        if self._port == 0:
            raise RigError("the proxy has no port before it is entered: async with ChaosProxy(...) as proxy")
        return self._port

    @property
    def url(self) -> str:
        """The upstream's URL with the proxy's address in place of its own. Raises RigError if there was only a port."""
        if isinstance(self._template, int):
            raise RigError("the proxy was made for a port and knows no URL; give it the server's URL")
        parts = urlsplit(self._template)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{HOST}:{self.port}"))

    # Faults

    def delay(
        self,
        *,
        requests: timedelta = timedelta(0),
        answers: timedelta = timedelta(0),
        per_byte: timedelta = timedelta(0),
    ) -> None:
        """Hold back what passes from now on: a time for each chunk of up to 64 kB, and one for each byte both ways.

        What is under way arrives even if its client has given up meanwhile, as on a slow network.
        """
        for way, pause in ((Way.REQUESTS, requests), (Way.ANSWERS, answers)):
            self._faults[way].delay = pause.total_seconds()
            self._faults[way].delay_per_byte = per_byte.total_seconds()

    def hold(self, *, requests: bool = False, answers: bool = False) -> None:
        """Keep what comes in one or both directions until `restore`, and deliver it then: late, but not lost.

        A request arrives even if its client has given up meanwhile.
        """
        for way, held in ((Way.REQUESTS, requests), (Way.ANSWERS, answers)):
            if held:
                self._gates[way].clear()

    def blackhole(self, *, requests: bool = False, answers: bool = False) -> None:
        """Lose all bytes in one or both directions, silently: connections stay open, new ones are accepted.

        A connection that lost bytes is reset by `restore`; it could only go on with a torn stream.
        """
        self._faults[Way.REQUESTS].blackhole = requests
        self._faults[Way.ANSWERS].blackhole = answers

    def cut(self) -> None:
        """Reset (RST) all connections that are open now. New ones are accepted."""
        for connection in list(self._connections):
            connection.reset()

    def refuse(self) -> None:
        """Refuse new connections, as a port on which nobody listens does. Open ones go on: add `cut` to end them."""
        if self._listener is None or not self._accepting:
            return
        self._stop_listening(self._listener)
        # Bound but not listening: it refuses, and nobody else can take the port.
        self._listener = bound(self._port)

    def cut_after(self, *, requests: int | None = None, answers: int | None = None) -> asyncio.Event:
        """Let so many more bytes pass in a direction, all connections together, then end the one that carries the last.

        The receiver gets exactly these bytes and then the end of the stream. One shot; the event is set when it
        happened. Raises RigError for a count below zero.
        """
        happened = asyncio.Event()
        for way, budget in ((Way.REQUESTS, requests), (Way.ANSWERS, answers)):
            if budget is not None:
                if budget < 0:
                    raise RigError(f"cannot cut after {budget} bytes")
                self._faults[way].budget, self._faults[way].cut = budget, happened
        return happened

    def lose_next_request(self) -> asyncio.Event:
        """Reset the next connection that sends something, before the server sees it. One shot; set when it happened."""
        self._lose_request = asyncio.Event()
        return self._lose_request

    def lose_next_answer(self) -> asyncio.Event:
        """Forward the next request, wait for the first bytes of its answer, throw them away, and reset the client.

        So the server has certainly acted, and the client cannot know. One shot; the event is set when it happened. On
        a connection with several requests under way, it is the next answer to any of them that is lost.
        """
        self._lose_answer = asyncio.Event()
        return self._lose_answer

    def answer(self, data: bytes, *, share: float = 1.0, seed: int = 0) -> None:
        """Answer a ``share`` of the requests with ``data`` and do not ask the server: for protocols in which a client sends one request and waits.

        Drawn by ``seed`` for each chunk of a request. The answer is the connection's last, so an HTTP answer should say ``Connection: close``;
        `http_refusal` makes one. Raises RigError for a share that is no probability.
        """
        if not 0 <= share <= 1:
            raise RigError(f"a share is a probability, not {share}")
        self._faults[Way.REQUESTS].instead = Instead(data, share, random.Random(seed))

    def restore(self) -> None:
        """End all faults: accept again, deliver what was held, reset the connections that lost bytes."""
        self._faults = {way: Faults() for way in Way}
        self._lose_request = self._lose_answer = None
        for gate in self._gates.values():
            gate.set()
        for connection in list(self._connections):
            connection.losing = None
            if connection.torn:
                connection.reset()
        if self._listener is not None and not self._accepting:
            self._listen(self._listener)

    def retarget(self, upstream: str | int) -> None:
        """Lead new connections to another server (only its host and port count). Open ones stay: add `cut` to end them."""
        self._target = address(upstream)

    async def until(self, condition: Callable[[Traffic], bool]) -> None:
        """Wait until what has passed fulfils a condition: ``await proxy.until(lambda traffic: traffic.open == 0)``."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self.traffic))

    # Life

    async def __aenter__(self) -> Self:
        self._listener = bound_somewhere()
        self._port = self._listener.getsockname()[1]
        self._listen(self._listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Reset what is open and free the port. A second call does nothing."""
        if self._listener is not None:
            self._stop_listening(self._listener)
            self._listener = None
        self.cut()
        tasks = list(self._serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Within

    def _listen(self, listener: socket.socket) -> None:
        listener.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)
        self._accepting = True

    def _stop_listening(self, listener: socket.socket) -> None:
        if self._accepting:
            asyncio.get_running_loop().remove_reader(listener)
            self._accepting = False
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it went away again
            return
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        # For one that is cancelled before it begins; else the socket is closed long since.
        task.add_done_callback(lambda _: client.close())

    async def _serve(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        from_client, to_client = await asyncio.open_connection(sock=accepted)
        self.traffic.opened += 1
        connection: Connection | None = None
        try:
            await self._tell()
            # A server that is gone shows in the finally clause: the client is reset.
            with contextlib.suppress(OSError):
                from_server, to_server = await asyncio.open_connection(*self._target)
                connection = Connection(to_client, to_server)
                self._connections.add(connection)
                await asyncio.gather(
                    self._pump(Way.REQUESTS, from_client, to_server, connection),
                    self._pump(Way.ANSWERS, from_server, to_client, connection),
                )
        finally:
            if connection is None:
                reset(to_client)
            else:
                self._connections.discard(connection)
                to_client.close()  # before anything is awaited: the proxy may be closed, and this cancelled, meanwhile
                await closed(connection.server)
            await closed(to_client)
            self.traffic.closed += 1
            await self._tell()

    async def _pump(
        self, way: Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter, connection: Connection
    ) -> None:
        """Carry one direction to its end. What was read is delivered even when its sender is gone."""
        read: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_READ_AHEAD)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read_all(source, read))
            tasks.create_task(self._deliver_all(way, read, sink, connection))

    async def _deliver_all(
        self,
        way: Way,
        read: asyncio.Queue[tuple[float, bytes]],
        sink: asyncio.StreamWriter,
        connection: Connection,
    ) -> None:
        over = False
        while True:
            arrived, data = await read.get()
            if data == b"":
                break
            # Once it is over, what still comes is taken and dropped, for the reader to reach its end.
            over = over or not await self._deliver(way, arrived, data, sink, connection)
        await self._gates[way].wait()
        if self._faults[way].blackhole:
            # The end of the stream is lost as well. The pair lives on until restore, cut or close.
            connection.torn = True
        if not connection.torn:
            with contextlib.suppress(OSError):
                if not sink.is_closing() and sink.can_write_eof():
                    sink.write_eof()

    async def _deliver(
        self, way: Way, arrived: float, data: bytes, sink: asyncio.StreamWriter, connection: Connection
    ) -> bool:
        """Pass one chunk through the faults; False if the connection is over."""
        faults = self._faults[way]
        # From its arrival, so that chunks wait side by side: a slow network, not a narrow one.
        pause = arrived + faults.delay + faults.delay_per_byte * len(data) - asyncio.get_running_loop().time()
        if pause > 0 and faults.delay + faults.delay_per_byte > 0:
            await asyncio.sleep(pause)
        await self._gates[way].wait()
        faults = self._faults[way]
        if faults.blackhole:
            connection.torn = True
            await self._lost(len(data))
            return True
        if connection.answered:
            await self._lost(len(data))
            return True
        if way is Way.REQUESTS and not connection.torn and faults.instead is not None and faults.instead.strikes():
            await connection.answer(faults.instead.answer)
            await self._lost(len(data))
            return True
        if connection.torn or self._loses(way, connection):
            connection.reset()
            await self._lost(len(data))
            return False
        passed, spent = data, False
        if faults.budget is not None:
            passed = data[: faults.budget]
            faults.budget -= len(passed)
            spent = faults.budget == 0
            if spent:
                faults.budget = None
        if way is Way.REQUESTS:
            self.traffic.request_bytes += len(passed)
        else:
            self.traffic.answer_bytes += len(passed)
        with contextlib.suppress(OSError):
            sink.write(passed)
            await sink.drain()
        if spent:
            return await self._spent(faults, len(data) - len(passed), sink, connection)
        await self._tell()
        return True

    def _loses(self, way: Way, connection: Connection) -> bool:
        """Whether one of the one-shot faults strikes this chunk."""
        if way is Way.REQUESTS:
            if self._lose_request is not None:
                self._lose_request.set()
                self._lose_request = None
                return True
            if self._lose_answer is not None:
                connection.losing, self._lose_answer = self._lose_answer, None
            return False
        if connection.losing is not None:
            connection.losing.set()
            return True
        return False

    async def _spent(self, faults: Faults, rest: int, sink: asyncio.StreamWriter, connection: Connection) -> bool:
        """End a connection whose budget is used up: in order towards the receiver, who shall see its last bytes."""
        connection.torn = True
        sink.close()
        reset(connection.client if sink is connection.server else connection.server)
        if faults.cut is not None:
            faults.cut.set()
        await self._lost(rest)
        return False

    async def _lost(self, count: int) -> None:
        self.traffic.lost_bytes += count
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def http_refusal(
    status: int, reason: str = "Refused by the test", *, headers: Mapping[str, str] | None = None
) -> bytes:
    """An HTTP/1.1 answer without a body, for `ChaosProxy.answer`."""
    lines = [f"HTTP/1.1 {status} {reason}", "Content-Length: 0", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
