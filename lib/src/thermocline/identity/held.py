"""A value that is fetched, kept, and fetched again: what a vault's secret and Redis' token have in common."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.errors import ClientClosed, ThermoclineError

log = logging.getLogger("thermocline.identity")

HOLD_OFF: Final = 0.25  # seconds: who is refused again and again does not ask again and again
OVERLAP: Final = 600.0  # seconds that the value before is kept, for services which do not know the new one yet


@dataclass(frozen=True, slots=True)
class Value:
    """A secret or a token, which no ``repr`` shows. ``expires``: seconds since 1970; None: never."""

    text: str = field(repr=False)
    expires: float | None = None

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


class Held:
    """Keeps the newest value; one fetch is under way at most, and goes on if a caller who waits for it gives up.

    ``lapses``: whether a value is of no use past its expiry, as a token is; a secret's is the vault's advice, and the service decides.
    """

    def __init__(
        self, name: str, fetch: Callable[[], Awaitable[Value]], *, lapses: bool, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.name = name
        self.generation = 0
        self._fetch = fetch
        self._lapses = lapses
        self._clock = clock
        self._value: Value | None = None
        self._before: Value | None = None
        self._changed = 0.0
        self._in_vain = -HOLD_OFF  # when it was last asked for without a newer one to show for it
        self._failure: ThermoclineError | None = None  # ... if because it could not be read
        self._flight: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} generation {self.generation}>"

    @property
    def expires(self) -> float | None:
        """When the value expires, in seconds since 1970; None: never, or there is none yet."""
        return None if self._value is None else self._value.expires

    @property
    def text(self) -> str:
        """The value that was fetched last. Raises `ClientClosed` if there is none."""
        if self._value is None:
            raise ClientClosed(f"{self.name} was not fetched, or was closed")
        return self._value.text

    @property
    def previous(self) -> str | None:
        """The value before this one, for ten minutes."""
        if self._before is None or self._clock.monotonic() - self._changed > OVERLAP:
            return None
        return self._before.text

    async def current(self) -> str:
        """The value; fetched if there is none, or if it has lapsed. Raises what the fetch raises."""
        if self._value is None or (self._lapses and self._expired(self._value)):
            await self._ask()
        return self.text

    async def renew(self, seen: int) -> bool:
        """See `Rotating.renew`."""
        if self.generation != seen:
            return True
        if self._held_off() and self._failure is None:
            return False
        older = self._flight is not None  # it may have been answered before the value changed
        await self._ask()
        if older and self.generation == seen and not self._held_off():
            await self._ask()
        if self.generation != seen:
            return True
        self._in_vain = self._clock.monotonic()
        return False

    async def fetch(self) -> None:
        """Fetch it now, or wait for the fetch that is under way. Raises what that raises; the value stays as it was then."""
        if self._flight is None:
            self._flight = asyncio.get_running_loop().create_task(self._go(), name=f"thermocline fetch {self.name}")
            self._flight.add_done_callback(_looked_at)
        flight = self._flight
        try:
            await asyncio.shield(flight)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if flight.cancelled() and caller is not None and not caller.cancelling():
                raise ClientClosed(f"{self.name} was closed while it was fetched") from None
            raise

    async def fetch_anew(self) -> None:
        """Fetch it by a request that begins after this call: one that is under way may have been answered before the value changed."""
        older = self._flight is not None
        await self.fetch()
        if older:
            await self.fetch()

    async def try_fetch(self) -> bool:
        """The same in the background: a failure is logged, and the value that is there goes on being used."""
        try:
            await self.fetch()
        except ThermoclineError as error:
            log.warning("%s could not be read again, and the one from before goes on being used: %s", self.name, error)
            return False
        return True

    async def close(self) -> None:
        """End a fetch that is under way, and forget the value."""
        flight, self._flight = self._flight, None
        if flight is not None:
            flight.cancel()
            await asyncio.gather(flight, return_exceptions=True)
        self._value = self._before = self._failure = None

    async def _ask(self) -> None:
        """Fetch it for a call. Just after another call's has failed, that failure stands for this one too: a storm of calls is none of requests."""
        if self._failure is not None and self._held_off():
            raise self._failure.with_traceback(None)
        try:
            await self.fetch()
        except ThermoclineError as error:
            self._failure, self._in_vain = error, self._clock.monotonic()
            raise

    def _held_off(self) -> bool:
        return self._clock.monotonic() - self._in_vain < HOLD_OFF

    async def _go(self) -> None:
        try:
            found = await self._fetch()
            if self._value is None or found.text != self._value.text:
                self._before, self._changed = self._value, self._clock.monotonic()
                self.generation += 1
            self._value, self._failure = found, None
        finally:
            self._flight = None

    def _expired(self, value: Value) -> bool:
        return value.expires is not None and value.expires * 1000 <= self._clock.wall_ms()


def _looked_at(task: asyncio.Task[None]) -> None:
    """Fetch an exception that nobody waits for any more, so that asyncio does not complain of it; the next fetch raises its own."""
    if not task.cancelled():
        task.exception()
