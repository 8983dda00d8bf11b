"""Holds in Redis: one small key beside the entry, in its slot. One script for each call, so that one that is sent again does no harm."""

from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument
from thermocline.keys import redis_key
from thermocline.model import Key
from thermocline.tiers.hot.base import HotBase
from thermocline.tiers.hot.scripts import HOLD

TOKEN_BYTES = 255


class HotHolds(HotBase):
    """The part `Holds`."""

    async def take_hold(self, key: Key, token: str, lasting_ms: int, *, deadline: Deadline) -> bool:
        """See `Holds.take_hold`; also in a full Redis."""
        return await self._hold(b"take", key, token, lasting_ms, deadline)

    async def release_hold(self, key: Key, token: str, *, deadline: Deadline) -> None:
        """See `Holds.release_hold`."""
        await self._hold(b"release", key, token, 1, deadline)

    async def _hold(self, verb: bytes, key: Key, token: str, lasting_ms: int, deadline: Deadline) -> bool:
        data = token.encode()
        if not 1 <= len(data) <= TOKEN_BYTES or lasting_ms < 1:
            raise InvalidArgument(
                f"a hold has a token of 1 to {TOKEN_BYTES} bytes and lasts at least 1 ms, not {len(data)} and {lasting_ms}"
            )
        return bool(await self._run(HOLD, 1, (hold_key(key), verb, data, lasting_ms), deadline))


def hold_key(key: Key) -> bytes:
    """Where the hold of a key lies: in the slot of its entry."""
    return redis_key(key) + b"h"
