"""The floor: GET over bare asyncio streams, as little as Python can do. No pool, no deadlines, no errors but the end of the stream."""

import asyncio
from collections import deque
from typing import Self


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
    """A bulk string. Raises asyncio.IncompleteReadError at the end of the stream, ValueError for another kind of answer."""
    head = await reader.readuntil(b"\r\n")
    if head[:1] != b"$":
        raise ValueError(f"GET was answered by {head!r}")
    size = int(head[1:-2])
    return None if size < 0 else (await reader.readexactly(size + 2))[:-2]
