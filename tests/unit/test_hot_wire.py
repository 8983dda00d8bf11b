"""A transport that is closed under a write is a lost connection, whatever the interpreter calls it."""

import asyncio
import contextlib

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import DataError

from thermocline.tiers.hot.wire import Command, packed, send


class OverTransport:
    """Writes as the SDK's connection does: by `writelines` of a real stream."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    async def send_packed_command(self, packed: list[bytes]) -> None:
        self.writer.writelines(packed)
        await self.writer.drain()


async def flood(writer: asyncio.StreamWriter) -> None:
    for _ in range(100):
        await send(OverTransport(writer), [b"x" * 65536])


async def test_write_to_a_connection_that_is_gone_is_a_lost_connection() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        with contextlib.suppress(OSError):
            await reader.read()  # until the end is seen
        with pytest.raises(OSError, match=r"."):
            await flood(writer)
        writer.close()


@pytest.mark.parametrize("kind", [AttributeError, RuntimeError])
async def test_what_interpreters_and_loops_raise_instead_is_translated(kind: type[Exception]) -> None:
    class Gone:
        async def send_packed_command(self, packed: list[bytes]) -> None:
            raise kind("'NoneType' object has no attribute '_add_writer'")

    with pytest.raises(ConnectionResetError):
        await send(Gone(), [b"x"])


async def test_commands_are_packed_as_the_sdk_packs_them() -> None:
    commands: list[Command] = [
        ("SET", b"key", "wärme", 12, -3, b""),
        ("GET", b"another"),
        ("SET", b"large", b"x" * 40_000, b"after"),
        ("SET", b"larger", b"y" * 16_384, b"z" * 16_383),
        ("SET", b"strange", bytearray(b"bytes"), memoryview(b"view"), 1.5),  # type: ignore[list-item]
    ]
    connection = Connection()

    assert b"".join(packed(connection.encoder, commands)) == b"".join(connection.pack_commands(commands))
    assert packed(connection.encoder, [("SET", b"k", b"x" * 40_000)])[1] == b"x" * 40_000
    with pytest.raises(DataError):
        packed(connection.encoder, [("SET", b"k", None)])  # type: ignore[list-item]
