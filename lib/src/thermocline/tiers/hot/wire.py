"""Writing to a connection of the SDK."""

from typing import Any


async def send(connection: Any, packed: Any) -> None:
    """Send packed commands. Raises what the SDK raises, and ConnectionResetError where the peer has closed the connection meanwhile: CPython 3.12 and 3.13
    answer that with an AttributeError, since `writelines` finds the transport's loop gone; other event loops with a RuntimeError."""
    try:
        await connection.send_packed_command(packed)
    except (AttributeError, RuntimeError) as error:
        raise ConnectionResetError("the server has closed the connection") from error
