"""Many records put into Redis as a client would have left them, without a client: quick enough for a million."""

import asyncio
from collections.abc import Sequence

from thermocline.clock import SYSTEM_CLOCK
from thermocline.codec import Codec
from thermocline.keys import redis_key
from thermocline.model import Authority, Key

_CHUNK = 2000
_DONE = b"+OK\r\n"


def small_key(number: int) -> Key:
    return Key("bench", f"user/{number % 997}", f"fact/{number}")


def raw_name(key: Key) -> str:
    """Under which `seed` puts the bare value."""
    return f"raw/{key.name}"


def small(number: int) -> str:
    """A value of about 100 bytes."""
    return f"remembered thing number {number:>9}: the parcel left Rotterdam this morning, due on Thursday by noon."


async def seed(port: int, keys: Sequence[Key], *, first: int = 0, plain: bool = False) -> None:
    """A copy of each key's record (`small` of its place, counted from ``first``), as of an authority below hot; ``plain``: also the bare value under
    its `raw_name`. Raises OSError for what Redis refuses."""
    codec, now_ms = Codec(), SYSTEM_CLOCK.wall_ms()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for start in range(0, len(keys), _CHUNK):
        sets: list[bytes] = []
        for number, key in enumerate(keys[start : start + _CHUNK], start + first):
            value = small(number)
            envelope = codec.encode(key, value, now_ms=now_ms).stamped(version=1, authority=Authority.WARM)
            sets.append(_set(redis_key(key), codec.pack(envelope)))
            if plain:
                sets.append(_set(raw_name(key), value.encode()))
        writer.write(b"".join(sets))
        await writer.drain()
        answers = await reader.readexactly(len(_DONE) * len(sets))
        if answers != _DONE * len(sets):
            raise OSError(f"redis refused a record: {answers[:80]!r}")
    writer.close()
    await writer.wait_closed()


def _set(name: str | bytes, value: bytes) -> bytes:
    key = name if isinstance(name, bytes) else name.encode()
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)
