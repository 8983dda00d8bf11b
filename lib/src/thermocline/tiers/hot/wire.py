"""Writing to a connection of the SDK, and what is to be known of a command before that."""

from collections.abc import Iterable
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.errors import TierTimeout
from thermocline.model import MemoryTier
from thermocline.tiers.hot.lane import PACK

Command = tuple[bytes | str | int, ...]
"""A command's words; the key it belongs to is given beside it."""


_APART: Final = 16_384  # bytes of a word from which on it is not copied


def packed(encoder: Any, commands: Iterable[Command]) -> list[bytes]:
    """The commands in RESP. What the SDK's `pack_commands` makes of them, at a fifth of its cost; strange words are left to its encoder."""
    made: list[bytes] = []
    parts: list[bytes] = []
    for command in commands:
        if PACK is not None and _plain(command):
            parts.append(PACK(command))
            continue
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            kind = type(word)
            if kind is bytes:
                data: Any = word
            elif kind is str or kind is int:
                data = str(word).encode()
            else:
                data = encoder.encode(word)
            if len(data) < _APART:
                parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
            else:
                parts.append(b"$%d\r\n" % len(data))
                made += (b"".join(parts), data)
                parts = [b"\r\n"]
    made.append(parts[0] if len(parts) == 1 else b"".join(parts))
    return made


def _plain(command: Command) -> bool:
    """Whether hiredis may pack it: no word is strange, or so large that it should not be copied."""
    for word in command:
        kind = type(word)
        if kind is bytes:
            if len(word) >= _APART:  # type: ignore[arg-type]
                return False
        elif kind is not str and kind is not int:
            return False
    return True


async def send(connection: Any, packed: Any) -> None:
    """Send packed commands. Raises what the SDK raises, and ConnectionResetError where the peer has closed the connection meanwhile: CPython 3.12 and 3.13
    answer that with an AttributeError, since `writelines` finds the transport's loop gone; other event loops with a RuntimeError."""
    try:
        await connection.send_packed_command(packed)
    except (AttributeError, RuntimeError) as error:
        raise ConnectionResetError("the server has closed the connection") from error


async def hang_up(connection: Any) -> None:
    """Close a connection of the SDK at once. Over TLS its own way is polite, and leaves a socket behind where the other side does not answer."""
    writer = connection._writer  # noqa: SLF001 - the SDK has no name for it
    if writer is not None:
        writer.transport.abort()
    await connection.disconnect(nowait=True)


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
