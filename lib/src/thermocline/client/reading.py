"""The reading verbs of `MemoryClient`."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import timedelta
from typing import Any, TypeVar, overload

from thermocline import telemetry
from thermocline.client.direct import TierName
from thermocline.client.engine import OFFLOAD_BYTES
from thermocline.client.lifetime import ClientLife, Lifetime
from thermocline.client.near import MISSING
from thermocline.client.result import Answer, Batch, Listing
from thermocline.client.waves import ALONE, Left
from thermocline.errors import (
    CorruptRecord,
    InvalidArgument,
    InvalidKey,
    ThermoclineError,
    TierUnavailable,
    TypeMismatch,
    UnreadableRecord,
)
from thermocline.model import (
    Corrupt,
    Envelope,
    Hit,
    Key,
    Miss,
    NotAsked,
    Outcome,
    Record,
    Unavailable,
    instant,
)
from thermocline.policy import Plan

T = TypeVar("T")

_BREATH = 511  # of so many answers of the near cache one lets others have a turn: a loop of nothing but reads would never hear of changes


class ReadVerbs(ClientLife):
    """`get`, `lookup`, `exists`, `ttl`, `get_many`, `list`, `stream`."""

    @overload
    async def get(
        self, key: Key | str, *, type: type[T], tier: TierName | None = None, timeout: Lifetime = None
    ) -> T | None: ...
    @overload
    async def get(
        self, key: Key | str, *, type: type[T], default: T, tier: TierName | None = None, timeout: Lifetime = None
    ) -> T: ...
    @overload
    async def get(
        self, key: Key | str, *, default: Any = None, tier: TierName | None = None, timeout: Lifetime = None
    ) -> Any: ...
    async def get(
        self,
        key: Key | str,
        *,
        type: Any = None,
        default: Any = None,
        tier: TierName | None = None,
        timeout: Lifetime = None,
    ) -> Any:
        """The value, decoded as ``type`` if given; ``default`` if the key has none (`lookup` tells a stored None from a missing value).
        ``tier``: what that tier alone has (docs/tiers.md, "One tier alone").

        Raises `TierUnavailable` if the authority could not be asked and nothing above it answered, `CorruptRecord`, `UnreadableRecord`,
        `TypeMismatch`.
        """
        near = self._near
        if near is not None and tier is None:
            found = near.take(key, type)
            if found is not MISSING:
                if near.hits & _BREATH:
                    return found
                await asyncio.sleep(0)
                found = near.take(key, type)  # it may have changed, or ended
                if found is not MISSING:
                    return found
        key = Key.of(key)
        if self._ready is not asyncio.get_running_loop():
            await self.connect()
        engine, waves = self._engine, self._waves
        plan = engine.routes.route(key)
        turn = waves.join(key, plan, timeout) if tier is None and (waves.crowded or waves.under_way) else None
        if turn is None:
            return await self._get(key, plan, type, default, tier, timeout)
        trail = telemetry.trail()
        came = await (turn if trail is None else trail.follow("hot", "get", turn))
        if isinstance(came, Left):
            return await self._get(key, plan, type, default, None, timeout, came)
        if self._slides:
            self._touches.renew(came, plan)
        header = came.header
        if header.raw_length < OFFLOAD_BYTES and not header.dictionary:
            return self._decode(came, type)
        return await engine.decode(came, type)

    async def _get(
        self,
        key: Key,
        plan: Plan,
        type: Any,
        default: Any,
        tier: TierName | None,
        timeout: Lifetime,
        left: Left = ALONE,
    ) -> Any:
        """`get` by itself, or from where a wave has ``left`` it."""
        engine, waves = self._engine, self._waves
        deadline = engine.budget.call(timeout)
        if tier is not None:
            answer = await self._direct.read(key, tier, plan, deadline)
        elif left.answer is not None:
            answer = left.answer
        else:
            waves.under_way += 1
            try:
                answer = await self._cascade.read(key, plan, deadline, peeked=left.peeked)
            finally:
                waves.under_way -= 1
        envelope = answer.envelope
        if envelope is not None and envelope.header.flags != 0 and envelope.pointer:
            envelope = await self._cascade.resolve(envelope, plan, deadline)
        if envelope is None:
            return default
        if self._slides and not answer.stale and tier is None:
            self._touches.renew(envelope, plan)
        header = envelope.header
        if header.raw_length < OFFLOAD_BYTES and not header.dictionary:
            return self._decode(envelope, type)
        return await engine.decode(envelope, type, deadline)

    async def lookup(self, key: Key | str, *, type: Any = None, timeout: Lifetime = None) -> Outcome:
        """The full outcome: `Hit` (record, tier, age, stale or not, bound), `Miss`, `Unavailable`, `Corrupt` or `NotAsked`; raises only for bad arguments."""
        key = Key.of(key)
        deadline = await self._begin(timeout)
        plan = self._engine.routes.route(key)
        try:
            answer = self._near.answer(key) if self._near is not None else None
            if answer is None:
                answer = await self._cascade.read(key, plan, deadline)
            if not answer.asked:
                return NotAsked(key)
            envelope = answer.envelope
            if envelope is not None:
                envelope = await self._cascade.resolve(envelope, plan, deadline)
            if envelope is None:
                return Miss(key, answer.tier, answer.version)
            if self._slides and not answer.stale:
                self._touches.renew(envelope, plan)
            return self._hit(answer, envelope, await self._engine.decode(envelope, type, deadline), plan)
        except TierUnavailable as error:
            return Unavailable(key, plan.tier, error)
        except TypeMismatch:
            raise
        except CorruptRecord as error:
            return Corrupt(key, plan.tier, error)
        except UnreadableRecord as error:
            return Corrupt(key, plan.tier, error, unreadable=True)

    def _hit(self, answer: Answer, envelope: Envelope, value: Any, plan: Plan) -> Hit:
        header = envelope.header
        record = Record(
            key=envelope.key,
            value=value,
            version=header.version,
            expires=instant(header.expires_ms),
            media_type=envelope.media_type,
            tags=dict(envelope.tags),  # the caller's own: others may be given this envelope, too
            created=instant(header.created_ms),
            modified=instant(header.modified_ms),
        )
        age = max(0, self._engine.now_ms() - header.modified_ms) if header.modified_ms else 0
        bound = answer.bound
        if not bound and plan.uses_hot and len(self._recovery):
            bound = "hot has missed writes of this client that are still to be told it; its own reads heed them"
        return Hit(record, answer.tier, age, answer.stale, bound)

    async def exists(self, key: Key | str, *, tier: TierName | None = None, timeout: Lifetime = None) -> bool:
        """Whether the key has a value; ``tier``: in that tier alone. Raises as `get` does: an outage is no absence."""
        key = Key.of(key)
        deadline = await self._begin(timeout)
        plan = self._engine.routes.route(key)
        if tier is not None:
            return (await self._direct.read(key, tier, plan, deadline)).envelope is not None
        return (await self._cascade.read(key, plan, deadline)).envelope is not None

    async def ttl(self, key: Key | str, *, timeout: Lifetime = None) -> timedelta | None:
        """The time until the record expires; None: it does not. Raises KeyError if the key has no value."""
        key = Key.of(key)
        deadline = await self._begin(timeout)
        envelope = (await self._cascade.read(key, self._engine.routes.route(key), deadline)).envelope
        if envelope is None:
            raise KeyError(str(key))
        ends = envelope.header.expires_ms
        return timedelta(milliseconds=max(0, ends - self._engine.now_ms())) if ends else None

    async def get_many(self, keys: Iterable[Key | str], *, type: Any = None, timeout: Lifetime = None) -> Batch[Any]:
        """The values of many keys: a dictionary of those that have one (by the key as it was given); ``missing`` and ``errors`` hold the others (P8),
        what is no key among them. ``timeout`` is for the whole batch. Raises `InvalidArgument` only for what is no list of keys."""
        batch: Batch[Any] = Batch()
        given = each_key(keys, batch.errors)
        deadline = await self._begin(timeout)
        ends: dict[Any, int] = {}
        if self._near is not None:
            given, ends = self._near.take_many(given, type, batch)
        found = await self._batches.read(list(given.values()), deadline)
        engine = self._engine
        decode = engine.codec.decode
        for name, key in given.items():
            envelope = found[key]
            if isinstance(envelope, Envelope):  # first: most are
                if self._slides:
                    self._touches.renew(envelope, engine.routes.route(key))
                try:
                    header = envelope.header
                    small = header.raw_length < OFFLOAD_BYTES and not header.dictionary
                    batch[name] = decode(envelope, type) if small else await engine.decode(envelope, type, deadline)
                except ThermoclineError as error:
                    batch.errors[name] = error
            elif envelope is None:
                batch.missing.append(name)
            elif isinstance(envelope, NotAsked):
                batch.not_asked.append(name)
            else:
                batch.errors[name] = envelope
        for name, end in ends.items():
            if end <= engine.now_ms():  # it ended while others were asked for
                del batch[name]
                batch.missing.append(name)
        return batch

    async def list(
        self,
        prefix: str = "",
        *,
        scope: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        timeout: Lifetime = None,
    ) -> Listing:
        """One page of the live keys of a scope whose names start with ``prefix``, from the authority. At most ``limit`` (1 to 1,000) keys; a page
        may be short and still have a ``cursor``. Without ``scope``: the plain strings of the default tenant, which lie in 256 scopes that are asked
        one after the other. Raises `InvalidArgument` for a cursor of another listing."""
        deadline = await self._begin(timeout)
        return await self._listings.page(
            prefix, scope=scope, tenant=tenant, limit=limit, cursor=cursor, deadline=deadline
        )

    async def stream(self, key: Key | str, *, timeout: Lifetime = None) -> AsyncGenerator[bytes, None]:
        """The value's bytes in chunks (of a value that is not bytes: its text or JSON). Raises KeyError if there is no value; `CorruptRecord` at the
        end if the payload does not fit its digest. ``timeout`` (ten minutes by default) is for the whole."""
        key = Key.of(key)
        deadline = await self._begin(timeout if timeout is not None else timedelta(minutes=10))
        async with aclosing(self._streams.read(key, self._engine.routes.route(key), deadline)) as chunks:
            async for chunk in chunks:
                yield chunk


def each_key(keys: Iterable[Key | str], errors: dict[Any, ThermoclineError] | None = None) -> dict[Any, Key]:
    """The keys of a batch by what was given for them, each once. What is no key goes into ``errors``. Raises `InvalidArgument` for one key where
    many are asked for, and `InvalidKey` where there are no ``errors`` to put it into, or for what no dictionary can hold."""
    if isinstance(keys, str | bytes | Key) or not isinstance(keys, Iterable):
        raise InvalidArgument(f"a batch takes a list of keys, not {type(keys).__name__}")
    given: dict[Any, Key] = {}
    for key in keys:
        try:
            given[key] = Key.of(key)
        except InvalidKey as error:
            if errors is None:
                raise
            errors[key] = error
        except TypeError as error:  # unhashable
            raise InvalidKey(f"a key is a Key or a string, not {type(key).__name__}") from error
    return given
