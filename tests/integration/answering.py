"""A server that reads commands of RESP and answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Behaviour = Callable[[int, str], str | None]
"""Of the connection's number and what it was sent: the answer; "" for none, None to hang up."""


@asynccontextmanager
async def answering(behaviour: Behaviour) -> AsyncIterator[str]:
    """Gives its URL."""
    count, writers = 0, []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        number = count
        writers.append(writer)
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2].decode(errors="replace"))
                answer = behaviour(number, " ".join(words))
                if answer is None:
                    return
                writer.write(answer.encode())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()
