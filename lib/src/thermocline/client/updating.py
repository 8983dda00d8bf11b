"""The verbs of `MemoryClient` that read and write in one atomic step."""

import asyncio
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from thermocline.client.lifetime import Lifetime
from thermocline.client.result import NOT_GIVEN, NotGiven
from thermocline.client.writing import WriteVerbs
from thermocline.codec import LEGACY_TEXT, MEDIA_TYPES
from thermocline.errors import (
    Conflict,
    Forgotten,
    InvalidArgument,
    TypeMismatch,
)
from thermocline.model import (
    Envelope,
    Key,
)
from thermocline.protocols import Verb

_RETRY_PAUSE = 0.002  # seconds; the mean pause before an update that met another writer is made anew, doubled each time up to 0.1 s


class UpdateVerbs(WriteVerbs):
    """`update`, `increment`, `append`."""

    async def update(
        self,
        key: Key | str,
        function: Callable[[Any], Any],
        *,
        default: Any = None,
        type: Any = None,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        timeout: Lifetime = None,
    ) -> Any:
        """Replace the value by ``function(value)`` (``function(default)`` where there is none), atomically: made anew if another writer came between,
        until the deadline. ``function`` may be called several times and must not have effects. The record keeps its tags and its media type,
        and its expiry unless ``ttl`` is given (a sliding record begins its lifetime anew). Returns the new value.

        Raises what `get` and `set` raise; `Conflict` if other writers came between until the deadline.
        """
        key = Key.of(key)
        if not callable(function):
            raise InvalidArgument(f"update takes a function of the old value, not {function!r:.80}")
        deadline = await self._begin(timeout)
        engine, plan = self._engine, self._engine.routes.route(key)
        begun_ms = engine.now_ms()
        if plan.legacy is not None:
            await self._takeover.adopt(key, plan, deadline)
        reading = plan
        if not plan.rules.read_fallback:  # no condition follows from a value that nobody was asked for
            reading = replace(plan, rules=replace(plan.rules, read_fallback=True))
        pause = _RETRY_PAUSE
        while True:
            answer = await self._cascade.read(key, reading, deadline)
            found = answer.envelope
            if found is not None and found.pointer:
                found = await self._cascade.resolve(found, reading, deadline)
            value = function(default if found is None else await engine.decode(found, type))
            if inspect.iscoroutine(value):
                value.close()
                raise InvalidArgument("update takes a plain function, not an async one: it may be called several times")
            tags, media_type = (None, None) if found is None else (found.tags, _media_type_given(found))
            sealed = await self._sealed(key, value, plan, ttl, tags, media_type, deadline=deadline)
            if found is not None and isinstance(ttl, NotGiven):
                sealed = self._keep_expiry(sealed, found)
            intent = await self._writer.intent(
                Verb.PUT,
                sealed,
                plan,
                deadline,
                if_version=found.version or None if found is not None else None,
                if_absent=found is None or not found.version,
            )
            intent.begun_ms = begun_ms  # ``function`` may hold what was there before
            try:
                await self._writer.carry_out(intent, deadline)
            except Conflict as refused:
                if isinstance(refused, Forgotten) or deadline.remaining() <= pause:  # a call is as old the next time
                    raise
                await asyncio.sleep(pause * (0.5 + engine.tokens.random()))
                pause = min(pause * 2, 0.1)
            else:
                return value

    def _keep_expiry(self, sealed: Envelope, found: Envelope) -> Envelope:
        """With the end that the record had; a sliding one begins anew, as by a read."""
        if self._slides and self._engine.lifetimes.renews(found.key, found.tags, found.header):
            return sealed
        return replace(sealed, header=replace(sealed.header, expires_ms=found.header.expires_ms))

    async def increment(
        self,
        key: Key | str,
        by: float = 1,
        *,
        initial: float = 0,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        timeout: Lifetime = None,
    ) -> Any:
        """Add to a number (``initial`` where there is none), atomically; returns the sum. Raises `TypeMismatch` if the value is no number."""
        for number in (by, initial):
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise InvalidArgument(f"increment adds numbers, not {number!r:.80}")

        def add(value: Any) -> Any:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeMismatch(f"increment needs a number, and the value is of type {value.__class__.__name__}")
            total = value + by
            if not math.isfinite(total):
                raise InvalidArgument(
                    f"the sum of {value} and {by} is {total}, which nothing could be added to; it is not stored"
                )
            return total

        return await self.update(key, add, default=initial, ttl=ttl, timeout=timeout)

    async def append(
        self,
        key: Key | str,
        *items: Any,
        keep: int | None = None,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        timeout: Lifetime = None,
    ) -> int:
        """Add items to the end of a list (an empty one where there is none), atomically, and keep its last ``keep``. Returns its new length.
        Raises `TypeMismatch` if the value is no list."""
        if keep is not None and (type(keep) is not int or keep < 1):
            raise InvalidArgument(f"keep is a whole number, at least 1, not {keep!r}")

        def extend(value: Any) -> list[Any]:
            if not isinstance(value, list):
                raise TypeMismatch(f"append needs a list, and the value is of type {value.__class__.__name__}")
            longer = [*value, *items]
            return longer if keep is None else longer[-keep:]

        extended = await self.update(key, extend, default=[], ttl=ttl, timeout=timeout)
        return len(extended)


def _media_type_given(found: Envelope) -> str | None:
    """The media type that the record was written with; None where it is the usual one of its kind of value, as the new value may be of another."""
    usual = MEDIA_TYPES[found.header.serialiser]
    return None if found.media_type in (usual, LEGACY_TEXT) else found.media_type
