"""The recovery queue: what hot could not be told when it happened, it is told as soon as it can be reached again.

Per key the newest intent is kept: a version that hot must not be below, or (of a write of unknown outcome) that the authority is to be asked.
Owned by the client, bounded, and awaited when it closes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import islice

from thermocline.client.floors import Floors
from thermocline.client.guard import says_sick
from thermocline.clock import Clock
from thermocline.errors import ThermoclineError, TierUnavailable
from thermocline.model import Key

log = logging.getLogger("thermocline.recovery")

UNKNOWN = -1  # in place of a version: ask the authority
_CHUNK = 100
CAPACITY = 10_000  # keys; half of the floors, which are pinned by them
_FIRST_PAUSE = 0.1  # seconds, doubled up to _LONGEST_PAUSE while hot stays away
_LONGEST_PAUSE = 5.0


class Recovery:
    """``tell`` settles versions in hot and answers one result per key; ``ask`` reads the authority and returns the version to settle.

    When ``capacity`` keys wait, further ones cannot be remembered: then this client does not read hot (``blind``) until the queue is empty and
    everything that hot held at the last such moment has reached the end of its lifetime there (``ceiling`` seconds).
    """

    def __init__(
        self,
        tell: Callable[[Sequence[tuple[Key, int]]], Awaitable[Sequence[ThermoclineError | None]]],
        ask: Callable[[Key], Awaitable[int]],
        floors: Floors,
        clock: Clock,
        *,
        capacity: int = CAPACITY,
        ceiling: float = 3600.0,
        recovered: Callable[[int], None] = lambda n: None,
    ) -> None:
        self._tell = tell
        self._ask = ask
        self._floors = floors
        self._clock = clock
        self._capacity = capacity
        self._ceiling = ceiling
        self._recovered = recovered
        self._due: dict[Key, int] = {}
        self._unsure: set[Key] = set()  # those of them whose writes have an unknown outcome
        self._anew: set[Key] = (
            set()
        )  # what was added while a drain was under way, which may have asked too early to know of it
        self._refused = False  # whether hot answered the last time that it was told, and took none of it
        self._blind_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._draining = asyncio.Lock()
        self._closing = False

    def __len__(self) -> int:
        return len(self._due)

    def blind(self, key: Key | None = None) -> bool:
        """Whether this client must not read hot: it could not remember all that hot has not been told. Or not for this ``key``: whether its last
        write took effect is not known, and hot may have missed it."""
        if self._blind_until == 0.0:
            return key in self._unsure
        if key in self._unsure:
            return True
        if not self._due and self._clock.monotonic() >= self._blind_until:
            self._blind_until = 0.0
            return False
        return True

    def add(self, key: Key, version: int) -> None:
        """Hot was not told of ``version`` (`UNKNOWN`: the authority is to be asked for it)."""
        due = self._due.get(key)
        if due is None and len(self._due) >= self._capacity:
            self._blind_until = self._clock.monotonic() + self._ceiling
            return
        self._anew.add(key)
        self._due[key] = UNKNOWN if due == UNKNOWN or version == UNKNOWN else max(version, due or 0)
        self._floors.pin(key)
        if version > 0:
            self._floors.note(key, version)
        if version == UNKNOWN:
            self._unsure.add(key)
        if self._task is None and not self._closing:
            # not in the caller's context: it goes on for others, who are not to be told of under his correlation id
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), name="thermocline recovery", context=Context())

    def forget(self) -> None:
        """Drop what is due: the entries that it was due to are void, and its versions may be above those that are given out from now on."""
        for key in self._due:
            self._floors.unpin(key)
        self._due.clear()
        self._unsure.clear()

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while self._due:
            try:
                told = await self.drain()
            except Exception:  # a tier raised what is not of our tree: its bug must not end the queue
                log.exception("telling hot what it missed failed in a way that no tier should; it is tried again")
                told = False
            if told:
                pause = _FIRST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        self._task = None

    async def repaired(self) -> bool:
        """Tell hot every version that is due now; whether it has been told. What the authority is to be asked for first is left to the queue: until then this
        client does not read those keys in hot. What hot *refuses* (another program's key, no room, no permission) keeps nothing else from being
        read: it may be refused for ever, and this client's floors keep it from reading those keys' older values."""
        for _ in range(
            len(self._due) // _CHUNK + 2
        ):  # what is added meanwhile was read below, and is its reader's floor
            told = len(self._due) <= len(self._unsure) or await self.drain(asking=False)
            if not told and not self._refused:
                return len(self._due) <= len(self._unsure)  # the queue itself may have told the rest
        return True

    async def drain(self, *, asking: bool = True) -> bool:
        """Tell hot of up to 100 keys; whether at least one was. ``asking``: also of those of which the authority is to be asked first."""
        async with self._draining:  # one at a time: each forgets what was added before it
            chunk = list(islice((one for one in self._due.items() if asking or one[1] != UNKNOWN), _CHUNK))
            self._anew.clear()
            return await self._settle(await self._known(chunk))

    async def _known(self, chunk: Sequence[tuple[Key, int]]) -> list[tuple[Key, int]]:
        known: list[tuple[Key, int]] = []
        for key, version in chunk:
            if version != UNKNOWN:
                known.append((key, version))
                continue
            try:
                known.append((key, await self._ask(key)))
            except ThermoclineError:
                log.debug("the authority cannot be asked for a write of unknown outcome yet")
                if key in self._due:
                    self._due[key] = self._due.pop(key)  # to the end: those that need no asking are not held up
        return known

    async def _settle(self, known: Sequence[tuple[Key, int]]) -> bool:
        self._refused = False
        if not known:
            return False
        try:
            results = await self._tell(known)
        except ThermoclineError as failed:
            self._refused = isinstance(failed, TierUnavailable) and not says_sick(failed)
            return False
        self._refused = all(error is not None and not says_sick(error) for error in results)
        told = 0
        for (key, _), error in zip(known, results, strict=True):
            if error is None:
                told += 1
                if key in self._due and key not in self._anew:
                    del self._due[key]
                    self._unsure.discard(key)
                    self._floors.unpin(key)
        # those that failed go to the end, so that one sick shard does not hold up the others
        for (key, _), error in zip(known, results, strict=True):
            if error is not None and key in self._due:
                self._due[key] = self._due.pop(key)
        if told:
            self._recovered(told)
        return told > 0

    async def close(self, patience: float = 1.0) -> None:
        """One more try within ``patience`` seconds, then stop. What is left is counted in a warning: hot's ceiling and the change feed mend it."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._due:
            try:
                async with asyncio.timeout(patience):
                    while self._due and await self.drain():
                        pass
            except TimeoutError:
                pass
        if self._due:
            log.warning("%d keys were not settled in hot before the client closed", len(self._due))
