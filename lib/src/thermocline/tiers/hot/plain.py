"""Plain keys for a client: what `HotMemory.set` and `get` hold, within a call's deadline."""

from typing import Any

from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.protocols import PlainCopy
from thermocline.tiers.hot.direct import HotDirect, _name


class HotPlain(HotDirect):
    """Plays `PlainNames`."""

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        """A GET and a PTTL in one round trip."""
        key = _name(name)
        await self._open(deadline)
        data, left = await self._call_many([(key, ("GET", key)), (key, ("PTTL", key))], deadline)
        for answer in (data, left):
            if isinstance(answer, ThermoclineError):
                raise answer
        ends = ends_of(left, self._clock.wall_ms())
        return None if data is None or ends is None else PlainCopy(self._value(name, data), ends)

    async def plain_set(self, name: str, value: Any, *, lasting_ms: int, deadline: Deadline) -> None:
        await self._open(deadline)
        await self._call(self._setting(name, value, lasting_ms / 1000 if lasting_ms else None), deadline)

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        await self._open(deadline)
        return bool(await self._call(("UNLINK", _name(name)), deadline))


def ends_of(left: int, now_ms: int) -> int | None:
    """When a key ends, in ms since 1970, by what PTTL says is ``left``: 0 for never, None if it is gone since it was read."""
    if left == -1:
        return 0
    return None if left < 0 else now_ms + max(1, left)
