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
        if data is None:
            return None
        return PlainCopy(self._value(name, data), self._clock.wall_ms() + left if left > 0 else 0)

    async def plain_set(self, name: str, value: Any, *, lasting_ms: int, deadline: Deadline) -> None:
        await self._open(deadline)
        await self._call(self._setting(name, value, lasting_ms / 1000 if lasting_ms else None), deadline)

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        await self._open(deadline)
        return bool(await self._call(("UNLINK", _name(name)), deadline))
