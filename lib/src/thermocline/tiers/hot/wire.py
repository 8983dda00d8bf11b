"""Writing to a connection of the SDK, and what is to be known of a command before that."""

from typing import Any

from thermocline.clock import Deadline
from thermocline.errors import TierTimeout
from thermocline.model import MemoryTier

Command = tuple[bytes | str | int, ...]
"""A command's words; the key it belongs to is given beside it."""


async def send(connection: Any, packed: Any) -> None:
    """Send packed commands. Raises what the SDK raises, and ConnectionResetError where the peer has closed the connection meanwhile: CPython 3.12 and 3.13
    answer that with an AttributeError, since `writelines` finds the transport's loop gone; other event loops with a RuntimeError."""
    try:
        await connection.send_packed_command(packed)
    except (AttributeError, RuntimeError) as error:
        raise ConnectionResetError("the server has closed the connection") from error


def seconds_left(deadline: Deadline) -> float | None:
    """What is left, for `asyncio.timeout`. Raises `TierTimeout` if nothing is."""
    left = deadline.remaining()
    if left <= 0:
        raise TierTimeout("the deadline had passed before Redis was asked", tier=MemoryTier.HOT, sent=False)
    return None if left == float("inf") else left


def key_of(command: Command) -> bytes:
    """The key that a command is about; of one without a key, any."""
    at = 3 if command[0] in ("EVALSHA", "EVAL") else 1
    key = command[at] if len(command) > at else b""
    return key if isinstance(key, bytes) else b""
