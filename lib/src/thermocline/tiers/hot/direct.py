"""The hot tier's own methods: plain keys beside those of the cascade, as the code that this library replaces used them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.codec import MAGIC
from thermocline.errors import InvalidArgument, InvalidKey, ThermoclineError
from thermocline.model import Key
from thermocline.tiers.hot.records import HotRecords
from thermocline.tiers.hot.wire import Command

OWN: Final = "tc1:"  # keys that begin with this are the cascade's
PATIENCE: Final = 5.0  # seconds that a direct call may take
TTL_SECONDS: Final = 900


class HotDirect(HotRecords):
    """See `HotMemory`."""

    async def set(self, key: str, value: Any, ttl_seconds: float | timedelta | None = TTL_SECONDS) -> None:
        """Store a value under a plain key for ``ttl_seconds`` (seconds or a timedelta, rounded up to milliseconds; None: for good).

        Text is stored as it is, in UTF-8, and so are bytes that are no text; any other value as an envelope. All come back as they went in.
        Raises `InvalidKey`, `NotSerialisable`, `InvalidArgument`, `TierUnavailable`.
        """
        await self._call(self._setting(key, value, ttl_seconds), self._patience())

    async def get(self, key: str) -> Any:
        """The value under a plain key; None if there is none. Raises `InvalidKey`, `CorruptRecord`, `UnreadableRecord`, `TierUnavailable`."""
        return self._value(key, await self._call(("GET", _name(key)), self._patience()))

    async def delete(self, *keys: str) -> int:
        """Delete plain keys; returns how many there were."""
        return sum(await self._each([(name, ("UNLINK", name)) for name in map(_name, keys)]))

    async def exists(self, key: str) -> bool:
        """Whether there is something under a plain key."""
        return bool(await self._call(("EXISTS", _name(key)), self._patience()))

    async def mget(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values under plain keys; those that have none are left out."""
        found = await self._get_many([_name(key) for key in keys], self._patience())
        for data in found:
            if isinstance(data, ThermoclineError):
                raise data
        return {key: self._value(key, data) for key, data in zip(keys, found, strict=True) if data is not None}

    async def mset(self, items: Mapping[str, Any], ttl_seconds: float | timedelta | None = TTL_SECONDS) -> None:
        """Store many values, each as `set` does. Not atomic: the first error is raised, and the others may have been stored."""
        await self._each([(_name(key), self._setting(key, value, ttl_seconds)) for key, value in items.items()])

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _patience(self) -> Deadline:
        return Deadline.after(PATIENCE, self._clock)

    async def _each(self, commands: list[tuple[bytes, Command]]) -> list[Any]:
        answers = await self._call_many(commands, self._patience())
        for answer in answers:
            if isinstance(answer, ThermoclineError):
                raise answer
        return answers

    def _setting(self, key: str, value: Any, ttl_seconds: float | timedelta | None) -> Command:
        name, data = _name(key), self._data(key, value)
        if ttl_seconds is None:
            return ("SET", name, data)
        seconds: Any = ttl_seconds.total_seconds() if isinstance(ttl_seconds, timedelta) else ttl_seconds
        if not isinstance(seconds, int | float) or not 0 < seconds < 2**40:
            raise InvalidArgument(
                f"ttl_seconds is a number of seconds or a timedelta above 0, or None, not {ttl_seconds!r}"
            )
        return ("SET", name, data, b"PX", int(-(-seconds * 1000 // 1)))

    def _data(self, key: str, value: Any) -> bytes:
        if isinstance(value, str):
            try:
                return value.encode()
            except UnicodeEncodeError:
                pass  # a lone surrogate: the codec says what is wrong with it
        elif type(value) is bytes and not value.startswith(MAGIC) and _text(value) is None:
            return value
        envelope = self._codec.encode(_as_key(key), value, now_ms=self._clock.wall_ms())
        return self._codec.pack(envelope)

    def _value(self, key: str, data: Any) -> Any:
        if data is None or isinstance(data, str):
            return data
        if data.startswith(MAGIC):
            return self._codec.decode(self._codec.unpack(data, _as_key(key)))
        text = _text(data)
        return data if text is None else text


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _as_key(key: str) -> Key:
    """The key that a direct value's envelope is made for."""
    return Key("hot", "direct", key)


def _name(key: Any) -> bytes:
    if not isinstance(key, str):
        raise InvalidKey(f"a key of the hot tier is a string, not {type(key).__name__}")
    if not key:
        raise InvalidKey("a key of the hot tier must not be empty")
    if key.startswith(OWN):
        raise InvalidKey(f"keys that begin with {OWN} belong to the cascade: ask a MemoryClient for them")
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise InvalidKey("a key holds a lone surrogate, which UTF-8 cannot hold") from error
