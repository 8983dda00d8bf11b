"""Sockets for the chaos proxy: bound and not yet listening, closed in order, or broken off."""

import asyncio
import contextlib
import errno
import socket
import struct

from thermocline.testing.rig.errors import RigError
from thermocline.testing.rig.ports import free_port

HOST = "127.0.0.1"
_ATTEMPTS = 20


def reset(writer: asyncio.StreamWriter) -> None:
    """Close by RST: what the peer has not read yet is gone too."""
    if not writer.is_closing():
        connected: socket.socket = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close in order and wait until it is done."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def bound(port: int) -> socket.socket:
    """Return a socket that holds a port without listening on it. Raises OSError if somebody else has it."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOST, port))
    except OSError:
        found.close()
        raise
    return found


def bound_somewhere() -> socket.socket:
    """Return a socket that holds a free port without listening on it. Raises RigError if none was found."""
    for _ in range(_ATTEMPTS):
        try:
            return bound(free_port(HOST))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise RigError(f"the proxy found no port in {_ATTEMPTS} attempts")
