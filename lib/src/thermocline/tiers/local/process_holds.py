"""Holds in process memory: for clients of one process that share it."""

from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument
from thermocline.model import Key
from thermocline.tiers.local.process_upkeep import ProcessUpkeep

TOKEN_BYTES = 255


class ProcessHolds(ProcessUpkeep):
    """The part `Holds`. Each call is atomic, because none awaits anything."""

    _holds: dict[Key, tuple[str, int]]  # the token, and when it ends (ms since 1970); in the order of their making

    async def take_hold(self, key: Key, token: str, lasting_ms: int, *, deadline: Deadline) -> bool:
        """See `Holds.take_hold`."""
        now = self._check_hold(token, lasting_ms, deadline)
        found = self._holds.get(key)
        if found is not None and found[0] != token and found[1] > now:
            return False
        for other in [other for other, (_, ends) in self._holds.items() if ends <= now]:
            del self._holds[other]  # whose holders died: few, for a hold is released
        self._holds[key] = (token, now + lasting_ms)
        return True

    async def release_hold(self, key: Key, token: str, *, deadline: Deadline) -> None:
        """See `Holds.release_hold`."""
        self._check_hold(token, 1, deadline)
        found = self._holds.get(key)
        if found is not None and found[0] == token:
            del self._holds[key]

    def _check_hold(self, token: str, lasting_ms: int, deadline: Deadline) -> int:
        size = len(token.encode())
        if not 1 <= size <= TOKEN_BYTES or lasting_ms < 1:
            raise InvalidArgument(
                f"a hold has a token of 1 to {TOKEN_BYTES} bytes and lasts at least 1 ms, not {size} and {lasting_ms}"
            )
        return self._enter(deadline)
