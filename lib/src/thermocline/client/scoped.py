"""A client for one tenant and scope: names instead of keys, and no way to any other."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from thermocline.client.moving.result import Prefetched
from thermocline.client.moving.verbs import MovingVerbs
from thermocline.client.result import NOT_GIVEN, Batch, Listing, NotGiven, WriteResult
from thermocline.errors import InvalidArgument, InvalidKey, ThermoclineError
from thermocline.model import DEFAULT_TENANT, Key, Outcome

if TYPE_CHECKING:
    from thermocline.client.receipt import Receipt

Lifetime = timedelta | float | None


class ScopedMemory:
    """The verbs of `MemoryClient` on the names of one scope. A `Key` is refused: whoever holds this can reach nothing else (P9)."""

    __slots__ = ("_client", "scope", "tenant")

    def __init__(self, client: MovingVerbs, *, tenant: str | None, scope: str) -> None:
        self._client = client
        self.tenant = DEFAULT_TENANT if tenant is None else tenant
        self.scope = scope
        self.key("*")  # the parts are checked now rather than at the first call

    def __repr__(self) -> str:
        return f"<ScopedMemory {self.tenant}/{self.scope}>"

    def key(self, name: str) -> Key:
        """The full key of ``name``."""
        if not isinstance(name, str):
            raise InvalidKey(f"a scoped memory takes names, not {type(name).__name__}: its tenant and scope are fixed")
        return Key(self.tenant, self.scope, name)

    async def get(self, name: str, *, type: Any = None, default: Any = None, timeout: Lifetime = None) -> Any:
        return await self._client.get(self.key(name), type=type, default=default, timeout=timeout)

    async def lookup(self, name: str, *, type: Any = None, timeout: Lifetime = None) -> Outcome:
        return await self._client.lookup(self.key(name), type=type, timeout=timeout)

    async def exists(self, name: str, *, timeout: Lifetime = None) -> bool:
        return await self._client.exists(self.key(name), timeout=timeout)

    async def ttl(self, name: str, *, timeout: Lifetime = None) -> timedelta | None:
        return await self._client.ttl(self.key(name), timeout=timeout)

    async def get_or_set(
        self,
        name: str,
        factory: Callable[[], Any],
        *,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        fresh_for: Lifetime = None,
        refresh_ahead: Lifetime = None,
        soft_timeout: Lifetime = None,
        hard_timeout: Lifetime = None,
        tags: Mapping[str, str] | None = None,
        type: Any = None,
        timeout: Lifetime = None,
    ) -> Any:
        return await self._client.get_or_set(
            self.key(name),
            factory,
            ttl=ttl,
            fresh_for=fresh_for,
            refresh_ahead=refresh_ahead,
            soft_timeout=soft_timeout,
            hard_timeout=hard_timeout,
            tags=tags,
            type=type,
            timeout=timeout,
        )

    async def set(
        self,
        name: str,
        value: Any,
        *,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        tags: Mapping[str, str] | None = None,
        media_type: str | None = None,
        if_version: int | None = None,
        if_absent: bool = False,
        write_around: bool = False,
        timeout: Lifetime = None,
    ) -> WriteResult:
        return await self._client.set(
            self.key(name),
            value,
            ttl=ttl,
            tags=tags,
            media_type=media_type,
            if_version=if_version,
            if_absent=if_absent,
            write_around=write_around,
            timeout=timeout,
        )

    async def delete(self, name: str, *, if_version: int | None = None, timeout: Lifetime = None) -> WriteResult:
        return await self._client.delete(self.key(name), if_version=if_version, timeout=timeout)

    async def touch(self, name: str, *, ttl: Lifetime, timeout: Lifetime = None) -> WriteResult:
        return await self._client.touch(self.key(name), ttl=ttl, timeout=timeout)

    async def get_many(self, names: Iterable[str], *, type: Any = None, timeout: Lifetime = None) -> Batch[Any]:
        keys, errors = self._keys(names)
        return _renamed(await self._client.get_many(keys, type=type, timeout=timeout), keys, errors)

    async def set_many(
        self,
        items: Mapping[str, Any],
        *,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        tags: Mapping[str, str] | None = None,
        write_around: bool = False,
        atomic: bool = False,
        if_versions: Mapping[str, int] | None = None,
        timeout: Lifetime = None,
    ) -> Batch[WriteResult]:
        given: Any = items
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"set_many takes a mapping of names to values, not {type(items).__name__}")
        keys, errors = self._keys(items, strict=atomic)
        values = {key: items[name] for key, name in keys.items()}
        versions = None
        if if_versions is not None:
            versions = {self.key(name): version for name, version in if_versions.items()}
        batch = await self._client.set_many(
            values,
            ttl=ttl,
            tags=tags,
            write_around=write_around,
            atomic=atomic,
            if_versions=versions,
            timeout=timeout,
        )
        return _renamed(batch, keys, errors)

    async def delete_many(
        self, names: Iterable[str], *, atomic: bool = False, timeout: Lifetime = None
    ) -> Batch[WriteResult]:
        keys, errors = self._keys(names, strict=atomic)
        return _renamed(await self._client.delete_many(keys, atomic=atomic, timeout=timeout), keys, errors)

    def _keys(
        self, names: Iterable[str], *, strict: bool = False
    ) -> tuple[dict[Key, str], dict[Any, ThermoclineError]]:
        """The names by their keys; and what is no name (``strict``: that is raised)."""
        if isinstance(names, str | bytes | Key) or not isinstance(names, Iterable):
            raise InvalidArgument(f"a batch takes a list of names, not {type(names).__name__}")
        keys: dict[Key, str] = {}
        errors: dict[Any, ThermoclineError] = {}
        for name in names:
            try:
                keys[self.key(name)] = name
            except InvalidKey as error:
                if strict or not isinstance(name, Hashable):
                    raise
                errors[name] = error
        return keys, errors

    async def prefetch(self, names: Iterable[str], *, timeout: Lifetime = None) -> Prefetched:
        keys, errors = self._keys(names)
        fetched = await self._client.prefetch(keys, timeout=timeout)
        return Prefetched(
            promoted=[keys[key] for key in fetched.promoted],
            present=[keys[key] for key in fetched.present],
            missing=[keys[key] for key in fetched.missing],
            busy=[keys[key] for key in fetched.busy],
            errors={**errors, **{keys[key]: error for key, error in fetched.errors.items()}},
        )

    async def list(
        self, prefix: str = "", *, limit: int = 100, cursor: str | None = None, timeout: Lifetime = None
    ) -> Listing:
        return await self._client.list(
            prefix, scope=self.scope, tenant=self.tenant, limit=limit, cursor=cursor, timeout=timeout
        )

    async def update(
        self,
        name: str,
        function: Callable[[Any], Any],
        *,
        default: Any = None,
        type: Any = None,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        timeout: Lifetime = None,
    ) -> Any:
        return await self._client.update(self.key(name), function, default=default, type=type, ttl=ttl, timeout=timeout)

    async def increment(
        self,
        name: str,
        by: float = 1,
        *,
        initial: float = 0,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        timeout: Lifetime = None,
    ) -> Any:
        return await self._client.increment(self.key(name), by, initial=initial, ttl=ttl, timeout=timeout)

    async def append(
        self,
        name: str,
        *items: Any,
        keep: int | None = None,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        timeout: Lifetime = None,
    ) -> int:
        return await self._client.append(self.key(name), *items, keep=keep, ttl=ttl, timeout=timeout)

    async def export(self) -> AsyncGenerator[str, None]:
        async with aclosing(self._client.export(scope=self.scope, tenant=self.tenant)) as lines:
            async for line in lines:
                yield line

    async def forget(self, *, by: str, reason: str = "", dry_run: bool = False, **options: Any) -> "Receipt":
        return await self._client.forget(
            scope=self.scope, tenant=self.tenant, by=by, reason=reason, dry_run=dry_run, **options
        )

    async def set_stream(
        self,
        name: str,
        chunks: AsyncIterator[bytes],
        *,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        tags: Mapping[str, str] | None = None,
        media_type: str = "application/octet-stream",
        timeout: Lifetime = None,
    ) -> WriteResult:
        return await self._client.set_stream(
            self.key(name), chunks, ttl=ttl, tags=tags, media_type=media_type, timeout=timeout
        )

    async def stream(self, name: str, *, timeout: Lifetime = None) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._client.stream(self.key(name), timeout=timeout)) as chunks:
            async for chunk in chunks:
                yield chunk


def _renamed(batch: Batch[Any], names: Mapping[Key, str], errors: Mapping[Any, ThermoclineError]) -> Batch[Any]:
    """The same answers under the names as they were given, and what is no name."""
    renamed: Batch[Any] = Batch()
    renamed.update((names[key], value) for key, value in batch.items())
    renamed.missing = [names[key] for key in batch.missing]
    renamed.not_asked = [names[key] for key in batch.not_asked]
    renamed.errors = {**errors, **{names[key]: error for key, error in batch.errors.items()}}
    return renamed
