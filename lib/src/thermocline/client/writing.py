"""The writing verbs of `MemoryClient`."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from datetime import timedelta
from typing import Any

from thermocline.client.batch_writes import Outcomes
from thermocline.client.direct import TierName, refuse_on_plain
from thermocline.client.lifetime import Lifetime
from thermocline.client.reading import ReadVerbs, each_key
from thermocline.client.result import NOT_GIVEN, Batch, NotGiven, WriteResult
from thermocline.client.writer import Intent
from thermocline.clock import Deadline
from thermocline.configured import switches
from thermocline.errors import (
    InvalidArgument,
)
from thermocline.model import (
    MAX_VERSION,
    Envelope,
    Key,
)
from thermocline.policy import Plan, lifetime_ms
from thermocline.protocols import Verb


class WriteVerbs(ReadVerbs):
    """`set`, `delete`, `touch`, `set_many`, `delete_many`, `set_stream`."""

    async def set(
        self,
        key: Key | str,
        value: Any,
        *,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        tags: Mapping[str, str] | None = None,
        media_type: str | None = None,
        if_version: int | None = None,
        if_absent: bool = False,
        write_around: bool = False,
        tier: TierName | None = None,
        timeout: Lifetime = None,
    ) -> WriteResult:
        """Store a value. ``ttl``: how long it lives (seconds or a timedelta; None: for ever; left out: as the rules say). ``tier``: in that tier
        alone (docs/tiers.md, "One tier alone").

        Atomic: readers see the old record or the new one. ``if_version=n``: only if the key's version is n; ``if_absent``: only if it has no value; else
        `Conflict` and nothing is written. ``write_around``: hot forgets the old value and does not get the new one until it is read.
        Raises `NotSerialisable`, `TooLarge`, `UnknownOutcome` (it may have taken effect, at most once), `TierUnavailable` (it has certainly not).
        """
        key = Key.of(key)
        _check_conditions(if_version, if_absent, write_around)
        deadline = await self._begin(timeout)
        plan = self._engine.routes.route(key)
        if tier is not None and not self._direct.has_the_word(tier, plan):
            conditions = {"if_version": if_version is not None, "if_absent": if_absent, "write_around": write_around}
            refuse_on_plain(tier, tags=tags is not None, media_type=media_type is not None, **conditions)
            lasting = None if isinstance(ttl, NotGiven) else lifetime_ms(ttl, "ttl")
            return await self._direct.set(key, value, tier, plan, lasting, deadline)
        envelope = await self._sealed(key, value, plan, ttl, tags, media_type, deadline=deadline)
        if plan.legacy is not None:
            await self._takeover.adopt(key, plan, deadline)
        intent = await self._writer.intent(
            Verb.PUT, envelope, plan, deadline, if_version=if_version, if_absent=if_absent, around=write_around
        )
        return await self._writer.carry_out(intent, deadline)

    async def _sealed(
        self,
        key: Key,
        value: Any,
        plan: Plan,
        ttl: Lifetime | NotGiven,
        tags: Mapping[str, str] | None,
        media_type: str | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> Envelope:
        engine = self._engine
        now = engine.now_ms()
        serialised = engine.codec.prepare(value)
        dictionary = None
        if engine.codec.dictionaries is not None and engine.shelves is not None:
            dictionary = await engine.shelves.chosen(key, plan, len(serialised.raw), deadline)
        return await engine.seal(
            key,
            serialised,
            dictionary=dictionary,
            now_ms=now,
            expires_ms=self._expires(key, plan, ttl, now, tags),
            media_type=media_type,
            tags=tags,
        )

    def _expires(
        self, key: Key, plan: Plan, ttl: Lifetime | NotGiven, now_ms: int, tags: Mapping[str, str] | None
    ) -> int:
        """When a record ends whose value is written now, in ms since 1970; 0 never."""
        if isinstance(ttl, NotGiven):
            return self._engine.expires_ms(key, tags, plan, now_ms)
        return now_ms + lifetime_ms(ttl, "ttl") if ttl is not None else 0

    async def delete(
        self,
        key: Key | str,
        *,
        if_version: int | None = None,
        tier: TierName | None = None,
        timeout: Lifetime = None,
    ) -> WriteResult:
        """Delete the record; it does not come back (P4). ``found`` of the result is False if nothing was known of the key. ``tier``: what that tier alone
        has. Raises as `set` does."""
        key = Key.of(key)
        _check_conditions(if_version, False)
        deadline = await self._begin(timeout)
        plan = self._engine.routes.route(key)
        if tier is not None and not self._direct.has_the_word(tier, plan):
            refuse_on_plain(tier, if_version=if_version is not None)
            return await self._direct.delete(key, tier, deadline)
        if plan.legacy is not None:
            await self._takeover.adopt(key, plan, deadline)
        tombstone = self._engine.codec.tombstone(key, now_ms=self._engine.now_ms())
        intent = await self._writer.intent(Verb.DELETE, tombstone, plan, deadline, if_version=if_version)
        return await self._writer.carry_out(intent, deadline)

    async def touch(self, key: Key | str, *, ttl: Lifetime, timeout: Lifetime = None) -> WriteResult:
        """Let the record live for ``ttl`` from now (None: for ever), its value unchanged. ``found`` is False if the key has no value.

        Where a `Ceiling` may hold for the key, the record is read first, and lives no longer than the ceiling after it was created.
        """
        key = Key.of(key)
        deadline = await self._begin(timeout)
        plan, now = self._engine.routes.route(key), self._engine.now_ms()
        ends = self._expires(key, plan, ttl, now, None)
        if plan.legacy is not None:
            await self._takeover.adopt(key, plan, deadline)
        return await self._touches.touch(key, plan, ends, now, deadline)

    async def set_many(
        self,
        items: Mapping[Any, Any],
        *,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        tags: Mapping[str, str] | None = None,
        write_around: bool = False,
        atomic: bool = False,
        if_versions: Mapping[Any, int] | None = None,
        timeout: Lifetime = None,
    ) -> Batch[WriteResult]:
        """Store many values, each for itself: the results of those that were written; ``errors`` holds the others (P8). Names of the same key are
        one write, of the value given last. ``write_around`` as of `set`; ``timeout`` is for the whole batch.

        ``atomic=True``: all are written as one or none is, which takes keys of one scope whose authority can do that (Cosmos DB up to 100, SQLite), and
        raises what is wrong with one of them: `InvalidArgument`, `Conflict`, `UnknownOutcome` for all together. Then ``if_versions`` may name the
        versions that some of the keys must be at; 0: no value.
        """
        given: Any = items
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"set_many takes a mapping of keys to values, not {type(items).__name__}")
        switches(atomic=atomic, write_around=write_around)
        batch: Batch[WriteResult] = Batch()
        names = each_key(items, None if atomic else batch.errors)
        values = {key: items[name] for name, key in names.items()}
        conditions = _conditions(if_versions, values, atomic)
        deadline = await self._begin(timeout)

        async def prepare(key: Key, plan: Plan, deadline: Deadline, write_id: str) -> Intent:
            envelope = await self._sealed(key, values[key], plan, ttl, tags, deadline=deadline)
            if plan.legacy is not None:
                await self._takeover.adopt(key, plan, deadline)
            version = conditions.get(key)
            return await self._writer.intent(
                Verb.PUT,
                envelope,
                plan,
                deadline,
                if_version=version or None,
                if_absent=version == 0,
                around=write_around,
                write_id=write_id,
            )

        write = self._atomic_writes.write if atomic else self._batch_writes.write
        return _told(names, await write(list(values), prepare, deadline), batch)

    async def delete_many(
        self, keys: Iterable[Key | str], *, atomic: bool = False, timeout: Lifetime = None
    ) -> Batch[WriteResult]:
        """Delete many keys, each for itself; ``missing`` holds those of which nothing was known, ``errors`` what is no key or failed (P8).
        ``atomic=True``: all as one or none, as of `set_many`."""
        switches(atomic=atomic)
        batch: Batch[WriteResult] = Batch()
        names = each_key(keys, None if atomic else batch.errors)
        deadline = await self._begin(timeout)

        async def prepare(key: Key, plan: Plan, deadline: Deadline, write_id: str) -> Intent:
            if plan.legacy is not None:
                await self._takeover.adopt(key, plan, deadline)
            tombstone = self._engine.codec.tombstone(key, now_ms=self._engine.now_ms())
            return await self._writer.intent(Verb.DELETE, tombstone, plan, deadline, write_id=write_id)

        write = self._atomic_writes.write if atomic else self._batch_writes.write
        return _told(names, await write(list(dict.fromkeys(names.values())), prepare, deadline), batch)

    async def set_stream(
        self,
        key: Key | str,
        chunks: AsyncIterator[bytes],
        *,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        tags: Mapping[str, str] | None = None,
        media_type: str = "application/octet-stream",
        timeout: Lifetime = None,
    ) -> WriteResult:
        """Store bytes of any size in bounded memory: they go to cold, and the record points to them. Nothing is visible until all of it has arrived.
        Without a cold tier they are collected, up to ``max_value_bytes``. ``timeout`` (ten minutes by default) is for the whole."""
        key = Key.of(key)
        if not isinstance(chunks, AsyncIterable):
            raise InvalidArgument(f"set_stream takes an asynchronous iterator of bytes, not {type(chunks).__name__}")
        deadline = await self._begin(timeout if timeout is not None else timedelta(minutes=10))
        plan, now = self._engine.routes.route(key), self._engine.now_ms()
        expires = self._expires(key, plan, ttl, now, tags)
        if plan.legacy is not None:
            await self._takeover.adopt(key, plan, deadline)
        return await self._streams.write(key, plan, chunks, now, expires, media_type, tags, deadline)


def _told(names: Mapping[Any, Key], outcomes: Outcomes, batch: Batch[WriteResult]) -> Batch[WriteResult]:
    """The answer of a batch, by the keys as they were given and in their order."""
    for name, key in names.items():
        outcome = outcomes[key]
        if outcome is None:
            batch.missing.append(name)
        elif isinstance(outcome, WriteResult):
            batch[name] = outcome
        else:
            batch.errors[name] = outcome
    return batch


def _conditions(versions: Mapping[Any, int] | None, values: Mapping[Key, Any], atomic: bool) -> dict[Key, int]:
    """The versions that keys must be at."""
    if versions is None:
        return {}
    given: Any = versions
    if not atomic or not isinstance(given, Mapping):
        raise InvalidArgument("if_versions is a mapping of keys to versions, and goes with atomic=True")
    conditions = {Key.of(name): version for name, version in versions.items()}
    for key, version in conditions.items():
        if version != 0:
            _check_conditions(version, False)
        if key not in values:
            raise InvalidArgument(f"if_versions names {key.name!r:.80}, which the batch does not write")
    return conditions


def _check_conditions(if_version: int | None, if_absent: Any, write_around: Any = False) -> None:
    if type(if_absent) is not bool or type(write_around) is not bool:  # before `switches`, which costs more
        switches(if_absent=if_absent, write_around=write_around)
    if if_version is not None and if_absent:
        raise InvalidArgument("if_version and if_absent exclude each other")
    if if_version is not None and (type(if_version) is not int or not 1 <= if_version <= MAX_VERSION):
        raise InvalidArgument(f"if_version is a version as a read or write returned it, not {if_version!r}")
