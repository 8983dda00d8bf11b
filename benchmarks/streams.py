"""The floor: GET and SET over bare asyncio streams, as little as Python can do. No pool, no deadlines, no errors but the end of the stream."""

import asyncio
from collections import deque
from typing import Any, Self

import hiredis


class Shared:
    """One connection for all callers, who are answered in the order in which they asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: deque[asyncio.Future[bytes | None]] = deque()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, key: bytes) -> bytes | None:
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(_get(key))
        return await answer

    async def set(self, key: bytes, value: bytes) -> None:
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value))
        await answer

    async def _read(self) -> None:
        while True:
            value = await _answer(self._reader)
            self._waiting.popleft().set_result(value)

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        await self._writer.wait_closed()


class Each:
    """A connection for each caller, taken from those that are free."""

    def __init__(self, free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self._free = free

    @classmethod
    async def open(cls, port: int, connections: int) -> Self:
        return cls([await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)])

    async def get(self, key: bytes) -> bytes | None:
        """Raises IndexError if there are more callers than connections."""
        connection = self._free.pop()
        reader, writer = connection
        writer.write(_get(key))
        value = await _answer(reader)
        self._free.append(connection)
        return value

    async def close(self) -> None:
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()


def _get(key: bytes) -> bytes:
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)


async def _answer(reader: asyncio.StreamReader) -> bytes | None:
    """A bulk string, or what stands for done. Raises asyncio.IncompleteReadError at the end of the stream, ValueError for another kind of answer."""
    head = await reader.readuntil(b"\r\n")
    if head == b"+OK\r\n":
        return None
    if head[:1] != b"$":
        raise ValueError(f"redis answered {head!r}")
    size = int(head[1:-2])
    return None if size < 0 else (await reader.readexactly(size + 2))[:-2]


class Merged:
    """All that is asked for in one turn of the event loop in one MGET, over one connection, each key once: as little as merging can do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._asked: dict[bytes, asyncio.Future[bytes | None]] = {}
        self._sent: deque[list[asyncio.Future[bytes | None]]] = deque()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def get(self, key: bytes) -> "asyncio.Future[bytes | None]":
        """To be awaited. Callers who ask for a key together get one future, which none of them may cancel."""
        answer = self._asked.get(key)
        if answer is None:
            loop = asyncio.get_running_loop()
            if not self._asked:
                loop.call_soon(self._send)
            answer = self._asked[key] = loop.create_future()
        return answer

    def _send(self) -> None:
        asked, self._asked = self._asked, {}
        keys = b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in asked)
        self._sent.append(list(asked.values()))
        self._writer.write(b"*%d\r\n$4\r\nMGET\r\n%b" % (len(asked) + 1, keys))

    async def _read(self) -> None:
        parser = hiredis.Reader()
        while data := await self._reader.read(1 << 18):
            parser.feed(data)
            while True:
                values: Any = parser.gets()
                if values is False:
                    break
                for answer, value in zip(self._sent.popleft(), values, strict=True):
                    answer.set_result(value)

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        await self._writer.wait_closed()
